"""Limits how many blobs are transferred at a time, and orders the large blobs."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from ..deadline import Deadline
from ..oci.descriptor import Descriptor
from .job import Job

#: The default limits on the number of blobs that are transferred at a time: for all blobs, and for
#: large blobs. A single large blob can keep a connection or a disk busy, so the limit for large
#: blobs is lower.
USUAL = 8
USUAL_LARGE = 4
#: A blob with more than this many bytes is large.
LARGE = 4 << 20
#: Two limits on the number of large blobs that are transferred at a time. The first limit applies
#: while an unpacker waits for a layer, and while no unpacker runs. The second limit applies while
#: all unpackers are busy. In benchmarks/images.py, pulls take 0.75 of ctr's time with a limit of
#: two, and 0.85 with a limit of four. If the limit is one while the unpacker is
#: busy, a pull takes 0.96 times as long as with a constant limit of two.
_LIMIT_IF_AWAITED, _LIMIT_IF_BUSY = 2, 1
#: The connection is slow if the transfer of a blob is slower than the first value, in bytes per
#: second, and takes longer than the second value, in seconds. While the connection is slow, more
#: large blobs are transferred at a time.
_FAST_RATE, _MIN_SLOW_TIME = 96 << 20, 0.5
#: Seconds after which a waiting thread checks again whether the job has failed.
_CHECK_INTERVAL = 0.1


class Gate:
    """Limits how many large blobs are transferred at a time; small blobs do not wait.

    Large blobs pass the gate in the order in which they arrive. With ``unpacks``, the limit is
    lower while the connection is fast, so that each layer gets more of the bandwidth and of the
    processor. So the lowest layers arrive earlier, and are unpacked while the other layers are
    still being fetched.

    Args:
        job: The job that the blobs are part of. If the job fails, every wait at the gate ends.
        max_concurrent: How many blobs of any size to transfer at a time. Default: 8 blobs, of which
            at most 4 are large.
        unpacks: Whether layers are unpacked as they arrive. ``unpacks`` has no effect if
            ``max_concurrent`` is given.

    Attributes:
        workers: How many threads the caller must start to transfer blobs.
    """

    def __init__(self, job: Job, max_concurrent: int | None, *, unpacks: bool = False) -> None:
        self.workers = USUAL if max_concurrent is None else max_concurrent
        self._job = job
        self._max_large = USUAL_LARGE if max_concurrent is None else max_concurrent
        self._unpacks = unpacks and max_concurrent is None
        self._changed = threading.Condition()
        self._queue: deque[Descriptor] = deque()
        #: For each large blob in transfer, a deadline that expires if the connection is slow.
        self._deadlines: list[Deadline] = []
        #: Whether the large blob whose transfer ended last missed its deadline.
        self._was_slow = False
        #: How many unpackers are at work.
        self._unpackers = 0
        #: The digests that unpackers wait for.
        self._awaited: set[str] = set()

    @contextmanager
    def passing(self, blob: Descriptor) -> Iterator[None]:
        """Wait until ``blob`` may be transferred. The ``with`` block must transfer the blob.

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
        """Count one more unpacker while the block runs.

        The block must call ``awaiting`` when it needs a layer.
        """
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
