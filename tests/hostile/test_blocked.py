"""A token ends a blocked call within half a second, whatever the call waits for."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from containerd_lite import CancelToken, Client, Layout
from containerd_lite.errors import Cancelled

pytestmark = pytest.mark.dependencies

#: Seconds in which a cancelled call must end. The best of the tries counts, because a busy machine
#: delays threads.
LIMIT, TRIES = 0.5, 3
#: Seconds after which a call certainly waits for its peer.
BLOCKED = 0.3

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
        check(lambda token: layout.pull(ref, plain_http=True, cancel=token))


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
            check(lambda token: client.check("127.0.0.1:9/a/b:1", cancel=token))


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
                check(lambda token: layout.pull(ref, plain_http=True, cancel=token))
        finally:
            server.shutdown()
            thread.join()
    pids = started.read_text().split()
    assert len(pids) == TRIES
    for pid in pids:
        assert not Path("/proc", pid).exists()


def check(call: Callable[[CancelToken], object]) -> None:
    """Make a call and cancel its token; the call must end in time."""
    assert min(_seconds_to_end(call) for _ in range(TRIES)) <= LIMIT


def _seconds_to_end(call: Callable[[CancelToken], object]) -> float:
    token = CancelToken()
    cancelled: list[float] = []

    def cancel() -> None:
        time.sleep(BLOCKED)
        cancelled.append(time.monotonic())
        token.cancel()

    canceller = threading.Thread(target=cancel)
    canceller.start()
    try:
        with pytest.raises(Cancelled, match="by its token"):
            call(token)
        return time.monotonic() - cancelled[0]
    finally:
        canceller.join()
