"""A process in a container, from its creation to its deletion.

``Process`` is the class of the processes that are added to a container. ``Task``, its subclass, is
the class of the container's first process.
"""

from __future__ import annotations

import logging
import signal as signals
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from .. import interrupt, limits
from ..arguments import check_types
from ..deadline import Deadline, backoff
from ..debug import LoggedStep
from ..errors import (
    Cancelled,
    ContainerdError,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Unavailable,
    Unknown,
    is_away,
)
from ..lazy import lazy_pattern
from ..locks import PerProcess, holding
from ..operation import cancellable, note_left
from ..printable import duration, printable, quoted
from ..services.tasks import Exit, ProcessStatus, TaskService, Waiting
from ..undo import Undo, end_block
from .io.base import ProcessStreams
from .io.fifos import discard_fifos
from .io.served import Served

if TYPE_CHECKING:
    from typing_extensions import Self

    from ..operation import CancelToken

_LOGGER = logging.getLogger(__package__)

#: Seconds to wait for the end of a killed process. Only the kernel can delay the end of such a
#: process.
_KILL_TIMEOUT = 30.0
#: Seconds that ``wait`` waits for a daemon that has become unreachable.
_RESTART_TIMEOUT = 30.0
#: The first and the last real-time signal, with the numbers that Go's clients use. A libc may
#: reserve some real-time signals for itself.
_RTMIN, _RTMAX = 34, 64
_REAL_TIME = lazy_pattern(r"(?:SIG)?RT(?:MIN(?:\+([0-9]{1,2}))?|MAX(?:-([0-9]{1,2}))?)")


class _Wait:
    """The ``Wait`` call of one operating-system process. A forked child makes a call of its own."""

    def __init__(self) -> None:
        self.lock = threading.RLock()  # one thread at a time waits for the exit
        self.call: Waiting | None = None


