"""One big blob over several connections at a time, read in order.

What lives here: the reader that keeps parts in flight.  What may not: requests.

A registry's storage often gives one connection less than the line has; containerd fetches in
parts since 2.1 (``ConcurrentLayerFetchBuffer``).
"""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future

from ..interrupt import Interrupt
from ..oci.descriptor import Descriptor
from ..oci.digest import Verifier
from ..workers import Workers
from .blob import BlobReader
from .http_errors import naming

#: Bytes of a part; as many parts as there are connections, and one more, are held in memory.
PART = 4 << 20

#: Opens a blob's bytes from an offset to an end.
OpenPart = Callable[[int, int], BlobReader]


class PartsReader(io.RawIOBase):
    """A binary file of a whole blob whose parts come side by side.

    As ``BlobReader`` it verifies what it gives and goes on after a cut; ``close()`` ends what is
    under way.  Its threads live to the end of the blob or ``close()``.
    """

    def __init__(
        self,
        descriptor: Descriptor,
        first: BlobReader,
        word: Interrupt,
        open_part: OpenPart,
        *,
        connections: int,
        operation: str,
        verify: bool,
    ) -> None:
        """``first`` is the first part, open already, which ``word`` can end.

        ``connections`` bounds the parts in flight.
        """
        super().__init__()
        self.descriptor = descriptor
        self._open_part = open_part
        self._operation = operation
        self._verifier = Verifier(descriptor.digest, descriptor.size) if verify else None
        self._pool = Workers(connections, "containerd-lite-part")
        self._first: BlobReader | None = first
        self._words: deque[Interrupt] = deque()
        self._spare: list[bytearray] = []
        self._parts: deque[Future[memoryview]] = deque()
        self._at = self._next = 0
        self._head: memoryview | None = None
        self._used = 0
        self._submit(word)
        for _ in range(connections):
            self._submit(Interrupt())

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        """The offset of the next byte in the blob."""
        return self._at

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Gives what has come of the next part, waiting for it if need be; 0 is the end."""
        if self.closed:
            raise ValueError("the reader is closed")
        try:
            with naming(self._operation):
                return self._copy(memoryview(buffer).cast("B"))
        except BaseException:
            self.close()
            raise

    def _copy(self, view: memoryview) -> int:
        if self._head is None:
            if not self._parts:
                return 0
            self._head, self._used = self._parts.popleft().result(), 0
            self._words.popleft()
            if self._verifier:
                self._verifier.update(self._head)
            if self._at + len(self._head) == self.descriptor.size and self._verifier:
                self._verifier.check()
        count = min(len(view), len(self._head) - self._used)
        view[:count] = self._head[self._used : self._used + count]
        self._used += count
        self._at += count
        if self._used == len(self._head):
            self._give_back()
        return count

    def _give_back(self) -> None:
        """Lets a buffer that was read be filled again."""
        head, self._head = self._head, None
        if head is not None and isinstance(head.obj, bytearray):
            self._spare.append(head.obj)
        self._submit(Interrupt())
        if not self._parts:  # the end: there is nothing left for the threads to do
            self._pool.shutdown()

    def _submit(self, word: Interrupt) -> None:
        start, end = self._next, min(self._next + PART, self.descriptor.size)
        if start == end:
            return
        self._next = end
        buffer = self._spare.pop() if self._spare else bytearray(PART)
        view = memoryview(buffer)[: end - start]
        self._words.append(word)  # first, for an interrupt may come in between
        self._parts.append(self._pool.submit(self._fill, start, view, word))

    def _fill(self, start: int, view: memoryview, word: Interrupt) -> memoryview:
        """Reads one part, in a thread of its own."""
        with word.watching():
            reader = None
            if not start:
                reader, self._first = self._first, None
            with reader or self._open_part(start, start + len(view)) as reader:
                done = 0
                while done < len(view):
                    done += reader.readinto(view[done:])
        return view

    def close(self) -> None:
        """Ends what is under way and waits for it."""
        if not self.closed:
            self._stop(wait=True)
        super().close()

    def _stop(self, wait: bool) -> None:
        for word in self._words:
            word.set()
        self._pool.shutdown(wait=wait, cancel_futures=True)
        if self._first is not None:  # no thread has come to it
            self._first.close()
        self._parts.clear()

    def __del__(self) -> None:
        if not self.closed:
            self._stop(wait=False)  # the last to drop it may be a thread of its own
            super().close()

    def __exit__(self, *exception: object) -> None:
        self.close()
