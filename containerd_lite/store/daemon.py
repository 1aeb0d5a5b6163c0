"""The implementation of ``ContentStore`` that uses a daemon's content store.

The readers can seek. The writers do not wait for the daemon's response to each chunk.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime, timezone
from typing import TYPE_CHECKING, BinaryIO, cast

from ..arguments import check_instance, view_of
from ..errors import (
    ContainerdError,
    DigestMismatch,
    FailedPrecondition,
    OutOfRange,
    SizeMismatch,
    Unknown,
)
from ..interrupt import shielded
from ..oci import digest as digests
from ..oci import media_types
from ..oci.content import ContentInfo, IngestStatus
from ..oci.descriptor import Descriptor
from ..oci.document import MAX_DOCUMENT
from ..services.content import ContentRead, ContentService, ContentWrite, WriteStatus
from ..services.filters import Filter
from ..undo import Undo
from .blob_writes import put_blob
from .protocol import (
    check_truncation,
    ended_writer,
    infos_one_by_one,
    open_in_time,
    read_whole,
)

if TYPE_CHECKING:
    from ..operation import CancelToken

#: The maximum size of a chunk in bytes. containerd accepts messages of up to 16 MiB, and sends
#: chunks of 1 MiB. A fetch of large layers took 5 % less time with chunks of 2 MiB than with chunks
#: of 1 MiB.
_MAX_CHUNK = 2 << 20
#: The maximum size in bytes of the end of a blob that is sent together with the commit. This saves
#: a message and its response: 6 % of the CPU time of a fetch of small layers.
_MAX_LAST = 128 << 10
#: The size of a reader's buffer in bytes. Larger reads bypass the buffer.
_READ_BUFFER = 64 << 10
#: The maximum number of sent bytes that the daemon has not confirmed. If the daemon restarts, or an
#: interrupt ends the writer, these bytes and the next chunk are lost: at most 4 MiB together.
_MAX_UNCONFIRMED = 2 << 20
#: Number of blobs up to which each is asked for by itself.
_FEW = 4
#: The maximum number of digests in the filters of one call.
_MAX_FILTERS = 256
#: Seconds to wait at the end of a write until the daemon has written all bytes.
_CLOSE_TIMEOUT = 60.0
#: Seconds to wait for the same after an error. A daemon needs a few milliseconds.
_FAILURE_TIMEOUT = 1.0
#: The time of an ingest whose daemon does not say the time.
_EPOCH = datetime.fromtimestamp(0, timezone.utc)
#: Seconds between attempts to abort a write while the daemon still writes to the write's folder.
_ABORT_WAITS = (0.01, 0.03, 0.1, 0.3, 0.0)


class DaemonStore:
    """The content store of one namespace of a daemon; implements ``ContentStore``.

    Args:
        service: The content service of the namespace.
    """

    def __init__(self, service: ContentService) -> None:
        self._service = service

    @property
    def identity(self) -> Hashable:
        """The daemon's address and the namespace."""
        return self._service.identity

    def info(self, digest: str) -> ContentInfo:
        """Return the size, times and labels of a blob; see ``ContentStore.info``."""
        return self._service.info(digest)

    def infos(self, digests: Iterable[str]) -> dict[str, ContentInfo]:
        """Return the infos of existing blobs by digest.

        More than a few blobs are found with one call for up to 256 digests. The daemon then looks
        at all blobs of the namespace: among 3,000, 30 blobs take 10 ms, and 5 ms one by one.
        """
        wanted, found = sorted(set(digests)), dict[str, ContentInfo]()
        if len(wanted) <= _FEW:
            return infos_one_by_one(self, wanted)
        for start in range(0, len(wanted), _MAX_FILTERS):
            batch = wanted[start : start + _MAX_FILTERS]
            filters = (Filter("digest") == digest for digest in batch)
            found |= {info.digest: info for info in self.walk(*filters)}
        return found

    def walk(self, *filters: str) -> Iterator[ContentInfo]:
        """Yield all blobs, or the blobs that match at least one filter.

        Args:
            *filters: Filters on ``digest``, ``size`` or ``labels``. Default: all blobs.
        """
        return self._service.list(*filters)

    def reader(self, digest: str) -> BinaryIO:
        """Return a blob as a seekable binary file; see ``ContentStore.reader``."""
        return cast(BinaryIO, io.BufferedReader(_Reader(self._service, digest), _READ_BUFFER))

    def verified_reader(self, digest: str, size: int, report: Callable[[int], object]) -> BinaryIO:
        """Return a blob as a file; see ``ContentStore.verified_reader``."""
        return self.reader(digest)

    def read(self, digest: str, *, limit: int = MAX_DOCUMENT) -> bytes:
        """Return the content of a blob; see ``ContentStore.read``.

        Args:
            digest: The digest of the blob.
            limit: The maximum size of the blob in bytes. Default: 4 MiB.
        """
        return read_whole(self, digest, limit)

    def writer(
        self,
        ref: str,
        *,
        size: int = 0,
        expected: str = "",
        lock_timeout: float | None = 0.0,
        cancel: CancelToken | None = None,
    ) -> DaemonWriter:
        """Start or continue a write; see ``ContentStore.writer``.

        Args:
            ref: The name of the write.
            size: The size of the blob in bytes. Default: unknown.
            expected: The digest of the blob. Default: unknown.
            lock_timeout: Seconds to wait while another writer holds the lock of ``ref``. ``None``
                means no limit. Default: do not wait.
            cancel: A token whose ``cancel`` ends the wait for the lock. Default: none.
        """
        check_instance("ref", ref, str, "the name of the write, as a string")
        return open_in_time(
            lambda: DaemonWriter(self._service.write(ref), ref, size, expected),
            lock_timeout,
            cancel,
        )

    def put(
        self,
        data: bytes,
        *,
        media_type: str = media_types.OCTET_STREAM,
        labels: Mapping[str, str] | None = None,
    ) -> Descriptor:
        """Write a blob, unless the daemon has the blob already; see ``ContentStore.put``.

        Args:
            data: The content of the blob.
            media_type: The media type of the returned descriptor.
            labels: Labels to set, also if the daemon has the blob already. Default: none.
        """
        return put_blob(self, data, media_type, labels)

    def update(self, digest: str, labels: Mapping[str, str]) -> ContentInfo:
        """Set labels of a blob; an empty value removes a label. See ``ContentStore.update``."""
        return self._service.update(digest, labels)

    def delete(self, digest: str) -> None:
        """Delete a blob; see ``ContentStore.delete``."""
        self._service.delete(digest)

    def status(self, ref: str) -> IngestStatus:
        """Return the state of an incomplete write; see ``ContentStore.status``."""
        return self._service.status(ref)

    def statuses(self) -> list[IngestStatus]:
        """Return the states of all incomplete writes."""
        return self._service.list_statuses()

    def abort(self, ref: str) -> None:
        """Delete an incomplete write.

        Directly after an interrupt has ended a writer, the daemon can still write to the folder of
        this write. The first attempt to delete the write then fails. This method tries again for up
        to 0.44 seconds.

        Raises:
            NotFound: The daemon has no such write.
        """
        for wait in _ABORT_WAITS:
            try:
                return self._service.abort(ref)
            except Unknown as error:
                if not wait or "directory not empty" not in error.raw_message:
                    raise
            time.sleep(wait)

    def __repr__(self) -> str:
        return f"<DaemonStore {self._service!r}>"


