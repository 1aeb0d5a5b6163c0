"""What the parts of one operation share.

What lives here: the progress callback, the word to stop with its reason, and how many go side by
side.  What may not: the operations.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from ..errors import Cancelled
from ..progress import ProgressCallback, ProgressEvent

_MOVING = ("downloading", "uploading")

#: Blobs at once, unless the caller says how many; of the large ones, each of which keeps a line
#: or a disk busy by itself, fewer.
USUAL = 8
USUAL_LARGE = 4
LARGE = 4 << 20
#: How often a part that waits looks whether it is to give up (seconds).
_LOOK = 0.1


class Gate:
    """Lets so many large blobs through at a time, and all others.

    ``workers`` is how many may stand before it: what the caller said, or what is usual.
    """

    def __init__(self, job: Job, given: int | None, large: int = USUAL_LARGE) -> None:
        self.workers = USUAL if given is None else given
        self._job = job
        self._places = threading.Semaphore(max(1, large if given is None else given))

    @contextmanager
    def passing(self, size: int) -> Iterator[None]:
        """Waits for a place, if ``size`` (bytes) wants one.  Raises ``Cancelled``."""
        if size <= LARGE:
            yield
            return
        while not self._places.acquire(timeout=_LOOK):
            self._job.check()
        try:
            yield
        finally:
            self._places.release()


@dataclass
class Job:
    """One pull, push or the like: who is told of it, and whether it goes on.

    ``keeps_partial``: what has come of a blob is left for a later job, should this one fail.
    """

    progress: ProgressCallback | None = None
    keeps_partial: bool = False
    stop: threading.Event = field(default_factory=threading.Event)
    failure: BaseException | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)
    #: When an object's bytes began to move, and from which offset on.
    _began: dict[str, tuple[float, int]] = field(default_factory=dict)

    def report(self, stage: str, name: str, offset: int = 0, total: int = 0) -> None:
        self.tell(ProgressEvent(stage, name, offset, total))

    def tell(self, event: ProgressEvent) -> None:
        """Passes an event on, one at a time, with its rate."""
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
        """Raise what went wrong first, if that is not ``error`` itself."""
        failure = self.failure
        if failure is not None and failure is not error:
            raise failure from error
