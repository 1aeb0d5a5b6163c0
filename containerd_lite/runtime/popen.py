"""A running process with an interface like that of ``subprocess.Popen``."""

from __future__ import annotations

import os
import select
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO, Generic, TypeVar

from .. import limits
from ..deadline import Deadline
from ..errors import (
    Cancelled,
    ContainerdError,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
)
from ..interrupt import check, current_interrupt
from ..operation import cancellable
from ..printable import duration, printable
from ..undo import Undo, end_block
from .io.served import Served
from .io.sinks import Capture, Target
from .io.streams import PIPE, Source, Streams, attach
from .process import Process, note_remains

if TYPE_CHECKING:
    from ..operation import CancelToken
    from ..services.tasks import Exit, Stdio
    from .task_verbs import TaskVerbs

#: Seconds to wait for more output after the process has ended. Children of the process may still
#: run and keep the FIFOs open.
DRAIN = 2.0
#: Maximum duration of a single wait, in seconds. If a signal arrives right before a wait, Python
#: runs the signal's handler only after this wait.
_LONGEST_WAIT = 0.5
#: Bytes to read from a FIFO at a time.
_CHUNK = 64 << 10
#: Maximum number of seconds of one ``poll``, whose argument is a C int of milliseconds.
_LONGEST_POLL = 3600.0
#: Seconds between checks whether the call was cancelled, and whether a process that does not read
#: its input has ended.
_POLL_INTERVAL = 0.05


_Container = TypeVar("_Container", bound="TaskVerbs")


