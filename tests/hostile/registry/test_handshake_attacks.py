"""Peers that answer one byte at a time: during TLS, through a proxy, in a head and in a body."""

from __future__ import annotations

import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from containerd_lite.errors import Cancelled, RegistryUnavailable
from containerd_lite.interrupt import Interrupt
from containerd_lite.oci.reference import Reference
from containerd_lite.registry.registry import Registry
from tests.harness.tls import localhost_pem

pytestmark = pytest.mark.dependencies

#: Seconds between two bytes, and the most bytes: a peer drips for longer than any test waits.
INTERVAL, MOST = 0.02, 3000
#: The time limit of the calls, and when an interrupt comes (seconds).
LIMIT, SOON = 0.5, 0.3
#: What a call may take on a loaded machine (seconds). A limit for each byte is far above it.
PATIENCE = 6.0

#: The beginning of a record of TLS with 16 KiB of a handshake.
RECORD = b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc\x03\x03"
HEAD = b"HTTP/1.1 200 OK\r\nDocker-Content-Digest: "
LINES = b"HTTP/1.1 200 Connection established\r\n"
CHUNK = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;"

Script = Callable[["Dripping", socket.socket], None]


class Dripping:
    """A server that plays a script for each connection, until the test is over."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self.over = threading.Event()
        self.dripped = 0
        self._threads = [threading.Thread(target=self._accept)]

    def _accept(self) -> None:
        while not self.over.is_set():
            if select.select([self._socket], [], [], 0.05)[0]:
                sock, _ = self._socket.accept()
                sock.settimeout(PATIENCE)
                self._threads.append(threading.Thread(target=self._serve, args=(sock,)))
                self._threads[-1].start()

    def _serve(self, sock: socket.socket) -> None:
        with sock, suppress(OSError):
            self._script(self, sock)

    def drip(self, sock: socket.socket, unit: bytes) -> None:
        for _ in range(MOST):
            if self.over.wait(INTERVAL):
                return
            sock.sendall(unit)
            self.dripped += 1

    def __enter__(self) -> Dripping:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        for thread in self._threads:
            thread.join()
        self._socket.close()


def _after_request(start: bytes, unit: bytes = b"x") -> Script:
    def play(server: Dripping, sock: socket.socket) -> None:
        sock.recv(1 << 16)
        sock.sendall(start)
        server.drip(sock, unit)

    return play


def _inside_tunnel(server: Dripping, sock: socket.socket) -> None:
    """A proxy with TLS; the target's handshake drips within the tunnel."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(localhost_pem())
    with context.wrap_socket(sock, server_side=True) as outer:
        outer.recv(1 << 16)
        outer.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        outer.recv(1 << 16)
        outer.sendall(RECORD)
        server.drip(outer, b"x")


#: By name: what the peer does, and how the client reaches it.
CASES: dict[str, tuple[Script, str]] = {
    "handshake": (_after_request(RECORD), "https"),
    "silent handshake": (_after_request(b"", b""), "https"),
    "head": (_after_request(HEAD), "http"),
    "lines of a head": (_after_request(HEAD + b"\r\n", b"a: b\r\n"), "http"),
    "interim responses": (_after_request(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), "http"),
    "extension of a chunk": (_after_request(CHUNK), "body"),
    "trailers": (_after_request(CHUNK[:-2] + b"0\r\n", b"a: b\r\n"), "body"),
    "answer of a proxy": (_after_request(b"HTTP/1.1 200 "), "proxy"),
    "lines of a proxy": (_after_request(LINES, b"a: b\r\n"), "proxy"),
    "handshake with a proxy": (_after_request(RECORD), "secure proxy"),
    "handshake in a tunnel": (_inside_tunnel, "secure proxy"),
}


@pytest.fixture(params=CASES)
def peer(request: pytest.FixtureRequest) -> Iterator[tuple[Dripping, str]]:
    script, road = CASES[request.param]
    with Dripping(script) as server:
        yield server, road


def call(peer: tuple[Dripping, str], timeout: float) -> None:
    """Ask for a manifest; the time-outs other than the deadline are far away."""
    server, road = peer
    host, proxy = server.host, ""
    if "proxy" in road:
        host, proxy = "registry.test", f"{'https' if 'secure' in road else 'http'}://{server.host}"
    with Registry(
        host,
        plain_http=road in ("http", "body"),
        proxy=proxy,
        proxy_ca=(localhost_pem(),) if "secure" in road else (),
        hosts_dirs=(),
        timeout=timeout,
        connect_timeout=3 * PATIENCE,
        stall_timeout=3 * PATIENCE,
    ) as registry:
        reference = Reference.parse(f"{host}/app:v1")
        if road == "body":
            list(registry.tags(reference))
        else:
            registry.resolve(reference)


def test_the_deadline_ends_it(peer: tuple[Dripping, str]) -> None:
    began = time.monotonic()
    with pytest.raises(RegistryUnavailable):
        call(peer, LIMIT)
    assert time.monotonic() - began < PATIENCE


def test_an_interrupt_ends_it(peer: tuple[Dripping, str]) -> None:
    interrupt = Interrupt()
    timer = threading.Timer(SOON, interrupt.set)
    timer.start()
    began = time.monotonic()
    with interrupt.watching(), pytest.raises(Cancelled):
        call(peer, 10 * PATIENCE)
    assert time.monotonic() - began < PATIENCE
    timer.join()
