"""How many blobs move at a time.

What lives here: the places of the large ones.  What may not: what moves.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from ..deadline import Deadline
from ..oci.descriptor import Descriptor
from .job import Job

#: Blobs at once, unless the caller says how many; of the large ones, each of which keeps a line
#: or a disk busy by itself, fewer.
USUAL = 8
USUAL_LARGE = 4
LARGE = 4 << 20
#: Large ones for an unpacker: while it waits for the next, and while it has enough to do.  Of ctr's
#: time benchmarks/images.py had 0.75 with two, 0.85 with four; one beside it takes 0.96 of two.
_AWAITED, _AHEAD = 2, 1
#: Lines that give less (bytes a second), and longer than this (seconds), leave time for more.
_QUICK, _PATIENCE = 96 << 20, 0.5
#: How often who waits looks whether it is to give up (seconds).
_LOOK = 0.1


class Gate:
    """Lets so many large blobs through at a time, as they come, and all others.

    ``given`` is how many the caller wants; ``workers`` how many may stand before the gate.  With
    ``unpacks`` the layer that is needed next gets the most of line and machine: the sooner the
    lowest are here, the more of the others come while they are unpacked.
    """

    def __init__(self, job: Job, given: int | None, *, unpacks: bool = False) -> None:
        self.workers = USUAL if given is None else given
        self._job = job
        self._most = USUAL_LARGE if given is None else given
        self._unpacks = unpacks and given is None
        self._changed = threading.Condition()
        self._queue: deque[Descriptor] = deque()
        #: For each that has a place, until when it is to be done on a quick line.
        self._moving: list[Deadline] = []
        self._was_slow = False
        #: Unpackers at work, and what they wait for.
        self._unpackers = 0
        self._awaited: set[str] = set()

    @contextmanager
    def passing(self, blob: Descriptor) -> Iterator[None]:
        """Waits for a place, if ``blob`` wants one.  Raises ``Cancelled``."""
        if blob.size <= LARGE:
            yield
            return
        deadline = self._enter(blob)
        try:
            yield
        finally:
            with self._changed:
                self._moving.remove(deadline)
                self._was_slow = deadline.expired
                self._awaited.discard(blob.digest)
                self._changed.notify_all()

    def _enter(self, blob: Descriptor) -> Deadline:
        with self._changed:
            self._queue.append(blob)
            try:
                while self._queue[0] is not blob or len(self._moving) >= self._places():
                    self._job.check()
                    self._changed.wait(_LOOK)
                self._moving.append(Deadline(max(_PATIENCE, blob.size / _QUICK)))
                return self._moving[-1]
            finally:
                self._queue.remove(blob)
                self._changed.notify_all()

    def _places(self) -> int:
        if not self._unpacks or self._was_slow or any(one.expired for one in self._moving):
            return self._most
        return _AHEAD if self._unpackers and not self._awaited else _AWAITED

    @contextmanager
    def unpacking(self) -> Iterator[None]:
        """The block unpacks what comes; it says by ``awaiting`` what it cannot go on without."""
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
        """The block waits for ``blob``."""
        with self._changed:
            self._awaited.add(blob.digest)
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._awaited.discard(blob.digest)
