"""What the parts of one operation share.

What lives here: the progress callback, and the word to stop with its reason.  What may not: the
operations.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import CancelledError
from dataclasses import dataclass, field, replace

from ..errors import Cancelled
from ..progress import ProgressCallback, ProgressEvent

_MOVING = ("downloading", "uploading")


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
