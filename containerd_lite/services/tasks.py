"""containerd.services.tasks.v1: the processes of containers.

``exec_id`` is ``""`` for a task's first process everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from ..errors import ProtocolError
from ..oci.descriptor import Descriptor
from ..records import record
from ..schema.pool import CONTAINERD, DynamicMessage, decode
from ..schema.values import JSON_TYPES, RUNTIME_PROCESS, moment
from ._base import Fields, MessageStream, Service
from ._types import (
    AnyValue,
    Mount,
    any_fields,
    any_of,
    descriptor_fields,
    descriptor_of,
    mount_fields,
)

if TYPE_CHECKING:
    from .metrics import Metric

#: types/task/task.proto, Status.
TaskState = Literal["unknown", "created", "running", "stopped", "paused", "pausing"]
_STATES: tuple[TaskState, ...] = ("unknown", "created", "running", "stopped", "paused", "pausing")
#: How containerd's typeurl calls the runtime spec's resources, which are JSON.
LINUX_RESOURCES = JSON_TYPES + "opencontainers/runtime-spec/1/LinuxResources"
WINDOWS_RESOURCES = JSON_TYPES + "opencontainers/runtime-spec/1/WindowsResources"
#: How long the status behind a reply may take, which comes with it (seconds).
_TRAILERS = 5.0
_RUNC_DETAILS = "containerd.runc.v1.ProcessDetails"


@record(frozen=True)
class Stdio:
    """Where a process's streams go: FIFOs' paths, ``file://`` or ``binary://`` URIs, or ``""``.

    runc's shim looks at ``stdout`` for the kind of all: a URI there takes ``stderr`` as well, and
    with FIFOs there must be one for each, or the same.
    """

    stdin: str = ""
    stdout: str = ""
    stderr: str = ""
    terminal: bool = False


@record(frozen=True)
class ProcessStatus:
    """A process and its state.

    ``exit_status`` means something when it is stopped, and ``exited_at`` is ``None`` before.
    """

    container_id: str
    exec_id: str
    pid: int
    state: TaskState
    exit_status: int
    exited_at: datetime | None
    stdio: Stdio


@record(frozen=True)
class ProcessInfo:
    """A process that a container has, ``pid`` as the daemon's machine numbers it.

    ``info`` is what the runtime says of it; of one that was executed, and not of its children,
    runc says the ``exec_id``.
    """

    pid: int
    exec_id: str = ""
    info: AnyValue | None = None


@record(frozen=True)
class Exit:
    """How a process ended: its exit status (128 + signal if it was killed), and when.

    ``exited_at`` is ``None`` for one that was never seen to end.  ``exit_status`` is ``None``
    where nobody knows, which the service never says: ``runtime`` does, of one whose shim died.
    """

    exit_status: int | None
    exited_at: datetime | None


@record(frozen=True)
class Deleted(Exit):
    """How a process ended that is forgotten now, and which one it was."""

    pid: int = 0
    exec_id: str = ""


class Waiting:
    """A wait that the daemon has been told of; ``close`` it unless it was told the end."""

    def __init__(self, stream: MessageStream) -> None:
        self._stream = stream

    def receive(self, timeout: float | None = None) -> Exit:
        """Raises ``DeadlineExceeded`` after ``timeout`` seconds, and may be asked again then."""
        reply = self._stream.receive(timeout)
        if reply is None:
            raise ProtocolError("the daemon ended a wait without a word")
        return self._told(reply)

    def poll(self) -> Exit | None:
        """How it ended, if that has come already; errors as ``receive``."""
        reply = self._stream.poll()
        if reply is None:
            return self.receive() if self._stream.raw.is_done else None
        return self._told(reply)

    def _told(self, reply: DynamicMessage) -> Exit:
        with self._stream:
            self._stream.receive(_TRAILERS)
        return _exit(reply)

    def cancel(self) -> None:
        """Have whoever is in ``receive`` get ``Cancelled``; from any thread."""
        self._stream.raw.cancel()

    def close(self) -> None:
        self._stream.close()


class TaskService(Service):
    """The tasks of a namespace.

    Every method that takes ``container_id`` raises ``NotFound`` where there is no such container,
    task or process.
    """

    _name = "containerd.services.tasks.v1.Tasks"

    # ---- from created to deleted -----------------------------------------------------------

    def create(
        self,
        container_id: str,
        rootfs: Iterable[Mount] = (),
        stdio: Stdio | None = None,
        options: AnyValue | None = None,
        *,
        checkpoint: Descriptor | None = None,
        runtime_path: str = "",
        task_api_address: str = "",
        task_api_version: int = 0,
    ) -> int:
        """Make the process, not yet running; returns its pid.  Raises ``AlreadyExists``.

        ``options`` are the runtime's, ``containerd.runc.v1.Options`` for runc.  ``checkpoint`` is
        content to restore from.  ``runtime_path`` is a shim to use instead of the container's
        (since 1.6).  ``task_api_address`` (``ttrpc+unix://…``) and ``task_api_version`` (2 or 3)
        are of a task API that is there already (since 2.3.1).
        """
        stdio = stdio or Stdio()
        fields: dict[str, object] = {
            "container_id": container_id,
            "rootfs": mount_fields(rootfs),
            **_streams(stdio),
            "runtime_path": runtime_path,
            "task_api_address": task_api_address,
            "task_api_version": task_api_version,
        }
        if options is not None:
            fields["options"] = any_fields(options)
        if checkpoint is not None:
            fields["checkpoint"] = descriptor_fields(checkpoint)
        return int(self._call("Create", fields).pid)

    def exec(
        self,
        container_id: str,
        exec_id: str,
        process: Mapping[str, object] | AnyValue,
        stdio: Stdio | None = None,
    ) -> None:
        """Add a process to a running task, not yet running; ``start`` runs it.

        ``process`` is the runtime spec's (``{"args": ["sh"], "cwd": "/", …}``), all of it:
        nothing is taken from the container's.  Raises ``AlreadyExists`` for an ``exec_id`` that
        is taken, ``InvalidArgument`` for an empty one.
        """
        fields = {
            **_process(container_id, exec_id),
            **_streams(stdio or Stdio()),
            "spec": any_fields(_json_any(RUNTIME_PROCESS, process)),
        }
        self._call("Exec", fields)

    def start(self, container_id: str, exec_id: str = "") -> int:
        """Returns the pid."""
        return int(self._call("Start", _process(container_id, exec_id)).pid)

    def wait(self, container_id: str, exec_id: str = "") -> Exit:
        """Wait until the process has ended; no deadline unless one was asked for."""
        return _exit(self._call("Wait", _process(container_id, exec_id), is_long=True))

    def begin_wait(self, container_id: str, exec_id: str = "") -> Waiting:
        """Have the daemon wait, before ``start`` even: whatever happens then is not missed."""
        return Waiting(self._stream("Wait", _process(container_id, exec_id)))

    def delete(self, container_id: str) -> Deleted:
        """Forget a task that has ended.  Raises ``Unknown`` while it runs."""
        return _deleted(self._call("Delete", {"container_id": container_id}, is_long=True))

    def delete_process(self, container_id: str, exec_id: str) -> Deleted:
        """Forget an executed process that has ended.  Raises ``Unknown`` while it runs."""
        fields = _process(container_id, exec_id)
        return _deleted(self._call("DeleteProcess", fields, is_long=True))

    # ---- looking at them -------------------------------------------------------------------

    def get(self, container_id: str, exec_id: str = "") -> ProcessStatus:
        """Raises ``NotFound``."""
        reply = self._call("Get", _process(container_id, exec_id))
        return _status(reply.process, container_id, exec_id)

    def list_pids(self, container_id: str) -> list[ProcessInfo]:
        """Every process of a running task, its children and executed ones among them."""
        reply = self._call("ListPids", {"container_id": container_id})
        return [_info(found) for found in reply.processes]

    def metrics(self, *filters: str) -> list[Metric]:
        """What the running tasks use; ``filters`` look at ``id`` and ``namespace``.

        A task that cannot be measured is left out.
        """
        from .metrics import metric_of

        return [metric_of(found) for found in self._call("Metrics", {"filters": filters}).metrics]

    # ---- acting on them --------------------------------------------------------------------

    def kill(self, container_id: str, signal: int, exec_id: str = "", *, all: bool = False) -> None:
        """``all`` signals every process of the container.  Raises ``NotFound`` if it has ended."""
        fields = {**_process(container_id, exec_id), "signal": signal, "all": all}
        self._call("Kill", fields)

    def pause(self, container_id: str) -> None:
        """Freeze every process of a running task."""
        self._call("Pause", {"container_id": container_id})

    def resume(self, container_id: str) -> None:
        """Let a paused task go on."""
        self._call("Resume", {"container_id": container_id})

    def resize_pty(self, container_id: str, width: int, height: int, exec_id: str = "") -> None:
        """Tell a process that its terminal has ``width`` columns and ``height`` rows now."""
        fields = {**_process(container_id, exec_id), "width": width, "height": height}
        self._call("ResizePty", fields)

    def close_io(self, container_id: str, exec_id: str = "", *, stdin: bool = True) -> None:
        """Close the process's stdin: what it has not read is still there for it.

        It ends when nobody else has the FIFO open to write.  Without ``stdin`` it does nothing.
        """
        self._call("CloseIO", {**_process(container_id, exec_id), "stdin": stdin})

    def update(
        self,
        container_id: str,
        resources: Mapping[str, object] | AnyValue,
        annotations: Mapping[str, str] | None = None,
    ) -> None:
        """Change a running task's limits.

        ``resources`` are the runtime spec's for Linux (``{"pids": {"limit": 10}}``), or, as an
        ``AnyValue`` of JSON under ``WINDOWS_RESOURCES``, those for Windows; ``{}`` changes none.
        ``annotations`` go to the shim (since 1.5).  The container's spec stays as it is.
        """
        fields = {
            "container_id": container_id,
            # Always there: runc's shim breaks down without, and takes the container with it.
            "resources": any_fields(_json_any(LINUX_RESOURCES, resources)),
            "annotations": dict(annotations or {}),
        }
        self._call("Update", fields)

    def checkpoint(
        self,
        container_id: str,
        options: AnyValue | None = None,
        *,
        parent_checkpoint: str = "",
    ) -> tuple[Descriptor, ...]:
        """Save a running task with CRIU; returns what was written to the content store.

        ``options`` are the runtime's, ``containerd.runc.v1.CheckpointOptions`` for runc; with an
        image path in them it is saved there, and nothing is returned.  ``parent_checkpoint`` is
        a digest.  What is returned belongs to the caller's lease, and to nobody without one.
        """
        fields: dict[str, object] = {
            "container_id": container_id,
            "parent_checkpoint": parent_checkpoint,
        }
        if options is not None:
            fields["options"] = any_fields(options)
        reply = self._call("Checkpoint", fields, is_long=True)
        return tuple(descriptor_of(found) for found in reply.descriptors)

    def list(self, filter: str = "") -> list[ProcessStatus]:
        """The tasks of the namespace.  Daemons up to 2.3 do not look at ``filter``."""
        reply = self._call("List", {"filter": filter})
        return [_status(found, found.container_id or found.id) for found in reply.tasks]


def _process(container_id: str, exec_id: str) -> dict[str, object]:
    return {"container_id": container_id, "exec_id": exec_id}


def _streams(stdio: Stdio) -> Fields:
    return {
        "stdin": stdio.stdin,
        "stdout": stdio.stdout,
        "stderr": stdio.stderr,
        "terminal": stdio.terminal,
    }


def _json_any(type_url: str, value: Mapping[str, object] | AnyValue) -> AnyValue:
    return value if isinstance(value, AnyValue) else AnyValue.of(type_url, value)


def _status(message: DynamicMessage, container_id: str, exec_id: str = "") -> ProcessStatus:
    """The ids come from elsewhere: a message has one ``id``, the container's or the exec's."""
    return ProcessStatus(
        container_id=container_id,
        exec_id=exec_id,
        pid=message.pid,
        state=_STATES[message.status] if 0 <= message.status < len(_STATES) else "unknown",
        exit_status=message.exit_status,
        exited_at=moment(message, "exited_at"),
        stdio=Stdio(message.stdin, message.stdout, message.stderr, message.terminal),
    )


def _info(message: DynamicMessage) -> ProcessInfo:
    if not message.HasField("info"):
        return ProcessInfo(message.pid)
    exec_id = ""
    if message.info.type_url == _RUNC_DETAILS:
        exec_id = decode(CONTAINERD.message(_RUNC_DETAILS), message.info.value).exec_id
    return ProcessInfo(message.pid, exec_id, any_of(message.info))


def _exit(message: DynamicMessage) -> Exit:
    return Exit(message.exit_status, moment(message, "exited_at"))


def _deleted(message: DynamicMessage) -> Deleted:
    exited_at = moment(message, "exited_at")
    return Deleted(message.exit_status, exited_at, message.pid, message.id)