class Process:
    """A process of a container.

    An object of this class is a context manager, which deletes the process at the end of the
    ``with`` block. A process that still runs is killed first.

    Args:
        service: The tasks service.
        container_id: The container's id.
        exec_id: The process's exec id, ``""`` for the container's first process.
        pid: The process's pid in the daemon's pid namespace, 0 if the pid is not known yet.
        streams: The streams that this client serves for the process. Default: none.
    """

    def __init__(
        self,
        service: TaskService,
        container_id: str,
        exec_id: str = "",
        pid: int = 0,
        streams: ProcessStreams | None = None,
    ) -> None:
        self._service = service
        self.container_id = container_id
        self.exec_id = exec_id
        self.pid = pid
        self.streams = streams
        self._exit: Exit | None = None
        self._waits = PerProcess(_Wait)

    def known(self, status: ProcessStatus) -> Self:
        """Take over the exit code and the time of the end from a status, and return this object."""
        if status.state == "stopped":
            self._exit = Exit(status.exit_status, status.exited_at)
        return self

    @property
    def id(self) -> str:
        """The exec id. For the container's first process: the container's id."""
        return self.exec_id or self.container_id

    # ---- the running process ---------------------------------------------------------------

    def start(self) -> None:
        """Start the process.

        This method sends the ``Wait`` request before the ``Start`` request, so that the client
        learns the exit code even of a process that ends at once.

        Raises:
            FailedPrecondition: The command is not executable.
            NotFound: The command does not exist, or the process does not exist any more.
            Unknown: The runtime cannot start the process. The message comes from the runtime.
        """
        waiting = self._service.begin_wait(self.container_id, self.exec_id)
        with LoggedStep(_LOGGER, "start process %s", self.id), Undo(waiting.close):
            self.pid = self._service.start(self.container_id, self.exec_id)
            if self.streams is not None:
                self.streams.start(self)
        self._waits.get().call = waiting

    def wait(self, timeout: float | None = None, *, cancel: CancelToken | None = None) -> Exit:
        """Wait until the process has ended. The wait continues if the daemon restarts.

        Args:
            timeout: Seconds to wait. 0 means: do not wait. Default: no limit.
            cancel: A token whose ``cancel`` ends the wait. The process continues to run. Default:
                none.

        Returns:
            The process's exit code and the time of its end. The code and the time are ``None`` if
            the shim died, or if another client deleted the process before this object waited.

        Raises:
            Cancelled: The token was cancelled, or another thread called ``cancel_wait``.
            DeadlineExceeded: The process has not ended within ``timeout``, and continues to run.
            Unavailable: The daemon became unreachable, and did not answer again within 30 seconds.
        """
        deadline = Deadline(timeout)
        lock = self._waits.get().lock
        try:
            with (
                cancellable(f"wait for process {self.id}", cancel),
                holding(lock, deadline, interrupt.check) as is_locked,
            ):
                if not is_locked:
                    raise self._timeout_error(timeout)
                while self._exit is None:
                    self._exit = self._receive_exit(deadline)
        except DeadlineExceeded:
            raise self._timeout_error(timeout) from None
        return self._exit

    def poll(self) -> Exit | None:
        """Return the exit code and the time of the end, or ``None`` if the process still runs.

        This method does not wait.
        """
        with holding(self._waits.get().lock, Deadline(0)) as is_locked:
            # If the lock is not free, another thread is in wait().
            if is_locked and self._exit is None:
                self._exit = self._receive_exit(None)
        return self._exit

    def _receive_exit(self, deadline: Deadline | None) -> Exit | None:
        """Return the exit code and the time of the end, or ``None`` if the end is not known yet.

        Wait until ``deadline`` at the latest. If ``deadline`` is ``None``, do not wait.
        """
        wait = self._waits.get()
        try:
            if wait.call is None:
                wait.call = self._service.begin_wait(self.container_id, self.exec_id)
            if deadline is None:
                return wait.call.poll()
            return wait.call.receive(deadline.remaining())
        except DeadlineExceeded:
            raise
        except Cancelled:
            self.stop_waiting()
            raise
        except ContainerdError as error:
            self.stop_waiting()
            if not is_away(error):
                return self._look_up_exit(error)
        if deadline is not None:
            self._await_daemon(deadline)
        return None

    def _await_daemon(self, deadline: Deadline) -> None:
        """Wait until the daemon answers again. Raise ``Unavailable`` after 30 seconds."""
        restart_deadline = deadline.sooner(_RESTART_TIMEOUT)
        for pause in backoff(0.02, 1.0):
            try:
                service = self._service.until(restart_deadline, wait_for_ready=True)
                service.get(self.container_id)
                return
            except NotFound:
                return
            except DeadlineExceeded:
                if deadline.expired:
                    raise
                raise Unavailable(
                    f"the daemon has been unreachable for {_RESTART_TIMEOUT:.0f} s",
                    remedy="Start the daemon; containers continue to run without the daemon",
                ) from None
            except ContainerdError as error:  # a daemon that starts may become unreachable again
                if restart_deadline.expired or not is_away(error):
                    raise
            interrupt.pause(pause)

    def _look_up_exit(self, error: ContainerdError) -> Exit:
        """Read the exit code and the time of the end from the process's status.

        Call this method after a wait has failed with ``error``, for instance because the shim died.
        Raise ``error`` if the process has not ended.
        """
        try:
            status = self.status()
        except NotFound:
            return Exit(None, None)
        if status.state == "stopped":
            return Exit(status.exit_status, status.exited_at)
        raise error

    def stop_waiting(self) -> None:
        """Release what an unfinished ``wait`` or ``poll`` has left open. It can be called again."""
        wait = self._waits.get()
        waiting, wait.call = wait.call, None
        if waiting is not None:
            waiting.close()

    def cancel_wait(self) -> None:
        """Make a ``wait`` in another thread raise ``Cancelled``. The process continues to run."""
        waiting = self._waits.get().call
        if waiting is not None:
            waiting.cancel()

    def _timeout_error(self, timeout: float | None) -> DeadlineExceeded:
        return DeadlineExceeded(
            f"process {self.id} has not ended after {duration(timeout)}", remedy="Raise timeout="
        )

    def status(self) -> ProcessStatus:
        """Ask the daemon for the process's status.

        Raises:
            NotFound: The process has been deleted.
        """
        return self._service.get(self.container_id, self.exec_id)

    def kill(self, signal: int | str = signals.SIGTERM, *, all: bool = False) -> None:
        """Send a signal to the process.

        Args:
            signal: The number or the name of the signal (``"SIGTERM"``, ``"TERM"``).
            all: Whether to send the signal to all processes of the container.

        Raises:
            InvalidArgument: The signal is unknown.
            NotFound: The process has ended.
        """
        number = signal_number(signal)
        self._service.kill(self.container_id, number, self.exec_id, all=all)

    def stop(self, timeout: float = 10.0, *, signal: int | str | None = None) -> Exit:
        """Send a signal to the process, and kill the process if the signal does not end it.

        Args:
            timeout: Seconds to wait before the process is killed; 0 kills it at once.
            signal: The number or the name of the signal. Default: the image's stop signal for a
                container's first process, and ``SIGTERM`` for other processes. If the image's stop
                signal is unknown, a warning is logged, and ``SIGTERM`` is sent.

        Returns:
            The process's exit code and the time of its end.

        Raises:
            DeadlineExceeded: The process has not ended within 30 seconds after ``SIGKILL``.
            InvalidArgument: ``signal`` is unknown, or ``timeout`` is negative.
        """
        limits.seconds("timeout", timeout, may_be_zero=True)  # before the process gets a signal
        with suppress(NotFound):  # the process may have ended
            self.kill(self._stop_signal if signal is None else signal)
        try:
            return self.wait(timeout)
        except DeadlineExceeded:
            with suppress(NotFound):
                self._send_sigkill()
            return self.wait(_KILL_TIMEOUT)

    @property
    def _stop_signal(self) -> int | str:
        return signals.SIGTERM

    def resize(self, columns: int, rows: int) -> None:
        """Change the size of the process's terminal.

        Args:
            columns: The new width in characters.
            rows: The new height in characters.

        Raises:
            NotFound: The process has ended.
            Unknown: The process has no terminal.
        """
        size = limits.count("columns", columns, 0), limits.count("rows", rows, 0)
        self._service.resize_pty(self.container_id, *size, self.exec_id)

    def close_io(self) -> None:
        """Ask the shim to close the process's stdin at the end of the input."""
        self._service.close_io(self.container_id, self.exec_id)

    # ---- the end of the process ------------------------------------------------------------

    def delete(self, *, force: bool = False) -> Exit | None:
        """Delete the process from the daemon, and close its streams.

        Args:
            force: Whether to kill the process first if it runs.

        Returns:
            The process's exit code and the time of its end, or ``None`` if the process does not
            exist any more.

        Raises:
            FailedPrecondition: The process runs, and ``force`` is false.
        """
        check_types({"force": force})
        if force and self._exit is None:
            with suppress(NotFound, FailedPrecondition, Unknown):
                self._send_sigkill()
                self.wait(_KILL_TIMEOUT)
        stdio = None
        if self.streams is None:  # another client's FIFOs may still exist
            with suppress(NotFound):
                stdio = self.status().stdio
        elif force or self.poll() is not None:  # the output of a running process must not be lost
            self.streams.drain()
        with LoggedStep(_LOGGER, "delete process %s", self.id):
            ended = self._delete()
        self.stop_waiting()
        if self.streams is not None:
            self.streams.close()
        elif stdio is not None:
            discard_fifos(stdio)
        return ended

    def _send_sigkill(self) -> None:
        self.kill(signals.SIGKILL)

    def kill_quietly(self) -> None:
        """Send ``SIGKILL``, and ignore a ``ContainerdError``."""
        with suppress(ContainerdError):
            self._send_sigkill()

    def _delete(self) -> Exit | None:
        try:
            return self._call_delete()
        except NotFound:
            return None
        except Unknown as error:
            # If the shim died, the daemon deletes the process, and then answers NotFound.
            try:
                status = self.status()
            except NotFound:
                return Exit(None, None)
            raise FailedPrecondition(
                f"process {self.id} cannot be deleted: it is {status.state}",
                operation=error.operation,
                address=error.address,
                remedy="Wait for the end of the process, or delete the process with force=True",
            ) from error

    def _call_delete(self) -> Exit:
        return self._service.delete_process(self.container_id, self.exec_id)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        end_block(kind, lambda: self.delete(force=True), self.delete_quietly)

    def delete_quietly(self) -> None:
        """Kill and delete the process without raising a ``ContainerdError``.

        Output for which a pipe of the caller has no room is discarded.
        """
        streams: object = self.streams
        try:
            if isinstance(streams, Served):
                streams.stop_waiting()
            self.delete(force=True)
        except ContainerdError:
            note_remains(self.container_id, self.exec_id)
        finally:
            self.stop_waiting()
            if self.streams is not None:
                self.streams.close()

    def __repr__(self) -> str:
        within = f" in {self.container_id}" if self.exec_id else ""
        return printable(f"<{type(self).__name__} {self.id}{within} pid={self.pid}>")


