"""An OCI image layout in a folder, as a content store (image-spec, image-layout.md).

What lives here: blobs as files, writes under way beside them, the index.  What may not: daemons,
HTTP.  A layout has no place for labels: those given are dropped.
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
_PIECE = 1 << 20
#: Before a ref in its file's name, for a ref may be ``..``.
_REF = "ref-"
#: Bytes of a file's name (NAME_MAX).
_MAX_NAME = 255


class LayoutStore:
    """A folder with ``oci-layout``, ``index.json`` and ``blobs/``; a ``ContentStore``.

    The folder is made with the first write.  Raises ``InvalidArgument`` for a folder that holds
    something else, or none at all.  Whatever reads or writes raises ``PermissionDenied`` where
    this user may not, and ``ResourceExhausted`` where the disk is full.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        with explained(self.path):
            self._look()

    def _look(self) -> None:
        marker = self.path / _MARKER
        is_foreign = not marker.exists() and self._holds_something()
        if marker.exists():  # by now: another writer makes it first, and then the rest
            self._check(marker)
        elif is_foreign:
            raise InvalidArgument(
                f"{self.path} holds something that is no OCI image layout",
                remedy="Name a folder that is empty or does not exist",
            )

    def _holds_something(self) -> bool:
        return self.path.exists() and any(map(_is_foreign, self.path.iterdir()))

    @staticmethod
    def _check(marker: Path) -> None:
        version = Document.parse(read(marker, 4096), str(marker)).text("imageLayoutVersion")
        if version != _VERSION:
            raise InvalidArgument(f"{marker} has the version {version!r}, known is {_VERSION}")

    def _prepare(self) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        if not (self.path / _MARKER).exists():  # first of all: it says whose the folder is
            replace(self.path / _MARKER, json.dumps({"imageLayoutVersion": _VERSION}).encode())
        (self.path / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
        if not (self.path / INDEX).exists():  # without names, too, or it is no layout for others
            with self._locked():
                index = layout_index.load(self.path / INDEX)
                layout_index.save(self.path / INDEX, index, layout_index.entries(index))

    def _blob(self, digest: str) -> Path:
        return self.path / "blobs" / digests.algorithm(digest) / digests.encoded(digest)

    # ---- ContentStore ----------------------------------------------------------------------

    @property
    def identity(self) -> Hashable:
        return self.path.resolve()

    def info(self, digest: str) -> ContentInfo:
        with explained(self.path), self._saying_which(digest):
            found = self._blob(digest).stat()
        when = datetime.fromtimestamp(found.st_mtime, timezone.utc)
        return ContentInfo(digest, found.st_size, when, when)

    def walk(self, *filters: str) -> Iterator[ContentInfo]:
        if filters:
            raise InvalidArgument("a layout has no labels, and so no filters")
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
        with explained(self.path), self._saying_which(digest):
            return self._blob(digest).open("rb")

    @contextmanager
    def _saying_which(self, digest: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise NotFound(f"{self.path} has no blob {digest}") from None

    def writer(self, ref: str, *, size: int = 0, expected: str = "") -> LayoutWriter:
        if expected and self._has(expected):
            raise AlreadyExists(f"{self.path} has the blob {expected}")
        return self._writer(ref, size, expected, replaces=False)

    def replacing_writer(self, ref: str, *, size: int, expected: str) -> LayoutWriter:
        """As ``writer``, of content that is there, but broken: it stays until the commit, which
        puts the good in its place."""
        return self._writer(ref, size, expected, replaces=True)

    def _writer(self, ref: str, size: int, expected: str, replaces: bool) -> LayoutWriter:
        path = self._ingest(ref)
        with explained(self.path):
            self._prepare()
            with self._locked():  # or the folder may be tidied away before the file is in it
                path.parent.mkdir(exist_ok=True)
                file = _open_locked(path, ref)
            return LayoutWriter(self, ref, file, size=size, expected=expected, replaces=replaces)

    def _has(self, digest: str) -> bool:
        with explained(self.path):
            return self._blob(digest).exists()

    def _ingest(self, ref: str) -> Path:
        """The file of a write, named so that it tells the ref.

        Raises ``InvalidArgument`` for none, and for one that is too long for that, as those of
        daemons may be.
        """
        from urllib.parse import quote  # 3 ms, which reading a layout need not pay

        name = f"{_REF}{quote(ref, safe='')}"
        if not ref or len(name) > _MAX_NAME:
            raise InvalidArgument(
                f"{quoted(ref)} cannot be the ref of a write in a layout",
                remedy=f"Give one of 1 to {_MAX_NAME - len(_REF)} letters or digits",
            )
        return self.path / _INGEST / name

    def update(self, digest: str, labels: Mapping[str, str]) -> ContentInfo:
        return self.info(digest)

    def delete(self, digest: str) -> None:
        with explained(self.path), self._saying_which(digest):
            self._blob(digest).unlink()

    def statuses(self) -> list[IngestStatus]:
        from urllib.parse import unquote  # as above

        found = []
        for file in self._files(self.path / _INGEST):
            with suppress(NotFound):
                with explained(self.path):
                    stat = file.stat()
                when = datetime.fromtimestamp(stat.st_mtime, timezone.utc)
                ref = unquote(file.name.removeprefix(_REF))
                found.append(
                    IngestStatus(
                        ref, stat.st_size, 0, expected="", started_at=when, updated_at=when
                    )
                )
        return found

    def abort(self, ref: str) -> None:
        path = self._ingest(ref)
        try:
            with explained(self.path), self._locked():
                path.unlink()
        except NotFound:
            raise NotFound(f"{self.path} has no write {ref}") from None
        self.tidy()

    def tidy(self) -> None:
        """Remove the folder of writes under way if there are none."""
        with suppress(OSError, ContainerdError), self._locked():
            (self.path / _INGEST).rmdir()

    # ---- names -----------------------------------------------------------------------------

    def entries(self) -> list[Document]:
        """What the index lists.  Raises ``InvalidArgument``."""
        with explained(self.path):
            return list(layout_index.entries(layout_index.load(self.path / INDEX)))

    @contextmanager
    def changing_entries(self) -> Iterator[list[Document]]:
        """What the index lists, to be changed within the block, by nobody else meanwhile.

        All else in there stays as it is.  Raises ``ResourceExhausted``, ``InvalidArgument``.
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
    """A file that becomes a blob; a ``Writer``.  One process at a time has it."""

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
        self._path = store._ingest(ref)
        self._file = file
        self._size = size
        self._expected = expected
        self._replaces = replaces
        algorithm = digests.algorithm(expected) if expected else "sha256"
        self._hash = digests.hasher(algorithm)
        self._offset = 0
        with Undo(file.close):
            self._take_up()

    def _take_up(self) -> None:
        """Hash what an earlier writer has left, which is faster than fetching it again."""
        buffer = memoryview(bytearray(_PIECE))
        while count := os.preadv(self._file.fileno(), [buffer], self._offset):
            self._hash.update(buffer[:count])
            self._offset += count

    @property
    def offset(self) -> int:
        return self._offset

    def write(self, data: bytes | memoryview) -> int:
        if self._size and self._offset + len(data) > self._size:
            raise SizeMismatch(f"{self._expected} is longer than the {self._size} bytes promised")
        rest = memoryview(data)
        with explained(self._store.path):
            while rest:  # a disk that is nearly full takes a part of it
                count = self._file.write(rest)
                self._hash.update(rest[:count])
                self._offset += count
                rest = rest[count:]
        return len(data)

    def commit(self, labels: Mapping[str, str] | None = None) -> str:
        digest = f"{self._hash.name}:{self._hash.hexdigest()}"
        if self._size and self._offset != self._size:
            raise SizeMismatch(f"{self._offset} bytes came of {self._size}: {self._expected}")
        if self._expected and digest != self._expected:
            raise DigestMismatch(f"content of {self._expected} has the digest {digest}")
        target = self._store._blob(digest)
        with explained(self._store.path):
            if target.exists() and not self._replaces:
                with suppress(NotFound), self._kept():
                    self._path.unlink()
                self._file.close()
                raise AlreadyExists(f"{self._store.path} has the blob {digest}")
            os.fchmod(self._file.fileno(), 0o644)
            os.fsync(self._file.fileno())
            target.parent.mkdir(parents=True, exist_ok=True)
            with self._kept():
                self._path.rename(target)
        self._file.close()
        return digest

    @contextmanager
    def _kept(self) -> Iterator[None]:
        """Within the block nobody throws the file away.  Raises ``NotFound`` if somebody has."""
        with self._store._locked():
            if not _is_at(self._file, self._path):
                raise NotFound(
                    f"the write {self._ref} has been thrown away meanwhile",
                    remedy="Begin it again",
                )
            yield

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> LayoutWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<LayoutWriter {self._expected} {self._offset}/{self._size}>"


def _open_locked(path: Path, ref: str) -> FileIO:
    """The file, made if need be, for this writer alone.  Raises ``Unavailable``."""
    file = path.open("a+b", buffering=0)  # whatever is written is in the file, or an error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Between the two calls another writer may have made a blob of it: then it is not ours.
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
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    return False


def _is_foreign(path: Path) -> bool:
    """Whether a folder that has it, and no marker, is somebody else's."""
    return not path.name.startswith(scratch_of(_MARKER))
