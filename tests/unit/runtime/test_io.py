"""The streams of a process as subprocess has them; the test is the shim."""

from __future__ import annotations

import errno
import inspect
import io
import os
import threading
from pathlib import Path

import pytest

from containerd_lite.errors import InvalidArgument
from containerd_lite.runtime.io import (
    DEVNULL,
    INHERIT,
    PIPE,
    STDOUT,
    BinaryLogger,
    Capture,
    LogFile,
    NullIO,
    ProcessStreams,
    Streams,
    Terminal,
    fifos,
)
from containerd_lite.services.tasks import NULL_STDIO
from tests.harness.shim import Shim

pytestmark = [pytest.mark.interpreter, pytest.mark.usefixtures("fifo_folder")]


def test_both_streams_to_their_sinks() -> None:
    out, err = Capture(100), Capture(100)
    with Streams(None, out, err) as streams:
        assert streams.stdio.stdin == ""
        shim = Shim(streams.stdio)
        streams.start(shim)
        os.write(shim.stdout, b"out")
        os.write(shim.stderr, b"err")
        shim.close()
        assert streams.wait(5)
    assert (out.data, err.data) == (b"out", b"err")


@pytest.mark.parametrize("kind", ["bytes", "file", "buffer", "descriptor"])
def test_input_then_its_end(kind: str, tmp_path: Path) -> None:
    data = bytes(range(256)) * 1200  # more than a FIFO holds
    path = tmp_path / "input"
    path.write_bytes(data)
    with path.open("rb") as file:
        sources = {"bytes": data, "file": file, "buffer": io.BytesIO(data), "descriptor": 0}
        sources["descriptor"] = file.fileno()
        with Streams(sources[kind], Capture(0)) as streams:  # type: ignore[arg-type]
            shim = Shim(streams.stdio)
            streams.start(shim)
            assert shim.read_input() == data  # its own writer was closed, and ours
            assert shim.stdin_closed
            shim.close()
            assert streams.wait(5)
        assert not file.closed


def test_input_goes_on_when_the_outputs_are_closed() -> None:
    data = bytes(300_000)
    with Streams(data, Capture(0)) as streams:
        shim = Shim(streams.stdio)
        streams.start(shim)
        os.close(shim.stdout)
        os.close(shim._reader)
        shim.stdout = shim._reader = -1
        assert streams.wait(5)
        assert shim.read_input() == data
        shim.close()


def test_input_that_nobody_reads_any_more_ends_quietly() -> None:
    with Streams(bytes(300_000), Capture(0)) as streams:
        shim = Shim(streams.stdio)
        streams.start(shim)
        assert os.read(shim.stdin, 10) == bytes(10)
        shim.close()
        assert streams.wait(5)
    assert streams.failure is None


def test_a_source_that_never_ends_holds_nobody_up() -> None:
    source, writer = os.pipe()
    with Streams(source, Capture(10)) as streams:
        shim = Shim(streams.stdio)
        streams.start(shim)
        os.write(writer, b"typed")
        assert os.read(shim.stdin, 10) == b"typed"
        shim.close()
        assert streams.wait(5)
    os.write(writer, b"later")
    assert os.read(source, 10) == b"later"  # it is still ours
    os.close(source)
    os.close(writer)


