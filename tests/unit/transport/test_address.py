"""Addresses, and dials that fail: each in its own way."""

from __future__ import annotations

import os
import pickle
import socket
import subprocess
import sys
from pathlib import Path

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
from containerd_lite.transport.address import DEFAULT, Address
from tests.wire.peer import Peer, Worker, descriptors, silent

AS_NOBODY = """
import os, sys
from containerd_lite.errors import ContainerdError
from containerd_lite.transport.address import Address
address = Address.parse(sys.argv[1])
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
    address = Address.parse(text)
    assert address.path == path
    assert str(address) == shown
    assert Address.parse(shown) == address
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
        "tcp://127.0.0.1:1",
        "http://x/y",
        "localhost:1234",
        "/" + "x" * 107,
        "/" + "é" * 54,
        "/a\0b",
        "unix-abstract:a\0b",
    ],
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        Address.parse(text)
    assert caught.value.remedy


def dial(path: Path, timeout: float | None = 1.0) -> ContainerdError:
    before = descriptors()
    with pytest.raises(ContainerdError) as caught:
        Address(str(path)).dial(timeout)
    assert descriptors() == before
    assert f"unix://{path}" in str(caught.value)
    return caught.value


def test_no_socket(tmp_path: Path) -> None:
    error = dial(tmp_path / "none")
    assert type(error) is SocketNotFound
    assert "Is containerd running" in error.remedy
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
    worker = Worker(Address(str(path)).dial, patience)
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
        Address(str(tmp_path / "s")).dial(1.0)


def test_an_interrupted_dial_leaves_nothing(full: socket.socket, monkeypatch: object) -> None:
    class Interrupt(BaseException):
        pass

    def interrupt(_: float) -> None:
        raise Interrupt

    assert isinstance(monkeypatch, pytest.MonkeyPatch)
    monkeypatch.setattr("containerd_lite.transport.address.time.sleep", interrupt)
    before = descriptors()
    with pytest.raises(Interrupt):
        Address(full.getsockname()).dial(5.0)
    assert descriptors() == before
