"""Addresses, and dials that fail: each in its own way."""

from __future__ import annotations

import os
import pickle
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import pytest

from containerd_lite.errors import (
    ConnectionRefused,
    ContainerdError,
    DeadlineExceeded,
    InvalidArgument,
    SocketNotFound,
    SocketPermissionDenied,
    Unavailable,
)
from containerd_lite.transport.address import DEFAULT, parse_address
from containerd_lite.transport.tcp import TcpAddress
from containerd_lite.transport.tls import TLS
from containerd_lite.transport.unix import UnixAddress
from tests.wire.peer import Peer, Worker, descriptors, silent

pytestmark = pytest.mark.interpreter

AS_NOBODY = """
import os, sys
from containerd_lite.errors import ContainerdError
from containerd_lite.transport.address import parse_address
address = parse_address(sys.argv[1])
os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    address.dial(1.0)
except ContainerdError as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize(
    ("text", "path", "shown"),
    [
        (DEFAULT, "/run/containerd/containerd.sock", DEFAULT),
        ("unix:///a/b", "/a/b", "unix:///a/b"),
        ("unix:/a/b", "/a/b", "unix:///a/b"),
        ("unix:a/b", "a/b", "unix:a/b"),
        ("/a/b", "/a/b", "unix:///a/b"),
        ("a", "a", "unix:a"),
        ("./a:b", "./a:b", "unix:./a:b"),
        ("unix-abstract:name", "\0name", "unix-abstract:name"),
        ("/" + "x" * 106, "/" + "x" * 106, "unix:///" + "x" * 106),
    ],
)
def test_parse(text: str, path: str, shown: str) -> None:
    address = parse_address(text)
    assert address == UnixAddress(path)
    assert (address.scheme, address.authority) == ("http", "localhost")
    assert str(address) == shown
    assert parse_address(shown) == address
    assert pickle.loads(pickle.dumps(address)) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "unix:",
        "unix://",
        "unix://host/path",
        "unix://relative",
        "unix-abstract:",
        "http://x/y",
        "localhost:1234",
        "/" + "x" * 107,
        "/" + "é" * 54,
        "/a\0b",
        "unix-abstract:a\0b",
    ],
)
def test_what_is_no_address(text: str) -> None:
    for tls in (None, False, TLS()):
        with pytest.raises(InvalidArgument) as caught:
            parse_address(text, tls=tls)
        assert caught.value.remedy


TLS_SETTINGS = TLS("ca.pem", "client.pem", "client.key", "daemon.example")


@pytest.mark.parametrize(
    ("text", "host", "port", "authority"),
    [
        ("tcp://127.0.0.1:1", "127.0.0.1", 1, "127.0.0.1:1"),
        ("tcp://localhost:65535", "localhost", 65535, "localhost:65535"),
        ("tcp://a-b.c_d.example.:10010", "a-b.c_d.example.", 10010, "a-b.c_d.example.:10010"),
        ("tcp://[::1]:443", "::1", 443, "[::1]:443"),
        ("tcp://[fe80::1%eth0]:443", "fe80::1%eth0", 443, "[fe80::1]:443"),
        ("tcp://" + "x" * 63 + ":1", "x" * 63, 1, "x" * 63 + ":1"),
    ],
)
def test_parse_tcp(text: str, host: str, port: int, authority: str) -> None:
    """RFC 3986, 3.2.2: IPv6 stands in brackets; RFC 9110, 4.2: no zone or user in an authority."""
    cases: list[tuple[TLS | Literal[False], str]] = [(TLS_SETTINGS, "https"), (False, "http")]
    for tls, scheme in cases:
        address = parse_address(text, tls=tls)
        assert address == TcpAddress(host, port, tls)
        assert (address.scheme, address.authority) == (scheme, authority)
        assert str(address) == text
        assert parse_address(str(address), tls=tls) == address
        assert pickle.loads(pickle.dumps(address)) == address


@pytest.mark.parametrize(
    "text",
    [
        "tcp:127.0.0.1:1",
        "tcp:/127.0.0.1:1",
        "tcp://",
        "tcp://127.0.0.1",
        "tcp://127.0.0.1:",
        "tcp://127.0.0.1:0",
        "tcp://127.0.0.1:65536",
        "tcp://127.0.0.1:http",
        "tcp://127.0.0.1:\u0661",  # a digit, and no port
        "tcp://127.0.0.1:1/",
        "tcp://127.0.0.1:1\n",
        "tcp://me@127.0.0.1:1",
        "tcp://:1",
        "tcp://::1:1",
        "tcp://[::1]",
        "tcp://[127.0.0.1]:1",
        "tcp://[]:1",
        "tcp://a..b:1",
        "tcp://" + "x" * 64 + ":1",
        "tcp://bücher.example:1",
        "tcp://a b:1",
        "TCP://127.0.0.1:1",
    ],
)
def test_what_is_no_tcp_address(text: str) -> None:
    with pytest.raises(InvalidArgument, match=r"the form tcp:|must be 1 to|unknown form") as caught:
        parse_address(text, tls=TLS_SETTINGS)
    assert "tcp://host:port" in caught.value.remedy


@pytest.mark.parametrize("tls", [None, True, "ca.pem"])
def test_tls_is_asked_for(tls: Any) -> None:
    with pytest.raises(InvalidArgument, match="needs tls=") as caught:
        parse_address("tcp://127.0.0.1:1", tls=tls)
    assert "TLS(" in caught.value.remedy


@pytest.mark.parametrize("tls", [False, TLS()])
def test_a_unix_socket_has_no_tls(tls: Any) -> None:
    with pytest.raises(InvalidArgument, match="no TLS"):
        parse_address(DEFAULT, tls=tls)


def dial(path: Path, timeout: float | None = 1.0) -> ContainerdError:
    before = descriptors()
    with pytest.raises(ContainerdError) as caught:
        UnixAddress(str(path)).dial(timeout)
    assert descriptors() == before
    assert f"unix://{path}" in str(caught.value)
    return caught.value


def test_no_socket(tmp_path: Path) -> None:
    error = dial(tmp_path / "none")
    assert type(error) is SocketNotFound
    assert "Check that containerd is running" in error.remedy
    (tmp_path / "file").touch()
    assert type(dial(tmp_path / "file" / "s")) is SocketNotFound


def test_refused(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(tmp_path / "s"))
    assert type(dial(tmp_path / "s")) is ConnectionRefused
    (tmp_path / "file").touch()
    assert type(dial(tmp_path / "file")) is ConnectionRefused


def test_another_kind_of_socket(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(str(tmp_path / "s"))
        assert type(dial(tmp_path / "s")) is Unavailable


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become nobody")
def test_permission_denied() -> None:
    with Peer(silent) as peer:
        for mode in (0o700, 0o755):  # the folder is closed; the socket is
            peer.path.parent.chmod(mode)
            peer.path.chmod(0o600)
            done = subprocess.run(
                [sys.executable, "-c", AS_NOBODY, peer.address],
                capture_output=True,
                text=True,
                timeout=30,
                check=True,
            )
            assert done.stdout.startswith(SocketPermissionDenied.__name__), done
            assert "user 65534" in done.stdout
            assert "grpc.gid" in done.stdout


@pytest.fixture
def full(tmp_path: Path) -> object:
    """A socket whose queue of connections is full, and the one who listens on it."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "s"))
    listener.listen(0)
    waiting = []
    while True:
        sock = socket.socket(socket.AF_UNIX)
        sock.setblocking(False)
        waiting.append(sock)
        try:
            sock.connect(str(tmp_path / "s"))
        except BlockingIOError:
            break
    yield listener
    for sock in [*waiting, listener]:
        sock.close()


