"""containerd.services.tasks.v1: the processes of containers.

``exec_id`` is ``""`` for a task's first process everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from ..schema.pool import DynamicMessage
from ..schema.values import datetime_of
from ._base import Service
from ._types import AnyValue, Mount, any_fields, mount_fields

#: types/task/task.proto, Status.
_STATES = ("unknown", "created", "running", "stopped", "paused", "pausing")


@dataclass(frozen=True)
class Stdio:
    """Where a process's streams go: FIFOs' paths, ``file://`` or ``binary://`` URIs, or ``""``."""

    stdin: str = ""
    stdout: str = ""
    stderr: str = ""
    terminal: bool = False


@dataclass(frozen=True)
class ProcessStatus:
    """A process: ``state`` is ``created running stopped paused pausing`` or ``unknown``."""

    container_id: str
    exec_id: str
    pid: int
    state: str
    exit_status: int
    exited_at: datetime
    stdio: Stdio


@dataclass(frozen=True)
class Exit:
    """How a process ended: its exit status (128 + signal if it was killed), and when."""

    exit_status: int
    exited_at: datetime


class TaskService(Service):
    """The tasks of a namespace."""

    _name = "containerd.services.tasks.v1.Tasks"

    def create(
        self,
        container_id: str,
        rootfs: Iterable[Mount] = (),
        stdio: Stdio | None = None,
        options: AnyValue | None = None,
    ) -> int:
        """Make the process, not yet running; returns its pid.  Raises ``AlreadyExists``."""
        stdio = stdio or Stdio()
        fields: dict[str, object] = {
            "container_id": container_id,
            "rootfs": mount_fields(rootfs),
            "stdin": stdio.stdin,
            "stdout": stdio.stdout,
            "stderr": stdio.stderr,
            "terminal": stdio.terminal,
        }
        if options is not None:
            fields["options"] = any_fields(options)
        return int(self._call("Create", fields).pid)

    def start(self, container_id: str, exec_id: str = "") -> int:
        """Returns the pid."""
        return int(self._call("Start", _process(container_id, exec_id)).pid)

    def get(self, container_id: str, exec_id: str = "") -> ProcessStatus:
        """Raises ``NotFound``."""
        return _status(self._call("Get", _process(container_id, exec_id)).process)

    def list(self) -> list[ProcessStatus]:
        return [_status(found) for found in self._call("List").tasks]

    def wait(self, container_id: str, exec_id: str = "") -> Exit:
        """Wait until the process has ended; no deadline unless one was asked for."""
        reply = self._call("Wait", _process(container_id, exec_id), is_long=True)
        return Exit(reply.exit_status, datetime_of(reply.exited_at))

    def kill(self, container_id: str, signal: int, exec_id: str = "", *, all: bool = False) -> None:
        """``all`` signals every process of the container.  Raises ``NotFound`` if it has ended."""
        fields = {**_process(container_id, exec_id), "signal": signal, "all": all}
        self._call("Kill", fields)

    def delete(self, container_id: str, exec_id: str = "") -> Exit:
        """Forget a process that has ended.  Raises ``FailedPrecondition`` while it runs."""
        if exec_id:
            reply = self._call("DeleteProcess", _process(container_id, exec_id), is_long=True)
        else:
            reply = self._call("Delete", {"container_id": container_id}, is_long=True)
        return Exit(reply.exit_status, datetime_of(reply.exited_at))

    def close_io(self, container_id: str, exec_id: str = "") -> None:
        """Close the process's stdin: what it has not read is still there for it."""
        self._call("CloseIO", {**_process(container_id, exec_id), "stdin": True})


def _process(container_id: str, exec_id: str) -> dict[str, object]:
    return {"container_id": container_id, "exec_id": exec_id}


def _status(message: DynamicMessage) -> ProcessStatus:
    return ProcessStatus(
        container_id=message.container_id or message.id,
        exec_id=message.id if message.container_id else "",
        pid=message.pid,
        state=_STATES[message.status] if 0 <= message.status < len(_STATES) else "unknown",
        exit_status=message.exit_status,
        exited_at=datetime_of(message.exited_at),
        stdio=Stdio(message.stdin, message.stdout, message.stderr, message.terminal),
    )
