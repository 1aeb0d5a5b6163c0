"""Writes of blobs to an OCI image layout."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from io import FileIO

from ..arguments import view_of
from ..errors import (
    AlreadyExists,
    DigestMismatch,
    InvalidArgument,
    NotFound,
    SizeMismatch,
    Unavailable,
)
from ..oci import digest as digests
from ..oci.content import IngestStatus
from ..undo import Undo
from . import verified_files
from .folder import UntrustedFolder, explained, file_time
from .protocol import check_truncation, ended_writer

#: The number of bytes to hash at a time.
_CHUNK = 1 << 20


def blob_name(digest: str) -> str:
    """Return the name of a blob's file, relative to the layout.

    Raises:
        InvalidArgument: ``digest`` is not a digest.
    """
    return f"blobs/{digests.algorithm(digest)}/{digests.encoded(digest)}"


class LayoutWriter:
    """A write of a blob to a layout; implements ``Writer``.

    Args:
        folder: The folder of the layout.
        ref: The ref of the write.
        name: The name of the write's file in the folder.
        size: The size of the blob in bytes; 0 if it is unknown.
        expected: The digest of the blob; ``""`` if it is unknown.
        replaces: Whether the commit replaces a blob that the layout already has.

    Raises:
        Unavailable: Another writer holds the lock of the ref.
        InvalidArgument: The file of the write is a link, or is not a regular file.
    """

    def __init__(
        self,
        folder: UntrustedFolder,
        ref: str,
        name: str,
        *,
        size: int,
        expected: str,
        replaces: bool,
    ) -> None:
        self._folder = folder
        self._ref = ref
        self._name = name
        self._size = size
        self._expected = expected
        self._replaces = replaces
        #: The algorithm of the digest of the blob.
        self._algorithm = digests.algorithm(expected) if expected else "sha256"
        self._hash, self._offset = digests.hasher(self._algorithm), 0
        self._file = self._open()

    def _open(self) -> FileIO:
        """Open and lock the file of the write."""
        # The file has no buffer, so that each write reports its own errors.
        file = self._folder.open(self._name, os.O_RDWR | os.O_APPEND | os.O_CREAT)
        with Undo(file.close):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise self._locked() from error
            # Between open and flock, another writer may have moved this file to "blobs/".
            if not self._is_at(file):
                raise self._locked()
            if os.fstat(file.fileno()).st_nlink > 1:  # the file is also elsewhere
                raise InvalidArgument(
                    f"{self._folder.path / self._name} has a second hard link",
                    remedy="Delete the file",
                )
        return file

    def _locked(self) -> Unavailable:
        return Unavailable(f"ref {self._ref} is locked by another writer")

    def _is_at(self, file: FileIO) -> bool:
        """Return whether an open file still has the name of the write."""
        with suppress(NotFound):
            return os.path.samestat(os.fstat(file.fileno()), self._folder.stat(self._name))
        return False

    def resume(self) -> None:
        """Hash the bytes that an earlier writer wrote, so that they need not be fetched again."""
        self._hash, self._offset = digests.hasher(self._algorithm), 0
        buffer = memoryview(bytearray(_CHUNK))
        with explained(self._folder.path):
            while count := os.preadv(self._file.fileno(), [buffer], self._offset):
                self._hash.update(buffer[:count])
                self._offset += count

    @property
    def offset(self) -> int:
        """The number of bytes in the file of the write. The next write appends to these bytes."""
        return self._offset

    @property
    def digest(self) -> str:
        """The digest of the bytes in the file."""
        return f"{self._algorithm}:{self._hash.hexdigest()}"

    def status(self) -> IngestStatus:
        """Return the state of the write.

        Raises:
            FailedPrecondition: The writer was committed or closed.
        """
        self._check_open()
        when = file_time(os.fstat(self._file.fileno()).st_mtime)
        return IngestStatus(
            self._ref,
            self._offset,
            self._size,
            expected=self._expected,
            started_at=when,
            updated_at=when,
        )

    def _check_open(self) -> None:
        if self._file.closed:
            raise ended_writer(self._ref)

    def write(self, data: bytes | memoryview) -> int:
        """Append bytes to the file; see ``Writer.write``.

        Raises:
            SizeMismatch: The blob would become longer than expected.
            ResourceExhausted: The disk is full. ``offset`` includes the bytes that are in the file.
            FailedPrecondition: The writer was committed or closed.
        """
        self._check_open()
        rest = view_of("data", data)
        if self._size and self._offset + len(data) > self._size:
            raise SizeMismatch(
                f"{self._expected or 'the content'} is longer than the expected {self._size} bytes"
            )
        with explained(self._folder.path):
            while rest:  # a disk that is nearly full accepts only a part of the bytes
                count = self._file.write(rest)
                self._hash.update(rest[:count])
                self._offset += count
                rest = rest[count:]
        return len(data)

    def truncate(self, size: int) -> None:
        """Delete the bytes in the file; see ``Writer.truncate``.

        Args:
            size: 0, or ``offset``, which deletes nothing.

        Raises:
            InvalidArgument: ``size`` is not 0 and not ``offset``.
            FailedPrecondition: The writer was committed or closed.
        """
        self._check_open()
        check_truncation(self._ref, self._offset, size)
        if size != self._offset:
            with explained(self._folder.path):
                self._file.truncate(size)
            self.resume()

    def commit(
        self, labels: Mapping[str, str] | None = None, *, size: int = 0, expected: str = ""
    ) -> str:
        """Verify the blob and make the blob visible.

        Args:
            labels: Ignored, because a layout stores no labels.
            size: The size of the blob in bytes. Default: the size passed to ``writer``.
            expected: The digest of the blob. Default: the digest passed to ``writer``.

        Returns:
            The digest of the blob.

        Raises:
            AlreadyExists: The layout has the blob already.
            SizeMismatch: The blob does not have the expected size.
            DigestMismatch: The blob does not have the expected digest.
            NotFound: The write was aborted.
            FailedPrecondition: The writer was committed or closed.
        """
        self._check_open()
        digest = self._verified(size or self._size, expected or self._expected)
        if self._folder.has(blob_name(digest)) and not self._replaces:
            with suppress(NotFound), self._abort_prevented():
                self._folder.remove(self._name)
            self._file.close()
            raise AlreadyExists(f"{self._folder.path} has the blob {digest}")
        with explained(self._folder.path):
            os.fsync(self._file.fileno())
        with self._abort_prevented():
            self._folder.rename(self._name, blob_name(digest))
        verified_files.remember(self._file.fileno(), digest)
        self._file.close()
        return digest

    def _verified(self, size: int, expected: str) -> str:
        """Return the digest of the bytes in the file, after checking their size and digest."""
        if size and self._offset != size:
            name = expected or "the content"
            raise SizeMismatch(f"received {self._offset} of {size} bytes of {name}")
        if expected and digests.algorithm(expected) != self._algorithm:
            self._algorithm = digests.algorithm(expected)
            self.resume()
        if expected and self.digest != expected:
            raise DigestMismatch(f"content of {expected} has the digest {self.digest}")
        return self.digest

    @contextmanager
    def _abort_prevented(self) -> Iterator[None]:
        """Prevent all processes from aborting the write during the block.

        Raise ``NotFound`` if the write was aborted before the block.
        """
        with self._folder.locked():
            if not self._is_at(self._file):
                raise NotFound(
                    f"the write {self._ref} was aborted before its commit",
                    remedy="Start the write again",
                )
            yield

    def close(self) -> None:
        """Release the lock of the ref. The layout keeps the bytes written so far."""
        self._file.close()

    def __enter__(self) -> LayoutWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<LayoutWriter {self._expected} {self._offset}/{self._size}>"
