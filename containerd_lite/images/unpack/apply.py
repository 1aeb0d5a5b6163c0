"""Unpacks one layer into one snapshot: prepare, apply, commit, and clean-up after a failure.

The daemon's differ reads and decompresses the layer. Some snapshotters make snapshots without
the layer's content.
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

#: Label that tells the snapshotter the name under which the snapshot will be committed.
_SNAPSHOT_REF = "containerd.io/snapshot.ref"
#: Prefix of the annotations of a layer that the snapshotter gets as labels (core/snapshots,
#: FilterInheritedLabels).
_INHERITED_PREFIX = "containerd.io/snapshot/"
#: Label by which a snapshotter says that it fetches the content of a snapshot itself.
_REMOTE = "containerd.io/snapshot/remote"
_OVERLAYFS = "overlayfs"
#: How often prepare may say AlreadyExists while stat says NotFound.
_MOST_TRIES = 3

#: Waits until the content of a layer is in the store.
WaitFor = Callable[[Descriptor], object]


@record(frozen=True)
class Step:
    """A layer and the committed snapshot that it becomes.

    Attributes:
        layer: The layer's descriptor.
        diff_id: The digest of the uncompressed layer.
        name: The name of the committed snapshot, a chain ID.
        parent: The name of its parent; ``""`` for the bottom layer.
    """

    layer: Descriptor
    diff_id: str
    name: str
    parent: str


@record(frozen=True)
class Prepared:
    """An active snapshot into which a layer is unpacked.

    Attributes:
        step: The layer.
        key: The key of the active snapshot.
        mounts: The mounts of the active snapshot.
        labels: The labels that the committed snapshot gets, too.
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
        """Return the committed snapshot of this name, ``None`` if it does not exist."""
        return self._snapshots.find(name)

    def is_remote(self, snapshot: SnapshotInfo, layer: Descriptor) -> bool:
        """Return whether the snapshotter fetches the layer itself and the store lacks it."""
        if _REMOTE not in snapshot.labels:
            return False
        with suppress(NotFound):
            self._store.info(layer.digest)
            return False
        return True

    def lock(self, name: str) -> AbstractContextManager[None]:
        """Return a context in which no other block on this machine makes the snapshot ``name``."""
        return write_lock(
            (self._store.identity, self._snapshots.snapshotter, name), self._job.check
        )

    def prepare(self, step: Step, parent: str) -> SnapshotInfo | Prepared:
        """Prepare an active snapshot on ``parent``.

        Returns:
            The active snapshot, or the committed snapshot if it exists. It exists if another
            client has made it, or if the snapshotter has it from another source.

        Raises:
            ParentGone: ``parent`` does not exist.
            AlreadyExists: The daemon says that the snapshot exists, but does not find it.
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

    def fill(self, prepared: Prepared, wait_for: WaitFor, *, is_alone: bool = False) -> None:
        """Wait for the layer's content, then unpack it.

        Args:
            prepared: The active snapshot.
            wait_for: Waits for the content.
            is_alone: Whether the snapshot was prepared without the parent that it gets by commit.

        Raises:
            DiffIDMismatch: The layer does not have the content that the config names.
            Cancelled: The job has failed.
        """
        step = prepared.step
        self._job.check()
        wait_for(step.layer)
        self._job.check()
        self._job.report("unpacking", step.layer.digest, 0, step.layer.size)
        mounts: Sequence[Mount] = prepared.mounts
        if is_alone and step.parent and self._snapshots.snapshotter == _OVERLAYFS:
            mounts = _bind_to_overlay(mounts)
        applied = self._differ.apply(step.layer, mounts)
        if applied.digest != step.diff_id:
            raise DiffIDMismatch(
                f"layer {step.layer.digest} unpacks to {applied.digest}; "
                f"the config says {step.diff_id}",
                remedy="Do not run the image: it is broken or forged",
            )

    def commit(self, prepared: Prepared, parent: str = "") -> None:
        """Commit the snapshot under its name.

        Args:
            prepared: The active snapshot.
            parent: The parent, if the snapshot was prepared without it.
        """
        step = prepared.step
        try:
            self._snapshots.commit(step.name, prepared.key, prepared.labels, parent=parent)
        except AlreadyExists:  # another client was faster
            self._remove(prepared)

    def label(self, step: Step) -> None:
        """Label an unpacked layer with its diff ID."""
        self._store.update(step.layer.digest, {UNCOMPRESSED: step.diff_id})

    @contextmanager
    def removing(self, *prepared: Prepared) -> Iterator[list[Prepared]]:
        """Remove active snapshots if the block fails.

        Yields:
            The list of snapshots to remove, at first ``prepared``. The block may change it.
        """
        uncommitted = list(prepared)
        try:
            yield uncommitted
        except BaseException:
            for snapshot in uncommitted:
                self._remove(snapshot)
            raise

    def _remove(self, prepared: Prepared) -> None:
        """Remove an active snapshot. Ignore errors, which would hide the error that led here."""
        with suppress(ContainerdError):
            self._snapshots.remove(prepared.key)


def _inherited_labels(layer: Descriptor) -> dict[str, str]:
    """Return the layer's annotations for the snapshotter, without its own label.

    Only a snapshotter may set ``_REMOTE``; an image must not.
    """
    return {
        key: value
        for key, value in layer.annotations.items()
        if key.startswith(_INHERITED_PREFIX) and key != _REMOTE
    }


def _bind_to_overlay(mounts: Sequence[Mount]) -> Sequence[Mount]:
    """Turn a bind mount into an overlay without lower layers (core/unpack, bindToOverlay).

    With a bind mount the differ treats the layer as the bottom layer: for a whiteout it deletes
    files that it has just unpacked. With an overlay it writes the whiteout to the disk.
    """
    if len(mounts) != 1 or mounts[0].type != "bind":
        return mounts
    options = (option for option in mounts[0].options if option != "rbind")
    return (Mount("overlay", "overlay", "", (*options, f"upperdir={mounts[0].source}")),)
