"""Unpacks one layer into one snapshot: prepare, apply, commit and remove.

The daemon's differ reads and decompresses the layer. Some snapshotters do not need the differ,
because they get the content of the layer themselves.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress

from ...errors import (
    AlreadyExists,
    ContainerdError,
    DiffIDMismatch,
    FailedPrecondition,
    NotFound,
)
from ...oci.descriptor import Descriptor
from ...records import record
from ...services._types import Mount
from ...services.diff import DiffService
from ...services.leases import LeaseService
from ...services.snapshots import SnapshotInfo, SnapshotService
from ...store.write_locks import write_lock
from ..gc_labels import UNCOMPRESSED
from ..job import Job
from ..known_content import KnownContent
from .existing import hold_existing

#: Label of an active snapshot: the name under which the snapshot will be committed.
_SNAPSHOT_REF = "containerd.io/snapshot.ref"
#: Labels that the daemon's own unpacker sets since 2.3: the diff ID of the layer, and the name of
#: the parent of the committed snapshot. Older daemons ignore these labels.
_DIFF_ID = "containerd.io/snapshot/diff-id"
_PARENT_CHAIN_ID = "containerd.io/snapshot/parent-chain-id"
#: Prefix of the annotations of a layer that the snapshotter receives as labels (core/snapshots,
#: FilterInheritedLabels).
_INHERITED_PREFIX = "containerd.io/snapshot/"
#: Label by which a snapshotter says that it fetches the content of a snapshot itself.
_REMOTE = "containerd.io/snapshot/remote"
#: Label by which the EROFS snapshotter says that the content of a snapshot is in its cache.
_CACHED = "io.containerd.erofs.v1/blob.ref"
#: Labels that an image must not set. A snapshotter sets ``remote`` itself. The mappings would give
#: the layer's files to users of the host. A diff ID is the address of trusted content.
_RESERVED = {
    _REMOTE,
    "containerd.io/snapshot/uidmapping",
    "containerd.io/snapshot/gidmapping",
    _DIFF_ID,
    _PARENT_CHAIN_ID,
}
_OVERLAYFS = "overlayfs"
#: A part of the error of the EROFS differ for a snapshot that already has the layer's content.
_IS_STAGED = "read-only snapshot"
#: The maximum number of times that ``prepare`` is tried if the daemon says that a snapshot exists,
#: but does not find this snapshot.
_MOST_TRIES = 3

#: A function that waits until the content of a layer is in the store.
WaitFor = Callable[[Descriptor], object]


@record(frozen=True)
class Step:
    """A layer and the committed snapshot that it becomes.

    Attributes:
        layer: The layer's descriptor.
        diff_id: The digest of the uncompressed layer.
        name: The name of the committed snapshot, a chain ID.
        parent: The name of the parent of this snapshot; ``""`` for the bottom layer.
    """

    layer: Descriptor
    diff_id: str
    name: str
    parent: str


@record(frozen=True)
class Prepared:
    """An active snapshot into which a layer is unpacked.

    Attributes:
        step: The layer, and the committed snapshot that it becomes.
        key: The key of the active snapshot.
        mounts: The mounts of the active snapshot.
        labels: The labels of the active snapshot. The committed snapshot gets the same labels.
    """

    step: Step
    key: str
    mounts: tuple[Mount, ...]
    labels: Mapping[str, str]

    @property
    def is_staged(self) -> bool:
        """Whether the snapshot already has the layer's content. Since 2.4."""
        return bool(self.mounts) and self.mounts[-1].is_read_only


class ParentGone(NotFound):
    """A parent snapshot was garbage-collected before a child was prepared or committed on it."""


