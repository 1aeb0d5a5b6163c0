"""FIFOs and the thread that serves them; the test is the shim."""

from __future__ import annotations

import io
import os
import threading
from pathlib import Path

import pytest

from containerd_lite.errors import ResourceExhausted
from containerd_lite.runtime import io as process_io
from containerd_lite.runtime.io import Capture, ProcessIO, sink_of


@pytest.fixture(autouse=True)
def fifo_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nobody here needs root."""
    monkeypatch.setattr(process_io, "FIFO_FOLDER", tmp_path / "fifo")
    return tmp_path / "fifo"


class Shim:
    """The other end of the FIFOs."""

    def __init__(self, streams: ProcessIO) -> None:
        stdio = streams.stdio
        self.stdout = os.open(stdio.stdout, os.O_WRONLY)
        self.stderr = os.open(stdio.stderr, os.O_WRONLY)
        self.stdin = os.open(stdio.stdin, os.O_RDONLY) if stdio.stdin else -1

    def close(self) -> None:
        for descriptor in (self.stdout, self.stderr, self.stdin):
            if descriptor >= 0:
                os.close(descriptor)


def test_both_streams_to_their_sinks() -> None:
    out, err = Capture(100), Capture(100)
    with ProcessIO(None, out, err) as streams:
        assert streams.stdio.stdin == ""
        shim = Shim(streams)
        streams.start()
        os.write(shim.stdout, b"out")
        os.write(shim.stderr, b"err")
        shim.close()
        assert streams.wait(5)
    assert (out.data, err.data) == (b"out", b"err")


def test_input_then_its_end(fifo_folder: Path) -> None:
    data = bytes(300_000)
    done = threading.Event()
    with ProcessIO(data, Capture(0), Capture(0)) as streams:
        streams.on_input_done = done.set
        shim = Shim(streams)
        streams.start()
        got = b""
        while len(got) < len(data):
            got += os.read(shim.stdin, 65536)
        assert done.wait(5)
        assert os.read(shim.stdin, 1) == b""  # its writer has closed
        shim.close()
        assert streams.wait(5)
    assert got == data
    assert list(fifo_folder.iterdir()) == []


def test_it_ends_though_nobody_ever_came(fifo_folder: Path) -> None:
    with ProcessIO(b"x" * 100_000, Capture(0), Capture(0)) as streams:
        streams.start()
        assert not streams.wait(0.01)
    assert list(fifo_folder.iterdir()) == []
    with ProcessIO(None, Capture(0), Capture(0)):
        pass  # never started
    assert list(fifo_folder.iterdir()) == []


def test_a_stream_held_open_is_given_up_when_it_is_quiet() -> None:
    out = Capture(100)
    with ProcessIO(None, out, Capture(0)) as streams:
        shim = Shim(streams)
        streams.start()
        os.write(shim.stdout, b"still here")
        assert not streams.wait(0.05)
        shim.close()
    assert out.data == b"still here"


def test_a_sink_that_raises_is_reported_once_and_the_rest_thrown_away() -> None:
    failures = []

    def fail(data: bytes) -> None:
        raise KeyError(data)

    with ProcessIO(None, fail, Capture(0)) as streams:
        streams.on_failure = lambda: failures.append(streams.failure)
        shim = Shim(streams)
        streams.start()
        for _ in range(10):
            os.write(shim.stdout, b"a" * 60_000)  # more than a FIFO holds: it is drained
        shim.close()
        assert streams.wait(5)
    assert len(failures) == 1
    assert isinstance(failures[0], KeyError)


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


def test_no_descriptor_is_left_where_making_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    before = len(os.listdir("/proc/self/fd"))

    def refuse(flags: int) -> tuple[int, int]:
        raise OSError("no more")

    monkeypatch.setattr(os, "pipe2", refuse)
    with pytest.raises(OSError, match="no more"):
        ProcessIO(b"", Capture(0), Capture(0))
    assert len(os.listdir("/proc/self/fd")) == before
