"""The tasks service, containerd.services.tasks.v1: the processes of containers."""

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

#: The states of a process (types/task/task.proto, Status).
TaskState = Literal["unknown", "created", "running", "stopped", "paused", "pausing"]
_STATES: tuple[TaskState, ...] = ("unknown", "created", "running", "stopped", "paused", "pausing")
#: The type names of the runtime spec's resources (containerd's typeurl). Their values are JSON.
LINUX_RESOURCES = JSON_TYPES + "opencontainers/runtime-spec/1/LinuxResources"
WINDOWS_RESOURCES = JSON_TYPES + "opencontainers/runtime-spec/1/WindowsResources"
#: Seconds to wait for the status of a call after the response. The daemon sends both together.
_STATUS_TIMEOUT = 5.0
_RUNC_DETAILS = "containerd.runc.v1.ProcessDetails"


@record(frozen=True)
class Stdio:
    """The standard streams of a process.

    A stream is the path of a FIFO, a URI, or ``""`` for no stream. The scheme of a URI is
    ``file://``, ``binary://`` or, since 2.3, ``binary-v2://``. runc's shim checks
    only whether ``stdout`` is a FIFO or a URI:

    - If ``stdout`` is a URI, the error output goes to the same URI.
    - If ``stdout`` is a FIFO, ``stderr`` must be a FIFO, too. ``stdout`` and ``stderr`` may be the
      same FIFO.

    Attributes:
        stdin: The source of the input.
        stdout: The target of the output.
        stderr: The target of the error output.
        terminal: Whether the process has a terminal.
    """

    stdin: str = ""
    stdout: str = ""
    stderr: str = ""
    terminal: bool = False


#: The file that discards output.
NULL_DEVICE = "/dev/null"
#: No input, and output that is discarded. ``Stdio()`` is not the same: without any path, runc's
#: shim opens the null device only for reading, and a process that writes to it fails (``NewNullIO``
#: in go-runc's io_unix.go).
NULL_STDIO = Stdio("", NULL_DEVICE, NULL_DEVICE)


