"""A process in a container, from its creation to its deletion.

``Process`` has the methods that a container's first process and the added ones share. ``Task``,
its subclass, is the first process.
"""

from __future__ import annotations

import logging
import signal as signals
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

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
from ..locks import holding
from ..services.tasks import Exit, ProcessStatus, TaskService, Waiting
from ..undo import Undo, end_block
from .io.base import ProcessStreams
from .io.fifos import discard_fifos

if TYPE_CHECKING:
    from typing_extensions import Self

_LOGGER = logging.getLogger(__package__)

#: Seconds that a killed process may take to end. Only the kernel can delay it.
_KILL_TIMEOUT = 30.0
#: Seconds that a daemon may take to come back if it goes away during a wait.
_RESTART_TIMEOUT = 30.0
#: Real-time signals, with the numbers that Go's clients use. libc may reserve some of them.
_RTMIN, _RTMAX = 34, 64
_REAL_TIME = lazy_pattern(r"(?:SIG)?RT(?:MIN(?:\+([0-9]{1,2}))?|MAX(?:-([0-9]{1,2}))?)")


class Process:
    """A process of a container.

    This is a context manager. At its end, it kills the process if it still runs, and deletes it.

    Args:
        service: The task service.
        container_id: The container's id.
        exec_id: The process's exec id, ``""`` for the container's first process.
        pid: The process's id in the daemon's pid namespace, 0 if it is not known yet.
        streams: The process's streams. Default: none; the process has no streams, or another
            client serves them.
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
        self._waiting: Waiting | None = None
        self._exit: Exit | None = None
        self._wait_lock = threading.RLock()  # one thread at a time asks for the exit

    @property
    def id(self) -> str:
        """The exec id, or the container's id for its first process."""
        return self.exec_id or self.container_id

    # ---- running ---------------------------------------------------------------------------

    def start(self) -> None:
        """Start the process.

        This method sends the ``Wait`` request before the ``Start`` request, so that it cannot miss
        the exit.

        Raises:
            NotFound: The process does not exist any more.
            Unknown: The runtime cannot start it; the message is the runtime's.
        """
        waiting = self._service.begin_wait(self.container_id, self.exec_id)
        with LoggedStep(_LOGGER, "start process %s", self.id), Undo(waiting.close):
            self.pid = self._service.start(self.container_id, self.exec_id)
            if self.streams is not None:
                self.streams.start(self)
        self._waiting = waiting

    def wait(self, timeout: float | None = None) -> Exit:
        """Wait until the process has ended. The wait survives restarts of the daemon.

        Args:
            timeout: Seconds to wait. Default: no limit.

        Returns:
            How the process ended. Its ``exit_status`` is ``None`` if it is unknown: the shim
            died, or another client deleted the process before this object waited for it.

        Raises:
            Cancelled: Another thread called ``cancel_wait``.
            DeadlineExceeded: The process has not ended within ``timeout``. It continues.
            Unavailable: The daemon went away and did not come back within 30 seconds.
        """
        deadline = Deadline(timeout)
        try:
            with holding(self._wait_lock, deadline) as is_locked:
                if not is_locked:
                    raise self._timeout_error(timeout)
                while self._exit is None:
                    self._exit = self._receive_exit(deadline)
        except DeadlineExceeded:
            raise self._timeout_error(timeout) from None
        return self._exit

    def poll(self) -> Exit | None:
        """Return how the process ended, ``None`` while it runs. Do not wait."""
        with holding(self._wait_lock, Deadline(0)) as is_locked:
            if is_locked and self._exit is None:  # if not locked, another thread waits
                self._exit = self._receive_exit(None)
        return self._exit

    def _receive_exit(self, deadline: Deadline | None) -> Exit | None:
        """Return how the process ended, or ``None`` if the caller must ask again.

        Wait until the deadline. Without a deadline, do not wait at all.
        """
        try:
            if self._waiting is None:
                self._waiting = self._service.begin_wait(self.container_id, self.exec_id)
            if deadline is None:
                return self._waiting.poll()
            return self._waiting.receive(deadline.remaining())
        except DeadlineExceeded:
            raise
        except Cancelled:
            self._stop_waiting()
            raise
        except ContainerdError as error:
            self._stop_waiting()
            if not is_away(error):
                return self._look_up_exit(error)
        if deadline is not None:
            self._await_daemon(deadline)
        return None

    def _await_daemon(self, deadline: Deadline) -> None:
        """Wait until the daemon answers again. Raise ``Unavailable`` if it does not."""
        restart_deadline = deadline.sooner(_RESTART_TIMEOUT)
        for pause in backoff(0.02, 1.0):
            try:
                service = self._service.with_options(
                    timeout=restart_deadline.remaining(), wait_for_ready=True
                )
                service.get(self.container_id)
                return
            except NotFound:
                return
            except DeadlineExceeded:
                if deadline.expired:
                    raise
                raise Unavailable(
                    f"the daemon has not come back within {_RESTART_TIMEOUT:.0f} s",
                    remedy="Start the daemon; its containers continue to run meanwhile",
                ) from None
            except ContainerdError as error:  # a starting daemon may become unreachable again
                if restart_deadline.expired or not is_away(error):
                    raise
            time.sleep(pause)

    def _look_up_exit(self, error: ContainerdError) -> Exit:
        """Look up how the process ended after a wait has failed, as it does if the shim dies.

        Raise the given error if the process has not ended.
        """
        try:
            status = self.status()
        except NotFound:
            return Exit(None, None)
        if status.state == "stopped":
            return Exit(status.exit_status, status.exited_at)
        raise error

    def _stop_waiting(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.close()

    def cancel_wait(self) -> None:
        """Make ``wait`` raise ``Cancelled`` in another thread. The process continues."""
        waiting = self._waiting
        if waiting is not None:
            waiting.cancel()

    def _timeout_error(self, timeout: float | None) -> DeadlineExceeded:
        return DeadlineExceeded(
            f"process {self.id} has not ended after {timeout} s", remedy="Raise timeout="
        )

    def status(self) -> ProcessStatus:
        """Ask the daemon for the process's status.

        Raises:
            NotFound: The process has been deleted.
        """
        return self._service.get(self.container_id, self.exec_id)

    def kill(self, signal: int | str = signals.SIGTERM, *, all: bool = False) -> None:
        """Send a signal.

        Args:
            signal: The signal's number or name (``"SIGTERM"``, ``"TERM"``).
            all: Send it to all processes of the container.

        Raises:
            InvalidArgument: The signal is unknown.
            NotFound: The process has ended.
        """
        number = signal_number(signal)
        self._service.kill(self.container_id, number, self.exec_id, all=all)

    def stop(self, timeout: float = 10.0, *, signal: int | str | None = None) -> Exit:
        """Ask the process to end, and kill it if it does not.

        Args:
            timeout: Seconds after which the process is killed.
            signal: The signal to send first. Default: for a container's first process the
                image's stop signal, else ``SIGTERM``.

        Returns:
            How the process ended.

        Raises:
            DeadlineExceeded: The process has not ended within 30 seconds after ``SIGKILL``.
            InvalidArgument: The signal is unknown.
        """
        with suppress(NotFound):  # the process has ended
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
        self._service.resize_pty(self.container_id, columns, rows, self.exec_id)

    def close_io(self) -> None:
        """Tell the shim to close the process's stdin, as no more input follows."""
        self._service.close_io(self.container_id, self.exec_id)

    # ---- the end ---------------------------------------------------------------------------

    def delete(self, *, force: bool = False) -> Exit | None:
        """Delete the process from the daemon, and close its streams.

        Args:
            force: Kill the process first if it runs.

        Returns:
            How the process ended, ``None`` if it was deleted before.

        Raises:
            FailedPrecondition: The process runs, and ``force`` is false.
        """
        if force and self._exit is None:
            with suppress(NotFound, FailedPrecondition, Unknown):
                self._send_sigkill()
                self.wait(_KILL_TIMEOUT)
        stdio = None
        if self.streams is None:  # another client made the streams, and may have left its FIFOs
            with suppress(NotFound):
                stdio = self.status().stdio
        elif force or self.poll() is not None:  # keep the output of a running process
            self.streams.drain()
        with LoggedStep(_LOGGER, "delete process %s", self.id):
            ended = self._delete()
        self._stop_waiting()
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
            # If the shim has died, the daemon answers NotFound once it has cleaned up after it.
            try:
                status = self.status()
            except NotFound:
                return Exit(None, None)
            raise FailedPrecondition(
                f"process {self.id} cannot be deleted: it is {status.state}",
                operation=error.operation,
                address=error.address,
                remedy="Wait for its end, or delete it with force=True",
            ) from error

    def _call_delete(self) -> Exit:
        return self._service.delete_process(self.container_id, self.exec_id)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        end_block(kind, lambda: self.delete(force=True), self.delete_quietly)

    def delete_quietly(self) -> None:
        """Kill and delete the process during another error; raise no ``ContainerdError``."""
        try:
            with suppress(ContainerdError):
                self.delete(force=True)
        finally:
            self._stop_waiting()
            if self.streams is not None:
                self.streams.close()

    def __repr__(self) -> str:
        within = f" in {self.container_id}" if self.exec_id else ""
        return f"<{type(self).__name__} {self.id}{within} pid={self.pid}>"


def signal_number(signal: int | str) -> int:
    """Return a signal's number on Linux. Raise ``InvalidArgument`` if it is unknown."""
    name = signal.upper() if isinstance(signal, str) else str(int(signal))
    number = -1
    if match := _REAL_TIME.fullmatch(name):
        number = _RTMAX - int(match[2] or 0) if "MAX" in name else _RTMIN + int(match[1] or 0)
    elif name.isascii() and name.isdigit() and len(name) < 4:
        number = int(name)
    else:
        with suppress(KeyError):
            number = signals.Signals[name if name.startswith("SIG") else f"SIG{name}"].value
    if not 0 <= number <= _RTMAX:
        raise InvalidArgument(f"unknown signal {signal!r}", remedy="Write SIGTERM, TERM or 15")
    return number
