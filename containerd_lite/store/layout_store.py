"""An OCI image layout in a folder, as a content store (image-spec, image-layout.md).

Blobs are files in ``blobs/``, and incomplete writes are files in ``.ingest/``. A layout stores no
labels, so this store ignores the labels that a caller passes.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from io import FileIO
from pathlib import Path
from typing import BinaryIO

from ..errors import (
    AlreadyExists,
    ContainerdError,
    DigestMismatch,
    InvalidArgument,
    NotFound,
    SizeMismatch,
    Unavailable,
)
from ..oci import digest as digests
from ..oci.content import ContentInfo, IngestStatus
from ..oci.document import Document, quoted
from ..undo import Undo
from . import layout_index
from .folder import explained, read, replace, scratch_of
from .layout_index import INDEX

_MARKER = "oci-layout"
_VERSION = "1.0.0"
_INGEST = ".ingest"
#: The number of bytes to hash at a time.
_CHUNK = 1 << 20
#: The prefix of the file names of incomplete writes. Without a prefix, the ref ``..`` would name
#: the parent folder.
_REF_PREFIX = "ref-"
#: The maximum length of a file name in bytes (NAME_MAX).
_MAX_NAME = 255


class LayoutStore:
    """A folder with ``oci-layout``, ``index.json`` and ``blobs/``; implements ``ContentStore``.

    All methods raise ``PermissionDenied`` if the user is not allowed to access a file. Methods that
    write raise ``ResourceExhausted`` if the disk is full.

    Args:
        path: The folder. If it does not exist or is empty, the first write creates the layout.

    Raises:
        InvalidArgument: The path is not a folder, or the folder has content but is not a layout.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        with explained(self.path):
            self._check_folder()

    def _check_folder(self) -> None:
        marker = self.path / _MARKER
        is_foreign = not marker.exists() and self._has_content()
        # Check for the marker again: another writer may have created the layout after the first
        # check. A writer creates the marker before any other file.
        if marker.exists():
            self._check_version(marker)
        elif is_foreign:
            raise InvalidArgument(
                f"{self.path} has content, but is not an OCI image layout",
                remedy="Use a folder that is empty or does not exist",
            )

    def _has_content(self) -> bool:
        return self.path.exists() and any(map(_is_foreign, self.path.iterdir()))

    @staticmethod
    def _check_version(marker: Path) -> None:
        version = Document.parse(read(marker, 4096), str(marker)).text("imageLayoutVersion")
        if version != _VERSION:
            raise InvalidArgument(f"{marker} has version {version!r}; only {_VERSION} is supported")

    def _prepare(self) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        # Create the marker first: a folder that has content but no marker is not a layout.
        if not (self.path / _MARKER).exists():
            replace(self.path / _MARKER, json.dumps({"imageLayoutVersion": _VERSION}).encode())
        (self.path / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
        # Other tools require index.json even in a layout without images.
        if not (self.path / INDEX).exists():
            with self._locked():
                index = layout_index.load(self.path / INDEX)
                layout_index.save(self.path / INDEX, index, layout_index.entries(index))

    def _blob_path(self, digest: str) -> Path:
        return self.path / "blobs" / digests.algorithm(digest) / digests.encoded(digest)

    # ---- ContentStore ----------------------------------------------------------------------

    @property
    def identity(self) -> Hashable:
        """The resolved path of the folder."""
        return self.path.resolve()

    def info(self, digest: str) -> ContentInfo:
        """Return the size and times of a blob.

        Raises:
            NotFound: The layout has no such blob.
        """
        with explained(self.path), self._naming_blob(digest):
            found = self._blob_path(digest).stat()
        when = datetime.fromtimestamp(found.st_mtime, timezone.utc)
        return ContentInfo(digest, found.st_size, when, when)

    def walk(self, *filters: str) -> Iterator[ContentInfo]:
        """Yield all blobs.

        Raises:
            InvalidArgument: The caller gave ``filters``, which a layout does not support.
        """
        if filters:
            raise InvalidArgument("a layout has no labels, so it does not support filters")
        for algorithm in digests.ALGORITHMS:
            for blob in self._files(self.path / "blobs" / algorithm):
                if digests.is_digest(f"{algorithm}:{blob.name}"):
                    with suppress(NotFound):
                        yield self.info(f"{algorithm}:{blob.name}")

    def _files(self, folder: Path) -> list[Path]:
        with explained(self.path), suppress(FileNotFoundError):
            return sorted(folder.iterdir())
        return []

    def reader(self, digest: str) -> BinaryIO:
        """Open the file of a blob.

        Raises:
            NotFound: The layout has no such blob.
        """
        with explained(self.path), self._naming_blob(digest):
            return self._blob_path(digest).open("rb")

    @contextmanager
    def _naming_blob(self, digest: str) -> Iterator[None]:
        """Turn a ``FileNotFoundError`` of the block into a ``NotFound`` that names the digest."""
        try:
            yield
        except FileNotFoundError:
            raise NotFound(f"{self.path} has no blob {digest}") from None

    def writer(self, ref: str, *, size: int = 0, expected: str = "") -> LayoutWriter:
        """Start or continue a write.

        Args:
            ref: The name of the write.
            size: The size of the blob in bytes. Default: unknown.
            expected: The digest of the blob. Default: unknown.

        Raises:
            AlreadyExists: The layout has a blob with the digest ``expected``.
            InvalidArgument: ``ref`` is empty, or too long for a file name.
            Unavailable: Another writer holds the lock of ``ref``.
        """
        if expected and self._has(expected):
            raise AlreadyExists(f"{self.path} has the blob {expected}")
        return self._writer(ref, size, expected, replaces=False)

    def replacing_writer(self, ref: str, *, size: int, expected: str) -> LayoutWriter:
        """Start or continue a write that replaces a damaged blob; see ``writer``.

        The damaged blob stays until the commit replaces it.

        Args:
            ref: The name of the write.
            size: The size of the blob in bytes.
            expected: The digest of the blob.

        Raises:
            InvalidArgument: ``ref`` is empty, or too long for a file name.
            Unavailable: Another writer holds the lock of ``ref``.
        """
        return self._writer(ref, size, expected, replaces=True)

    def _writer(self, ref: str, size: int, expected: str, replaces: bool) -> LayoutWriter:
        path = self._ingest_path(ref)
        with explained(self.path):
            self._prepare()
            # The lock prevents tidy() from removing the folder before the write's file exists.
            with self._locked():
                path.parent.mkdir(exist_ok=True)
                file = _open_locked(path, ref)
            return LayoutWriter(self, ref, file, size=size, expected=expected, replaces=replaces)

    def _has(self, digest: str) -> bool:
        with explained(self.path):
            return self._blob_path(digest).exists()

    def _ingest_path(self, ref: str) -> Path:
        """Return the path of a write's file. The file's name contains the percent-encoded ref.

        Raise ``InvalidArgument`` if the ref is empty or too long for a file name. Daemons permit
        longer refs.
        """
        from urllib.parse import quote  # the import takes 3 ms, and readers do not need it

        name = f"{_REF_PREFIX}{quote(ref, safe='')}"
        if not ref or len(name) > _MAX_NAME:
            raise InvalidArgument(
                f"{quoted(ref)} cannot be the ref of a write in a layout",
                remedy=f"Use 1 to {_MAX_NAME - len(_REF_PREFIX)} letters or digits",
            )
        return self.path / _INGEST / name

    def update(self, digest: str, labels: Mapping[str, str]) -> ContentInfo:
        """Return ``info(digest)``. The labels are ignored."""
        return self.info(digest)

    def delete(self, digest: str) -> None:
        """Delete a blob.

        Raises:
            NotFound: The layout has no such blob.
        """
        with explained(self.path), self._naming_blob(digest):
            self._blob_path(digest).unlink()

    def statuses(self) -> list[IngestStatus]:
        """Return the states of all incomplete writes.

        The states do not contain the sizes and digests of the blobs, which are unknown.
        """
        from urllib.parse import unquote  # imported here, because the import takes 3 ms

        found = []
        for file in self._files(self.path / _INGEST):
            with suppress(NotFound):
                with explained(self.path):
                    stat = file.stat()
                when = datetime.fromtimestamp(stat.st_mtime, timezone.utc)
                ref = unquote(file.name.removeprefix(_REF_PREFIX))
                found.append(
                    IngestStatus(
                        ref, stat.st_size, 0, expected="", started_at=when, updated_at=when
                    )
                )
        return found

    def abort(self, ref: str) -> None:
        """Delete an incomplete write.

        Raises:
            InvalidArgument: ``ref`` is empty, or too long for a file name.
            NotFound: The layout has no such write.
        """
        path = self._ingest_path(ref)
        try:
            with explained(self.path), self._locked():
                path.unlink()
        except NotFound:
            raise NotFound(f"{self.path} has no write {ref}") from None
        self.tidy()

    def tidy(self) -> None:
        """Remove the folder of incomplete writes if it is empty."""
        with suppress(OSError, ContainerdError), self._locked():
            (self.path / _INGEST).rmdir()

    # ---- names -----------------------------------------------------------------------------

    def entries(self) -> list[Document]:
        """Return the entries of the index.

        Raises:
            InvalidArgument: The index is not valid.
        """
        with explained(self.path):
            return list(layout_index.entries(layout_index.load(self.path / INDEX)))

    @contextmanager
    def changing_entries(self) -> Iterator[list[Document]]:
        """Yield a list of the index's entries. If the block succeeds, write the list to the index.

        During the block, no other process changes the index. The other fields of the index stay
        unchanged.

        Raises:
            InvalidArgument: The index is not valid.
            ResourceExhausted: The index would be too large, or the disk is full.
        """
        with explained(self.path):
            self._prepare()
        with self._locked():
            with explained(self.path):
                index = layout_index.load(self.path / INDEX)
            entries = list(layout_index.entries(index))
            yield entries
            with explained(self.path):
                layout_index.save(self.path / INDEX, index, entries)
        self.tidy()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock of the layout's folder during the block."""
        with explained(self.path):
            descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def __repr__(self) -> str:
        return f"<LayoutStore {self.path}>"


class LayoutWriter:
    """A write of a blob to a layout; implements ``Writer``.

    Args:
        store: The layout.
        ref: The ref of the write.
        file: The file of the write, locked for this writer.
        size: The size of the blob in bytes; 0 if it is unknown.
        expected: The digest of the blob; ``""`` if it is unknown.
        replaces: Whether the commit replaces a blob that the layout already has.
    """

    def __init__(
        self,
        store: LayoutStore,
        ref: str,
        file: FileIO,
        size: int,
        expected: str,
        replaces: bool,
    ) -> None:
        self._store = store
        self._ref = ref
        self._path = store._ingest_path(ref)
        self._file = file
        self._size = size
        self._expected = expected
        self._replaces = replaces
        algorithm = digests.algorithm(expected) if expected else "sha256"
        self._hash = digests.hasher(algorithm)
        self._offset = 0
        with Undo(file.close):
            self._hash_file()

    def _hash_file(self) -> None:
        """Hash the bytes that an earlier writer wrote, so that they need not be fetched again."""
        buffer = memoryview(bytearray(_CHUNK))
        while count := os.preadv(self._file.fileno(), [buffer], self._offset):
            self._hash.update(buffer[:count])
            self._offset += count

    @property
    def offset(self) -> int:
        """The number of bytes in the file of the write. The next write appends to these bytes."""
        return self._offset

    def write(self, data: bytes | memoryview) -> int:
        """Append bytes to the file; see ``Writer.write``.

        Raises:
            SizeMismatch: The blob would become longer than expected.
            ResourceExhausted: The disk is full. ``offset`` includes the bytes that are in the file.
        """
        if self._size and self._offset + len(data) > self._size:
            raise SizeMismatch(
                f"{self._expected or 'the content'} is longer than the expected {self._size} bytes"
            )
        rest = memoryview(data)
        with explained(self._store.path):
            while rest:  # a disk that is nearly full accepts only a part of the bytes
                count = self._file.write(rest)
                self._hash.update(rest[:count])
                self._offset += count
                rest = rest[count:]
        return len(data)

    def commit(self, labels: Mapping[str, str] | None = None) -> str:
        """Verify the blob and make the blob visible.

        Args:
            labels: Ignored, because a layout stores no labels.

        Returns:
            The digest of the blob.

        Raises:
            AlreadyExists: The layout has the blob already.
            SizeMismatch: The blob does not have the expected size.
            DigestMismatch: The blob does not have the expected digest.
            NotFound: The write was aborted.
        """
        digest = f"{self._hash.name}:{self._hash.hexdigest()}"
        if self._size and self._offset != self._size:
            name = self._expected or "the content"
            raise SizeMismatch(f"received {self._offset} of {self._size} bytes of {name}")
        if self._expected and digest != self._expected:
            raise DigestMismatch(f"content of {self._expected} has the digest {digest}")
        target = self._store._blob_path(digest)
        with explained(self._store.path):
            if target.exists() and not self._replaces:
                with suppress(NotFound), self._abort_prevented():
                    self._path.unlink()
                self._file.close()
                raise AlreadyExists(f"{self._store.path} has the blob {digest}")
            os.fchmod(self._file.fileno(), 0o644)
            os.fsync(self._file.fileno())
            target.parent.mkdir(parents=True, exist_ok=True)
            with self._abort_prevented():
                self._path.rename(target)
        self._file.close()
        return digest

    @contextmanager
    def _abort_prevented(self) -> Iterator[None]:
        """Prevent all processes from aborting the write during the block.

        Raise ``NotFound`` if the write was aborted before the block.
        """
        with self._store._locked():
            if not _is_at(self._file, self._path):
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


def _open_locked(path: Path, ref: str) -> FileIO:
    """Open and lock the file of a write. Raise ``Unavailable`` if another writer has the lock."""
    # The file has no buffer, so that each write reports its own errors.
    file = path.open("a+b", buffering=0)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Between open and flock, another writer may have moved this file to "blobs/".
        if not _is_at(file, path):
            raise BlockingIOError
    except BlockingIOError as error:
        file.close()
        raise Unavailable(f"ref {ref} is locked by another writer") from error
    except BaseException:
        file.close()
        raise
    return file


def _is_at(file: FileIO, path: Path) -> bool:
    """Return whether ``path`` is still the path of an open file."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    return False


def _is_foreign(path: Path) -> bool:
    """Return false if a file is the temporary file that becomes the marker of a layout."""
    return not path.name.startswith(scratch_of(_MARKER))
