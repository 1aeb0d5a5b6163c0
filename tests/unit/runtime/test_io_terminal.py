"""Our terminal, a pty here, and a process's; the test is the shim and whoever types."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import struct
import termios
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from containerd_lite.errors import FailedPrecondition, InvalidArgument
from containerd_lite.runtime.io import Terminal, attach_terminal
from containerd_lite.runtime.io.detach import DetachKeys
from containerd_lite.services.tasks import Stdio
from tests.harness.process import wait_until
from tests.harness.shim import Shim

pytestmark = [pytest.mark.interpreter, pytest.mark.usefixtures("fifo_folder")]


@pytest.fixture
def pty(fifo_folder: Path) -> Iterator[tuple[int, int]]:
    """A keyboard with a screen, and the terminal of the program under test."""
    keyboard, terminal = os.openpty()
    yield keyboard, terminal
    os.close(keyboard)
    os.close(terminal)


def resize(terminal: int, columns: int, rows: int) -> None:
    """As a window does; the kernel's signal goes to a foreground group, which there is none."""
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    signal.raise_signal(signal.SIGWINCH)


def read_until(descriptor: int, text: bytes) -> bytes:
    """Read a descriptor of a terminal until it has shown a text."""
    got = b""
    while text not in got:
        assert select.select([descriptor], [], [], 5)[0], got
        got += os.read(descriptor, 4096)
    return got


def test_what_is_typed_and_what_is_shown(pty: tuple[int, int]) -> None:
    keyboard, terminal = pty
    before = termios.tcgetattr(terminal)
    with Terminal(terminal, terminal) as streams:
        assert streams.stdio.terminal
        assert streams.stdio.stderr == ""
        shim = Shim(streams.stdio)
        assert termios.tcgetattr(terminal) == before
        streams.start(shim)
        os.write(keyboard, b"ls\r\x03")  # raw: no line is waited for, nothing is a signal
        assert read_until(shim.stdin, b"\x03") == b"ls\r\x03"
        os.write(shim.stdout, b"a\nb")
        assert read_until(keyboard, b"b") == b"a\nb"  # no echo, and \n is the process's matter
        shim.close()
        assert streams.wait(5)
        assert termios.tcgetattr(terminal) == before  # as soon as it is over
    assert not shim.stdin_closed


def test_the_terminal_is_restored_whatever_happens(pty: tuple[int, int]) -> None:
    _, terminal = pty
    before = termios.tcgetattr(terminal)
    with pytest.raises(KeyError), Terminal(terminal, terminal) as streams:  # noqa: PT012
        shim = Shim(streams.stdio)
        streams.start(shim)
        assert termios.tcgetattr(terminal) != before
        raise KeyError
    shim.close()
    assert termios.tcgetattr(terminal) == before


def test_a_signal_that_raises_restores_it(pty: tuple[int, int]) -> None:
    _, terminal = pty
    before = termios.tcgetattr(terminal)
    with pytest.raises(KeyboardInterrupt), Terminal(terminal, terminal) as streams:  # noqa: PT012
        shim = Shim(streams.stdio)
        streams.start(shim)
        signal.raise_signal(signal.SIGINT)
    shim.close()
    assert termios.tcgetattr(terminal) == before


def test_the_size_is_told_first_and_when_it_changes(pty: tuple[int, int]) -> None:
    _, terminal = pty
    former = signal.getsignal(signal.SIGWINCH)
    resize(terminal, 80, 24)
    with Terminal(terminal, terminal) as streams:
        shim = Shim(streams.stdio)
        streams.start(shim)
        assert wait_until(lambda: shim.sizes == [(80, 24)], 5)
        resize(terminal, 132, 43)
        assert wait_until(lambda: shim.sizes[-1] == (132, 43), 5)
        shim.close()
        assert streams.wait(5)
        resize(terminal, 1, 1)  # after the end
    assert signal.getsignal(signal.SIGWINCH) == former


