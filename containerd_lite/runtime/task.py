"""A container's first process.

What lives here: its life from created to deleted.  What may not: streams beyond their paths.
"""

from __future__ import annotations

import signal as signals
from contextlib import suppress

from ..errors import ContainerdError, FailedPrecondition, InvalidArgument, NotFound
from ..services.tasks import Exit, ProcessStatus, TaskService

#: How long a killed process may take to be gone (seconds); only the kernel can hold it up.
_KILL_TIMEOUT = 30.0
_LAST_SIGNAL = 64


class Task:
    """The first process of a container; ``pid`` is the daemon's view of it."""

    def __init__(self, service: TaskService, container_id: str, pid: int) -> None:
        self._service = service
        self.container_id = container_id
        self.pid = pid

    def start(self) -> None:
        self._service.start(self.container_id)

    def wait(self, timeout: float | None = None) -> Exit:
        """Wait until the process has ended; ``timeout`` in seconds, none if ``None``.

        Raises ``DeadlineExceeded``; the process goes on.
        """
        service = self._service if timeout is None else self._service.with_options(timeout=timeout)
        return service.wait(self.container_id)

    def status(self) -> ProcessStatus:
        """Raises ``NotFound`` for a task that was deleted."""
        return self._service.get(self.container_id)

    def kill(self, signal: int | str = signals.SIGTERM, *, all: bool = False) -> None:
        """Send a signal by number or name (``"SIGTERM"``, ``"TERM"``); ``all``: to every process.

        Raises ``NotFound`` for a process that has ended, ``InvalidArgument`` for no signal.
        """
        self._service.kill(self.container_id, signal_number(signal), all=all)

    def close_stdin(self) -> None:
        """Tell the shim that no more input comes."""
        self._service.close_io(self.container_id)

    def delete(self, *, force: bool = False) -> Exit | None:
        """Forget the task, and with ``force`` kill it first; returns how it ended, if it is known.

        Raises ``FailedPrecondition`` for one that runs, without ``force``.
        """
        if force:
            with suppress(NotFound, FailedPrecondition):
                self.kill(signals.SIGKILL, all=True)
                self.wait(_KILL_TIMEOUT)
        try:
            return self._service.delete(self.container_id)
        except NotFound:
            return None

    def __repr__(self) -> str:
        return f"<Task {self.container_id} pid={self.pid}>"


def signal_number(signal: int | str) -> int:
    """A signal's number on Linux.  Raises ``InvalidArgument``."""
    name = str(signal).upper()
    with suppress(KeyError):
        return signals.Signals[name if name.startswith("SIG") else f"SIG{name}"].value
    if name.isascii() and name.isdigit() and int(name) <= _LAST_SIGNAL:
        return int(name)
    raise InvalidArgument(f"{signal!r} is no signal", remedy="Write SIGTERM, TERM or 15")


def delete_quietly(task: Task) -> None:
    """Kill and delete on the way out of a failure; never hides it."""
    with suppress(ContainerdError):
        task.delete(force=True)
