"""How many blobs are moved at a time, and in which order large blobs are."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from ..deadline import Deadline
from ..oci.descriptor import Descriptor
from .job import Job

#: Default number of blobs, and of large blobs, to move at a time. A large blob keeps a
#: connection or a disk busy by itself, so fewer large blobs are moved at a time.
USUAL = 8
USUAL_LARGE = 4
#: A blob of more bytes than this is large.
LARGE = 4 << 20
#: Large blobs at a time while an unpacker waits for a layer, and while it has enough to do.
#: In benchmarks/images.py, a limit of two takes 0.75 of ctr's time, a limit of four 0.85. A limit
#: of one while the unpacker is busy takes 0.96 of the time that a constant limit of two takes.
_LIMIT_IF_AWAITED, _LIMIT_IF_BUSY = 2, 1
#: A connection is slow if a blob takes longer than it would at this many bytes per second, and
#: longer than this many seconds. More blobs are then moved at a time.
_FAST_RATE, _MIN_SLOW_TIME = 96 << 20, 0.5
#: Seconds between two checks whether a waiting thread should give up.
_CHECK_INTERVAL = 0.1


class Gate:
    """Limits how many large blobs are moved at a time; small blobs pass at once.

    Large blobs pass in the order of their arrival. With ``unpacks``, the limit is lower while the
    connection is fast. The layer that the unpacker needs next then gets most of the bandwidth and
    of the processor. If the lowest layers arrive early, they are
    unpacked while the other layers are still being fetched.

    Args:
        job: Its failure ends every wait at the gate.
        max_concurrent: Blobs at a time, of any size. Default: 8, of which 4 may be large.
        unpacks: Whether layers are unpacked as they arrive. ``max_concurrent`` overrides it.

    Attributes:
        workers: How many threads the caller may start to move blobs.
    """

    def __init__(self, job: Job, max_concurrent: int | None, *, unpacks: bool = False) -> None:
        self.workers = USUAL if max_concurrent is None else max_concurrent
        self._job = job
        self._max_large = USUAL_LARGE if max_concurrent is None else max_concurrent
        self._unpacks = unpacks and max_concurrent is None
        self._changed = threading.Condition()
        self._queue: deque[Descriptor] = deque()
        #: For each large blob under way, the time by which a fast connection has moved it.
        self._deadlines: list[Deadline] = []
        #: Whether the large blob that was last moved missed its deadline.
        self._was_slow = False
        #: How many unpackers are at work.
        self._unpackers = 0
        #: The digests that unpackers wait for.
        self._awaited: set[str] = set()

    @contextmanager
    def passing(self, blob: Descriptor) -> Iterator[None]:
        """Wait until ``blob`` may be moved; the block moves it.

        Raises:
            Cancelled: The job has failed.
        """
        if blob.size <= LARGE:
            yield
            return
        deadline = self._enter(blob)
        try:
            yield
        finally:
            with self._changed:
                self._deadlines.remove(deadline)
                self._was_slow = deadline.expired
                self._awaited.discard(blob.digest)
                self._changed.notify_all()

    def _enter(self, blob: Descriptor) -> Deadline:
        with self._changed:
            self._queue.append(blob)
            try:
                while self._queue[0] is not blob or len(self._deadlines) >= self._limit():
                    self._job.check()
                    self._changed.wait(_CHECK_INTERVAL)
                self._deadlines.append(Deadline(max(_MIN_SLOW_TIME, blob.size / _FAST_RATE)))
                return self._deadlines[-1]
            finally:
                self._queue.remove(blob)
                self._changed.notify_all()

    def _limit(self) -> int:
        if not self._unpacks or self._was_slow or any(each.expired for each in self._deadlines):
            return self._max_large
        return _LIMIT_IF_BUSY if self._unpackers and not self._awaited else _LIMIT_IF_AWAITED

    @contextmanager
    def unpacking(self) -> Iterator[None]:
        """Count the block as an unpacker; it calls ``awaiting`` when it needs a layer."""
        with self._changed:
            self._unpackers += 1
        try:
            yield
        finally:
            with self._changed:
                self._unpackers -= 1
                self._changed.notify_all()

    @contextmanager
    def awaiting(self, blob: Descriptor) -> Iterator[None]:
        """Record that the block waits for ``blob``."""
        with self._changed:
            self._awaited.add(blob.digest)
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._awaited.discard(blob.digest)