@record(frozen=True)
class ProcessStatus:
    """A process and its state.

    Attributes:
        container_id: The id of the container.
        exec_id: The exec id, or ``""`` for the first process of a task.
        pid: The process id on the daemon's machine.
        state: The state of the process.
        exit_status: The exit status, if the process has stopped.
        exited_at: When the process ended, or ``None`` if it has not stopped.
        stdio: The streams of the process.
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
    """A process that runs in a container.

    Attributes:
        pid: The process id on the daemon's machine.
        exec_id: The exec id, or ``""`` if runc does not report it. runc reports the exec ids of
            processes that ``exec`` added, but not of the children of these processes.
        info: Information from the runtime.
    """

    pid: int
    exec_id: str = ""
    info: AnyValue | None = None


@record(frozen=True)
class Exit:
    """How a process ended.

    Attributes:
        exit_status: The exit status, or 128 + signal if a signal killed the process. ``None``
            means an unknown status. Daemons never report ``None``: the package ``runtime`` sets
            ``None`` if the shim has died.
        exited_at: When the process ended, or ``None`` if the daemon does not know the time.
    """

    exit_status: int | None
    exited_at: datetime | None


@record(frozen=True)
class Deleted(Exit):
    """How a deleted process ended.

    Attributes:
        pid: The process id of the deleted process.
        exec_id: The exec id of the deleted process, or ``""`` for the first process of a task.
    """

    pid: int = 0
    exec_id: str = ""


class Waiting:
    """A ``Wait`` call that is in progress.

    The caller must close the call, unless ``receive`` or ``poll`` has returned an ``Exit``.
    """

    def __init__(self, stream: MessageStream) -> None:
        self._stream = stream

    def receive(self, timeout: float | None = None) -> Exit:
        """Wait until the process has ended.

        Args:
            timeout: Seconds to wait. Default: until the call's deadline.

        Raises:
            DeadlineExceeded: The process did not end within ``timeout``. The ``Wait`` call
                continues, and ``receive`` can be called again.
        """
        response = self._stream.receive(timeout)
        if response is None:
            raise ProtocolError("the daemon ended a Wait call without a response")
        return self._finish(response)

    def poll(self) -> Exit | None:
        """Return how the process ended, or ``None`` if the response has not arrived. Do not wait.

        If the call has failed, this method raises the same error as ``receive``.
        """
        response = self._stream.poll()
        if response is None:
            return self.receive() if self._stream.raw.is_done else None
        return self._finish(response)

    def _finish(self, response: DynamicMessage) -> Exit:
        with self._stream:
            self._stream.receive(_STATUS_TIMEOUT)
        return _exit(response)

    def cancel(self) -> None:
        """Make ``receive`` raise ``Cancelled``. Any thread may call this method."""
        self._stream.raw.cancel()

    def close(self) -> None:
        """Cancel the call if it has not ended, and release its connection."""
        self._stream.close()

    def __repr__(self) -> str:
        return f"<Waiting {self._stream!r}>"


class TaskService(Service):
    """The tasks of a namespace.

    An ``exec_id`` of ``""`` means the first process of a task. Each method with a
    ``container_id`` raises ``NotFound`` if the container, the task or the process does not exist.
    """

    _name = "containerd.services.tasks.v1.Tasks"

    # ---- creating and deleting -------------------------------------------------------------

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
        """Create the task of a container without starting it, and return the pid.

        Args:
            container_id: The id of the container.
            rootfs: The mounts of the root filesystem.
            stdio: The streams of the process. Default: no input, and the output is discarded.
            options: The options of the runtime. For runc, a ``containerd.runc.v1.Options``.
            checkpoint: The descriptor of a checkpoint to restore. Default: no checkpoint.
            runtime_path: The path of a shim to use instead of the container's shim. Since 1.6.
            task_api_address: The address of a task API that is already running
                (``ttrpc+unix://…``). Since 2.3.1.
            task_api_version: The version of this task API, 2 or 3. Since 2.3.1.

        Raises:
            AlreadyExists: The container has a task.
        """
        fields: dict[str, object] = {
            "container_id": container_id,
            "rootfs": mount_fields(rootfs),
            **_stdio_fields(stdio or NULL_STDIO),
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
        """Add a process to a running task. ``start`` then runs the process.

        Args:
            container_id: The id of the container.
            exec_id: The exec id of the process.
            process: The process, as in the runtime spec (``{"args": ["sh"], "cwd": "/", …}``). The
                new process inherits nothing from the first process of the container.
            stdio: The streams of the process. Default: no input, and the output is discarded.

        Raises:
            AlreadyExists: The exec id is in use.
            InvalidArgument: The exec id is empty.
        """
        fields = {
            **_process_fields(container_id, exec_id),
            **_stdio_fields(stdio or NULL_STDIO),
            "spec": any_fields(_json_any(RUNTIME_PROCESS, process)),
        }
        self._call("Exec", fields)

    def start(self, container_id: str, exec_id: str = "") -> int:
        """Start a process and return its pid."""
        return int(self._call("Start", _process_fields(container_id, exec_id)).pid)

    def wait(self, container_id: str, exec_id: str = "") -> Exit:
        """Wait until a process has ended. The call has no deadline by default."""
        return _exit(self._call("Wait", _process_fields(container_id, exec_id), is_long=True))

    def begin_wait(self, container_id: str, exec_id: str = "") -> Waiting:
        """Begin a call that waits for the end of a process, and return the call at once.

        Call this method before ``start``, so that the ``Wait`` call cannot miss the end of the
        process.
        """
        return Waiting(self._stream("Wait", _process_fields(container_id, exec_id)))

    def delete(self, container_id: str) -> Deleted:
        """Delete a task that has ended.

        Raises:
            Unknown: The task still runs.
        """
        return _deleted(self._call("Delete", {"container_id": container_id}, is_long=True))

    def delete_process(self, container_id: str, exec_id: str) -> Deleted:
        """Delete a process that ``exec`` added and that has ended.

        Raises:
            Unknown: The process still runs.
        """
        fields = _process_fields(container_id, exec_id)
        return _deleted(self._call("DeleteProcess", fields, is_long=True))

    # ---- reading ---------------------------------------------------------------------------

    def get(self, container_id: str, exec_id: str = "") -> ProcessStatus:
        """Return the state of a process.

        Raises:
            NotFound: The process does not exist.
        """
        response = self._call("Get", _process_fields(container_id, exec_id))
        return _status(response.process, container_id, exec_id)

    def list_pids(self, container_id: str) -> list[ProcessInfo]:
        """Return all processes of a running task.

        The list includes child processes and processes that ``exec`` added.
        """
        response = self._call("ListPids", {"container_id": container_id})
        return [_process_info(process) for process in response.processes]

    def metrics(self, *filters: str) -> list[Metric]:
        """Return the resource usage of the running tasks.

        The daemon omits tasks that it cannot measure.

        Args:
            *filters: Only tasks that match one of these filters on ``id`` or ``namespace``.
                Default: all tasks.
        """
        from .metrics import metric_of

        return [metric_of(item) for item in self._call("Metrics", {"filters": filters}).metrics]

    # ---- changing --------------------------------------------------------------------------

    def kill(self, container_id: str, signal: int, exec_id: str = "", *, all: bool = False) -> None:
        """Send a signal to a process.

        Args:
            container_id: The id of the container.
            signal: The number of the signal.
            exec_id: The exec id. Default: the first process.
            all: Whether to send the signal to every process of the container.

        Raises:
            NotFound: The process has ended, or does not exist.
        """
        fields = {**_process_fields(container_id, exec_id), "signal": signal, "all": all}
        self._call("Kill", fields)

    def pause(self, container_id: str) -> None:
        """Freeze every process of a running task."""
        self._call("Pause", {"container_id": container_id})

    def resume(self, container_id: str) -> None:
        """Continue a paused task."""
        self._call("Resume", {"container_id": container_id})

    def resize_pty(self, container_id: str, width: int, height: int, exec_id: str = "") -> None:
        """Set the size of a process's terminal.

        Args:
            container_id: The id of the container.
            width: The number of columns.
            height: The number of rows.
            exec_id: The exec id. Default: the first process.
        """
        fields = {**_process_fields(container_id, exec_id), "width": width, "height": height}
        self._call("ResizePty", fields)

    def close_io(self, container_id: str, exec_id: str = "", *, stdin: bool = True) -> None:
        """Close the stdin of a process.

        The process can still read data that was sent before this call. The process then reaches the
        end of the input when no other program has the FIFO open for writing.

        Args:
            container_id: The id of the container.
            exec_id: The exec id. Default: the first process.
            stdin: Whether to close stdin. If false, the call does nothing.
        """
        self._call("CloseIO", {**_process_fields(container_id, exec_id), "stdin": stdin})

    def update(
        self,
        container_id: str,
        resources: Mapping[str, object] | AnyValue,
        annotations: Mapping[str, str] | None = None,
    ) -> None:
        """Change the limits of a running task. The spec of the container stays as it is.

        Args:
            container_id: The id of the container.
            resources: The limits, as in the runtime spec for Linux (``{"pids": {"limit": 10}}``).
                ``{}`` changes no limit. For Windows, pass an ``AnyValue`` whose type is
                ``WINDOWS_RESOURCES`` and whose value is JSON.
            annotations: Annotations for the shim. Since 1.5.
        """
        fields = {
            "container_id": container_id,
            # Always set resources: without resources, runc's shim crashes, and the container ends.
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
        """Save a running task with CRIU, usually to the content store.

        Args:
            container_id: The id of the container.
            options: The options of the runtime. For runc, a
                ``containerd.runc.v1.CheckpointOptions``. If the options contain an image path, the
                checkpoint is saved at this path.
            parent_checkpoint: The digest of a parent checkpoint.

        Returns:
            The descriptors of the content that was written, or ``()`` if the options contain an
            image path. Only the caller's lease protects the content from garbage collection.
        """
        fields: dict[str, object] = {
            "container_id": container_id,
            "parent_checkpoint": parent_checkpoint,
        }
        if options is not None:
            fields["options"] = any_fields(options)
        response = self._call("Checkpoint", fields, is_long=True)
        return tuple(descriptor_of(descriptor) for descriptor in response.descriptors)

    def list(self, filter: str = "") -> list[ProcessStatus]:
        """Return the first process of each task in the namespace.

        Args:
            filter: A filter. Daemons up to 2.3 ignore the filter.
        """
        response = self._call("List", {"filter": filter})
        return [_status(task, task.container_id or task.id) for task in response.tasks]


def _process_fields(container_id: str, exec_id: str) -> dict[str, object]:
    return {"container_id": container_id, "exec_id": exec_id}


def _stdio_fields(stdio: Stdio) -> Fields:
    return {
        "stdin": stdio.stdin,
        "stdout": stdio.stdout,
        "stderr": stdio.stderr,
        "terminal": stdio.terminal,
    }


def _json_any(type_url: str, value: Mapping[str, object] | AnyValue) -> AnyValue:
    return value if isinstance(value, AnyValue) else AnyValue.of(type_url, value)


def _status(message: DynamicMessage, container_id: str, exec_id: str = "") -> ProcessStatus:
    """Convert a ``containerd.v1.types.Process`` to a record.

    The caller passes the ids, because the field ``id`` of the message is either the container's id
    or the exec id.
    """
    return ProcessStatus(
        container_id=container_id,
        exec_id=exec_id,
        pid=message.pid,
        state=_STATES[message.status] if 0 <= message.status < len(_STATES) else "unknown",
        exit_status=message.exit_status,
        exited_at=moment(message, "exited_at"),
        stdio=Stdio(message.stdin, message.stdout, message.stderr, message.terminal),
    )


def _process_info(message: DynamicMessage) -> ProcessInfo:
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
