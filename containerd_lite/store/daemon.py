"""containerd's content store.

What lives here: the store over the content service, a reader that seeks and a writer that does
not wait for each answer.  What may not: what is worth fetching.
"""

from __future__ import annotations

import io
import time
from collections.abc import Hashable, Iterator, Mapping
from contextlib import suppress
from typing import BinaryIO, cast

from ..errors import DigestMismatch, FailedPrecondition, OutOfRange, SizeMismatch, Unknown
from ..oci import digest as digests
from ..oci.content import ContentInfo, IngestStatus
from ..services.content import ContentRead, ContentService, ContentWrite
from ..undo import Undo

#: containerd takes messages of up to 16 MiB, and sends 1 MiB itself.  Two of 2 MiB under way made a
#: fetch of large layers take 5 % less time than four of half the size.
_MAX_CHUNK = 2 << 20
#: Bytes of a blob that are read at a time at least; larger reads go past the buffer.
_LEAST_READ = 64 << 10
#: Bytes under way that the daemon has not said it has: a restart costs these, and what has been
#: read and not sent yet, 4 MiB at most together.
_MOST_UNDER_WAY = 2 << 20
#: When a write is aborted again into whose folder a daemon still writes (seconds between).
_WRITTEN = (0.01, 0.03, 0.1, 0.3, 0.0)


class DaemonStore:
    """The content store of one namespace of a daemon; a ``ContentStore``."""

    def __init__(self, service: ContentService) -> None:
        self._service = service

    @property
    def identity(self) -> Hashable:
        return self._service.identity

    def info(self, digest: str) -> ContentInfo:
        return self._service.info(digest)

    def walk(self, *filters: str) -> Iterator[ContentInfo]:
        return self._service.list(*filters)

    def reader(self, digest: str) -> BinaryIO:
        return cast(BinaryIO, io.BufferedReader(_Reader(self._service, digest), _LEAST_READ))

    def writer(self, ref: str, *, size: int = 0, expected: str = "") -> DaemonWriter:
        return DaemonWriter(self._service.write(ref), ref, size, expected)

    def update(self, digest: str, labels: Mapping[str, str]) -> ContentInfo:
        return self._service.update(digest, labels)

    def delete(self, digest: str) -> None:
        self._service.delete(digest)

    def statuses(self) -> list[IngestStatus]:
        return self._service.list_statuses()

    def abort(self, ref: str) -> None:
        """Raises ``NotFound``.  A write that was let go just now may still be on its way."""
        for wait in _WRITTEN:
            try:
                return self._service.abort(ref)
            except Unknown as error:
                if not wait or "directory not empty" not in error.message:
                    raise
            time.sleep(wait)

    def __repr__(self) -> str:
        return f"<DaemonStore {self._service!r}>"


class _Reader(io.RawIOBase):
    """A blob as a raw file: one ``Read`` stream, made anew after a seek.

    It is opened at once, which tells whether the blob is there.
    """

    def __init__(self, service: ContentService, digest: str) -> None:
        self._service = service
        self._digest = digest
        self._position = 0
        self._stream: ContentRead | None = service.read(digest)
        self._rest: memoryview | None = None
        try:
            self._rest = self._stream.receive()  # none: it is over
        except BaseException:
            self._stream.close()
            raise

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        if self._stream is None:
            self._stream = self._service.read(self._digest, self._position)
            with suppress(OutOfRange):  # as of any file, behind the end nothing is read
                self._rest = self._stream.receive()
        while self._rest is not None and not self._rest:
            self._rest = self._stream.receive()
        if self._rest is None:
            return 0
        view = memoryview(buffer).cast("B")
        size = min(len(view), len(self._rest))
        view[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        self._position += size
        return size

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position}
        start = self._service.info(self._digest).size if whence == io.SEEK_END else base[whence]
        target = start + offset
        if target < 0:
            raise OutOfRange(f"{self._digest} has no offset {target}")
        if target != self._position:
            self._drop_stream()
            self._position = target
        return target

    def tell(self) -> int:
        return self._position

    def _drop_stream(self) -> None:
        stream, self._stream = self._stream, None
        self._rest = None
        if stream is not None:
            stream.close()

    def close(self) -> None:
        if not self.closed:
            self._drop_stream()
        super().close()


class DaemonWriter:
    """A write under way in the daemon; a ``Writer``."""

    def __init__(self, write: ContentWrite, ref: str, size: int, expected: str) -> None:
        self._write = write
        self._ref = ref
        self._size = size
        self._expected = expected
        with Undo(write.close):
            self._offset = write.stat(size, expected)

    @property
    def offset(self) -> int:
        return self._offset

    def write(self, data: bytes | memoryview) -> int:
        view = memoryview(data)
        if self._size and self._offset + len(view) > self._size:
            raise SizeMismatch(f"{self._expected} is longer than the {self._size} bytes promised")
        for start in range(0, len(view), _MAX_CHUNK):
            chunk = view[start : start + _MAX_CHUNK]
            while self._offset + len(chunk) - self._write.offset > _MOST_UNDER_WAY:
                self._write.await_answer()
            self._write.chunk(self._offset, chunk)
            self._offset += len(chunk)
        return len(view)

    def commit(self, labels: Mapping[str, str] | None = None) -> str:
        try:
            digest = self._write.commit(self._offset, self._size, self._expected, labels)
        except FailedPrecondition as error:
            # The daemon has one code for both; which it is, our own count tells.
            kind = SizeMismatch if self._size and self._offset != self._size else DigestMismatch
            said = kind(error.message, operation=error.operation, address=error.address)
            if kind is DigestMismatch and self._expected and not _is_sha256(self._expected):
                said.remedy = "containerd names content by sha256 alone: pull it into a layout"
            raise said from error
        self.close()
        return digest

    def close(self) -> None:
        self._write.close()

    def __enter__(self) -> DaemonWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<DaemonWriter {self._ref} {self._offset}/{self._size}>"


def _is_sha256(digest: str) -> bool:
    return digests.algorithm(digest) == "sha256"