@pytest.mark.parametrize("patience", [None, 5.0])
def test_a_full_queue_is_waited_for(full: socket.socket, patience: float | None) -> None:
    path = Path(full.getsockname())
    for timeout in (0.0, 0.02):
        assert type(dial(path, timeout)) is DeadlineExceeded
    worker = Worker(UnixAddress(str(path)).dial, patience)
    full.accept()[0].close()
    sock = worker.result()
    assert isinstance(sock, socket.socket)
    assert not sock.getblocking()
    sock.close()


def test_no_descriptors_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> socket.socket:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(socket, "socket", fail)
    with pytest.raises(Unavailable, match="Too many open files"):
        UnixAddress(str(tmp_path / "s")).dial(1.0)


def test_an_interrupted_dial_leaves_nothing(full: socket.socket, monkeypatch: object) -> None:
    class Interrupt(BaseException):
        pass

    def interrupt(_: float) -> None:
        raise Interrupt

    assert isinstance(monkeypatch, pytest.MonkeyPatch)
    monkeypatch.setattr("containerd_lite.transport.unix.time.sleep", interrupt)
    before = descriptors()
    with pytest.raises(Interrupt):
        UnixAddress(full.getsockname()).dial(5.0)
    assert descriptors() == before


# ---- TCP -------------------------------------------------------------------------------------


