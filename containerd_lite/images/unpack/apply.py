"""One layer into one snapshot, by the daemon's own differ.

What lives here: preparing a snapshot, those that a snapshotter makes without content, applying
and committing, and clean-up of what is half made.  What may not: the order of layers; reading
layers: decompression is the daemon's.
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

#: Tells a snapshotter which committed snapshot this one is to become.
_SNAPSHOT_REF = "containerd.io/snapshot.ref"
#: A layer's annotations that a snapshotter is told (core/snapshots, FilterInheritedLabels).
_INHERITED = "containerd.io/snapshot/"
#: By this label snapshotters tell that they will fetch the content of a snapshot themselves.
_REMOTE = "containerd.io/snapshot/remote"
_OVERLAYFS = "overlayfs"
#: As often may a snapshot be there for the one who prepares it, and not for the one who looks.
_MOST_TRIES = 3

#: Waits until a layer's content is there.
WaitFor = Callable[[Descriptor], object]


@record(frozen=True)
class Step:
    """A layer, and the committed snapshot that it becomes: ``name``, a chain ID, on ``parent``."""

    layer: Descriptor
    diff_id: str
    name: str
    parent: str


@record(frozen=True)
class Prepared:
    """An active snapshot that a layer goes into; ``labels`` become those of the committed one."""

    step: Step
    key: str
    mounts: tuple[Mount, ...]
    labels: Mapping[str, str]


class ParentGone(NotFound):
    """A snapshot that was there has been collected, before another one stood on it."""


class Applier:
    """Makes snapshots of layers in one snapshotter, one at a time."""

    def __init__(
        self, store: ContentStore, snapshots: SnapshotService, differ: DiffService, job: Job
    ) -> None:
        self._store = store
        self._snapshots = snapshots
        self._differ = differ
        self._job = job

    def find(self, name: str) -> SnapshotInfo | None:
        """The committed snapshot of that name, if it is there."""
        return self._snapshots.find(name)

    def is_remote(self, snapshot: SnapshotInfo, layer: Descriptor) -> bool:
        """Whether the snapshot stands without the layer's content, and is meant to."""
        if _REMOTE not in snapshot.labels:
            return False
        with suppress(NotFound):
            self._store.info(layer.digest)
            return False
        return True

    def lock(self, name: str) -> AbstractContextManager[None]:
        """The block is the only one on this machine that makes the snapshot of that name."""
        return write_lock(
            (self._store.identity, self._snapshots.snapshotter, name), self._job.check
        )

    def prepare(self, step: Step, parent: str) -> SnapshotInfo | Prepared:
        """A snapshot on ``parent`` to unpack into; or the one that is there, for somebody has
        been quicker, or the snapshotter has it from elsewhere.  Raises ``ParentGone``."""
        labels = {**_inherited(step.layer), _SNAPSHOT_REF: step.name}
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
            f"snapshot {step.name} is there, and is not, {_MOST_TRIES} times in a row"
        )

    def fill(self, prepared: Prepared, wait_for: WaitFor, *, is_alone: bool = False) -> None:
        """Unpack the layer, once it has come; ``is_alone`` if it was prepared without the parent
        that it will have.  Raises ``DiffIDMismatch``."""
        step = prepared.step
        self._job.check()
        wait_for(step.layer)
        self._job.check()
        self._job.report("unpacking", step.layer.digest, 0, step.layer.size)
        mounts: Sequence[Mount] = prepared.mounts
        if is_alone and step.parent and self._snapshots.snapshotter == _OVERLAYFS:
            mounts = _over_nothing(mounts)
        applied = self._differ.apply(step.layer, mounts)
        if applied.digest != step.diff_id:
            raise DiffIDMismatch(
                f"layer {step.layer.digest} unpacks to {applied.digest}; "
                f"the config says {step.diff_id}",
                remedy="The image is broken or forged; do not run it",
            )

    def commit(self, prepared: Prepared, parent: str = "") -> None:
        """Give the snapshot its name, and ``parent`` if it has none yet."""
        step = prepared.step
        try:
            self._snapshots.commit(step.name, prepared.key, prepared.labels, parent=parent)
        except AlreadyExists:  # somebody else was quicker
            self._remove(prepared)

    def label(self, step: Step) -> None:
        """Tell of a layer that was unpacked what it unpacks to."""
        self._store.update(step.layer.digest, {UNCOMPRESSED: step.diff_id})

    @contextmanager
    def removing(self, *prepared: Prepared) -> Iterator[list[Prepared]]:
        """If the block fails, these are removed, and those that it added to the list it gets."""
        left = list(prepared)
        try:
            yield left
        except BaseException:
            for one in left:
                self._remove(one)
            raise

    def _remove(self, prepared: Prepared) -> None:
        """Leave nothing half-made; never hide the error that led here."""
        with suppress(ContainerdError):
            self._snapshots.remove(prepared.key)


def _inherited(layer: Descriptor) -> dict[str, str]:
    """Without the word of snapshotters, which no image has to say."""
    return {
        key: value
        for key, value in layer.annotations.items()
        if key.startswith(_INHERITED) and key != _REMOTE
    }


def _over_nothing(mounts: Sequence[Mount]) -> Sequence[Mount]:
    """A bind mount as an overlay with nothing below (core/unpack, bindToOverlay).

    A differ that sees a bind mount takes it for the bottom layer, and deletes by whiteouts what
    it just unpacked; in an overlay it writes them down.
    """
    if len(mounts) != 1 or mounts[0].type != "bind":
        return mounts
    options = (option for option in mounts[0].options if option != "rbind")
    return (Mount("overlay", "overlay", "", (*options, f"upperdir={mounts[0].source}")),)