class _Reader(io.RawIOBase):
    """A blob as a raw file, which reads from a stream of the RPC ``Read``.

    After a seek, the file opens a new stream. The constructor opens the first stream, and raises
    ``NotFound`` if the blob does not exist.
    """

    def __init__(self, service: ContentService, digest: str) -> None:
        self._service = service
        self._digest = digest
        self._position = 0
        self._stream: ContentRead | None = None
        #: The unread bytes of the last chunk; ``None`` at the end of the blob.
        self._rest: memoryview | None = None
        with Undo(self.close):
            self._stream = service.read(digest)
            self._rest = self._stream.receive()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        if self._stream is None:
            self._stream = self._service.read(self._digest, self._position)
            with suppress(OutOfRange):  # a read past the end of the blob returns no bytes
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
            raise OutOfRange(f"{self._digest} cannot be read at the negative offset {target}")
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
    """A write of a blob to a daemon; implements ``Writer``.

    Args:
        write: The stream of the write.
        ref: The ref of the write.
        size: The size of the blob in bytes; 0 if it is unknown.
        expected: The digest of the blob; ``""`` if it is unknown.
    """

    def __init__(self, write: ContentWrite, ref: str, size: int, expected: str) -> None:
        self._write = write
        self._ref = ref
        self._size = size
        self._expected = expected
        #: The end of the blob, which ``commit`` sends.
        self._last = b""
        #: Whether the writer was committed or closed.
        self._has_ended = False
        with Undo(write.close):
            self._offset = write.stat(size, expected)

    @property
    def offset(self) -> int:
        """The number of bytes of the blob that this and earlier writers have accepted."""
        return self._offset

    @property
    def digest(self) -> str:
        """The digest of the bytes that the daemon has; see ``Writer.digest``."""
        status = self._write.status if self._has_ended else self._confirmed()
        return "" if status is None else status.digest

    def status(self) -> IngestStatus:
        """Return the state of the write; see ``Writer.status``."""
        found = self._confirmed()
        return IngestStatus(
            self._ref,
            found.offset,
            found.total,
            expected=self._expected,
            started_at=found.started_at or _EPOCH,
            updated_at=found.updated_at or _EPOCH,
        )

    def _confirmed(self) -> WriteStatus:
        """Return the daemon's state of the write, after it has written all bytes."""
        self._check_open()
        if self._last:
            self._write.chunk(self._offset - len(self._last), memoryview(self._last))
            self._last = b""
        self._write.stat(0, "")
        return cast(WriteStatus, self._write.status)

    def write(self, data: bytes | memoryview) -> int:
        """Append bytes to the blob; see ``Writer.write``."""
        self._check_open()
        view = view_of("data", data)
        if not view:
            return 0
        if self._size and self._offset + len(view) > self._size:
            raise SizeMismatch(
                f"{self._expected or 'the content'} is longer than the expected {self._size} bytes"
            )
        if self._offset + len(view) == self._size and len(view) <= _MAX_LAST:
            self._last = bytes(view)
            self._offset = self._size
            return len(view)
        for start in range(0, len(view), _MAX_CHUNK):
            chunk = view[start : start + _MAX_CHUNK]
            while self._offset + len(chunk) - self._write.offset > _MAX_UNCONFIRMED:
                self._write.await_answer()
            self._write.chunk(self._offset, chunk)
            self._offset += len(chunk)
        return len(view)

    def truncate(self, size: int) -> None:
        """Delete the bytes that the daemon has; see ``Writer.truncate``.

        Args:
            size: 0, or ``offset``, which deletes nothing.
        """
        self._check_open()
        check_truncation(self._ref, self._offset, size)
        if size != self._offset:
            self._last = b""
            self._write.chunk(0, memoryview(b""))
            self._offset = self._write.stat(0, "")

    def commit(
        self, labels: Mapping[str, str] | None = None, *, size: int = 0, expected: str = ""
    ) -> str:
        """Verify the blob and make the blob visible; see ``Writer.commit``.

        Args:
            labels: The labels of the blob. Default: none.
            size: The size of the blob in bytes. Default: the size passed to ``writer``.
            expected: The digest of the blob. Default: the digest passed to ``writer``.
        """
        self._check_open()
        self._has_ended = True
        size, expected = size or self._size, expected or self._expected
        try:
            sent = self._offset - len(self._last)
            digest = self._write.commit(sent, size, expected, labels, data=self._last)
        except FailedPrecondition as error:
            # The daemon reports a wrong size and a wrong digest with the same status. The number
            # of bytes sent shows which of the two is wrong.
            kind = SizeMismatch if size and self._offset != size else DigestMismatch
            mismatch = kind(error.message, operation=error.operation, address=error.address)
            if kind is DigestMismatch and expected and not _is_sha256(expected):
                mismatch.remedy = (
                    "Pull the image into a layout; containerd before 2.3 supports only sha256"
                )
            raise mismatch from error
        self.close()
        return digest

    def _check_open(self) -> None:
        if self._has_ended:
            raise ended_writer(self._ref)

    def close(self) -> None:
        """Release the lock of the ref, after the daemon has written all bytes.

        After a commit, this method does nothing.

        Raises:
            DeadlineExceeded: The daemon has not written all bytes within 60 seconds.
            ContainerdError: The daemon could not write all bytes.
        """
        self._end(_CLOSE_TIMEOUT)

    def _end(self, timeout: float) -> None:
        """Wait until the daemon has written all bytes, and release the connection."""
        has_ended, self._has_ended = self._has_ended, True
        try:
            if not has_ended:
                self._write.finish(self._offset - len(self._last), self._last, timeout)
        finally:
            self._write.close()

    def __enter__(self) -> DaemonWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        """Close the writer.

        After an error in the block, wait for one second at most. After an interrupt, do not wait:
        the daemon then loses up to 4 MiB of the written bytes.
        """
        error = exception[1]
        if error is None:
            self.close()
        elif isinstance(error, Exception):
            with shielded(), suppress(ContainerdError):
                self._end(_FAILURE_TIMEOUT)
        else:
            self._has_ended = True
            self._write.close()

    def __repr__(self) -> str:
        return f"<DaemonWriter {self._ref} {self._offset}/{self._size}>"


def _is_sha256(digest: str) -> bool:
    return digests.algorithm(digest) == "sha256"
