"""Where output goes, and what may go wrong with it; the test is the shim."""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import socket
import ssl
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest

from containerd_lite.errors import ResourceExhausted
from containerd_lite.runtime.io import (
    Capture,
    Streams,
    pump,
    sink_of,
)
from containerd_lite.runtime.io.sinks import descriptor_of
from tests.harness.interrupts import Interrupt
from tests.harness.leaks import open_files
from tests.harness.process import wait_until
from tests.harness.shim import Shim

pytestmark = [pytest.mark.interpreter, pytest.mark.usefixtures("fifo_folder")]


def test_files_and_sockets_as_outputs(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, (tmp_path / "log").open("wb") as file:
        file.write(b"before ")
        with Streams(None, file, ours.fileno()) as streams:
            shim = Shim(streams.stdio)
            streams.start(shim)
            os.write(shim.stdout, b"after")
            os.write(shim.stderr, b"sent")
            shim.close()
            assert streams.wait(5)
        assert (tmp_path / "log").read_bytes() == b"before after"
        assert theirs.recv(10) == b"sent"


def test_a_full_sink_waits_and_loses_nothing() -> None:
    """A pipe of the caller's that others find as they left it: blocking."""
    reader, writer = os.pipe()
    data = os.urandom(500_000)
    err = Capture(10)
    with Streams(None, writer, err) as streams:
        shim = Shim(streams.stdio)
        streams.start(shim)
        sender = threading.Thread(target=_write_all, args=(shim.stdout, data))
        sender.start()
        os.write(shim.stderr, b"meanwhile")
        assert wait_until(lambda: err.data == b"meanwhile", 5)  # it does not wait for the other
        assert wait_until(lambda: _is_full(writer), 5)
        assert not streams._pump._drained.is_set()
        got = bytearray()
        while len(got) < len(data):
            got += os.read(reader, 65536)
        sender.join()
        shim.close()
        assert streams.wait(5)
        assert os.get_blocking(writer)
    os.close(reader)
    os.close(writer)
    assert hashlib.sha256(got).digest() == hashlib.sha256(data).digest()


def test_waiting_does_not_count_the_time_of_a_sink() -> None:
    """Somebody reads what was written page by page: that is not a process that is silent."""
    reader, writer = os.pipe()
    with Streams(None, writer) as streams:
        shim = Shim(streams.stdio)
        streams.start(shim)
        sender = threading.Thread(target=_write_all, args=(shim.stdout, bytes(150_000)))
        sender.start()
        assert wait_until(lambda: _is_full(writer), 5)
        waits = threading.Thread(target=lambda: found.append(streams.wait(0.01)))
        found: list[bool] = []
        waits.start()
        waits.join(0.1)
        assert waits.is_alive()
        got = 0
        while got < 150_000:
            got += len(os.read(reader, 65536))
        sender.join()
        shim.close()
        waits.join()
    os.close(reader)
    os.close(writer)
    assert len(found) == 1


def test_a_sink_that_blocks_for_ever_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = set(threading.enumerate())
    reader, writer = os.pipe()
    with Streams(None, writer) as streams:  # a descriptor: nothing blocks
        shim = Shim(streams.stdio)
        streams.start(shim)
        sender = threading.Thread(target=_write_all, args=(shim.stdout, bytes(150_000)))
        sender.start()
        assert wait_until(lambda: _is_full(writer), 5)
    os.set_blocking(shim.stdout, False)
    while not _drain(shim._reader) or sender.is_alive():
        pass
    shim.close()
    os.close(reader)
    os.close(writer)

    monkeypatch.setattr(pump, "_STOP_TIMEOUT", 0.01)
    comes_back, entered = threading.Event(), threading.Event()

    def block(data: bytes) -> None:
        entered.set()
        comes_back.wait()

    with Streams(None, block) as streams:
        shim = Shim(streams.stdio)
        streams.start(shim)
        os.write(shim.stdout, b"x")
        assert entered.wait(5)
    shim.close()
    comes_back.set()  # and then all is let go, which the fixture looks at
    assert wait_until(lambda: set(threading.enumerate()) <= threads, 5)


def test_a_sink_that_raises_is_reported_once_and_the_rest_thrown_away() -> None:
    failures = []

    def fail(data: bytes) -> None:
        raise KeyError(data)

    err = Capture(10)
    with Streams(None, fail, err) as streams:
        streams.on_failure = lambda: failures.append(streams.failure)
        shim = Shim(streams.stdio)
        streams.start(shim)
        for _ in range(10):
            os.write(shim.stdout, b"a" * 60_000)  # more than a FIFO holds: it is drained
        os.write(shim.stderr, b"other")
        shim.close()
        assert streams.wait(5)
    assert len(failures) == 1
    assert isinstance(failures[0], KeyError)
    assert err.data == b"other"


def test_a_pipe_that_nobody_reads_is_a_failure() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with Streams(None, writer) as streams:
        shim = Shim(streams.stdio)
        streams.start(shim)
        os.write(shim.stdout, b"x")
        shim.close()
        assert streams.wait(5)
    os.close(writer)
    assert isinstance(streams.failure, BrokenPipeError)


def test_a_capture_is_bounded() -> None:
    capture = Capture(5)
    capture(b"12345")
    with pytest.raises(ResourceExhausted, match="more than the 5 bytes"):
        capture(b"6")
    assert capture.data == b"12345"


def test_sinks() -> None:
    file = io.BytesIO()
    sink_of(file)(b"a")
    assert file.getvalue() == b"a"
    found: list[bytes] = []
    sink_of(found.append)(b"b")
    assert found == [b"b"]


def test_a_file_takes_all_that_is_written() -> None:
    class Slow(io.RawIOBase):
        got = b""

        def write(self, data: object) -> int:
            self.got += bytes(data)[:3]  # type: ignore[call-overload]
            return min(3, len(data))  # type: ignore[arg-type]

    file = Slow()
    sink_of(file)(b"0123456789")  # type: ignore[arg-type]
    assert file.got == b"0123456789"
    with tempfile.SpooledTemporaryFile(max_size=10) as spooled:
        sink_of(spooled)(b"x" * 20)  # type: ignore[arg-type]
        spooled.seek(0)
        assert spooled.read() == b"x" * 20


def test_an_interrupt_while_the_thread_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python cannot join the thread yet. It ends, and closes everything."""
    files = open_files()
    original, may_begin = threading.Thread.start, threading.Event()

    def interrupted(*_: object) -> None:
        raise Interrupt

    def start(thread: Any) -> None:
        if thread.name == "containerd-lite-io":
            begin = thread._bootstrap
            thread._bootstrap = lambda: may_begin.wait(5) and begin()
            thread._started.wait = interrupted
        original(thread)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        with Streams(None, Capture(10)) as streams:
            shim = Shim(streams.stdio)
            with pytest.raises(Interrupt):
                streams.start(shim)
            releasing = threading.Timer(0.05, may_begin.set)
            releasing.start()
    shim.close()
    releasing.join()
    assert wait_until(lambda: open_files() == files, 5)


def test_output_that_nobody_needs_does_not_wait() -> None:
    """Other output still arrives."""
    reader, writer = os.pipe()
    err = Capture(10)
    with Streams(None, writer, err) as streams:
        shim = Shim(streams.stdio)
        streams.start(shim)
        sender = threading.Thread(target=_write_all, args=(shim.stdout, bytes(500_000)))
        sender.start()
        assert wait_until(lambda: _is_full(writer), 5)
        streams.stop_waiting()
        sender.join()
        os.write(shim.stderr, b"meanwhile")
        shim.close()
        assert streams.wait(5)
        assert streams.failure is None
    os.close(reader)
    os.close(writer)
    assert err.data == b"meanwhile"


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:
            return


def _is_full(pipe: int) -> bool:
    """Whether a pipe that holds 64 KiB has no room for a page."""
    unread = bytearray(4)
    fcntl.ioctl(pipe, 0x541B, unread)  # FIONREAD
    return int.from_bytes(unread, "little") > 60_000


def _drain(reader: int) -> bool:
    try:
        return not os.read(reader, 65536)
    except BlockingIOError:
        return True


def test_the_file_of_a_socket_with_tls_has_no_descriptor_to_write_to() -> None:
    """Else the output would go past TLS, and everybody could read it."""
    context = ssl.create_default_context()
    ours, theirs = socket.socketpair()
    with theirs, ours.makefile("wb") as plain:
        assert descriptor_of(plain) == ours.fileno()
        with (
            context.wrap_socket(
                ours, server_hostname="localhost", do_handshake_on_connect=False
            ) as secure,
            secure.makefile("wb") as file,
        ):
            assert descriptor_of(file) is None
