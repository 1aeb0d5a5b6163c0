"""Makes the snapshots of one image: in which order, and whether in parallel.

The module ``apply`` unpacks one layer, and the module ``existing`` finds what is there already.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager

from ...errors import Cancelled, FailedPrecondition
from ...interrupt import shielded
from ...oci.descriptor import Descriptor
from ...workers import Workers, result_when_done
from ..job import Job
from .apply import Applier, ParentGone, Prepared, Step, WaitFor, is_provided

#: The maximum number of attempts to unpack an image. An attempt ends if garbage collection has
#: deleted a parent snapshot that another client had made.
_MOST_TRIES = 10

#: A function that starts to fetch layers, and returns before they have been fetched.
Need = Callable[[Sequence[Descriptor]], object]


class ImageUnpacking:
    """The unpacking of one image, from the bottom layer to the top.

    Args:
        steps: The layers of the image, bottom first.
        applier: Makes the snapshots.
        job: The job that unpacking is part of.
        need: A function that is called with the layers that must be fetched.
        wait_for: A function that waits until a layer is in the store.
        needs_all: Whether the layers of existing snapshots must be fetched, too.
        is_top_held: Whether the caller's lease holds the top snapshot already, if it exists.
    """

    def __init__(
        self,
        steps: Sequence[Step],
        applier: Applier,
        job: Job,
        need: Need,
        wait_for: WaitFor,
        *,
        needs_all: bool = True,
        is_top_held: bool = False,
    ) -> None:
        self._steps = steps
        self._applier = applier
        self._job = job
        self._need = need
        self._wait_for = wait_for
        self._needs_all = needs_all
        self._is_top_held = is_top_held
        #: The tasks that label unpacked layers.
        self._labels: list[Future[None]] = []
        #: The active snapshots by the names under which they will be committed. If a parent has
        #: gone, they stay for the next attempt, so that no layer is unpacked twice.
        self._uncommitted: dict[str, Prepared] = {}
        #: The tasks that unpack layers in parallel, by the keys of the active snapshots. A task
        #: returns whether it has unpacked the layer.
        self._tasks: dict[str, Future[bool]] = {}
        #: The positions of layers that could not be unpacked in parallel.
        self._failed: list[int] = []
        #: The names of the snapshots whose layers must be fetched, and of those whose layers the
        #: store lacks.
        self._requested: set[str] = set()
        self._lazy: set[str] = set()

    @property
    def is_lazy(self) -> bool:
        """Whether layers were skipped that the store lacks (``Unpacked.is_lazy``)."""
        return bool(self._lazy)

    def run(self, max_concurrent: int) -> None:
        """Make the missing snapshots, up to ``max_concurrent`` at a time."""
        with (
            # Another thread sets the labels, so that unpacking does not wait for each label. With
            # these waits, the labels of 60 small layers would take 4 % of the time.
            Workers(1, "containerd-lite-label") as self._label_thread,
            self._removing_uncommitted(),
            Workers(max_concurrent, "containerd-lite-apply") as pool,
        ):
            try:
                self._make_snapshots(pool)
            except BaseException as error:
                self._job.fail(error)  # so that the pool unpacks no more layers
                self._job.blame(error)
                raise
        for label in self._labels:
            result_when_done(label)

    @contextmanager
    def _removing_uncommitted(self) -> Iterator[None]:
        """Remove the active snapshots that the block leaves, also after an error."""
        try:
            yield
        finally:
            with shielded():
                for prepared in self._uncommitted.values():
                    self._applier.remove(prepared)

    def _make_snapshots(self, pool: Workers) -> None:
        for tries_left in reversed(range(_MOST_TRIES)):
            start = self._skip_existing()
            rest = len(self._steps) - start
            try:
                if self._uncommitted or (rest > 1 and self._applier.can_rebase()):
                    with self._applier.lock(self._steps[-1].name):
                        return self._in_parallel(start, pool)
                return self._one_by_one(start)
            except ParentGone:
                if not tries_left:
                    raise

    def _skip_existing(self) -> int:
        """Skip the layers whose snapshots exist; return the number of these layers.

        If another client makes a missing snapshot meanwhile, ``prepare`` returns this snapshot.
        """
        count, highest = self._applier.hold_existing(
            [step.name for step in self._steps], is_top_held=self._is_top_held
        )
        existing = self._steps[:count]
        # A layer in the store is not lazy. So the labels of a snapshot matter only if the store
        # lacks the layer. The labels of the highest snapshot are known.
        uncertain = existing if is_provided(highest) else existing[:-1]
        missing = self._applier.missing(step.layer for step in uncertain)
        for step in existing:
            self._job.check()
            is_lazy = step.layer.digest in missing and is_provided(self._applier.find(step.name))
            if is_lazy and step.name not in self._requested:
                self._lazy.add(step.name)
            elif self._needs_all:
                self._request([step])
            self._report(step)
        return count

    def _one_by_one(self, start: int) -> None:
        """Unpack the layers in order, each layer on the snapshot of the layer below it."""
        for position, step in enumerate(self._steps[start:], start):
            with self._applier.lock(step.name):
                made = self._prepare(step, step.parent)
                if made is None:
                    continue
                if made.is_staged:
                    self._skip_provided([step])
                else:  # the upper layers are fetched meanwhile
                    self._request(self._steps[position:])
                self._commit(made, not made.is_staged and self._applier.fill(made, self._wait_for))

    def _in_parallel(self, start: int, pool: Workers) -> None:
        """Unpack several layers at a time into snapshots without parents.

        Each commit sets the parent of the committed snapshot. Snapshots are committed in order, so
        if a layer cannot be unpacked, the layers below it are committed.
        """
        steps = self._steps[start:]
        for step in steps:
            self._job.check()
            if step.name not in self._uncommitted:
                self._prepare(step, "")
        active = [self._uncommitted[step.name] for step in steps if step.name in self._uncommitted]
        self._skip_provided([made.step for made in active if made.is_staged])
        unfilled = [made for made in active if not made.is_staged and made.key not in self._tasks]
        self._request(made.step for made in unfilled)
        for made in unfilled:
            self._tasks[made.key] = pool.submit(self._fill, made)
        for made in active:
            is_applied = not made.is_staged and result_when_done(self._tasks[made.key])
            self._commit(made, is_applied, made.step.parent)

    def _fill(self, prepared: Prepared) -> bool:
        """Unpack a layer, unless a lower layer could not be unpacked."""
        position = self._steps.index(prepared.step)

        def check() -> None:
            if any(failed < position for failed in self._failed):
                raise Cancelled("cancelled, because a lower layer could not be unpacked")

        def wait_for(layer: Descriptor) -> None:
            check()
            self._wait_for(layer)
            check()

        try:
            return self._applier.fill(prepared, wait_for, is_parentless=True)
        except BaseException:
            self._failed.append(position)
            raise

    def _prepare(self, step: Step, parent: str) -> Prepared | None:
        """Prepare a snapshot; if the committed snapshot exists, skip the layer, return ``None``."""
        made = self._applier.prepare(step, parent)
        if isinstance(made, Prepared):
            self._uncommitted[step.name] = made
            return made
        if step.parent and not parent and not made.parent:
            raise FailedPrecondition(
                f"snapshot {step.name} has no parent; its parent must be {step.parent}",
                remedy="Remove the snapshot, and configure the snapshotter not to rebase",
            )
        if is_provided(made):
            self._skip_provided([step])
        elif self._needs_all:
            self._request([step])
        self._report(step)
        return None

    def _skip_provided(self, steps: Sequence[Step]) -> None:
        """Skip the fetch of layers whose content the snapshotter provides.

        A layer that the store has is requested nevertheless, so that the lease holds the layer.
        """
        steps = [step for step in steps if step.name not in self._requested]
        missing = self._applier.missing(step.layer for step in steps)
        self._lazy.update(step.name for step in steps if step.layer.digest in missing)
        self._request(step for step in steps if step.layer.digest not in missing)

    def _request(self, steps: Iterable[Step]) -> None:
        """Request layers that were not requested before."""
        new = [step for step in steps if step.name not in self._requested]
        names = {step.name for step in new}
        self._requested |= names
        self._lazy -= names
        if new:
            self._need([step.layer for step in new])

    def _commit(self, made: Prepared, is_applied: bool, parent: str = "") -> None:
        step = made.step
        self._applier.commit(made, parent)
        del self._uncommitted[step.name]
        if is_applied:
            self._labels.append(self._label_thread.submit(self._applier.label, step))
        self._report(step)

    def _report(self, step: Step) -> None:
        self._job.report("unpacked", step.layer.digest, step.layer.size, step.layer.size)
