"""Images into snapshots.

What lives here: chain IDs to snapshots, bottom up, and which layers are applied side by side.
What may not: how one layer is applied (``apply``).
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
from ...workers import Workers
from ..gc_labels import SNAPSHOT
from ..job import Job
from .apply import Applier, ParentGone, Prepared, Step, WaitFor

_LOGGER = logging.getLogger(__package__)


@record(frozen=True)
class Unpacked:
    """The top snapshot's name, a chain ID, ``""`` without layers; whether any is lazy: made by
    the snapshotter without the layer's content."""

    top: str
    is_lazy: bool = False


#: How often garbage collection may take the snapshots of others that this image is to stand on.
_MOST_TRIES = 10

#: Told layers that are needed now; waits for none.
Need = Callable[[Sequence[Descriptor]], object]


class Unpacker:
    """Unpacks images into one snapshotter.

    ``max_concurrent`` layers are applied side by side where the snapshotter can put one snapshot
    below another afterwards; elsewhere each waits for the one below.
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
        """Make the snapshots of an image, whose config ``config_target`` names.

        ``need`` is told layers that are to be fetched, ``wait_for`` is called before one is
        unpacked, from several threads.  Raises ``InvalidArgument`` if config and manifest
        disagree, ``DiffIDMismatch``; then no layer goes on, and nothing half-made is left.
        """
        if len(layers) != len(config.diff_ids):
            raise InvalidArgument(
                f"the manifest has {len(layers)} layers, its config names "
                f"{len(config.diff_ids)} diff IDs",
                remedy="The image is broken; build it again",
            )
        chain = chain_ids(config.diff_ids)
        steps = list(map(Step, layers, config.diff_ids, chain, ("", *chain)))
        if not steps:
            return Unpacked("")
        # First of all: a snapshot that is there already belongs to no lease, and this keeps it.
        top = steps[-1].name
        self._store.update(config_target.digest, {f"{SNAPSHOT}.{self._snapshots.snapshotter}": top})
        for tries_left in reversed(range(_MOST_TRIES)):
            try:
                with LoggedStep(_LOGGER, "unpack %d layers into %s", len(steps), top):
                    return Unpacked(top, self._climb(steps, need, wait_for))
            except ParentGone:
                if not tries_left:
                    raise
        raise AssertionError("unreachable")

    def _climb(self, steps: Sequence[Step], need: Need, wait_for: WaitFor) -> bool:
        """Whether any snapshot is lazy.  Raises ``ParentGone``."""
        with Workers(1, "containerd-lite-label") as labellers:
            climb = _ImageUnpacking(self._applier, self._job, need, wait_for, labellers)
            rest = climb.stand(steps)
            if len(rest) > 1 and self._snapshots.can_rebase():
                with self._applier.lock(rest[-1].name):
                    climb.side_by_side(rest, self._max_concurrent)
            else:
                climb.in_turn(rest)
            climb.expect_labels()
        return climb.is_lazy


class _ImageUnpacking:
    """One image's way up its layers."""

    def __init__(
        self,
        applier: Applier,
        job: Job,
        need: Need,
        wait_for: WaitFor,
        labellers: Workers,
    ) -> None:
        self._applier = applier
        self._job = job
        self._need = need
        self._wait_for = wait_for
        # Nobody waits for a layer's label but the end: of 60 small ones 4 % of the time.
        self._labellers = labellers
        self._labels: list[Future[None]] = []
        self._are_coming = False
        self.is_lazy = False

    def stand(self, steps: Sequence[Step]) -> Sequence[Step]:
        """Pass those whose snapshots are there; returns the others.

        No snapshot is there without those below: above the first gap nobody need be asked, for
        to prepare a snapshot tells, too.
        """
        for place, step in enumerate(steps):
            self._job.check()
            found = self._applier.find(step.name)
            if found is None:
                return steps[place:]
            self._pass(step, found)
        return ()

    def in_turn(self, steps: Sequence[Step]) -> None:
        """Each on the one below."""
        for place, step in enumerate(steps):
            with self._applier.lock(step.name):
                self._make(step, steps[place:])

    def _make(self, step: Step, rest: Sequence[Step]) -> None:
        made = self._applier.prepare(step, step.parent)
        if isinstance(made, SnapshotInfo):
            self._pass(step, made)
            return
        with self._applier.removing(made):
            if not self._are_coming:
                self._fetch(rest)
            self._applier.fill(made, self._wait_for)
            self._applier.commit(made)
        self._committed(step)

    def side_by_side(self, steps: Sequence[Step], workers: int) -> None:
        """All by themselves, ``workers`` at a time, and on top of each other when committed."""
        with self._applier.removing() as left:
            for step in steps:
                self._job.check()
                made = self._applier.prepare(step, "")
                if isinstance(made, Prepared):
                    left.append(made)
                    continue
                if step.parent and not made.parent:
                    raise FailedPrecondition(
                        f"snapshot {step.name} stands on nothing, not on {step.parent}",
                        remedy="Remove it, and let the snapshotter not be configured to rebase",
                    )
                self._pass(step, made)
            self._fetch([one.step for one in left])
            try:
                self._fill_and_commit(left, workers)
            except BaseException as error:
                self._job.blame(error)
                raise

    def _fill_and_commit(self, left: list[Prepared], workers: int) -> None:
        """Takes out of the list what is committed."""
        with Workers(workers, "containerd-lite-apply") as pool:
            try:
                tasks = [pool.submit(self._fill, one) for one in left]
                for task in tasks:
                    task.result()
                    self._applier.commit(left[0], left[0].step.parent)
                    self._committed(left.pop(0).step)
            except BaseException as error:
                self._job.fail(error)  # those that wait need not begin
                raise

    def _fill(self, prepared: Prepared) -> None:
        try:
            self._applier.fill(prepared, self._wait_for, is_alone=True)
        except BaseException as error:
            self._job.fail(error)  # at once: the turn of this one may be long to come
            raise

    def _pass(self, step: Step, snapshot: SnapshotInfo) -> None:
        """The snapshot is there; its content is to be there, too, unless it is lazy."""
        if not self._are_coming:
            if self._applier.is_remote(snapshot, step.layer):
                self.is_lazy = True
            else:
                self._need((step.layer,))
        self._report(step)

    def _fetch(self, steps: Sequence[Step]) -> None:
        self._are_coming = True
        self._need([step.layer for step in steps])

    def _committed(self, step: Step) -> None:
        self._labels.append(self._labellers.submit(self._applier.label, step))
        self._report(step)

    def expect_labels(self) -> None:
        """Raises what kept a layer from its label."""
        for label in self._labels:
            label.result()

    def _report(self, step: Step) -> None:
        self._job.report("unpacked", step.layer.digest, step.layer.size, step.layer.size)