class Running(Generic[_Container]):
    """A process and its container, with methods as in ``subprocess.Popen``.

    An object of this class is a context manager, which calls ``close`` at the end of the ``with``
    block. ``close`` kills and deletes the process. After a call of ``leave``, the context manager
    does not call ``close``.

    Args:
        process: The process.
        container: The container of the process.
        removes: Whether ``close`` removes the container. True if the container was created for the
            process.
        attached: Whether the process ran before. Then the end of the ``with`` block calls
            ``leave``, and a failure of a source or a target does not kill the process.

    Attributes:
        process: The process.
        container: The container of the process.
    """

    def __init__(
        self,
        process: Process,
        container: _Container,
        *,
        removes: bool = False,
        attached: bool = False,
    ) -> None:
        self.process = process
        self.container = container
        self._removes = removes
        self._is_left = False
        self._is_attached = attached
        if process.streams is not None and not attached:
            # If a source or a target fails, the process is killed, because its streams cannot be
            # served.
            process.streams.on_failure = process.kill_quietly

    @property
    def id(self) -> str:
        """The process's exec id. For the container's first process: the container's id."""
        return self.process.id

    @property
    def pid(self) -> int:
        """The process's pid in the daemon's pid namespace."""
        return self.process.pid

    @property
    def stdin(self) -> BinaryIO | None:
        """The file to write the input to, if stdin is a ``PIPE``. ``None`` before the start."""
        return self._pipe("stdin")

    @property
    def stdout(self) -> BinaryIO | None:
        """The file to read stdout from, if stdout is a ``PIPE``. ``None`` before the start."""
        return self._pipe("stdout")

    @property
    def stderr(self) -> BinaryIO | None:
        """The file to read stderr from, if stderr is a ``PIPE``. ``None`` before the start."""
        return self._pipe("stderr")

    def _pipe(self, name: str) -> BinaryIO | None:
        streams = self.process.streams
        file: BinaryIO | None = getattr(streams, name) if isinstance(streams, Streams) else None
        return file

    def start(self) -> Running[_Container]:
        """Start a process that was created with ``start=False``.

        If this method fails, it deletes the process. If the process is a container's first
        process, the container is deleted, too.

        Returns:
            This object.

        Raises:
            FailedPrecondition: The command is not executable.
            NotFound: The command does not exist, or the process does not exist any more.
            Unknown: The runtime cannot start the process. The message comes from the runtime.
        """
        with Undo(self._remove_all):
            self.process.start()
        return self

    def _remove_all(self) -> None:
        self._removes |= not self.process.exec_id
        self.close_quietly()

    # ---- the end of the process ------------------------------------------------------------

    def poll(self) -> Exit | None:
        """Return the exit code and the time of the end, or ``None`` if the process still runs.

        This method does not wait.
        """
        return self.process.poll()

    def wait(self, timeout: float | None = None, *, cancel: CancelToken | None = None) -> Exit:
        """Wait until the process has ended; see ``Process.wait``.

        The caller must read every output that is a ``PIPE``. Without a reader, the process may wait
        for ever to write its output.

        Args:
            timeout: Seconds to wait. 0 means: do not wait. Default: no limit.
            cancel: As for ``Process.wait``.

        Raises:
            Cancelled: The token was cancelled. The process continues to run.
            DeadlineExceeded: The process has not ended within ``timeout``, and continues to run.
        """
        return self.process.wait(timeout, cancel=cancel)

    def finish(self, timeout: float | None = None) -> Exit:
        """Wait until the process and its streams have ended.

        Args:
            timeout: Seconds after which the process is killed; 0 kills a process that still runs.
                Default: no limit.

        Returns:
            The process's exit code and the time of its end.

        Raises:
            DeadlineExceeded: The process still ran after ``timeout``, and was killed and deleted.
            BaseException: The error with which a source or a target of the streams failed.
        """
        deadline, ended = Deadline(timeout), None
        while ended is None:
            try:
                ended = self.wait(deadline.sooner(_LONGEST_WAIT).remaining())
            except DeadlineExceeded as error:
                if not deadline.expired:
                    continue
                self.close()
                raise DeadlineExceeded(
                    f"process {self.id} still ran after {duration(timeout)} and was killed",
                    remedy="Raise timeout=",
                ) from error
        streams = self.process.streams
        if streams is not None:
            streams.wait(DRAIN)
            if streams.failure is not None:
                raise streams.failure
        return ended

    def send_signal(self, signal: int | str) -> None:
        """Send a signal to the process. Do nothing if the process has ended.

        Args:
            signal: The number or the name of the signal (``"SIGTERM"``, ``"TERM"``).

        Raises:
            InvalidArgument: The signal is unknown.
        """
        with suppress(NotFound):
            self.process.kill(signal)

    def terminate(self) -> None:
        """Send ``SIGTERM`` to the process. Do nothing if the process has ended."""
        self.send_signal("SIGTERM")

    def kill(self) -> None:
        """Send ``SIGKILL`` to the process. Do nothing if the process has ended."""
        self.send_signal("SIGKILL")

    def stop(self, timeout: float = 10.0, *, signal: int | str | None = None) -> Exit:
        """Send a signal to the process, and kill the process if the signal does not end it.

        Args:
            timeout: Seconds to wait before the process is killed; 0 kills it at once.
            signal: The number or the name of the signal. Default: the image's stop signal for a
                container's first process, and ``SIGTERM`` for other processes.

        Returns:
            The process's exit code and the time of its end.
        """
        return self.process.stop(timeout, signal=signal)

    # ---- input and output ------------------------------------------------------------------

    def communicate(
        self,
        input: bytes | None = None,
        timeout: float | None = None,
        *,
        limit: int = 64 << 20,
        cancel: CancelToken | None = None,
    ) -> tuple[bytes, bytes]:
        """Write the input, close stdin, read all output, and wait for the end of the process.

        Args:
            input: Bytes to write to stdin. Default: no input.
            timeout: Seconds that the whole call may take. 0 means: do not wait. Default: no limit.
            limit: Maximum number of bytes to read from each output. Default: 64 MiB.
            cancel: As for ``Process.wait``.

        Returns:
            The bytes of stdout, and the bytes of stderr.

        Raises:
            Cancelled: The token was cancelled. The process continues to run.
            DeadlineExceeded: The process has not ended within ``timeout``, and continues to run.
                The attributes ``stdout`` and ``stderr`` of the error have the output that this
                method has read; those of ``Cancelled``, too.
            FailedPrecondition: There is input, but stdin is not a ``PIPE``.
            ResourceExhausted: The process wrote more than ``limit`` bytes to one output.
        """
        deadline = Deadline(timeout)
        captures = [Capture(limits.count("limit", limit, 0)) for _ in range(2)]
        if input is not None and not isinstance(input, bytes | bytearray | memoryview):
            raise limits.refused("input", input, "bytes")
        if input and self.stdin is None:
            raise FailedPrecondition(
                "the stdin of the process is not a pipe", remedy="Give stdin=PIPE"
            )
        readers = {
            file.fileno(): capture
            for file, capture in zip((self.stdout, self.stderr), captures, strict=True)
            if file is not None and not file.closed
        }
        writer = self.stdin if self.stdin is not None and not self.stdin.closed else None
        communication = _Communication(
            writer, memoryview(input or b""), readers, lambda: self.poll() is not None
        )
        try:
            with cancellable(f"communication with process {self.id}", cancel):
                communication.run(deadline)
                self.wait(deadline.remaining())
        except (Cancelled, DeadlineExceeded) as error:
            error.stdout, error.stderr = (capture.data for capture in captures)
            raise
        return captures[0].data, captures[1].data

    # ---- clean-up --------------------------------------------------------------------------

    def leave(self, *, attachable: bool = False) -> _Container:
        """Close the streams. The process continues to run, and the container is not removed.

        Args:
            attachable: Whether to keep the FIFOs of the process, so that ``Container.attach`` can
                connect to them. While no client is attached, a process that writes more than its
                FIFO holds (64 KiB) waits.

        Returns:
            The container.

        Raises:
            InvalidArgument: ``attachable`` is true, but this process does not serve the streams.
        """
        streams = self.process.streams
        if attachable:
            served: object = streams
            if not isinstance(served, Served):
                raise InvalidArgument(
                    "attachable=True needs streams that this process serves",
                    remedy="Start the process with popen and without streams=, or with Streams()",
                )
            served.detached = True
        self._is_left = True
        self.process.cancel_wait()
        if streams is not None:
            streams.close()
        return self.container

    def close(self) -> None:
        """Kill and delete the process. Remove a container that was created for the process.

        It is not an error to call this method twice.
        """
        self.process.delete(force=True)
        if self._removes:
            with suppress(NotFound):
                self.container.remove()
            self._removes = False

    def close_quietly(self) -> None:
        """Do the same as ``close`` without raising a ``ContainerdError``."""
        self.process.delete_quietly()
        if self._removes:
            try:
                self.container.delete()
            except NotFound:
                pass
            except ContainerdError:
                note_remains(self.container.id)
            self._removes = False

    def __enter__(self) -> Running[_Container]:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._is_attached:
            self.leave()
        elif not self._is_left:
            end_block(kind, self.close, self.close_quietly)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {printable(self.id)} pid={self.pid}>"


