"""An OCI image layout in a folder, as a content store (image-spec, image-layout.md).

What lives here: blobs as files, writes under way beside them, the index.  What may not: daemons,
HTTP.  A layout has no place for labels: those given are dropped.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from secrets import token_hex
from typing import BinaryIO
from urllib.parse import quote, unquote

from ..errors import (
    AlreadyExists,
    DigestMismatch,
    InvalidArgument,
    NotFound,
    SizeMismatch,
    Unavailable,
)
from ..oci import digest as digests
from ..oci import media_types
from ..oci.content import ContentInfo, IngestStatus
from ..oci.descriptor import Descriptor
from ..oci.manifest import Index, parse

_MARKER = "oci-layout"
_VERSION = "1.0.0"
_MAX_INDEX = 20 << 20  # what containerd's importer allows
_INGEST = ".ingest"
_PIECE = 1 << 20
#: Before a ref in its file's name, for a ref may be ``..``.
_REF = "ref-"


class LayoutStore:
    """A folder with ``oci-layout``, ``index.json`` and ``blobs/``; a ``ContentStore``.

    The folder is made with the first write.  Raises ``InvalidArgument`` for a folder that holds
    something else.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
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
        try:
            version = json.loads(_read(marker, 4096)).get("imageLayoutVersion")
        except (ValueError, AttributeError) as error:
            raise InvalidArgument(f"{marker} is no JSON object: {error}") from error
        if version != _VERSION:
            raise InvalidArgument(f"{marker} has the version {version!r}, known is {_VERSION}")

    def _prepare(self) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        if not (self.path / _MARKER).exists():  # first of all: it says whose the folder is
            _write(self.path / _MARKER, json.dumps({"imageLayoutVersion": _VERSION}).encode())
        (self.path / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)

    def _blob(self, digest: str) -> Path:
        return self.path / "blobs" / digests.algorithm(digest) / digests.encoded(digest)

    # ---- ContentStore ----------------------------------------------------------------------

    @property
    def identity(self) -> Hashable:
        return self.path.resolve()

    def info(self, digest: str) -> ContentInfo:
        try:
            found = self._blob(digest).stat()
        except FileNotFoundError:
            raise NotFound(f"{self.path} has no blob {digest}") from None
        when = datetime.fromtimestamp(found.st_mtime, timezone.utc)
        return ContentInfo(digest, found.st_size, when, when)

    def walk(self, *filters: str) -> Iterator[ContentInfo]:
        if filters:
            raise InvalidArgument("a layout has no labels, and so no filters")
        for algorithm in digests.ALGORITHMS:
            folder = self.path / "blobs" / algorithm
            for blob in sorted(folder.iterdir()) if folder.is_dir() else ():
                if digests.is_digest(f"{algorithm}:{blob.name}"):
                    with suppress(NotFound):
                        yield self.info(f"{algorithm}:{blob.name}")

    def reader(self, digest: str) -> BinaryIO:
        try:
            return self._blob(digest).open("rb")
        except FileNotFoundError:
            raise NotFound(f"{self.path} has no blob {digest}") from None

    def writer(self, ref: str, *, size: int = 0, expected: str = "") -> LayoutWriter:
        if expected and self._blob(expected).exists():
            raise AlreadyExists(f"{self.path} has the blob {expected}")
        self._prepare()
        path = self._ingest(ref)
        with self._locked():  # or the folder may be tidied away before the file is in it
            path.parent.mkdir(exist_ok=True)
            file = _open_locked(path, ref)
        return LayoutWriter(self, path, file, size, expected)

    def _ingest(self, ref: str) -> Path:
        return self.path / _INGEST / f"{_REF}{quote(ref, safe='')}"

    def update(self, digest: str, labels: Mapping[str, str]) -> ContentInfo:
        return self.info(digest)

    def delete(self, digest: str) -> None:
        try:
            self._blob(digest).unlink()
        except FileNotFoundError:
            raise NotFound(f"{self.path} has no blob {digest}") from None

    def statuses(self) -> list[IngestStatus]:
        found = []
        folder = self.path / _INGEST
        for file in sorted(folder.iterdir()) if folder.is_dir() else ():
            with suppress(FileNotFoundError):
                stat = file.stat()
                when = datetime.fromtimestamp(stat.st_mtime, timezone.utc)
                ref = unquote(file.name.removeprefix(_REF))
                found.append(IngestStatus(ref, stat.st_size, 0, "", when, when))
        return found

    def abort(self, ref: str) -> None:
        try:
            self._ingest(ref).unlink()
        except FileNotFoundError:
            raise NotFound(f"{self.path} has no write {ref}") from None
        self.tidy()

    def tidy(self) -> None:
        """Remove the folder of writes under way if there are none."""
        with suppress(OSError), self._locked():
            (self.path / _INGEST).rmdir()

    # ---- names -----------------------------------------------------------------------------

    def index(self) -> Index:
        """``index.json``; an empty one where there is none yet.  Raises ``InvalidArgument``."""
        try:
            body = _read(self.path / "index.json", _MAX_INDEX)
        except FileNotFoundError:
            body = b'{"schemaVersion":2,"manifests":[]}'
        found = parse(body, media_types.OCI_INDEX)
        if not isinstance(found, Index):
            raise InvalidArgument(f"{self.path / 'index.json'} is no index")
        return found

    @contextmanager
    def changing_index(self) -> Iterator[list[Descriptor]]:
        """The entries of the index, to be changed within the block, by nobody else meanwhile."""
        self._prepare()
        with self._locked():
            entries = list(self.index().manifests)
            yield entries
            document = {
                "schemaVersion": 2,
                "mediaType": media_types.OCI_INDEX,
                "manifests": [entry.to_json() for entry in entries],
            }
            _write(self.path / "index.json", json.dumps(document, indent=2).encode())
        self.tidy()

    @contextmanager
    def _locked(self) -> Iterator[None]:
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
        self, store: LayoutStore, path: Path, file: BinaryIO, size: int, expected: str
    ) -> None:
        self._store = store
        self._path = path
        self._file = file
        self._size = size
        self._expected = expected
        algorithm = digests.algorithm(expected) if expected else "sha256"
        self._hash = hashlib.new(algorithm, usedforsecurity=False)
        self._offset = 0
        self._take_up()

    def _take_up(self) -> None:
        """Hash what an earlier writer has left, which is faster than fetching it again."""
        buffer = memoryview(bytearray(_PIECE))
        with self._path.open("rb") as left:
            while count := left.readinto(buffer):
                self._hash.update(buffer[:count])
                self._offset += count

    @property
    def offset(self) -> int:
        return self._offset

    def write(self, data: bytes | memoryview) -> int:
        if self._size and self._offset + len(data) > self._size:
            raise SizeMismatch(f"{self._expected} is longer than the {self._size} bytes promised")
        self._hash.update(data)
        self._file.write(data)
        self._offset += len(data)
        return len(data)

    def commit(self, labels: Mapping[str, str] | None = None) -> str:
        digest = f"{self._hash.name}:{self._hash.hexdigest()}"
        self._file.flush()
        if self._size and self._offset != self._size:
            raise SizeMismatch(f"{self._offset} bytes came of {self._size}: {self._expected}")
        if self._expected and digest != self._expected:
            raise DigestMismatch(f"content of {self._expected} has the digest {digest}")
        target = self._store._blob(digest)
        if target.exists():
            self._path.unlink()
            self._file.close()
            raise AlreadyExists(f"{self._store.path} has the blob {digest}")
        os.fchmod(self._file.fileno(), 0o644)
        os.fsync(self._file.fileno())
        target.parent.mkdir(parents=True, exist_ok=True)
        self._path.rename(target)
        self._file.close()
        return digest

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> LayoutWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<LayoutWriter {self._expected} {self._offset}/{self._size}>"