def dial_tcp(where: str, timeout: float | None = 1.0) -> ContainerdError:
    before = descriptors()
    with pytest.raises(ContainerdError) as caught:
        parse_address(where, tls=False).dial(timeout)
    assert descriptors() == before
    assert where in str(caught.value)
    return caught.value


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


def where(listener: socket.socket, host: str = "127.0.0.1") -> str:
    return f"tcp://{host}:{listener.getsockname()[1]}"


def test_tcp(listener: socket.socket) -> None:
    """Nothing is held back for more (TCP_NODELAY), and a peer that is gone is missed."""
    sock = parse_address(where(listener), tls=False).dial(None)
    with sock, listener.accept()[0] as peer:
        assert not sock.getblocking()
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) <= 60
        sock.sendmsg([b"x"])
        assert peer.recv(1) == b"x"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_tcp_refused(listener: socket.socket, host: str) -> None:
    gone = where(listener, host)
    listener.close()
    error = dial_tcp(gone)
    assert type(error) is ConnectionRefused
    assert "tcp_address" in error.remedy


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port of 127.0.0.1 where nobody answers: its queue of connections is full."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            sock = stack.enter_context(socket.socket())
            sock.setblocking(False)
            sock.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


@pytest.mark.parametrize("timeout", [0.0, 0.05])
def test_tcp_without_an_answer(silent_port: int, timeout: float) -> None:
    error = dial_tcp(f"tcp://127.0.0.1:{silent_port}", timeout)
    assert type(error) is DeadlineExceeded
    assert "connect_timeout" in error.remedy


def test_each_address_of_a_name_is_tried(
    listener: socket.socket, silent_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is silent takes no more than its share of the time."""
    at = listener.getsockname()
    with socket.create_server(("127.0.0.1", 0)) as closed:
        refuses = closed.getsockname()
    found = [refuses, ("127.0.0.1", silent_port), at]
    answer = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", place) for place in found]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: list(answer))
    sock = parse_address("tcp://daemon.example:1", tls=False).dial(0.5)
    assert sock.getpeername() == at
    sock.close()
    answer[-1] = answer[0]
    assert type(dial_tcp("tcp://daemon.example:1", 0.5)) is ConnectionRefused


def test_a_host_that_is_not_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    error = dial_tcp("tcp://daemon.example:1")
    assert type(error) is Unavailable
    assert "find the host" in error.message


def test_a_socket_connected_to_itself(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Linux does that where nothing listens on a port that it may also choose as the client's."""
    gone = where(listener)
    listener.close()

    class Unlucky(socket.socket):
        def connect(self, address: Any) -> None:
            self.bind(address)
            super().connect(address)

    monkeypatch.setattr(socket, "socket", Unlucky)
    assert type(dial_tcp(gone)) is ConnectionRefused


def test_no_descriptors_left_for_tcp(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> socket.socket:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(socket, "socket", fail)
    with pytest.raises(Unavailable, match="Too many open files"):
        parse_address("tcp://127.0.0.1:1", tls=False).dial(1.0)
