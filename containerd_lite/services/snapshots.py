"""The snapshots service, containerd.services.snapshots.v1: snapshots of filesystems."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Literal

from ..errors import NotFound, Unimplemented
from ..oci.platform import Platform, rank
from ..records import field, record
from ..schema.pool import CONTAINERD, DynamicMessage, encode
from ..schema.values import datetime_of, dict_of, mask
from ..transport.channel import Channel
from ._base import CallContext, Service
from ._types import Mount, mounts_of, platform_of
from .filters import Filter
from .since import release_of

_PLUGINS = "containerd.services.introspection.v1.Introspection/Plugins"
_SNAPSHOTTER = "io.containerd.snapshotter.v1"
#: Names of capabilities of snapshotters.
_REBASE, _REMAP = "rebase", "remap-ids"
#: The first release that maps several ranges of ids (containerd's core/mount).
_REMAP_SEVERAL = (2, 1)
SnapshotKind = Literal["unknown", "view", "active", "committed"]
_KINDS: tuple[SnapshotKind, ...] = ("unknown", "view", "active", "committed")


@record(frozen=True)
class SnapshotInfo:
    """A snapshot.

    Attributes:
        name: The key of the snapshot, or its name if it is committed.
        parent: The name of the parent snapshot, or ``""`` if the snapshot has no parent.
        kind: ``view``, ``active`` or ``committed``.
        created_at: When the snapshot was created.
        updated_at: When the snapshot was last changed.
        labels: The labels of the snapshot.
    """

    name: str
    parent: str
    kind: SnapshotKind
    created_at: datetime
    updated_at: datetime
    labels: dict[str, str] = field(default_factory=dict, hash=False)


@record(frozen=True)
class Usage:
    """The disk usage of a snapshot without its parents: bytes, and the number of inodes."""

    size: int
    inodes: int


class SnapshotService(Service):
    """The snapshots of a namespace in one snapshotter.

    Args:
        channel: The channel to the daemon.
        context: The options of the calls.
        snapshotter: The name of the snapshotter.
    """

    _name = "containerd.services.snapshots.v1.Snapshots"

    def __init__(
        self, channel: Channel, context: CallContext, snapshotter: str = "overlayfs"
    ) -> None:
        super().__init__(channel, context)
        self.snapshotter = snapshotter
        self._plugin: tuple[frozenset[str], tuple[Platform, ...]] | None = None

    def prepare(
        self, key: str, parent: str = "", labels: Mapping[str, str] | None = None
    ) -> tuple[Mount, ...]:
        """Create a writable snapshot and return its mounts.

        The daemon's garbage collection deletes a snapshot that nothing refers to: no lease, no
        container, no label of content or of an image, and no child. It can run right after this
        call. So call this method in a block of ``Client.lease()`` or ``lease_service.joining(id)``,
        or pass the label ``lifetimes.ROOT`` to keep the snapshot until ``remove``. A collection
        deletes the snapshot after the block, unless a container then uses it.

        Args:
            key: The key of the snapshot.
            parent: The name of the parent. Default: an empty snapshot without a parent.
            labels: The labels of the snapshot, such as ``{lifetimes.ROOT: ""}``.

        Raises:
            AlreadyExists: A snapshot with this key exists.
            NotFound: The parent does not exist.
        """
        return self._create("Prepare", key, parent, labels)

    def view(
        self, key: str, parent: str = "", labels: Mapping[str, str] | None = None
    ) -> tuple[Mount, ...]:
        """Create a read-only snapshot and return its mounts.

        Garbage collection deletes the snapshot unless something refers to it; see ``prepare``.

        Args:
            key: The key of the snapshot.
            parent: The name of the parent. Default: an empty snapshot without a parent.
            labels: The labels of the snapshot.

        Raises:
            AlreadyExists: A snapshot with this key exists.
            NotFound: The parent does not exist.
        """
        return self._create("View", key, parent, labels)

    def _create(
        self, method: str, key: str, parent: str, labels: Mapping[str, str] | None
    ) -> tuple[Mount, ...]:
        fields = self._fields(key=key, parent=parent, labels=dict(labels or {}))
        return mounts_of(self._call(method, fields).mounts)

    def mounts(self, key: str) -> tuple[Mount, ...]:
        """Return the mounts of a snapshot.

        Raises:
            NotFound: The snapshot does not exist.
        """
        return mounts_of(self._call("Mounts", self._fields(key=key)).mounts)

    def commit(
        self,
        name: str,
        key: str,
        labels: Mapping[str, str] | None = None,
        *,
        parent: str = "",
    ) -> None:
        """Turn an active snapshot into a committed snapshot.

        A ``parent`` requires a snapshotter with the capability ``rebase``. Daemons before 2.2 would
        ignore ``parent``. The snapshotter ``native`` would accept it, and make a snapshot without
        the files of the parent. So if ``parent`` is given, this object first asks the daemon for
        the capabilities of the snapshotter, once.

        Args:
            name: The name of the committed snapshot.
            key: The key of the active snapshot.
            labels: The labels of the committed snapshot.
            parent: The name of a parent, for a snapshot that was prepared without a parent. Since
                2.2.

        Raises:
            AlreadyExists: A snapshot with this name exists.
            NotFound: The active snapshot or the parent does not exist.
            Unimplemented: A parent is given, and the snapshotter lacks the capability ``rebase``.
        """
        if parent and not self.can_rebase():
            error = Unimplemented(
                f"snapshotter {self.snapshotter} cannot add a parent to a snapshot",
                operation="Snapshots.Commit",
                address=self._channel.name,
            )
            with_remedy = self._with_release_remedy(
                error, CONTAINERD.method(f"{self._name}/Commit")
            )
            with_remedy.remedy += (
                "; the argument parent came with 2.2, and only snapshotters with the capability "
                "rebase support it"
            )
            raise with_remedy
        fields = self._fields(name=name, key=key, labels=dict(labels or {}), parent=parent)
        self._call("Commit", fields, is_long=True)

    def can_rebase(self) -> bool:
        """Return whether ``commit`` accepts a parent."""
        return _REBASE in self.capabilities()

    def can_remap(self, *, several: bool = False) -> bool:
        """Return whether the snapshotter can map the owners of files to other ids. Since 2.0.

        If true, the labels of a snapshot can request a mapping to the ids of a user namespace.

        Args:
            several: Whether the mapping has several ranges of ids. Since 2.1. No capability of a
                snapshotter says so; this method asks for the daemon's version.
        """
        if _REMAP not in self.capabilities():
            return False
        return not several or release_of(self._daemon_version()) >= _REMAP_SEVERAL

    def capabilities(self) -> frozenset[str]:
        """Return the names of the snapshotter's capabilities.

        This object asks the daemon once, and caches the result.
        """
        return self._ask_plugin()[0]

    def supports(self, platform: Platform) -> bool:
        """Return whether the snapshotter can unpack and run images for a platform.

        This object asks the daemon once, and caches the result. A snapshotter that lists no
        platforms supports no platform.
        """
        return any(rank(supported, platform) is not None for supported in self._ask_plugin()[1])

    def _ask_plugin(self) -> tuple[frozenset[str], tuple[Platform, ...]]:
        """Return the capabilities and the platforms of the snapshotter."""
        if self._plugin is None:
            method = CONTAINERD.method(_PLUGINS)
            conditions = Filter("type") == _SNAPSHOTTER, Filter("id") == self.snapshotter
            request = method.request(filters=[conditions[0] & conditions[1]])
            plugins = self._unary(method, encode(request), False).plugins
            self._plugin = (
                frozenset(name for plugin in plugins for name in plugin.capabilities),
                tuple(platform_of(each) for plugin in plugins for each in plugin.platforms),
            )
        return self._plugin

    def remove(self, key: str) -> None:
        """Remove a snapshot.

        Raises:
            NotFound: The snapshot does not exist.
            FailedPrecondition: The snapshot has children.
        """
        self._call("Remove", self._fields(key=key))

    def find(self, name: str) -> SnapshotInfo | None:
        """Return the committed snapshot with this name, or ``None`` if it does not exist."""
        with suppress(NotFound):
            info = self.stat(name)
            return info if info.kind == "committed" else None
        return None

    def stat(self, key: str) -> SnapshotInfo:
        """Return the parent, kind, times and labels of a snapshot.

        Raises:
            NotFound: The snapshot does not exist.
        """
        return _info(self._call("Stat", self._fields(key=key)).info)

    def update(
        self, name: str, labels: Mapping[str, str], *, fields: Iterable[str] | None = None
    ) -> SnapshotInfo:
        """Set labels of a snapshot and return its new state.

        Args:
            name: The key or name of the snapshot.
            labels: The labels to set. An empty value removes a label.
            fields: The fields to set: ``labels`` or ``labels.<key>``. Default: ``labels.<key>``
                for each key of ``labels``, so that all other labels stay. If ``fields`` is empty,
                ``labels`` replaces all labels.

        Raises:
            NotFound: The snapshot does not exist.
            InvalidArgument: A field cannot be set, or a label is invalid.
        """
        paths = [f"labels.{key}" for key in labels] if fields is None else list(fields)
        if not paths and fields is None:
            return self.stat(name)  # without a mask, the update would replace all labels
        request = self._fields(info={"name": name, "labels": dict(labels)})
        if paths:
            request["update_mask"] = mask(paths)
        return _info(self._call("Update", request).info)

    def list(self, *filters: str) -> Iterator[SnapshotInfo]:
        """Yield the snapshots of the namespace in this snapshotter.

        Args:
            *filters: Only snapshots that match one of these filters on ``name``, ``parent``,
                ``kind`` or ``labels``. Filters exist since 1.4. Default: all snapshots.
        """
        with self._stream("List", self._fields(filters=filters)) as responses:
            for response in responses:
                yield from map(_info, response.info)

    def usage(self, key: str) -> Usage:
        """Return the disk usage of a snapshot.

        The daemon measures the usage of an active snapshot during this call.

        Raises:
            NotFound: The snapshot does not exist.
        """
        response = self._call("Usage", self._fields(key=key), is_long=True)
        return Usage(response.size, response.inodes)

    def cleanup(self) -> None:
        """Delete files on disk that belong to removed snapshots. Since 1.4.

        Raises:
            Unimplemented: The snapshotter does not support this call. containerd's own
                snapshotters do not support this call, because garbage collection deletes the files.
        """
        self._call("Cleanup", self._fields(), is_long=True)

    def _fields(self, **fields: object) -> dict[str, object]:
        return {"snapshotter": self.snapshotter, **fields}


#: A function that takes the name of a snapshotter and returns its ``SnapshotService``. The name
#: ``None`` means the default snapshotter. The function may ask the daemon for the name of the
#: default snapshotter.
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