def open_pipes(
    stdin: Source | None, stdout: Target | None, stderr: Target | None, *, terminal: bool | None
) -> Streams:
    """Return streams whose outputs are ``PIPE``s by default.

    With a terminal, stdout is the only output.
    """
    out = PIPE if stdout is None else stdout
    err = PIPE if stderr is None and not terminal else stderr
    return Streams(stdin, out, err, terminal=bool(terminal))


def attach_pipes(
    stdio: Stdio, stdin: Source | None, stdout: Target | None, stderr: Target | None
) -> Streams:
    """Return the streams of a running process; see ``open_pipes`` for the defaults."""
    out = PIPE if stdout is None else stdout
    err = PIPE if stderr is None and not stdio.terminal else stderr
    return attach(stdio, stdin, out, err)


class _Communication:
    """Writes the input of a process, and at the same time reads the outputs of the process.

    If all outputs have ended, and the process does not read its input, this class calls
    ``has_ended`` repeatedly. If ``has_ended`` returns true, the rest of the input is dropped.
    """

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
        """Write the whole input, and read all output.

        Raise ``DeadlineExceeded`` after the deadline, or ``ResourceExhausted`` if an output is too
        long.
        """
        while self._readers or self._writer is not None:
            must_look = not self._readers or current_interrupt() is not None
            timeout = deadline.sooner(_POLL_INTERVAL if must_look else _LONGEST_POLL).remaining()
            events = self._poller.poll(None if timeout is None else timeout * 1000)
            check()
            if not events and deadline.expired:
                raise DeadlineExceeded("the process has not ended in time", remedy="Raise timeout=")
            for descriptor, event in events:
                if descriptor in self._readers:
                    self._read(descriptor)
                else:
                    self._write_input(descriptor, event)
            if not events and not self._readers and self._has_ended():
                self._finish_input()

    def _read(self, descriptor: int) -> None:
        data = os.read(descriptor, _CHUNK)
        self._readers[descriptor](data)
        if not data:
            self._poller.unregister(descriptor)
            del self._readers[descriptor]

    def _write_input(self, descriptor: int, event: int) -> None:
        # A FIFO that is ready for writing has room for PIPE_BUF bytes. An event without POLLOUT
        # means that the FIFO has no reader: the write fails, and the whole input is dropped.
        size = select.PIPE_BUF if event & select.POLLOUT else len(self._input)
        with suppress(BrokenPipeError):
            size = os.write(descriptor, self._input[:size])
        self._input = self._input[size:]
        if not self._input:
            self._poller.unregister(descriptor)
            self._finish_input()

    def _finish_input(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()
