"""A container that runs, held as ``subprocess.Popen`` holds a process.

What lives here: starting one, talking to it, ending and removing it.  What may not: making it.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO, Generic, TypeVar

from ..deadline import Deadline
from ..errors import ContainerdError, DeadlineExceeded, FailedPrecondition, NotFound
from ..undo import Undo, end_block
from .io.sinks import Capture, Target
from .io.streams import PIPE, Source, Streams
from .process import Process
from .record import StoredContainer

if TYPE_CHECKING:
    from ..services.tasks import Exit

#: How long streams may stay open, without a byte, after the process has ended (seconds): a child
#: that outlives it may hold them for ever.
DRAIN = 2.0
#: How long to wait at a time (seconds): Python runs handlers of signals between its steps, and a
#: signal that came right before a wait would wait for the end of it.
_SIGNALS = 0.5
#: What a FIFO takes at a time, and gives (bytes).
_PIECE = 64 << 10
#: How often to look whether a process has ended that does not read (seconds).
_LOOK = 0.05


_Container = TypeVar("_Container", bound=StoredContainer)


class Running(Generic[_Container]):
    """A process under way, and what is to be removed with it.

    A context manager: at its end the process is killed if it still runs, and forgotten, and its
    container removed if it was made for it.  ``stdin``, ``stdout`` and ``stderr`` are binary
    files where ``PIPE`` was asked for.
    """

    def __init__(self, process: Process, container: _Container, *, removes: bool = False) -> None:
        """``removes``: the container goes with the process."""
        self.process = process
        self.container = container
        self._removes = removes
        self._is_left = False
        if process.streams is not None:
            # What its output is for has failed: there is no use in going on.
            process.streams.on_failure = process.kill_quietly

    @property
    def id(self) -> str:
        """The container's id, or of a process that was added to one its own."""
        return self.process.id

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def stdin(self) -> BinaryIO | None:
        return self._pipe("stdin")

    @property
    def stdout(self) -> BinaryIO | None:
        return self._pipe("stdout")

    @property
    def stderr(self) -> BinaryIO | None:
        return self._pipe("stderr")

    def _pipe(self, name: str) -> BinaryIO | None:
        streams = self.process.streams
        found: BinaryIO | None = getattr(streams, name) if isinstance(streams, Streams) else None
        return found

    def start(self) -> Running[_Container]:
        """Start a process that was made, and return this object; where that fails, it goes."""
        with Undo(self._remove_all):
            self.process.start()
        return self

    def _remove_all(self) -> None:
        self._removes |= not self.process.exec_id
        self.close_quietly()

    # ---- its end ---------------------------------------------------------------------------

    def poll(self) -> Exit | None:
        """How it ended, ``None`` while it runs."""
        return self.process.poll()

    def wait(self, timeout: float | None = None) -> Exit:
        """As ``Process.wait``.  With ``PIPE``s that nobody reads it may never end."""
        return self.process.wait(timeout)

    def finish(self, timeout: float | None = None) -> Exit:
        """Wait for its end and that of its streams; after ``timeout`` seconds kill it.

        Raises ``DeadlineExceeded`` then, and what a sink of its output raised.
        """
        deadline, ended = Deadline(timeout), None
        while ended is None:
            try:
                ended = self.wait(deadline.sooner(_SIGNALS).remaining())
            except DeadlineExceeded as error:
                if not deadline.expired:
                    continue
                self.close()
                raise DeadlineExceeded(
                    f"process {self.id} still ran after {timeout} s and was killed",
                    remedy="Raise timeout=",
                ) from error
        streams = self.process.streams
        if streams is not None:
            streams.wait(DRAIN)
            if streams.failure is not None:
                raise streams.failure
        return ended

    def send_signal(self, signal: int | str) -> None:
        """By number or name; one that has ended is left alone."""
        with suppress(NotFound):
            self.process.kill(signal)

    def terminate(self) -> None:
        self.send_signal("SIGTERM")

    def kill(self) -> None:
        self.send_signal("SIGKILL")

    def stop(self, timeout: float = 10.0, *, signal: int | str | None = None) -> Exit:
        """As ``Process.stop``."""
        return self.process.stop(timeout, signal=signal)

    # ---- talking to it ---------------------------------------------------------------------

    def communicate(
        self, input: bytes | None = None, timeout: float | None = None, *, limit: int = 64 << 20
    ) -> tuple[bytes, bytes]:
        """Write ``input`` to its stdin and close that, read its output to the end, and wait.

        Returns what came by ``stdout`` and ``stderr``, at most ``limit`` bytes each; more is
        ``ResourceExhausted``.  Raises ``DeadlineExceeded`` after ``timeout`` seconds: the process
        goes on, and what was read is lost.
        """
        if input and self.stdin is None:
            raise FailedPrecondition("it has no stdin to write to", remedy="Give stdin=PIPE")
        deadline = Deadline(timeout)
        captures = [Capture(limit), Capture(limit)]
        readers = {
            file.fileno(): capture
            for file, capture in zip((self.stdout, self.stderr), captures, strict=True)
            if file is not None and not file.closed
        }
        writer = self.stdin if self.stdin is not None and not self.stdin.closed else None
        exchange = _Exchange(
            writer, memoryview(input or b""), readers, lambda: self.poll() is not None
        )
        exchange.run(deadline)
        self.wait(deadline.remaining())
        return captures[0].data, captures[1].data

    # ---- cleaning up -----------------------------------------------------------------------

    def leave(self) -> _Container:
        """Let it go on, and its container stay, which is returned; the streams are closed."""
        self._is_left = True
        self.process.cancel_wait()
        if self.process.streams is not None:
            self.process.streams.close()
        return self.container

    def close(self) -> None:
        """Kill what still runs and remove all that was made for it; may be done twice."""
        self.process.delete(force=True)
        if self._removes:
            with suppress(NotFound):
                self.container.remove()
            self._removes = False

    def close_quietly(self) -> None:
        """As ``close``, on the way out of a failure, which it never hides."""
        self.process.delete_quietly()
        if self._removes:
            with suppress(ContainerdError):
                self.container.delete()
            self._removes = False

    def __enter__(self) -> Running[_Container]:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._is_left:
            end_block(kind, self.close, self.close_quietly)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id} pid={self.pid}>"


