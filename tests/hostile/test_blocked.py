"""A token ends a blocked call within half a second, whatever the call waits for."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from containerd_lite import Client, Layout
from tests.harness import images
from tests.harness.interrupts import BLOCKED, TRIES, check_cancelled
from tests.harness.leaks import open_files

pytestmark = pytest.mark.dependencies

Listener = Callable[[socket.AddressFamily, Any], AbstractContextManager[socket.socket]]


@contextmanager
def _silent(family: socket.AddressFamily, address: Any) -> Iterator[socket.socket]:
    """A socket whose kernel accepts a few connections, from which nobody reads."""
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.bind(address)
        listener.listen(5)
        yield listener


@contextmanager
def _full(family: socket.AddressFamily, address: Any) -> Iterator[socket.socket]:
    """A socket whose queue is full, so that the next client waits for its connection."""
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.bind(address)
        listener.listen(0)
        waiting = []
        try:
            for _ in range(3):
                waiting.append(socket.socket(family, socket.SOCK_STREAM))
                waiting[-1].setblocking(False)
                waiting[-1].connect_ex(listener.getsockname())
            yield listener
        finally:
            for each in waiting:
                each.close()


@pytest.mark.parametrize("make", [_silent, _full], ids=["silent", "full"])
def test_a_registry(make: Listener, tmp_path: Path) -> None:
    with make(socket.AF_INET, ("127.0.0.1", 0)) as listener, Layout(tmp_path) as layout:
        ref = f"127.0.0.1:{listener.getsockname()[1]}/a/b:1"
        check_cancelled(lambda token: layout.pull(ref, plain_http=True, cancel=token))


@pytest.mark.parametrize("make", [_silent, _full], ids=["silent", "full"])
@pytest.mark.parametrize("scheme", ["unix", "tcp"])
def test_a_daemon(scheme: str, make: Listener, tmp_path: Path) -> None:
    family, address = {
        "unix": (socket.AF_UNIX, str(tmp_path / "containerd.sock")),
        "tcp": (socket.AF_INET, ("127.0.0.1", 0)),
    }[scheme]
    with make(family, address) as listener:
        name = listener.getsockname()
        url = f"tcp://127.0.0.1:{name[1]}" if scheme == "tcp" else f"unix://{name}"
        with Client(url, tls=False if scheme == "tcp" else None, connect_timeout=30.0) as client:
            check_cancelled(lambda token: client.check("127.0.0.1:9/a/b:1", cancel=token))


class _Unauthorized(BaseHTTPRequestHandler):
    """A registry that wants a user and a password."""

    def do_HEAD(self) -> None:
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Basic realm="test"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_HEAD

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""


def test_a_credential_helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The helper is killed."""
    started = tmp_path / "started"
    helper = tmp_path / "docker-credential-slow"
    helper.write_text(f"#!/bin/sh\necho $$ >> {started}\nexec sleep 1000\n")
    helper.chmod(0o755)
    (tmp_path / "config.json").write_text(json.dumps({"credsStore": "slow"}))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with ThreadingHTTPServer(("127.0.0.1", 0), _Unauthorized) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        ref = f"127.0.0.1:{server.server_port}/a/b:1"
        try:
            with Layout(tmp_path / "layout") as layout:
                check_cancelled(lambda token: layout.pull(ref, plain_http=True, cancel=token))
        finally:
            server.shutdown()
            thread.join()
    pids = started.read_text().split()
    assert len(pids) == TRIES
    for pid in pids:
        assert not Path("/proc", pid).exists()


# ---- files that archives come from and go to -----------------------------------------------------

NAME = "docker.io/library/app:1"
#: A pipe and a socket hold less than the archive.
IMAGE = images.random_image([1_000_000])

#: Opens a reader and a writer that are connected.
Opener = Callable[[], AbstractContextManager[tuple[BinaryIO, BinaryIO]]]


@contextmanager
def _pipe(buffering: int = -1) -> Iterator[tuple[BinaryIO, BinaryIO]]:
    reader, writer = os.pipe()
    with open(reader, "rb", buffering) as reading, open(writer, "wb", buffering) as writing:
        yield reading, writing


