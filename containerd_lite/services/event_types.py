"""What events say: a record for each type of event.

What lives here: the records, and one table of them.  What may not: RPCs, messages.

Fields are called as in containerd's ``events/*.proto``.  All have a default: an event from a
daemon that does not know a field yet has it empty.
"""

from __future__ import annotations

from datetime import datetime
from typing import TypeAlias, get_args

from ..records import field, record
from ..unread import Unread
from ._types import AnyValue, Mount

# ---- containers, images, namespaces ----------------------------------------------------------


@record(frozen=True)
class ContainerRuntime:
    """The runtime of a container, and its options if it has some."""

    name: str = ""
    options: AnyValue | None = None


@record(frozen=True)
class ContainerCreate:
    """``/containers/create``; ``image`` is the image's name."""

    id: str = ""
    image: str = ""
    runtime: ContainerRuntime | None = None


@record(frozen=True)
class ContainerUpdate:
    """``/containers/update``"""

    id: str = ""
    image: str = ""
    labels: dict[str, str] = field(default_factory=dict, hash=False)
    snapshot_key: str = ""


@record(frozen=True)
class ContainerDelete:
    """``/containers/delete``"""

    id: str = ""


@record(frozen=True)
class ImageCreate:
    """``/images/create``"""

    name: str = ""
    labels: dict[str, str] = field(default_factory=dict, hash=False)


@record(frozen=True)
class ImageUpdate:
    """``/images/update``"""

    name: str = ""
    labels: dict[str, str] = field(default_factory=dict, hash=False)


@record(frozen=True)
class ImageDelete:
    """``/images/delete``"""

    name: str = ""


@record(frozen=True)
class NamespaceCreate:
    """``/namespaces/create``"""

    name: str = ""
    labels: dict[str, str] = field(default_factory=dict, hash=False)


@record(frozen=True)
class NamespaceUpdate:
    """``/namespaces/update``"""

    name: str = ""
    labels: dict[str, str] = field(default_factory=dict, hash=False)


@record(frozen=True)
class NamespaceDelete:
    """``/namespaces/delete``"""

    name: str = ""


# ---- content, snapshots ----------------------------------------------------------------------


@record(frozen=True)
class ContentCreate:
    """``/content/create``, since 2.1; ``size`` in bytes, ``mediaType`` since 2.4."""

    digest: str = ""
    size: int = 0
    mediaType: str = ""


@record(frozen=True)
class ContentDelete:
    """``/content/delete``"""

    digest: str = ""


@record(frozen=True)
class SnapshotPrepare:
    """``/snapshot/prepare``: an active snapshot, or (``/snapshot/view``) one to look at."""

    key: str = ""
    parent: str = ""
    snapshotter: str = ""


@record(frozen=True)
class SnapshotCommit:
    """``/snapshot/commit``: what was ``key`` is now ``name``."""

    key: str = ""
    name: str = ""
    snapshotter: str = ""


@record(frozen=True)
class SnapshotRemove:
    """``/snapshot/remove``"""

    key: str = ""
    snapshotter: str = ""


# ---- tasks -----------------------------------------------------------------------------------


@record(frozen=True)
class TaskIO:
    """Where a task's input and output go: paths of FIFOs, or URIs."""

    stdin: str = ""
    stdout: str = ""
    stderr: str = ""
    terminal: bool = False


@record(frozen=True)
class TaskCreate:
    """``/tasks/create``; ``bundle`` is the folder with the runtime spec.

    ``checkpoint`` is where the task was restored from, if it was.
    """

    container_id: str = ""
    bundle: str = ""
    rootfs: tuple[Mount, ...] = ()
    io: TaskIO | None = None
    checkpoint: str = ""
    pid: int = 0


@record(frozen=True)
class TaskStart:
    """``/tasks/start``"""

    container_id: str = ""
    pid: int = 0