class Applier:
    """Makes snapshots from layers in one snapshotter.

    Args:
        content: The content store that has the layers.
        snapshots: The service of the snapshotter.
        differ: The daemon's differ.
        job: The job that unpacking is part of.
        leases: The leases service, whose joined lease holds existing snapshots. Default: existing
            snapshots are not held.
    """

    def __init__(
        self,
        content: KnownContent,
        snapshots: SnapshotService,
        differ: DiffService,
        job: Job,
        leases: LeaseService | None = None,
    ) -> None:
        self._content = content
        self._snapshots = snapshots
        self._differ = differ
        self._job = job
        self._leases = leases

    def hold_existing(
        self, names: Sequence[str], *, is_top_held: bool
    ) -> tuple[int, SnapshotInfo | None]:
        """Return how many of the snapshots exist, and the highest of them; hold this one."""
        return hold_existing(
            names, self._snapshots, self._leases, self._job.check, is_top_held=is_top_held
        )

    def find(self, name: str) -> SnapshotInfo | None:
        """Return the committed snapshot ``name``, or ``None`` if it does not exist."""
        return self._snapshots.find(name)

    def can_rebase(self) -> bool:
        """Return whether ``commit`` accepts a parent."""
        return self._snapshots.can_rebase()

    def missing(self, layers: Iterable[Descriptor]) -> set[str]:
        """Return the digests of the layers that the store lacks."""
        return self._content.missing(layer.digest for layer in layers)

    def lock(self, name: str) -> AbstractContextManager[None]:
        """Return a lock; on this machine, only the holder of the lock makes the snapshot."""
        return write_lock(
            (self._content.identity, self._snapshots.snapshotter, name), self._job.check
        )

    def prepare(self, step: Step, parent: str) -> SnapshotInfo | Prepared:
        """Prepare an active snapshot on ``parent``, unless the committed snapshot exists.

        Returns:
            The active snapshot, or the committed snapshot if it exists already. Another client, or
            the snapshotter itself, can have made the committed snapshot.

        Raises:
            ParentGone: ``parent`` does not exist.
            AlreadyExists: The daemon says that the snapshot exists, but cannot find the snapshot.
        """
        labels = {
            **_inherited_labels(step.layer),
            _SNAPSHOT_REF: step.name,
            _DIFF_ID: step.diff_id,
            **({_PARENT_CHAIN_ID: step.parent} if step.parent else {}),
        }
        for _ in range(_MOST_TRIES):
            key = f"extract-{time.time_ns() % 1_000_000_000}-{os.urandom(3).hex()} {step.name}"
            try:
                return Prepared(step, key, self._snapshots.prepare(key, parent, labels), labels)
            except NotFound as error:
                raise ParentGone(error.message, operation=error.operation) from error
            except AlreadyExists:
                found = self._snapshots.find(step.name)
                if found is not None:
                    return found
        raise AlreadyExists(
            f"{_MOST_TRIES} times in a row, the daemon said that snapshot {step.name} exists and "
            "then did not find it"
        )

    def fill(self, prepared: Prepared, wait_for: WaitFor, *, is_parentless: bool = False) -> bool:
        """Wait for the layer's content, then unpack the layer.

        Args:
            prepared: The active snapshot.
            wait_for: A function that waits for the layer's content.
            is_parentless: Whether the snapshot was prepared without a parent. If true, the
                commit must set the parent.

        Returns:
            Whether the layer was unpacked. It is false if the snapshot is staged.

        Raises:
            DiffIDMismatch: The layer does not have the diff ID that the config lists.
            Cancelled: The job has failed.
        """
        step = prepared.step
        self._job.check()
        wait_for(step.layer)
        self._job.check()
        self._job.report("unpacking", step.layer.digest, 0, step.layer.size)
        mounts: Sequence[Mount] = prepared.mounts
        if is_parentless and step.parent and self._snapshots.snapshotter == _OVERLAYFS:
            mounts = _bind_to_overlay(mounts)
        try:
            applied = self._differ.apply(step.layer, mounts)
        except FailedPrecondition as error:
            if _IS_STAGED not in error.raw_message:
                raise
            return False
        if applied.digest != step.diff_id:
            raise DiffIDMismatch(
                f"layer {step.layer.digest} has the diff ID {applied.digest}, but "
                f"the config says {step.diff_id}",
                remedy="Do not run the image: it is broken or forged",
            )
        return True

    def commit(self, prepared: Prepared, parent: str = "") -> None:
        """Commit the snapshot under its name.

        Args:
            prepared: The active snapshot.
            parent: The parent to set if the snapshot was prepared without a parent.

        Raises:
            ParentGone: ``parent`` does not exist. The active snapshot still exists.
            NotFound: The active snapshot does not exist.
        """
        step = prepared.step
        try:
            self._snapshots.commit(step.name, prepared.key, prepared.labels, parent=parent)
        except AlreadyExists:  # another client has committed the same snapshot
            self.remove(prepared)
        except NotFound as error:
            if not parent:
                raise
            self._snapshots.stat(prepared.key)
            raise ParentGone(error.message, operation=error.operation) from error

    def label(self, step: Step) -> None:
        """Label an unpacked layer with its diff ID."""
        self._content.update(step.layer.digest, {UNCOMPRESSED: step.diff_id})

    def remove(self, prepared: Prepared) -> None:
        """Remove an active snapshot; ignore errors, because they would hide an earlier error."""
        with suppress(ContainerdError):
            self._snapshots.remove(prepared.key)


def is_provided(snapshot: SnapshotInfo | None) -> bool:
    """Return whether the snapshotter itself provides the content, so that no layer is needed."""
    return snapshot is not None and (_REMOTE in snapshot.labels or _CACHED in snapshot.labels)


def _inherited_labels(layer: Descriptor) -> dict[str, str]:
    """Return the annotations of a layer that the snapshotter receives as labels.

    The labels in ``_RESERVED`` are omitted.
    """
    return {
        key: value
        for key, value in layer.annotations.items()
        if key.startswith(_INHERITED_PREFIX) and key not in _RESERVED
    }


def _bind_to_overlay(mounts: Sequence[Mount]) -> Sequence[Mount]:
    """Turn a bind mount into an overlay without lower layers (core/unpack, bindToOverlay).

    With a bind mount, the differ treats the layer as the bottom layer. So for a whiteout, the
    differ deletes files that it has just unpacked. With an overlay mount, the differ writes the
    whiteout to the disk.
    """
    if len(mounts) != 1 or mounts[0].type != "bind":
        return mounts
    options = (option for option in mounts[0].options if option != "rbind")
    return (Mount("overlay", "overlay", "", (*options, f"upperdir={mounts[0].source}")),)
