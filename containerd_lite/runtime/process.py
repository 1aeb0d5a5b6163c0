"""A process in a container, from created to deleted.

What lives here: what is alike for a container's first process and those that were added.  What may
not: what only the first has, which ``task`` has; how streams are served.
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

#: How long a killed process may take to be gone (seconds); only the kernel can hold it up.
_KILL_TIMEOUT = 30.0
#: How long a daemon that went away while we waited may take to come back (seconds).
_RESTART_TIMEOUT = 30.0
#: Real-time signals as Go's clients number them, whatever libc keeps for itself.
_RTMIN, _RTMAX = 34, 64
_REAL_TIME = lazy_pattern(r"(?:SIG)?RT(?:MIN(?:\+([0-9]{1,2}))?|MAX(?:-([0-9]{1,2}))?)")


class Process:
    """A process of a container; ``pid`` is the daemon's view of it.

    A context manager: what still runs at the end is killed, and the process is forgotten.
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
        self._asking = threading.RLock()  # one thread at a time

    @property
    def id(self) -> str:
        """The ``exec_id``, and for a first process that of its container."""
        return self.exec_id or self.container_id

    # ---- running ---------------------------------------------------------------------------

    def start(self) -> None:
        """Run it.  Its end is waited for from before it starts, so that none can be missed.

        Raises ``NotFound`` or ``Unknown``, with the runtime's words, where it cannot be run.
        """
        waiting = self._service.begin_wait(self.container_id, self.exec_id)
        with LoggedStep(_LOGGER, "start process %s", self.id), Undo(waiting.close):
            self.pid = self._service.start(self.container_id, self.exec_id)
            if self.streams is not None:
                self.streams.start(self)
        self._waiting = waiting

    def wait(self, timeout: float | None = None) -> Exit:
        """Wait until it has ended, through restarts of the daemon; ``timeout`` in seconds.

        The ``exit_status`` is ``None`` where nobody knows it: the shim died, or somebody else
        deleted the process before we asked.  Raises ``DeadlineExceeded``; the process goes on.
        """
        deadline = Deadline(timeout)
        try:
            with holding(self._asking, deadline) as is_ours:
                if not is_ours:
                    raise self._overdue(timeout)
                while self._exit is None:
                    self._exit = self._ask(deadline)
        except DeadlineExceeded:
            raise self._overdue(timeout) from None
        return self._exit

    def poll(self) -> Exit | None:
        """How it ended, ``None`` while it runs; does not wait."""
        with holding(self._asking, Deadline(0)) as is_ours:
            if is_ours and self._exit is None:  # else somebody waits
                self._exit = self._ask(None)
        return self._exit

    def _ask(self, deadline: Deadline | None) -> Exit | None:
        """How it ended, if that is known without a deadline; ``None`` where the daemon has to be
        asked again."""
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
                return self._reconciled(error)
        if deadline is not None:
            self._await_daemon(deadline)
        return None

    def _await_daemon(self, deadline: Deadline) -> None:
        """Wait for a daemon that is away.  Raises ``Unavailable`` for one that stays so."""
        bound = deadline.sooner(_RESTART_TIMEOUT)
        for pause in backoff(0.02, 1.0):
            try:
                asking = self._service.with_options(timeout=bound.remaining(), wait_for_ready=True)
                asking.get(self.container_id)
                return
            except NotFound:
                return
            except DeadlineExceeded:
                if deadline.expired:
                    raise
                raise Unavailable(
                    f"the daemon has not come back within {_RESTART_TIMEOUT:.0f} s",
                    remedy="Start it; what runs in its containers goes on",
                ) from None
            except ContainerdError as error:  # it may go once more while it comes
                if bound.expired or not is_away(error):
                    raise
            time.sleep(pause)

    def _reconciled(self, error: ContainerdError) -> Exit:
        """What there is to be known when a wait has failed: that of a dead shim does."""
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
        """Have whoever waits get ``Cancelled``; from any thread.  The process goes on."""
        waiting = self._waiting
        if waiting is not None:
            waiting.cancel()

    def _overdue(self, timeout: float | None) -> DeadlineExceeded:
        return DeadlineExceeded(
            f"process {self.id} has not ended after {timeout} s", remedy="Raise timeout="
        )

    def status(self) -> ProcessStatus:
        """Raises ``NotFound`` for a process that was deleted."""
        return self._service.get(self.container_id, self.exec_id)

    def kill(self, signal: int | str = signals.SIGTERM, *, all: bool = False) -> None:
        """Send a signal by number or name (``"SIGTERM"``, ``"TERM"``); ``all``: to every process
        of the container.

        Raises ``NotFound`` for a process that has ended, ``InvalidArgument`` for no signal.
        """
        number = signal_number(signal)
        self._service.kill(self.container_id, number, self.exec_id, all=all)

    def stop(self, timeout: float = 10.0, *, signal: int | str | None = None) -> Exit:
        """Ask it to end, by ``signal`` or the one that its image names, else ``SIGTERM``; after
        ``timeout`` seconds kill it.  Returns how it ended."""
        with suppress(NotFound):  # it has ended
            self.kill(self._stop_signal if signal is None else signal)
        try:
            return self.wait(timeout)
        except DeadlineExceeded:
            with suppress(NotFound):
                self._kill_hard()
            return self.wait(_KILL_TIMEOUT)

    @property
    def _stop_signal(self) -> int | str:
        return signals.SIGTERM

    def resize(self, columns: int, rows: int) -> None:
        """Tell it that its terminal has another size.  Raises as ``kill``, and ``Unknown`` for
        one without a terminal."""
        self._service.resize_pty(self.container_id, columns, rows, self.exec_id)

    def close_io(self) -> None:
        """Tell the shim that no more input comes."""
        self._service.close_io(self.container_id, self.exec_id)

    # ---- the end ---------------------------------------------------------------------------

    def delete(self, *, force: bool = False) -> Exit | None:
        """Forget it, and with ``force`` kill it first; returns how it ended, ``None`` if it was
        deleted already.

        Raises ``FailedPrecondition`` for one that runs, without ``force``.
        """
        if force and self._exit is None:
            with suppress(NotFound, FailedPrecondition, Unknown):
                self._kill_hard()
                self.wait(_KILL_TIMEOUT)
        stdio = None
        if self.streams is None:  # somebody else's, who may have left its FIFOs to us
            with suppress(NotFound):
                stdio = self.status().stdio
        elif force or self.poll() is not None:  # of one that runs on, nothing must be lost
            self.streams.drain()
        with LoggedStep(_LOGGER, "delete process %s", self.id):
            ended = self._delete()
        self._stop_waiting()
        if self.streams is not None:
            self.streams.close()
        elif stdio is not None:
            discard_fifos(stdio)
        return ended

    def _kill_hard(self) -> None:
        self.kill(signals.SIGKILL)

    def kill_quietly(self) -> None:
        """As far as it can be killed."""
        with suppress(ContainerdError):
            self._kill_hard()

    def _delete(self) -> Exit | None:
        try:
            return self._forget()
        except NotFound:
            return None
        except Unknown as error:
            # Of a shim that died, the daemon says so once it has cleaned up after it.
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

    def _forget(self) -> Exit:
        return self._service.delete_process(self.container_id, self.exec_id)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        end_block(kind, lambda: self.delete(force=True), self.delete_quietly)

    def delete_quietly(self) -> None:
        """Kill and delete on the way out of a failure; never hides it."""
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
    """A signal's number on Linux.  Raises ``InvalidArgument``."""
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
        raise InvalidArgument(f"{signal!r} is no signal", remedy="Write SIGTERM, TERM or 15")
    return number