def open_pipes(
    stdin: Source | None, stdout: Target | None, stderr: Target | None, *, terminal: bool | None
) -> Streams:
    """Streams whose outputs are ``PIPE``s unless told otherwise; a terminal has one output."""
    out = PIPE if stdout is None else stdout
    err = PIPE if stderr is None and not terminal else stderr
    return Streams(stdin, out, err, terminal=bool(terminal))


class _Exchange:
    """Feeds one file and reads others to their ends; ``has_ended`` is asked where those are over
    and nobody takes the input."""

    def __init__(
        self,
        writer: BinaryIO | None,
        input: memoryview,
        readers: dict[int, Capture],
        has_ended: Callable[[], bool],
    ) -> None:
        self._writer = writer
        self._input = input
        self._readers = readers
        self._has_ended = has_ended
        self._poller = select.poll()
        for descriptor in readers:
            self._poller.register(descriptor, select.POLLIN)
        if writer is not None and input:
            self._poller.register(writer.fileno(), select.POLLOUT)
        else:
            self._finish_input()

    def run(self, deadline: Deadline) -> None:
        """Raises ``DeadlineExceeded``, and what a capture raises."""
        while self._readers or self._writer is not None:
            left = deadline.sooner(None if self._readers else _LOOK).remaining()
            events = self._poller.poll(None if left is None else left * 1000)
            if not events and deadline.expired:
                raise DeadlineExceeded("the process has not ended in time", remedy="Raise timeout=")
            for descriptor, event in events:
                if descriptor in self._readers:
                    self._read(descriptor)
                else:
                    self._feed(descriptor, event)
            if not events and not self._readers and self._has_ended():
                self._finish_input()

    def _read(self, descriptor: int) -> None:
        data = os.read(descriptor, _PIECE)
        self._readers[descriptor](data)
        if not data:
            self._poller.unregister(descriptor)
            del self._readers[descriptor]

    def _feed(self, descriptor: int, event: int) -> None:
        # A FIFO that is ready has room for as much.  One without a reader takes nothing.
        room = select.PIPE_BUF if event & select.POLLOUT else len(self._input)
        with suppress(BrokenPipeError):
            room = os.write(descriptor, self._input[:room])
        self._input = self._input[room:]
        if not self._input:
            self._poller.unregister(descriptor)
            self._finish_input()

    def _finish_input(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()
