"""What the parts of one operation share.

What lives here: the progress callback, and the word to stop with its reason.  What may not: the
operations.
"""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError
from dataclasses import dataclass, field

from ..errors import Cancelled
from ..progress import ProgressCallback, ProgressEvent


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

    def report(self, stage: str, name: str, offset: int = 0, total: int = 0) -> None:
        self.tell(ProgressEvent(stage, name, offset, total))

    def tell(self, event: ProgressEvent) -> None:
        """Passes an event on, one at a time."""
        if self.progress is not None:
            with self._lock:
                self.progress(event)

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