@contextmanager
def _sockets() -> Iterator[tuple[BinaryIO, BinaryIO]]:
    ours, theirs = socket.socketpair()
    theirs.settimeout(1000.0)
    with ours, theirs, ours.makefile("rb") as reading, theirs.makefile("wb") as writing:
        yield reading, writing


@contextmanager
def _terminal() -> Iterator[tuple[BinaryIO, BinaryIO]]:
    main, other = os.openpty()
    with open(other, "rb") as reading, open(main, "wb", 0) as writing:
        yield reading, writing


OPENERS: dict[str, Opener] = {
    "pipe": _pipe,
    "raw": lambda: _pipe(0),
    "socket": _sockets,
    "terminal": _terminal,
}


@pytest.fixture
def stored(tmp_path: Path) -> Iterator[Layout]:
    """A layout with an image. The calls of the test leave nothing behind."""
    folder = images.write_layout(IMAGE, tmp_path / "stored", NAME)
    with Layout(folder) as layout:
        files, threads, names = open_files(), set(threading.enumerate()), _names(tmp_path)
        yield layout
        assert open_files() == files
        assert set(threading.enumerate()) <= threads
        assert _names(tmp_path) == names


def _names(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if "pipe" not in str(path.relative_to(folder))}


@pytest.mark.turns(2)
@pytest.mark.parametrize("kind", OPENERS)
def test_an_import_from_a_file(kind: str, stored: Layout) -> None:
    """The peer is silent from the beginning, or after some bytes, which the file may buffer."""
    with OPENERS[kind]() as (reading, writing):
        check_cancelled(lambda token: stored.import_images(reading, cancel=token))
        writing.write(b"some\n")
        writing.flush()
        assert reading.read(1) == b"s"
        check_cancelled(lambda token: stored.import_images(reading, cancel=token))
        assert os.get_blocking(reading.fileno())


@pytest.mark.turns(2)
@pytest.mark.parametrize("kind", OPENERS)
def test_an_export_to_a_file(kind: str, stored: Layout) -> None:
    """Nobody reads."""
    with OPENERS[kind]() as (_, writing):
        blocks = os.get_blocking(writing.fileno())
        check_cancelled(lambda token: stored.export_images(writing, NAME, cancel=token))
        assert os.get_blocking(writing.fileno()) == blocks


@pytest.mark.turns(2)
@pytest.mark.parametrize("has_peer", [False, True])
@pytest.mark.parametrize("verb", ["import", "export"])
def test_a_path_of_a_fifo(verb: str, has_peer: bool, stored: Layout, tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    peer = os.open(path, os.O_RDWR) if has_peer else -1
    try:
        if verb == "import":
            check_cancelled(lambda token: stored.import_images(path, cancel=token))
        else:
            check_cancelled(lambda token: stored.export_images(path, NAME, cancel=token))
    finally:
        if has_peer:
            os.close(peer)
    assert path.is_fifo()


@pytest.mark.parametrize("kind", ["pipe", "raw", "socket", "path"])
def test_a_peer_that_is_slow_at_first(kind: str, stored: Layout, tmp_path: Path) -> None:
    """It comes late, and then everything arrives."""
    path = tmp_path / "pipe"
    os.mkfifo(path)

    def send(file: BinaryIO | Path) -> None:
        time.sleep(BLOCKED)
        stored.export_images(file, NAME)
        if kind == "socket":
            with socket.socket(fileno=os.dup(writing.fileno())) as each:
                each.shutdown(socket.SHUT_WR)
        elif not isinstance(file, Path):
            file.close()

    with Layout(tmp_path / "pipes") as other, OPENERS.get(kind, _pipe)() as (reading, writing):
        sender = threading.Thread(target=send, args=(path if kind == "path" else writing,))
        sender.start()
        try:
            found = other.import_images(path if kind == "path" else reading)
        finally:
            sender.join()
        assert [image.target for image in found] == [image.target for image in stored.list_images()]
