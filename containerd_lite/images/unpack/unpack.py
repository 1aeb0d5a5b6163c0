"""Unpacks images into snapshots.

This module decides which layers are unpacked, in which order, and whether in parallel. The module
``apply`` unpacks one layer.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from ...debug import LoggedStep
from ...errors import FailedPrecondition, InvalidArgument
from ...oci.config import ImageConfig, chain_ids
from ...oci.descriptor import Descriptor
from ...records import record
from ...services.diff import DiffService
from ...services.snapshots import SnapshotInfo, SnapshotService
from ...store.protocol import ContentStore
from ...workers import Workers, result_when_done
from ..gc_labels import SNAPSHOT
from ..job import Job
from .apply import Applier, ParentGone, Prepared, Step, WaitFor

_LOGGER = logging.getLogger(__package__)


@record(frozen=True)
class Unpacked:
    """The result of unpacking an image.

    Attributes:
        top: The name of the top snapshot, a chain ID; ``""`` if the image has no layers.
        is_lazy: Whether the unpacker has skipped layers that the snapshotter fetches itself.
    """

    top: str
    is_lazy: bool = False


#: The maximum number of attempts to unpack an image. An attempt fails if garbage collection deletes
#: a parent snapshot that another client has made.
_MOST_TRIES = 10

#: A function that starts to fetch layers, and returns before they have been fetched.
Need = Callable[[Sequence[Descriptor]], object]


class Unpacker:
    """Unpacks images into one snapshotter.

    Args:
        store: The content store that has the layers.
        snapshots: The service of the snapshotter.
        differ: The daemon's differ.
        job: The job that unpacking is part of. Default: a new job.
        max_concurrent: How many layers to unpack in parallel if the snapshotter can set the parent
            of a snapshot at commit. With other snapshotters, layers are unpacked one by one.
    """

    def __init__(
        self,
        store: ContentStore,
        snapshots: SnapshotService,
        differ: DiffService,
        job: Job | None = None,
        max_concurrent: int = 3,
    ) -> None:
        job = job or Job()
        self._store = store
        self._snapshots = snapshots
        self._applier = Applier(store, snapshots, differ, job)
        self._job = job
        self._max_concurrent = max_concurrent

    def unpack(
        self,
        layers: Sequence[Descriptor],
        config_target: Descriptor,
        config: ImageConfig,
        need: Need = lambda layers: None,
        wait_for: WaitFor = lambda layer: None,
    ) -> Unpacked:
        """Make the snapshots of an image.

        When this method raises an error, its threads have ended, and it has removed its active
        snapshots.

        Args:
            layers: The layers, bottom first.
            config_target: The descriptor of the image config.
            config: The image config.
            need: A function that is called with the layers that must be fetched.
            wait_for: A function that waits until a layer is in the store. Several threads call
                this function, each before it unpacks a layer.

        Returns:
            The name of the top snapshot, and whether layers were skipped.

        Raises:
            InvalidArgument: The config and the manifest have different numbers of layers.
            DiffIDMismatch: A layer does not have the diff ID that the config lists.
        """
        if len(layers) != len(config.diff_ids):
            raise InvalidArgument(
                f"the manifest has {len(layers)} layers, but the config has "
                f"{len(config.diff_ids)} diff IDs",
                remedy="Build the image again: it is broken",
            )
        chain = chain_ids(config.diff_ids)
        steps = list(map(Step, layers, config.diff_ids, chain, ("", *chain)))
        if not steps:
            return Unpacked("")
        # This label is set first, because it may be the only protection of existing snapshots from
        # garbage collection.
        top = steps[-1].name
        self._store.update(config_target.digest, {f"{SNAPSHOT}.{self._snapshots.snapshotter}": top})
        for tries_left in reversed(range(_MOST_TRIES)):
            try:
                with LoggedStep(_LOGGER, "unpack %d layers into %s", len(steps), top):
                    return Unpacked(top, self._make_snapshots(steps, need, wait_for))
            except ParentGone:
                if not tries_left:
                    raise
        raise AssertionError("unreachable")

    def _make_snapshots(self, steps: Sequence[Step], need: Need, wait_for: WaitFor) -> bool:
        """Make the missing snapshots; return whether layers were skipped (``Unpacked.is_lazy``).

        Raises:
            ParentGone: A parent snapshot has been garbage-collected.
        """
        with Workers(1, "containerd-lite-label") as label_thread:
            unpacking = _ImageUnpacking(self._applier, self._job, need, wait_for, label_thread)
            rest = unpacking.skip_existing(steps)
            if len(rest) > 1 and self._snapshots.can_rebase():
                with self._applier.lock(rest[-1].name):
                    unpacking.in_parallel(rest, self._max_concurrent)
            else:
                unpacking.one_by_one(rest)
            unpacking.wait_for_labels()
        return unpacking.is_lazy


class _ImageUnpacking:
    """The unpacking of one image, from the bottom layer to the top."""

    def __init__(
        self,
        applier: Applier,
        job: Job,
        need: Need,
        wait_for: WaitFor,
        label_thread: Workers,
    ) -> None:
        self._applier = applier
        self._job = job
        self._need = need
        self._wait_for = wait_for
        # Another thread sets the labels, so that unpacking does not wait for each label. With these
        # waits, the labels of 60 small layers would take 4 % of the time.
        self._label_thread = label_thread
        self._labels: list[Future[None]] = []
        #: Whether ``need`` has been called with all layers that are not unpacked yet.
        self._are_requested = False
        self.is_lazy = False

    def skip_existing(self, steps: Sequence[Step]) -> Sequence[Step]:
        """Skip the layers whose snapshots exist; return the steps of the other layers.

        A snapshot cannot exist without its parents, so the search ends at the first missing
        snapshot. If another client makes a missing snapshot meanwhile, ``prepare`` returns
        this snapshot.
        """
        for position, step in enumerate(steps):
            self._job.check()
            found = self._applier.find(step.name)
            if found is None:
                return steps[position:]
            self._skip(step, found)
        return ()

    def one_by_one(self, steps: Sequence[Step]) -> None:
        """Unpack the layers in order, each layer on the snapshot of the layer below it."""
        for position, step in enumerate(steps):
            with self._applier.lock(step.name):
                self._make(step, steps[position:])

    def _make(self, step: Step, rest: Sequence[Step]) -> None:
        made = self._applier.prepare(step, step.parent)
        if isinstance(made, SnapshotInfo):
            self._skip(step, made)
            return
        with self._applier.removing(made):
            if not self._are_requested:
                self._request(rest)
            self._applier.fill(made, self._wait_for)
            self._applier.commit(made)
        self._finish(step)

    def in_parallel(self, steps: Sequence[Step], workers: int) -> None:
        """Unpack ``workers`` layers at a time into snapshots without parents.

        Each commit sets the parent of the committed snapshot.
        """
        with self._applier.removing() as uncommitted:
            for step in steps:
                self._job.check()
                made = self._applier.prepare(step, "")
                if isinstance(made, Prepared):
                    uncommitted.append(made)
                    continue
                if step.parent and not made.parent:
                    raise FailedPrecondition(
                        f"snapshot {step.name} has no parent; its parent must be {step.parent}",
                        remedy="Remove the snapshot, and configure the snapshotter not to rebase",
                    )
                self._skip(step, made)
            self._request([prepared.step for prepared in uncommitted])
            try:
                self._fill_and_commit(uncommitted, workers)
            except BaseException as error:
                self._job.blame(error)
                raise

    def _fill_and_commit(self, uncommitted: list[Prepared], workers: int) -> None:
        """Unpack in parallel and commit in order; drop committed snapshots from ``uncommitted``."""
        with Workers(workers, "containerd-lite-apply") as pool:
            try:
                tasks = [pool.submit(self._fill, prepared) for prepared in uncommitted]
                for task in tasks:
                    result_when_done(task)
                    self._applier.commit(uncommitted[0], uncommitted[0].step.parent)
                    self._finish(uncommitted.pop(0).step)
            except BaseException as error:
                self._job.fail(error)  # so that the pool unpacks no more layers
                raise

    def _fill(self, prepared: Prepared) -> None:
        try:
            self._applier.fill(prepared, self._wait_for, is_parentless=True)
        except BaseException as error:
            self._job.fail(error)  # stops the other tasks, even if no thread awaits this task yet
            raise

    def _skip(self, step: Step, snapshot: SnapshotInfo) -> None:
        """Skip a layer whose snapshot exists; fetch the layer unless the snapshotter fetches it."""
        if not self._are_requested:
            if self._applier.is_remote(snapshot, step.layer):
                self.is_lazy = True
            else:
                self._need((step.layer,))
        self._report(step)

    def _request(self, steps: Sequence[Step]) -> None:
        self._are_requested = True
        self._need([step.layer for step in steps])

    def _finish(self, step: Step) -> None:
        self._labels.append(self._label_thread.submit(self._applier.label, step))
        self._report(step)

    def wait_for_labels(self) -> None:
        """Wait until all layers are labelled; raise the first error."""
        for label in self._labels:
            result_when_done(label)

    def _report(self, step: Step) -> None:
        self._job.report("unpacked", step.layer.digest, step.layer.size, step.layer.size)