@record(frozen=True)
class TaskDelete:
    """``/tasks/delete``; ``id`` is the exec's, ``""`` or ``container_id`` for the task's own.

    Do not count on it: the shim that sends it ends at that moment, and with 2.1 may be quicker.
    """

    container_id: str = ""
    pid: int = 0
    exit_status: int = 0
    exited_at: datetime | None = None
    id: str = ""


@record(frozen=True)
class TaskExit:
    """``/tasks/exit``; ``id`` is the exec's, ``container_id`` for the task's first process."""

    container_id: str = ""
    id: str = ""
    pid: int = 0
    exit_status: int = 0
    exited_at: datetime | None = None


@record(frozen=True)
class TaskOOM:
    """``/tasks/oom``"""

    container_id: str = ""


@record(frozen=True)
class TaskExecAdded:
    """``/tasks/exec-added``"""

    container_id: str = ""
    exec_id: str = ""


@record(frozen=True)
class TaskExecStarted:
    """``/tasks/exec-started``"""

    container_id: str = ""
    exec_id: str = ""
    pid: int = 0


@record(frozen=True)
class TaskPaused:
    """``/tasks/paused``"""

    container_id: str = ""


@record(frozen=True)
class TaskResumed:
    """``/tasks/resumed``"""

    container_id: str = ""


@record(frozen=True)
class TaskCheckpointed:
    """``/tasks/checkpointed``"""

    container_id: str = ""
    checkpoint: str = ""


# ---- sandboxes -------------------------------------------------------------------------------


@record(frozen=True)
class SandboxCreate:
    """``/sandboxes/create``, since 1.7, as all of sandboxes."""

    sandbox_id: str = ""


@record(frozen=True)
class SandboxStart:
    """``/sandboxes/start``"""

    sandbox_id: str = ""


@record(frozen=True)
class SandboxExit:
    """``/sandboxes/exit``"""

    sandbox_id: str = ""
    exit_status: int = 0
    exited_at: datetime | None = None


# ---- events ----------------------------------------------------------------------------------

#: What containerd itself publishes.
Payload: TypeAlias = (
    ContainerCreate
    | ContainerUpdate
    | ContainerDelete
    | ContentCreate
    | ContentDelete
    | ImageCreate
    | ImageUpdate
    | ImageDelete
    | NamespaceCreate
    | NamespaceUpdate
    | NamespaceDelete
    | SandboxCreate
    | SandboxStart
    | SandboxExit
    | SnapshotPrepare
    | SnapshotCommit
    | SnapshotRemove
    | TaskCreate
    | TaskStart
    | TaskDelete
    | TaskExit
    | TaskOOM
    | TaskExecAdded
    | TaskExecStarted
    | TaskPaused
    | TaskResumed
    | TaskCheckpointed
)


@record(frozen=True)
class Gap:
    """The daemon was away, and what happened between ``since`` and ``until`` is not known.

    Not the daemon's: ``subscribe(reconnect=True)`` makes it.  ``since`` is when the last event
    that did come happened, or when the subscription began; ``until`` when the new subscription was
    seen to stand.  ``reason`` says how the old one ended.
    """

    since: datetime
    until: datetime
    reason: str


#: The topic of the event that has a ``Gap``; no daemon publishes on it.
GAP_TOPIC = "/containerd-lite/gap"


@record(frozen=True)
class Event(Unread):
    """One event, as published on ``topic`` (``/tasks/exit``) in ``namespace``.

    ``event`` is the record of its type.  A type that is not known here, and bytes that are not of
    the type that they are said to be, stay an ``AnyValue``.  ``timestamp`` is the daemon's, its
    nanoseconds cut to microseconds.
    """

    timestamp: datetime
    namespace: str
    topic: str
    event: Payload | Gap | AnyValue


_IMAGES, _OTHERS = "containerd.services.images.v1", "containerd.events"

#: Each type by its full name.
TYPES: dict[str, type[Payload]] = {
    f"{_IMAGES if kind.__name__.startswith('Image') else _OTHERS}.{kind.__name__}": kind
    for kind in get_args(Payload)
}