def note_remains(container_id: str, exec_id: str = "") -> None:
    """Have the error of this thread's operation say that clean-up could not end a process.

    Args:
        container_id: The container's id.
        exec_id: The process's exec id. Default: the whole container remains.
    """
    remains = f"container {container_id} may still exist"
    if exec_id:
        remains = f"process {exec_id} may still run in container {container_id}"
    note_left(f"clean-up failed, so {remains}")


def signal_number(signal: int | str) -> int:
    """Return a signal's number on Linux. Raise ``InvalidArgument`` for an unknown signal."""
    if isinstance(signal, str):
        name = signal.upper()
    else:
        name = str(int(signal)) if isinstance(signal, int) and 0 <= signal <= _RTMAX else ""
    number = -1
    if match := _REAL_TIME.fullmatch(name):
        number = _RTMAX - int(match[2] or 0) if "MAX" in name else _RTMIN + int(match[1] or 0)
    elif name.isascii() and name.isdigit() and len(name) < 4:
        number = int(name)
    else:
        with suppress(KeyError):
            number = signals.Signals[name if name.startswith("SIG") else f"SIG{name}"].value
    if not 0 <= number <= _RTMAX:
        raise InvalidArgument(
            f"unknown signal {quoted(signal)}", remedy="Use a signal such as SIGTERM, TERM or 15"
        )
    return number