def test_another_thread_leaves_the_signal_alone(pty: tuple[int, int]) -> None:
    _, terminal = pty
    resize(terminal, 80, 24)
    former = signal.getsignal(signal.SIGWINCH)

    def serve() -> None:
        with Terminal(terminal, terminal) as streams:
            shim = Shim(streams.stdio)
            streams.start(shim)
            found.append(signal.getsignal(signal.SIGWINCH))
            assert wait_until(lambda: shim.sizes == [(80, 24)], 5)
            shim.close()
            found.append(streams.wait(5))

    found: list[object] = []
    thread = threading.Thread(target=serve)
    thread.start()
    thread.join()
    assert found == [former, True]


@pytest.mark.parametrize("split", [False, True])
def test_detaching(pty: tuple[int, int], fifo_folder: Path, split: bool) -> None:
    keyboard, terminal = pty
    before = termios.tcgetattr(terminal)
    detached = threading.Event()
    with Terminal(terminal, terminal) as streams:
        streams.on_detach = detached.set
        shim = Shim(streams.stdio)
        streams.start(shim)
        os.write(keyboard, b"typed\x10")
        assert read_until(shim.stdin, b"typed") == b"typed"
        if not split:
            os.write(keyboard, b"x\x10")
            assert read_until(shim.stdin, b"x") == b"\x10x"  # it was not the beginning, then
        os.write(keyboard, b"\x11")
        assert detached.wait(5)
        assert streams.wait(None)
        assert streams.detached
        assert termios.tcgetattr(terminal) == before
    assert Path(streams.stdio.stdout).is_fifo()

    os.write(shim.stdout, b"meanwhile ")
    with attach_terminal(streams.stdio, terminal, terminal, "ctrl-a,d") as again:
        again.start(shim)
        os.write(shim.stdout, b"back")
        assert read_until(keyboard, b"back") == b"meanwhile back"
        os.write(keyboard, b"\x10\x11")  # other keys detach now
        assert read_until(shim.stdin, b"\x11") == b"\x10\x11"
        with pytest.raises(FailedPrecondition, match="another client"):
            attach_terminal(streams.stdio, terminal, terminal)
        shim.close()
        assert again.wait(5)
    assert not again.detached
    assert list(fifo_folder.iterdir()) == []


def test_what_is_no_terminal_is_typed_to_its_end() -> None:
    source, writer = os.pipe()
    reader, sink = os.pipe()
    os.write(writer, b"date\n\x10")
    os.close(writer)
    with Terminal(source, sink) as streams:
        shim = Shim(streams.stdio)
        streams.start(shim)
        assert read_until(shim.stdin, b"\x04") == b"date\n\x10\x04"
        os.write(shim.stdout, b"today")
        assert os.read(reader, 10) == b"today"
        shim.close()
        assert streams.wait(5)
    assert shim.sizes == []
    for descriptor in (source, reader, sink):
        os.close(descriptor)


def test_never_started(pty: tuple[int, int]) -> None:
    _, terminal = pty
    with Terminal(terminal, terminal):
        pass
    with pytest.raises(FailedPrecondition, match="no terminal"):
        attach_terminal(Stdio("", "/a", "/b"), terminal, terminal)


@pytest.mark.parametrize(
    ("keys", "typed"),
    [("ctrl-p,ctrl-q", b"\x10\x11"), ("ctrl-a,d", b"\x01d"), ("ctrl-@,x,ctrl-_", b"\0x\x1f")],
)
def test_detach_keys(keys: str, typed: bytes) -> None:
    found = DetachKeys(keys)
    assert found.feed(b"ab" + typed + b"lost") == b"ab"
    assert found.found


def test_no_detach_keys() -> None:
    assert DetachKeys("").feed(b"\x10\x11") == b"\x10\x11"
    for keys in ("ctrl-", "ctrl-1", "ctrl-pq", ",", "ab", "é"):
        with pytest.raises(InvalidArgument, match="invalid detach key"):
            DetachKeys(keys)


@given(st.lists(st.binary(max_size=4).map(lambda data: bytes(b % 3 + 97 for b in data))))
def test_what_is_held_back_is_not_lost(parts: list[bytes]) -> None:
    """Against a search in the whole: keys that begin with a beginning of their own."""
    keys = DetachKeys("a,a,b")
    passed = b"".join(keys.feed(part) for part in parts if not keys.found)
    before, found, _ = b"".join(parts).partition(b"aab")
    assert keys.found == bool(found)
    assert passed + (b"" if found else keys.rest()) == before
