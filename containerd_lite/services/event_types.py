"""A record class for each type of event, and a table of the types.

The names of the fields are those in containerd's ``events/*.proto``. Each field has a default,
because older daemons do not send newer fields.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import TypeAlias, get_args

from ..records import field, record
from ..unread import Unread
from ._types import AnyValue, Mount

# ---- containers, images, namespaces ----------------------------------------------------------


@record(frozen=True)
class ContainerRuntime:
    """The name of a container's runtime, and the runtime's options."""

    name: str = ""
    options: AnyValue | None = None


@record(frozen=True)
class ContainerCreate:
    """The event ``/containers/create``. ``image`` is the name of the image."""

    id: str = ""
    image: str = ""
    runtime: ContainerRuntime | None = None


@record(frozen=True)
class ContainerUpdate:
    """The event ``/containers/update``."""

    id: str = ""
    image: str = ""
    labels: dict[str, str] = field(default_factory=dict, hash=False)
    snapshot_key: str = ""


@record(frozen=True)
class ContainerDelete:
    """The event ``/containers/delete``."""

    id: str = ""


@record(frozen=True)
class ImageCreate:
    """The event ``/images/create``."""

    name: str = ""
    labels: dict[str, str] = field(default_factory=dict, hash=False)


@record(frozen=True)
class ImageUpdate:
    """The event ``/images/update``."""

    name: str = ""
    labels: dict[str, str] = field(default_factory=dict, hash=False)


@record(frozen=True)
class ImageDelete:
    """The event ``/images/delete``."""

    name: str = ""


@record(frozen=True)
class NamespaceCreate:
    """The event ``/namespaces/create``."""

    name: str = ""
    labels: dict[str, str] = field(default_factory=dict, hash=False)


@record(frozen=True)
class NamespaceUpdate:
    """The event ``/namespaces/update``."""

    name: str = ""
    labels: dict[str, str] = field(default_factory=dict, hash=False)


@record(frozen=True)
class NamespaceDelete:
    """The event ``/namespaces/delete``."""

    name: str = ""


# ---- content, snapshots ----------------------------------------------------------------------


@record(frozen=True)
class ContentCreate:
    """The event ``/content/create``, since 2.1.

    ``size`` is in bytes. ``mediaType`` exists since 2.4.
    """

    digest: str = ""
    size: int = 0
    mediaType: str = ""


@record(frozen=True)
class ContentDelete:
    """The event ``/content/delete``."""

    digest: str = ""


@record(frozen=True)
class SnapshotPrepare:
    """The event ``/snapshot/prepare`` (an active snapshot) or ``/snapshot/view`` (a view)."""

    key: str = ""
    parent: str = ""
    snapshotter: str = ""


@record(frozen=True)
class SnapshotCommit:
    """The event ``/snapshot/commit``: the active snapshot ``key`` was committed as ``name``."""

    key: str = ""
    name: str = ""
    snapshotter: str = ""


@record(frozen=True)
class SnapshotRemove:
    """The event ``/snapshot/remove``."""

    key: str = ""
    snapshotter: str = ""


# ---- tasks -----------------------------------------------------------------------------------


@record(frozen=True)
class TaskIO:
    """The input and output of a task. Each stream is the path of a FIFO, or a URI."""

    stdin: str = ""
    stdout: str = ""
    stderr: str = ""
    terminal: bool = False


@record(frozen=True)
class TaskCreate:
    """The event ``/tasks/create``.

    ``bundle`` is the directory that contains the runtime spec. ``checkpoint`` is the checkpoint
    from which the task was restored, or ``""``.
    """

    container_id: str = ""
    bundle: str = ""
    rootfs: tuple[Mount, ...] = ()
    io: TaskIO | None = None
    checkpoint: str = ""
    pid: int = 0


@record(frozen=True)
class TaskStart:
    """The event ``/tasks/start``."""

    container_id: str = ""
    pid: int = 0


@record(frozen=True)
class TaskDelete:
    """The event ``/tasks/delete``.

    For an exec, ``id`` is the id of the exec. For the task itself, ``id`` is ``""`` or the
    ``container_id``. Do not rely on this event: the shim sends the event immediately before it
    exits. With containerd 2.1, the shim may exit before it has sent the event.
    """

    container_id: str = ""
    pid: int = 0
    exit_status: int = 0
    exited_at: datetime | None = None
    id: str = ""


@record(frozen=True)
class TaskExit:
    """The event ``/tasks/exit``.

    For an exec, ``id`` is the id of the exec. For the first process of the task, ``id`` is the
    ``container_id``.
    """

    container_id: str = ""
    id: str = ""
    pid: int = 0
    exit_status: int = 0
    exited_at: datetime | None = None


@record(frozen=True)
class TaskOOM:
    """The event ``/tasks/oom``."""

    container_id: str = ""


@record(frozen=True)
class TaskExecAdded:
    """The event ``/tasks/exec-added``."""

    container_id: str = ""
    exec_id: str = ""


@record(frozen=True)
class TaskExecStarted:
    """The event ``/tasks/exec-started``."""

    container_id: str = ""
    exec_id: str = ""
    pid: int = 0


@record(frozen=True)
class TaskPaused:
    """The event ``/tasks/paused``."""

    container_id: str = ""


@record(frozen=True)
class TaskResumed:
    """The event ``/tasks/resumed``."""

    container_id: str = ""


@record(frozen=True)
class TaskCheckpointed:
    """The event ``/tasks/checkpointed``."""

    container_id: str = ""
    checkpoint: str = ""


# ---- sandboxes -------------------------------------------------------------------------------


@record(frozen=True)
class SandboxCreate:
    """The event ``/sandboxes/create``. All sandbox events exist since 1.7."""

    sandbox_id: str = ""


@record(frozen=True)
class SandboxStart:
    """The event ``/sandboxes/start``."""

    sandbox_id: str = ""


@record(frozen=True)
class SandboxExit:
    """The event ``/sandboxes/exit``."""

    sandbox_id: str = ""
    exit_status: int = 0
    exited_at: datetime | None = None


# ---- events ----------------------------------------------------------------------------------

#: The records of all events that containerd itself publishes.
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


#: A type of events, or several types.
EventTypes: TypeAlias = type[Payload] | tuple[type[Payload], ...]


@record(frozen=True)
class Gap:
    """An interruption of a subscription. Events between ``since`` and ``until`` may be lost.

    The daemon does not send gaps. A subscription with ``reconnect=True`` creates gaps.

    Attributes:
        since: The time of the last received event, or the beginning of the subscription if no event
            has been received.
        until: When the new subscription was confirmed.
        reason: Why the old subscription ended.
    """

    since: datetime
    until: datetime
    reason: str


#: The topic of events that contain a ``Gap``. Daemons do not use this topic.
GAP_TOPIC = "/containerd-lite/gap"


@record(frozen=True)
class Event(Unread):
    """One event of the daemon.

    Attributes:
        timestamp: When the event happened, according to the daemon. Truncated to microseconds.
        namespace: The namespace in which the event happened.
        topic: The topic on which the event was published, such as ``/tasks/exit``.
        event: The content of the event, as a record. This record is an ``AnyValue`` if the type of
            the event is unknown or the bytes are invalid.
    """

    timestamp: datetime
    namespace: str
    topic: str
    event: Payload | Gap | AnyValue


#: The topics of events, by the first word of the event types.
_TOPICS = {
    "Container": "containers",
    "Content": "content",
    "Image": "images",
    "Namespace": "namespaces",
    "Sandbox": "sandboxes",
    "Snapshot": "snapshot",
    "Task": "tasks",
}


def topic_of(kind: type[Payload]) -> str:
    """Return the topic on which the daemon publishes events of a type (``"/tasks/exit"``)."""
    word = next(each for each in _TOPICS if kind.__name__.startswith(each))
    verb = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", kind.__name__.removeprefix(word)).lower()
    return f"/{_TOPICS[word]}/{verb}"


#: The protobuf packages of the event types.
_IMAGES, _EVENTS = "containerd.services.images.v1", "containerd.events"

#: The record class of each type of event, by the full name of the type.
TYPES: dict[str, type[Payload]] = {
    f"{_IMAGES if kind.__name__.startswith('Image') else _EVENTS}.{kind.__name__}": kind
    for kind in get_args(Payload)
}
