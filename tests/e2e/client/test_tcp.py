"""containerd over TCP: its own listener, which is Go's TLS, and a TLS proxy before its socket.

The daemon's listener (``grpc.tcp_address``) offers the CRI and nothing else, so it shows that the
two ends understand each other; the rest of the API goes through the proxy.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

import pytest

from containerd_lite import Client
from containerd_lite.errors import (
    ConnectionRefused,
    ProtocolError,
    Unauthenticated,
    Unavailable,
    Unimplemented,
)
from containerd_lite.oci import digest as digests
from containerd_lite.transport.address import parse_address
from containerd_lite.transport.channel import Channel
from containerd_lite.transport.tls import TLS
from tests.harness import Unavailable as NotHere
from tests.harness.daemon import Daemon
from tests.harness.tls import Files, Front, server_context

pytestmark = pytest.mark.daemon

CRI_VERSION = "/runtime.v1.RuntimeService/Version"
VERSION = "/containerd.services.version.v1.Version/Version"
PATIENCE = 30.0
#: Ports that are tried.
TRIES = 5
#: Of the daemon's listener with plug-ins of every generation.
CRI_OVER_TCP = '[plugins."io.containerd.grpc.v1.cri"]\ndisable_tcp_service = false\n'


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def tls(files: Files) -> TLS:
    return TLS(files.authority.certificate, files.client.certificate, files.client.key)


@contextmanager
def listening(suite: str, **settings: str) -> Iterator[tuple[Daemon, str]]:
    """A daemon that listens on a free port, and its address."""
    for tries_left in reversed(range(TRIES)):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        grpc = {"tcp_address": f"127.0.0.1:{port}", **settings}
        daemon = Daemon(suite, cri=True, extra=CRI_OVER_TCP, grpc=grpc)
        try:
            daemon.open()
        except NotHere as reason:  # somebody else may have taken the port meanwhile
            if not tries_left or "address already in use" not in str(reason):
                raise
        else:
            break
    with closing(daemon):
        yield daemon, f"tcp://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def listener(daemon: Daemon, files: Files) -> Iterator[tuple[Daemon, str]]:
    """A daemon of the same generation that wants a client's certificate, and its address."""
    with listening(
        daemon.generation,
        tcp_tls_ca=str(files.authority.certificate),
        tcp_tls_cert=str(files.server.certificate),
        tcp_tls_key=str(files.server.key),
    ) as found:
        yield found


@pytest.fixture
def channel(listener: tuple[Daemon, str], tls: TLS) -> Iterator[Channel]:
    with Channel(parse_address(listener[1], tls=tls)) as channel:
        yield channel


def ask(channel: Channel, asked: bytes = b"", *, wait_for_ready: bool = False) -> bytes:
    """The CRI's VersionResponse to a VersionRequest, whose only field is a string."""
    size = bytearray()
    left = len(asked)
    while left > 0x7F:
        size.append(left & 0x7F | 0x80)
        left >>= 7
    prefix = b"\n" + bytes((*size, left)) if asked else b""
    answer = channel.unary(
        CRI_VERSION, prefix, asked, timeout=PATIENCE, wait_for_ready=wait_for_ready
    )
    return bytes(answer)


# ---- the daemon's own listener ---------------------------------------------------------------


@pytest.mark.generations
def test_the_daemons_listener(channel: Channel) -> None:
    assert b"containerd" in ask(channel)
    with pytest.raises(Unimplemented):
        channel.unary(VERSION, timeout=PATIENCE)
    stream = channel.stream(VERSION, b"", timeout=PATIENCE)
    with stream, pytest.raises(Unimplemented):
        stream.receive()


def test_a_large_request(channel: Channel) -> None:
    assert b"containerd" in ask(channel, b"v" * (8 << 20))
    assert b"containerd" in ask(channel)


def test_threads(channel: Channel, count: Callable[[int, int], int]) -> None:
    rounds = count(50, 2000)
    with ThreadPoolExecutor(8) as pool:
        done = [
            pool.submit(lambda n: [ask(channel, b"v" * n * 999) for _ in range(rounds)], number)
            for number in range(8)
        ]
        assert all(b"containerd" in answer for future in done for answer in future.result())


def test_who_is_not_trusted(listener: tuple[Daemon, str], files: Files) -> None:
    """Neither end takes the other for what it is not; nothing is sent again and again."""
    ca, client = files.authority.certificate, files.client
    cases = {
        "cannot be trusted": TLS(files.other.certificate, client.certificate, client.key),
        "cannot be trusted: ": TLS(ca, client.certificate, client.key, "daemon.example"),
        "requires a client certificate": TLS(ca),
        "refused the client certificate": TLS(ca, files.stranger.certificate, files.stranger.key),
    }
    for said, tls in cases.items():
        with Channel(parse_address(listener[1], tls=tls)) as channel:
            for wait_for_ready in (False, True):
                with pytest.raises(Unauthenticated, match=said) as caught:
                    ask(channel, wait_for_ready=wait_for_ready)
                assert listener[1] in str(caught.value)
                assert "TLS(" in str(caught.value) or "tcp_tls_ca" in str(caught.value)


def test_a_daemon_that_comes_back(listener: tuple[Daemon, str], channel: Channel) -> None:
    daemon, address = listener
    assert ask(channel)
    daemon.stop()
    try:
        for _ in range(2):
            with pytest.raises(Unavailable):
                ask(channel)
        with pytest.raises(ConnectionRefused, match=address):
            ask(channel)
    finally:
        daemon.start()
    assert b"containerd" in ask(channel, wait_for_ready=True)


def test_a_listener_without_tls(daemon: Daemon, listener: tuple[Daemon, str], tls: TLS) -> None:
    with listening(daemon.generation) as (_, address):
        with Channel(parse_address(address, tls=False)) as channel:
            assert b"containerd" in ask(channel, b"v" * (1 << 20))
        with Channel(parse_address(address, tls=tls)) as channel:
            with pytest.raises(ProtocolError, match="TLS failed") as caught:
                ask(channel, wait_for_ready=True)
            assert "tls=False" in caught.value.remedy
    with Channel(parse_address(listener[1], tls=False)) as channel, pytest.raises(Unavailable):
        ask(channel)


# ---- a proxy before its socket ---------------------------------------------------------------


@pytest.fixture
def front(daemon: Daemon, files: Files) -> Iterator[Front]:
    context = server_context(files.server, clients=files.authority.certificate)
    with Front(daemon.socket, context) as front:
        yield front


@pytest.mark.backend
@pytest.mark.dependencies
@pytest.mark.usefixtures("no_leftovers")
def test_the_whole_api(front: Front, tls: TLS, daemon: Daemon, namespace: str) -> None:
    bodies = [random.Random(number).randbytes(6 << 20) for number in range(4)]
    with (
        Channel(parse_address(front.address, tls=tls)) as channel,
        ThreadPoolExecutor(len(bodies)) as pool,
    ):
        client = Client(channel=channel, namespace=namespace)

        def carry(body: bytes) -> bytes:
            store, digest = client.content_store, digests.of(body)
            with client.lease():  # of the thread's own
                with store.writer(digest, size=len(body), expected=digest) as writer:
                    writer.write(body)
                    writer.commit()
                assert client.version().version.startswith(daemon.version)
                with store.reader(digest) as reader:
                    found = reader.read()
                store.delete(digest)
            return found

        assert list(pool.map(carry, bodies)) == bodies
