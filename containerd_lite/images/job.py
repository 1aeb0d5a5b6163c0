"""What the parts of one operation share.

What lives here: the progress callback, the word to stop with its reason, and having parts
go side by side.  What may not: the operations.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from typing import TypeVar

from ..errors import Cancelled
from ..interrupt import Interrupt
from ..progress import ProgressCallback, ProgressEvent, Stage
from ..records import field, record, replace
from ..workers import Workers

_LOGGER = logging.getLogger(__package__)

_T = TypeVar("_T")

_MOVING = ("downloading", "uploading")


@record
class Job:
    """One pull, push or the like: who is told of it, and whether it goes on.

    ``keeps_partial``: what has come of a blob is left for a later job, should this one fail.
    """

    progress: ProgressCallback | None = None
    keeps_partial: bool = False
    stop: Interrupt = field(default_factory=Interrupt)
    failure: BaseException | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)
    #: When an object's bytes began to move, and from which offset on.
    _began: dict[str, tuple[float, int]] = field(default_factory=dict)
    #: When debug output last said something of an object.
    _said: dict[str, float] = field(default_factory=dict)

    def report(self, stage: Stage, name: str, offset: int = 0, total: int = 0) -> None:
        self.tell(ProgressEvent(stage, name, offset, total))

    def tell(self, event: ProgressEvent) -> None:
        """Passes an event on, one at a time, with its rate."""
        if _LOGGER.isEnabledFor(logging.DEBUG) and event.stage not in _MOVING:
            self._log(event)
        if self.progress is not None:
            with self._lock:
                self.progress(self._rated(event) if event.stage in _MOVING else event)

    def _rated(self, event: ProgressEvent) -> ProgressEvent:
        now = time.monotonic()
        at, first = self._began.get(event.name, (now, event.offset))
        if event.offset < first:  # it has begun again
            at, first = now, event.offset
        self._began[event.name] = at, first
        return replace(event, rate=(event.offset - first) / (now - at)) if now > at else event

    def _log(self, event: ProgressEvent) -> None:
        now = time.monotonic()
        last = self._said.get(event.name)
        self._said[event.name] = now
        if last is None:
            _LOGGER.debug("%s", event)
        else:
            _LOGGER.debug("%s (after %.1f ms)", event, (now - last) * 1000)

    def check(self) -> None:
        """Raises ``Cancelled`` once another part has failed."""
        if self.stop.is_set():
            raise Cancelled("given up, because another part failed")

    def fail(self, error: BaseException) -> None:
        """Stop all parts; the first error that is more than the word of it is the failure."""
        with self._lock:
            if self.failure is None and not isinstance(error, Cancelled | CancelledError):
                self.failure = error
        self.stop.set()

    def blame(self, error: BaseException) -> None:
        """Raise what went wrong first, as it was, if that is not ``error`` itself."""
        failure = self.failure
        if failure is None or failure is error:
            return
        context = failure.__context__
        try:
            raise failure
        finally:
            failure.__context__ = context  # that the others gave up is no reason of it


def side_by_side(work: Callable[[_T], object], items: Iterable[_T], job: Job, workers: int) -> None:
    """Do ``work`` on each item, in so many threads, as part of the caller's lease.

    The first failure, or an interrupt of the caller, stops it all.  Items may come lazily; none
    is asked for while another is.
    """
    waiting, lock = iter(items), threading.Lock()

    def next_ones() -> Iterator[_T]:
        while True:
            with lock:
                job.check()
                try:
                    item = next(waiting)
                except StopIteration:
                    return
            yield item

    def run() -> None:
        try:
            with job.stop.watching():
                for item in next_ones():
                    work(item)
        except BaseException as error:
            job.fail(error)  # at once: the others need not finish
            raise

    with Workers(workers, "containerd-lite-side") as pool:
        try:
            tasks = [pool.submit(run) for _ in range(workers)]
            for task in tasks:
                task.result()
        except BaseException as error:
            job.fail(error)
            job.blame(error)
            raise