def test_a_source_that_fails_is_the_end_of_input() -> None:
    class Broken(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            raise KeyError(size)

    with Streams(Broken(), Capture(0)) as streams:  # type: ignore[arg-type]
        shim = Shim(streams.stdio)
        streams.start(shim)
        assert shim.read_input() == b""
        shim.close()
        assert streams.wait(5)
    assert isinstance(streams.failure, KeyError)


def test_pipes_are_files_of_the_callers() -> None:
    with Streams(PIPE, PIPE, PIPE) as streams:
        shim = Shim(streams.stdio)
        threads = threading.active_count()
        streams.start(shim)
        assert threading.active_count() == threads
        assert streams.stdin is not None
        assert streams.stdout is not None
        assert streams.stderr is not None
        streams.stdin.write(b"in")
        streams.stdin.close()
        assert shim.read_input() == b"in"
        assert shim.stdin_closed
        os.write(shim.stdout, b"one\ntwo")
        assert streams.stdout.readline() == b"one\n"
        shim.close()
        assert (streams.stdout.read(), streams.stderr.read()) == (b"two", b"")
        assert streams.wait(5)


def test_a_pipe_breaks_when_the_process_has_ended() -> None:
    with Streams(PIPE, DEVNULL) as streams:
        shim = Shim(streams.stdio)
        streams.start(shim)
        shim.close()
        assert streams.stdin is not None
        with pytest.raises(BrokenPipeError):
            streams.stdin.write(b"x")
    assert not shim.stdin_closed


def test_a_shim_that_opens_stdin_late_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with Streams(PIPE) as streams:
        late = threading.Timer(
            0.05, lambda: found.append(os.open(streams.stdio.stdin, os.O_RDONLY))
        )
        found: list[int] = []
        late.start()
        streams.start(_NOBODY)
        late.join()
        assert streams.stdin is not None
        streams.stdin.write(b"here")
        assert os.read(found[0], 10) == b"here"
        os.close(found[0])
    monkeypatch.setattr(fifos, "_SHIM_TIMEOUT", 0.01)
    with Streams(PIPE) as streams:  # nobody comes at all
        streams.start(_NOBODY)
        assert streams.stdin is not None
        with pytest.raises(BrokenPipeError):
            streams.stdin.write(b"x")


class _Nobody:
    def poll(self) -> None: ...

    def close_io(self) -> None: ...

    def resize(self, columns: int, rows: int) -> None: ...


_NOBODY = _Nobody()


def test_what_is_thrown_away_needs_no_fifo(fifo_folder: Path) -> None:
    with Streams() as streams:
        assert streams.stdio == NULL_STDIO
        assert not fifo_folder.exists()
    with Streams(None, DEVNULL, Capture(0)) as streams:
        assert streams.stdio.stdout == "/dev/null"
        assert Path(streams.stdio.stderr).is_fifo()


def test_both_outputs_in_one_fifo() -> None:
    out = Capture(100)
    with Streams(None, out, STDOUT) as streams:
        assert streams.stdio.stdout == streams.stdio.stderr
        shim = Shim(streams.stdio)
        streams.start(shim)
        for text, output in ((b"a", shim.stdout), (b"b", shim.stderr), (b"c", shim.stdout)):
            os.write(output, text)
        shim.close()
        assert streams.wait(5)
    assert out.data == b"abc"


def test_a_terminal_has_one_output(fifo_folder: Path) -> None:
    out = Capture(100)
    with Streams(b"typed", out, terminal=True) as streams:
        assert streams.stdio.terminal
        assert streams.stdio.stderr == ""
        shim = Shim(streams.stdio)
        streams.start(shim)
        assert os.read(shim.stdin, 5) == b"typed"
        assert os.read(shim.stdin, 5) == b"\x04"
        os.write(shim.stdout, b"shown")
        shim.close()
        assert streams.wait(5)
    assert out.data == b"shown"
    assert not shim.stdin_closed  # which would hang up
    with pytest.raises(InvalidArgument, match="has no stderr"):
        Streams(None, out, out, terminal=True)


def test_our_own_streams(capfd: pytest.CaptureFixture[str]) -> None:
    source, writer = os.pipe()
    own = os.dup(0)
    os.dup2(source, 0)
    try:
        with Streams(INHERIT, INHERIT, INHERIT) as streams:
            shim = Shim(streams.stdio)
            streams.start(shim)
            os.write(writer, b"typed")
            assert os.read(shim.stdin, 10) == b"typed"
            os.write(shim.stdout, b"out")
            os.write(shim.stderr, b"err")
            shim.close()
            assert streams.wait(5)
    finally:
        os.dup2(own, 0)
        for descriptor in (own, source, writer):
            os.close(descriptor)
    assert capfd.readouterr() == ("out", "err")


def test_it_ends_though_nobody_ever_came() -> None:
    with Streams(None, Capture(0), Capture(0)) as streams:
        streams.start(_NOBODY)
        assert not streams.wait(0.01)
    with Streams(b"x" * 100_000, PIPE, Capture(0)):
        pass  # never started
    streams = Streams(PIPE, PIPE)
    streams.close()
    streams.close()


def test_a_stream_held_open_is_given_up_when_it_is_quiet() -> None:
    out = Capture(100)
    with Streams(None, out, Capture(0)) as streams:
        shim = Shim(streams.stdio)
        streams.start(shim)
        os.write(shim.stdout, b"still here")
        assert not streams.wait(0.05)
        shim.close()
    assert out.data == b"still here"


def test_bad_arguments() -> None:
    with pytest.raises(InvalidArgument, match="STDOUT"):
        Streams(None, STDOUT)
    closed = os.open("/dev/null", os.O_RDONLY)
    os.close(closed)
    with pytest.raises(InvalidArgument, match="cannot be used"):
        Streams(closed)
    with pytest.raises(InvalidArgument, match="cannot be used"):
        Streams(None, closed)


def test_no_descriptor_is_left_where_making_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str, mode: int) -> int:
        raise OSError(errno.EMFILE, "no more")

    monkeypatch.setattr(fifos, "_open_fifo", refuse)
    with pytest.raises(OSError, match="no more"):
        Streams(b"", PIPE, Capture(0))
    monkeypatch.setattr(os, "mkfifo", refuse)
    with pytest.raises(OSError, match="no more"):
        Streams(b"", PIPE, Capture(0))


@pytest.mark.parametrize("kind", [BinaryLogger, LogFile, NullIO, Streams, Terminal])
def test_methods_take_the_keywords_of_the_protocol(kind: type) -> None:
    """pyright refuses a class whose methods lack a keyword of the protocol; mypy accepts it."""
    for name in ("start", "wait", "drain", "close", "__enter__", "__exit__"):
        own = inspect.signature(getattr(kind, name)).parameters
        for parameter in inspect.signature(getattr(ProcessStreams, name)).parameters.values():
            if parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
                assert parameter.name in own, name
