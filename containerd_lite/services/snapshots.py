"""containerd.services.snapshots.v1: filesystems of layers, one snapshotter at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Literal

from ..errors import NotFound, Unimplemented
from ..records import field, record
from ..schema.pool import CONTAINERD, DynamicMessage, encode
from ..schema.values import datetime_of, dict_of, mask
from ..transport.channel import Channel
from ._base import CallContext, Service
from ._types import Mount, mounts_of
from .filters import Filter

_PLUGINS = "containerd.services.introspection.v1.Introspection/Plugins"
_SNAPSHOTTER = "io.containerd.snapshotter.v1"
_REBASE, _REMAP = "rebase", "remap-ids"
SnapshotKind = Literal["unknown", "view", "active", "committed"]
_KINDS: tuple[SnapshotKind, ...] = ("unknown", "view", "active", "committed")


@record(frozen=True)
class SnapshotInfo:
    """A snapshot by its name."""

    name: str
    parent: str
    kind: SnapshotKind
    created_at: datetime
    updated_at: datetime
    labels: dict[str, str] = field(default_factory=dict, hash=False)


@record(frozen=True)
class Usage:
    """What a snapshot takes, its parents not counted: bytes and inodes."""

    size: int
    inodes: int


class SnapshotService(Service):
    """The snapshots of a namespace in one snapshotter, ``overlayfs`` unless told otherwise."""

    _name = "containerd.services.snapshots.v1.Snapshots"

    def __init__(
        self, channel: Channel, context: CallContext, snapshotter: str = "overlayfs"
    ) -> None:
        super().__init__(channel, context)
        self.snapshotter = snapshotter
        self._capabilities: frozenset[str] | None = None

    def prepare(
        self, key: str, parent: str = "", labels: Mapping[str, str] | None = None
    ) -> tuple[Mount, ...]:
        """A writable snapshot on ``parent``; returns its mounts.  Raises ``AlreadyExists``."""
        return self._make("Prepare", key, parent, labels)

    def view(
        self, key: str, parent: str = "", labels: Mapping[str, str] | None = None
    ) -> tuple[Mount, ...]:
        """A read-only snapshot on ``parent``; returns its mounts.  Raises ``AlreadyExists``."""
        return self._make("View", key, parent, labels)

    def _make(
        self, method: str, key: str, parent: str, labels: Mapping[str, str] | None
    ) -> tuple[Mount, ...]:
        fields = self._fields(key=key, parent=parent, labels=dict(labels or {}))
        return mounts_of(self._call(method, fields).mounts)

    def mounts(self, key: str) -> tuple[Mount, ...]:
        """Raises ``NotFound``."""
        return mounts_of(self._call("Mounts", self._fields(key=key)).mounts)

    def commit(
        self,
        name: str,
        key: str,
        labels: Mapping[str, str] | None = None,
        *,
        parent: str = "",
    ) -> None:
        """Make the active snapshot ``key`` the committed one ``name``.

        ``parent``, since 2.2, is put below a snapshot that was prepared without one; it takes a
        snapshotter that can ``rebase``.  Others would not look at it, so the daemon is asked
        first, and ``Unimplemented`` is raised for them.  Raises ``AlreadyExists``, ``NotFound``.
        """
        if parent and not self.can_rebase():
            error = Unimplemented(
                f"snapshotter {self.snapshotter} cannot put a parent below a snapshot",
                operation="Snapshots.Commit",
                address=self._channel.name,
            )
            explained = self._explained(error, CONTAINERD.method(f"{self._name}/Commit"))
            explained.remedy += (
                "; a parent in commit came with 2.2, and takes the capability rebase"
            )
            raise explained
        fields = self._fields(name=name, key=key, labels=dict(labels or {}), parent=parent)
        self._call("Commit", fields, is_long=True)

    def can_rebase(self) -> bool:
        """Whether ``commit`` takes a parent."""
        return _REBASE in self.capabilities()

    def can_remap(self) -> bool:
        """Whether labels have it show files under the ids of a user namespace; since 2.0."""
        return _REMAP in self.capabilities()

    def capabilities(self) -> frozenset[str]:
        """What the snapshotter says that it can do; the daemon is asked once for this object."""
        if self._capabilities is None:
            asked = CONTAINERD.method(_PLUGINS)
            wanted = Filter("type") == _SNAPSHOTTER, Filter("id") == self.snapshotter
            request = asked.request(filters=[wanted[0] & wanted[1]])
            reply = self._exchange(asked, encode(request), False)
            self._capabilities = frozenset(
                name for plugin in reply.plugins for name in plugin.capabilities
            )
        return self._capabilities

    def remove(self, key: str) -> None:
        """Raises ``NotFound``; ``FailedPrecondition`` for one that has children."""
        self._call("Remove", self._fields(key=key))

    def find(self, name: str) -> SnapshotInfo | None:
        """The committed snapshot of that name, ``None`` if there is none."""
        with suppress(NotFound):
            found = self.stat(name)
            return found if found.kind == "committed" else None
        return None

    def stat(self, key: str) -> SnapshotInfo:
        """Raises ``NotFound``."""
        return _info(self._call("Stat", self._fields(key=key)).info)

    def update(
        self, name: str, labels: Mapping[str, str], *, fields: Iterable[str] | None = None
    ) -> SnapshotInfo:
        """Set these labels and leave the others; an empty value removes one.

        ``fields`` names what to set (``labels``, ``labels.<key>``) where it is not the labels
        given; an empty one replaces the labels whole.  Raises ``NotFound``, ``InvalidArgument``.
        """
        paths = [f"labels.{key}" for key in labels] if fields is None else list(fields)
        if not paths and fields is None:
            return self.stat(name)  # without a mask it would replace them
        request = self._fields(info={"name": name, "labels": dict(labels)})
        if paths:
            request["update_mask"] = mask(paths)
        return _info(self._call("Update", request).info)

    def list(self, *filters: str) -> Iterator[SnapshotInfo]:
        """The snapshots that match one of ``filters`` (since 1.4), all without any.

        Fields to filter by: ``name``, ``parent``, ``kind``, ``labels``.
        """
        with self._stream("List", self._fields(filters=filters)) as replies:
            for reply in replies:
                yield from map(_info, reply.info)

    def usage(self, key: str) -> Usage:
        """What a snapshot takes; for an active one the daemon counts.  Raises ``NotFound``."""
        reply = self._call("Usage", self._fields(key=key), is_long=True)
        return Usage(reply.size, reply.inodes)

    def cleanup(self) -> None:
        """Remove what removed snapshots left on disk; since 1.4.

        Raises ``Unimplemented`` for a snapshotter that cannot.  containerd's own are none that
        can: their garbage collection does it.
        """
        self._call("Cleanup", self._fields(), is_long=True)

    def _fields(self, **fields: object) -> dict[str, object]:
        return {"snapshotter": self.snapshotter, **fields}


#: Gives the snapshots of a snapshotter by its name, of the default one for ``None``; asking for
#: the default may ask the daemon.
FindSnapshots = Callable[[str | None], SnapshotService]


def _info(message: DynamicMessage) -> SnapshotInfo:
    return SnapshotInfo(
        message.name,
        message.parent,
        _KINDS[message.kind] if 0 <= message.kind < len(_KINDS) else "unknown",
        created_at=datetime_of(message.created_at),
        updated_at=datetime_of(message.updated_at),
        labels=dict_of(message.labels),
    )
