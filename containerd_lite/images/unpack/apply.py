"""Unpacks one layer into one snapshot: prepare, apply, commit, and clean-up after a failure.

The daemon's differ reads and decompresses the layer. Some snapshotters do not need the differ,
because they get the content of the layer themselves.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress

from ...errors import AlreadyExists, ContainerdError, DiffIDMismatch, NotFound
from ...oci.descriptor import Descriptor
from ...records import record
from ...services._types import Mount
from ...services.diff import DiffService
from ...services.snapshots import SnapshotInfo, SnapshotService
from ...store.protocol import ContentStore
from ...store.write_locks import write_lock
from ..gc_labels import UNCOMPRESSED
from ..job import Job

#: Label of an active snapshot: the name under which the snapshot will be committed.
_SNAPSHOT_REF = "containerd.io/snapshot.ref"
#: Prefix of the annotations of a layer that the snapshotter receives as labels (core/snapshots,
#: FilterInheritedLabels).
_INHERITED_PREFIX = "containerd.io/snapshot/"
#: Label by which a snapshotter says that it fetches the content of a snapshot itself.
_REMOTE = "containerd.io/snapshot/remote"
#: Labels that an image must not set. A snapshotter sets ``remote`` itself. The mappings would give
#: the layer's files to users of the host. A diff ID is the address of trusted content.
_RESERVED = {
    _REMOTE,
    "containerd.io/snapshot/uidmapping",
    "containerd.io/snapshot/gidmapping",
    "containerd.io/snapshot/diff-id",
    "containerd.io/snapshot/parent-chain-id",
}
_OVERLAYFS = "overlayfs"
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


class ParentGone(NotFound):
    """A parent snapshot was garbage-collected before a child was prepared on it."""


class Applier:
    """Makes snapshots from layers in one snapshotter; each call works on one layer."""

    def __init__(
        self, store: ContentStore, snapshots: SnapshotService, differ: DiffService, job: Job
    ) -> None:
        self._store = store
        self._snapshots = snapshots
        self._differ = differ
        self._job = job

    def find(self, name: str) -> SnapshotInfo | None:
        """Return the committed snapshot ``name``, or ``None`` if it does not exist."""
        return self._snapshots.find(name)

    def is_remote(self, snapshot: SnapshotInfo, layer: Descriptor) -> bool:
        """Return whether the snapshotter fetches the layer itself and the store lacks the layer."""
        if _REMOTE not in snapshot.labels:
            return False
        with suppress(NotFound):
            self._store.info(layer.digest)
            return False
        return True

    def lock(self, name: str) -> AbstractContextManager[None]:
        """Return a lock; on this machine, only the holder of the lock makes the snapshot."""
        return write_lock(
            (self._store.identity, self._snapshots.snapshotter, name), self._job.check
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
        labels = {**_inherited_labels(step.layer), _SNAPSHOT_REF: step.name}
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

    def fill(self, prepared: Prepared, wait_for: WaitFor, *, is_parentless: bool = False) -> None:
        """Wait for the layer's content, then unpack the layer.

        Args:
            prepared: The active snapshot.
            wait_for: A function that waits for the layer's content.
            is_parentless: Whether the snapshot was prepared without a parent. If true, the
                commit must set the parent.

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
        applied = self._differ.apply(step.layer, mounts)
        if applied.digest != step.diff_id:
            raise DiffIDMismatch(
                f"layer {step.layer.digest} has the diff ID {applied.digest}, but "
                f"the config says {step.diff_id}",
                remedy="Do not run the image: it is broken or forged",
            )

    def commit(self, prepared: Prepared, parent: str = "") -> None:
        """Commit the snapshot under its name.

        Args:
            prepared: The active snapshot.
            parent: The parent to set if the snapshot was prepared without a parent.
        """
        step = prepared.step
        try:
            self._snapshots.commit(step.name, prepared.key, prepared.labels, parent=parent)
        except AlreadyExists:  # another client has committed the same snapshot
            self._remove(prepared)

    def label(self, step: Step) -> None:
        """Label an unpacked layer with its diff ID."""
        self._store.update(step.layer.digest, {UNCOMPRESSED: step.diff_id})

    @contextmanager
    def removing(self, *prepared: Prepared) -> Iterator[list[Prepared]]:
        """Remove active snapshots if the block fails.

        Yields:
            A list of the snapshots to remove. At first, the list contains all snapshots in
            ``prepared``. The block can change the list.
        """
        uncommitted = list(prepared)
        try:
            yield uncommitted
        except BaseException:
            for snapshot in uncommitted:
                self._remove(snapshot)
            raise

    def _remove(self, prepared: Prepared) -> None:
        """Remove an active snapshot; ignore errors, because they would hide an earlier error."""
        with suppress(ContainerdError):
            self._snapshots.remove(prepared.key)


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