def _open_locked(path: Path, ref: str) -> BinaryIO:
    """The file, made if need be, for this writer alone.  Raises ``Unavailable``."""
    file = path.open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Between the two calls another writer may have made a blob of it: then it is not ours.
        is_ours = os.path.samestat(os.fstat(file.fileno()), path.stat())
    except OSError as error:
        file.close()
        raise Unavailable(f"ref {ref} is locked by another writer") from error
    if not is_ours:
        file.close()
        raise Unavailable(f"ref {ref} was locked by another writer")
    return file


def _read(path: Path, limit: int) -> bytes:
    with path.open("rb") as file:
        # Not more than there is: Python makes room for what it is asked for.
        body = file.read(min(limit, os.fstat(file.fileno()).st_size) + 1)
    if len(body) > limit:
        raise SizeMismatch(f"{path} is larger than the {limit} bytes allowed")
    return body


def _write(path: Path, body: bytes) -> None:
    """Replace a file whole: a reader sees the old one or the new one."""
    scratch = path.with_name(f"{_scratch(path.name)}{token_hex(4)}")
    try:
        scratch.write_bytes(body)
        scratch.replace(path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise


def _scratch(name: str) -> str:
    return f".{name}.new-"


def _is_foreign(path: Path) -> bool:
    """Whether a folder that has it, and no marker, is somebody else's."""
    return not path.name.startswith(_scratch(_MARKER))
