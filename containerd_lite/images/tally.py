"""Counts the bytes of one operation, so that each event shows the progress of the whole operation.

If an operation starts again, it keeps its tally: what is done stays done.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable

from ..oci import media_types
from ..oci.descriptor import Descriptor
from ..progress import Overall, ProgressEvent

#: Stages in which the bytes of an object are transferred.
MOVING = ("downloading", "uploading")
#: Stages that an object reaches when all its bytes are where they belong.
_COMPLETE = frozenset({"downloaded", "exists", "unpacked", "uploaded", "mounted", "verified"})
#: The overall rate is an average over this many seconds. Samples are this many seconds apart.
_WINDOW, _SAMPLE_INTERVAL = 10.0, 0.5


class Tally:
    """Counts the bytes of one operation.

    Args:
        verifies: Whether the operation's work is to verify content, so that verified bytes count
            as done.

    Attributes:
        lock: The lock that a thread holds while it calls a method, and while it calls the progress
            callback.
    """

    def __init__(self, *, verifies: bool = False) -> None:
        self.lock = threading.Lock()
        self._counted = frozenset({"waiting", *MOVING, *_COMPLETE, *(["verifying"] * verifies)})
        #: The size of each object, and the furthest offset that it has reached, both in bytes.
        self._sizes: dict[str, int] = {}
        self._offsets: dict[str, int] = {}
        #: The digests of documents whose children are not known yet, and of the other documents.
        self._unread: set[str] = set()
        self._read: set[str] = set()
        self._sum = self._done = self._moved = 0
        self._total: int | None = None
        self._rate = 0.0
        #: Earlier values of ``_moved``, each with the time when it was reached.
        self._samples: deque[tuple[float, int]] = deque()
        #: For each object: the time when its bytes began to move, and the offset at that time.
        self._starts: dict[str, tuple[float, int]] = {}

    def expect(
        self, contents: Iterable[Descriptor], parent: Descriptor | None = None
    ) -> list[Descriptor]:
        """Add content that the operation needs; return the content that is new to the tally.

        Args:
            contents: The content.
            parent: The manifest or index whose children ``contents`` are. When all children of all
                documents are known, the total is known. Default: no document.
        """
        new = []
        for each in contents:
            if media_types.is_document(each.media_type) and each.digest not in self._read:
                self._unread.add(each.digest)
            if self._total is None and each.digest not in self._sizes:
                self._add(each.digest, each.size)
                new.append(each)
        if parent is not None:
            self._read.add(parent.digest)
            self._unread.discard(parent.digest)
            if not self._unread:
                self.seal()
        return new

    def _add(self, name: str, size: int) -> None:
        self._sizes[name], self._offsets[name] = size, 0
        self._sum += size

    def seal(self) -> None:
        """Fix the total: all content that the operation needs is known."""
        if self._total is None:
            self._total = self._sum

    def count(self, event: ProgressEvent) -> tuple[float, Overall]:
        """Count an event; return the rate of its object, and the progress of the operation."""
        is_moving = event.stage in MOVING
        if event.stage in self._counted:
            self._advance(event, is_moving)
        elif event.stage == "done":
            self.seal()
            self._done = self._total or 0
        rate = event.rate
        if is_moving:
            now = time.monotonic()
            rate = self._rate_of(event, now)
            self._measure(now)
        return rate, Overall(self._done, self._total, self._rate, self._eta())

    def _advance(self, event: ProgressEvent, is_moving: bool) -> None:
        name = event.name
        if name not in self._sizes:
            if self._total is not None or not event.total:
                return
            self._add(name, event.total)
        size = self._sizes[name]
        offset = size if event.stage in _COMPLETE else min(event.offset, size)
        growth = offset - self._offsets[name]
        if growth > 0:
            self._offsets[name] = offset
            self._done += growth
            self._moved += growth * is_moving

    def _rate_of(self, event: ProgressEvent, now: float) -> float:
        """Return the average rate of an object since its transfer started."""
        start, first = self._starts.get(event.name, (now, event.offset))
        if event.offset < first:  # the transfer has started again
            start, first = now, event.offset
        self._starts[event.name] = start, first
        return (event.offset - first) / (now - start) if now > start else event.rate

    def _measure(self, now: float) -> None:
        """Update the rate of the operation."""
        samples = self._samples
        if not samples or now - samples[-1][0] >= _SAMPLE_INTERVAL:
            samples.append((now, self._moved))
        while len(samples) > 1 and samples[1][0] <= now - _WINDOW:
            samples.popleft()
        start, first = samples[0]
        if now > start:
            self._rate = (self._moved - first) / (now - start)

    def _eta(self) -> float | None:
        if self._total is None:
            return None
        left = self._total - self._done
        if not left:
            return 0.0
        return left / self._rate if self._rate else None
