"""Reads one large blob in parts over several connections in parallel.

A registry's storage often sends fewer bytes per second over one connection than the network allows.
Since version 2.1, containerd also fetches layers in parts (``ConcurrentLayerFetchBuffer``).
"""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future

from ..interrupt import Interrupt
from ..oci.descriptor import Descriptor
from ..oci.digest import Verifier
from ..undo import Undo
from ..workers import Workers, result_when_done
from .blob import BlobReader
from .http_errors import naming

#: Bytes of a part. For N connections, at most N + 1 parts are in memory.
PART = 4 << 20

#: A function that opens the part of a blob between two offsets. The second offset is exclusive.
OpenPart = Callable[[int, int], BlobReader]


class PartsReader(io.RawIOBase):
    """A binary stream of a whole blob that is fetched in parallel parts and read in order.

    Like ``BlobReader``, this reader verifies the content and continues after a broken connection.
    The reader uses threads until the whole blob has been read or ``close()`` is called. ``close()``
    ends the threads' requests.

    Args:
        descriptor: The blob.
        first: A reader of the first part, which is already open.
        interrupt: The interrupt that can end the request for the first part.
        open_part: A function that opens any other part.
        connections: The largest number of parts that are fetched at the same time.
        operation: The name of the operation, for errors.
        verify: Whether to verify the size and the digest.
    """

    def __init__(
        self,
        descriptor: Descriptor,
        first: BlobReader,
        interrupt: Interrupt,
        open_part: OpenPart,
        *,
        connections: int,
        operation: str,
        verify: bool,
    ) -> None:
        super().__init__()
        self.descriptor = descriptor
        self._open_part = open_part
        self._operation = operation
        self._verifier = Verifier(descriptor.digest, descriptor.size) if verify else None
        self._first: BlobReader | None = first
        self._interrupts: deque[Interrupt] = deque()
        self._free_buffers: list[bytearray] = []
        self._parts: deque[Future[memoryview]] = deque()
        self._offset = self._next_start = 0
        self._current: memoryview | None = None
        self._copied = 0
        self._pool = Workers(connections, "containerd-lite-part")
        with Undo(self.close):
            self._submit(interrupt)
            for _ in range(connections):
                self._submit(Interrupt())

    def readable(self) -> bool:
        """Return true, because the stream is readable."""
        return True

    def tell(self) -> int:
        """Return the offset of the next byte in the blob."""
        return self._offset

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Read bytes into ``buffer`` and return their number; 0 means the end.

        This method waits for the next part if necessary.

        Raises:
            SizeMismatch: The blob is shorter or longer than the descriptor says.
            DigestMismatch: The blob's content does not match the digest.
            RegistryUnavailable: A connection broke or stalled too often.
            RegistryError: The registry sent an unexpected response.
            ValueError: The reader is closed.
        """
        if self.closed:
            raise ValueError("the reader is closed")
        try:
            with naming(self._operation):
                return self._copy(memoryview(buffer).cast("B"))
        except BaseException:
            self.close()
            raise

    def _copy(self, view: memoryview) -> int:
        """Copy bytes of the current part into ``view``. Wait for the next part if necessary."""
        if self._current is None:
            if not self._parts:
                return 0
            self._current, self._copied = result_when_done(self._parts.popleft()), 0
            self._interrupts.popleft()
            if self._verifier:
                self._verifier.update(self._current)
            if self._offset + len(self._current) == self.descriptor.size and self._verifier:
                self._verifier.check()
        count = min(len(view), len(self._current) - self._copied)
        view[:count] = self._current[self._copied : self._copied + count]
        self._copied += count
        self._offset += count
        if self._copied == len(self._current):
            self._release_buffer()
        return count

    def _release_buffer(self) -> None:
        """Submit another part, which can use the buffer of the part that has been read."""
        current, self._current = self._current, None
        if current is not None and isinstance(current.obj, bytearray):
            self._free_buffers.append(current.obj)
        self._submit(Interrupt())
        if not self._parts:  # all parts have been read, so the threads can end
            self._pool.shutdown()

    def _submit(self, interrupt: Interrupt) -> None:
        """Let a thread fetch the next part, if there is one. ``interrupt`` can end the request."""
        start, end = self._next_start, min(self._next_start + PART, self.descriptor.size)
        if start == end:
            return
        self._next_start = end
        buffer = self._free_buffers.pop() if self._free_buffers else bytearray(PART)
        view = memoryview(buffer)[: end - start]
        # Add the interrupt first, because a signal handler may raise before the part is submitted.
        self._interrupts.append(interrupt)
        self._parts.append(self._pool.submit(self._fetch, start, view, interrupt))

    def _fetch(self, start: int, view: memoryview, interrupt: Interrupt) -> memoryview:
        """Read one part into ``view``, in a thread of the pool."""
        with interrupt.watching():
            reader = None
            if not start:
                reader, self._first = self._first, None
            with reader or self._open_part(start, start + len(view)) as reader:
                done = 0
                while done < len(view):
                    done += reader.readinto(view[done:])
        return view

    def close(self) -> None:
        """Close the reader: end the requests of all parts, and wait for their threads."""
        if not self.closed:
            self._stop(wait=True)
        super().close()

    def _stop(self, wait: bool) -> None:
        for interrupt in self._interrupts:
            interrupt.set()
        self._pool.shutdown(wait=wait, cancel_futures=True)
        if self._first is not None:  # no thread reads it
            self._first.close()
        self._parts.clear()

    def __del__(self) -> None:
        # An interrupt may have ended ``__init__`` before there was a pool.
        if not self.closed and hasattr(self, "_pool"):
            # Do not wait, because this method may run in one of the pool's own threads.
            self._stop(wait=False)
            super().close()

    def __exit__(self, *exception: object) -> None:
        self.close()
