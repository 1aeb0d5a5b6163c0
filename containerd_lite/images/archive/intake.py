"""Reads the files of an archive, or of a layout's folder, and writes them to a store.

The files are read one after the other, or several in parallel. A file at
``blobs/<algorithm>/<digits>`` must have the digest in its path. This module hashes the other files,
because their names do not contain their digests.
"""

from __future__ import annotations

import io
import itertools
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

from ...arguments import is_binary, path
from ...errors import (
    AlreadyExists,
    ContainerdError,
    DataLoss,
    InvalidArgument,
    NotFound,
    SizeMismatch,
)
from ...interrupt import shielded
from ...limits import refused
from ...oci import digest as digests
from ...oci.document import MAX_DOCUMENT
from ...pipes import open_for_reading, readable
from ...printable import quoted
from ...progress import Stage
from ...records import record
from ...store.folder import UntrustedFolder, explained
from ...store.layers import MAGIC, PlainStream, decompressed, detect
from ...store.protocol import ContentStore, Writer
from ...store.tar import FILE, LINK, SYMLINK, Source, TarReader, link_target
from ..job import Job, side_by_side

if TYPE_CHECKING:
    from hashlib import _Hash

OCI_LAYOUT, INDEX, DOCKER = "oci-layout", "index.json", "manifest.json"
_DOCUMENTS = (OCI_LAYOUT, INDEX, DOCKER)
#: Base names of files in Docker archives. Only Docker versions of 2015 need these files.
_LEGACY = ("repositories", "VERSION", "json")
_BUFFER = 1 << 20

StrPath: TypeAlias = str | os.PathLike[str]


class FileStream:
    """Reads a regular file from an offset, without changing the position of the file object."""

    def __init__(self, descriptor: int, offset: int = 0) -> None:
        self._descriptor = descriptor
        self._offset = offset
        self._size = os.fstat(descriptor).st_size

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill the buffer unless the file ends first; return the number of bytes read."""
        filled = 0
        while filled < len(buffer):
            count = os.preadv(self._descriptor, [buffer[filled:]], self._offset)
            if not count:
                break
            filled += count
            self._offset += count
        return filled

    def skip(self, count: int) -> None:
        """Skip ``count`` bytes, but stop at the end of the file."""
        self._offset = min(self._offset + count, self._size)


@record(frozen=True)
class ArchiveFile:
    """A file in an archive or folder. ``data`` is a context manager that opens the file."""

    name: str
    size: int
    data: AbstractContextManager[Source]


class Intake:
    """Reads archives into a store, and records what it has read.

    Args:
        store: The store to write blobs to.
        job: The job that the import is part of.

    Attributes:
        documents: The content of ``oci-layout``, ``index.json`` and ``manifest.json``, by name.
        blobs: The digest and the size in bytes of each imported file, by the file's name.
        links: The target of each link, by the link's name.
        sizes: The size in bytes of each blob, by the blob's digest.
    """

    def __init__(self, store: ContentStore, job: Job) -> None:
        self.documents: dict[str, bytes] = {}
        self.blobs: dict[str, tuple[str, int]] = {}
        self.links: dict[str, str] = {}
        self.sizes: dict[str, int] = {}
        self._store = store
        self._job = job
        self._token = os.urandom(8).hex()
        self._count = itertools.count()
        self._lock = threading.Lock()

    def add_file(self, name: str, size: int, data: Source) -> None:
        """Read a JSON document into ``documents``, or any other file into the store.

        After an error, the store has no part of the file.

        Raises:
            InvalidArgument: The archive has another file of this name.
        """
        if name in _DOCUMENTS:
            self._add_unique(self.documents, name, self._read(name, size, data))
        elif _is_blob(name):
            expected = _digest_in(name)
            self._add_unique(self.blobs, name, (self.write_blob(expected, size, data, name), size))

    def _add_unique(self, table: dict[str, Any], name: str, value: object) -> None:
        """Add an entry to ``table``; refuse a second file or link with the same name.

        Otherwise two programs could read different content from the same archive.
        """
        with self._lock:
            for entries in (self.documents, self.blobs, self.links):
                if entries.get(name, value) != value:
                    raise InvalidArgument(f"the archive has two files called {quoted(name)}")
            table[name] = value

    @staticmethod
    def _read(name: str, size: int, data: Source) -> bytes:
        if size > MAX_DOCUMENT:
            raise InvalidArgument(f"{name} has {size} bytes; at most {MAX_DOCUMENT} are allowed")
        body = bytearray(size)
        _read_exactly(data, memoryview(body))
        return bytes(body)

    def write_blob(self, expected: str, size: int, data: Source, name: str = "") -> str:
        """Write a blob to the store, unless the store has it; return the blob's digest.

        Each write has its own ref, so it neither waits for another write nor resumes one.

        Args:
            expected: The blob's digest; ``""`` to compute it.
            size: The blob's size in bytes.
            data: The blob's content.
            name: The name of the file, for progress events and errors.
        """
        ref = f"tar-{self._token}-{next(self._count)}"
        hasher = None if expected else digests.hasher()
        stage: Stage = "exists"
        try:
            with self._store.writer(ref, size=size, expected=expected) as writer:
                self._copy(writer, size, data, expected or name, hasher)
                writer.commit()
            stage = "downloaded"
        except BaseException as error:
            with shielded(), suppress(ContainerdError):
                self._store.abort(ref)
            if not isinstance(error, AlreadyExists):
                raise
        digest = expected if hasher is None else f"sha256:{hasher.hexdigest()}"
        self._add_size(digest, size, is_written=stage == "downloaded")
        self._job.report(stage, expected or name or digest, size, size)
        return digest

    def _add_size(self, digest: str, size: int, is_written: bool) -> None:
        found = size if is_written else self._store.info(digest).size
        if found != size:
            raise SizeMismatch(
                f"{digest} has {found} bytes in the store, but {size} in the archive"
            )
        self.sizes[digest] = size

    def _copy(
        self, writer: Writer, size: int, data: Source, name: str, hasher: _Hash | None
    ) -> None:
        if writer.offset > size:
            raise SizeMismatch(
                f"{name} has {writer.offset} bytes in the store, but {size} in the archive"
            )
        data.skip(writer.offset)  # the offset is not 0 if another namespace has the blob
        buffer = memoryview(bytearray(min(_BUFFER, size)))
        while writer.offset < size:
            self._job.check()
            piece = buffer[: size - writer.offset]
            _read_exactly(data, piece)
            if hasher is not None:
                hasher.update(piece)
            writer.write(piece)
            self._job.report("downloading", name, writer.offset, size)

    # ---- sources ---------------------------------------------------------------------------

    def read_all(self, source: StrPath | BinaryIO, workers: int) -> None:
        """Read a whole archive or folder.

        Args:
            source: A path or a binary file.
            workers: How many files to read in parallel from a folder, or from a regular file that
                is not compressed.

        Raises:
            InvalidArgument: ``workers`` is below 1, or the archive is not valid.
            DataLoss: The archive is cut off.
        """
        if workers < 1:
            raise InvalidArgument("max_concurrent must be 1 or more")
        if not isinstance(source, str | os.PathLike):
            self._read_archive(source, workers)
        elif os.path.isdir(source):
            folder = UntrustedFolder(Path(source))
            self._expect(_files_in_folder(folder))
            side_by_side(self._read_one, _files_in_folder(folder), self._job, workers)
        else:
            with open_archive(source) as file:
                self._read_archive(file, workers)
        self._job.seal()

    def _expect(self, files: Iterator[ArchiveFile]) -> None:
        """Report all blobs of an archive before the first blob is read."""
        if self._job.progress is None:
            return
        for file in files:
            if _is_blob(file.name):
                self._job.report("waiting", _digest_in(file.name) or file.name, 0, file.size)
        self._job.seal()

    def _read_archive(self, file: BinaryIO, workers: int) -> None:
        position = _position(file)
        if position is None:
            self._read_stream(decompressed(PlainStream(readable(file))))
        elif detect(os.pread(*position[:1], MAGIC, position[1])):
            self._read_stream(decompressed(PlainStream(FileStream(*position))))
        else:
            self._expect(self._files_in_archive(*position))
            side_by_side(self._read_one, self._files_in_archive(*position), self._job, workers)

    def _read_stream(self, stream: Source) -> None:
        reader = TarReader(stream)
        for entry in reader:
            if entry.kind == FILE:
                self.add_file(entry.name, entry.size, reader)
            elif entry.kind in (LINK, SYMLINK):
                self._add_unique(self.links, entry.name, link_target(entry))

    def _files_in_archive(self, descriptor: int, offset: int) -> Iterator[ArchiveFile]:
        """Yield the files in an uncompressed archive; read only the tar headers."""
        for entry in TarReader(FileStream(descriptor, offset)):
            if entry.kind == FILE:
                data = FileStream(descriptor, offset + entry.offset)
                yield ArchiveFile(entry.name, entry.size, nullcontext(data))
            elif entry.kind in (LINK, SYMLINK):
                self._add_unique(self.links, entry.name, link_target(entry))

    def _read_one(self, file: ArchiveFile) -> None:
        with file.data as data:
            self.add_file(file.name, file.size, data)


def check_source(source: StrPath | BinaryIO) -> None:
    """Check the source of an import: a path, or a binary file that is open.

    Raises:
        InvalidArgument: ``source`` is neither.
    """
    if isinstance(source, str | os.PathLike):
        path("source", source)
    elif not is_binary(source, "read"):
        raise refused("source", source, "a path, or a binary file that is open for reading")


def open_archive(source: StrPath) -> BinaryIO:
    """Open the file of an archive. If it is a FIFO, the first read waits for a writer.

    Raises:
        NotFound: The file does not exist.
        ContainerdError: The file cannot be opened.
    """
    with explained(Path(source)):
        return open_for_reading(source)


def _position(file: BinaryIO) -> tuple[int, int] | None:
    """Return the file descriptor and position of ``file``, or ``None`` if it is not regular."""
    raw = getattr(file, "raw", file)
    if not isinstance(raw, io.FileIO) or not stat.S_ISREG(os.fstat(raw.fileno()).st_mode):
        return None
    return raw.fileno(), file.tell()


def _files_in_folder(folder: UntrustedFolder) -> Iterator[ArchiveFile]:
    """Yield the files of an OCI image layout; ignore other files in the folder."""
    names = [OCI_LAYOUT, INDEX]
    for algorithm in digests.ALGORITHMS:
        found = folder.names(f"blobs/{algorithm}")
        names += (f"blobs/{algorithm}/{n}" for n in found if digests.is_digest(f"{algorithm}:{n}"))
    for name in names:
        with suppress(NotFound):
            yield ArchiveFile(name, folder.stat(name).st_size, _opened(folder, name))


@contextmanager
def _opened(folder: UntrustedFolder, name: str) -> Iterator[Source]:
    with folder.open(name) as file:
        yield FileStream(file.fileno())


def _is_blob(name: str) -> bool:
    """Return whether a file is read into the store."""
    return name not in _DOCUMENTS and name.rpartition("/")[2] not in _LEGACY


def _digest_in(name: str) -> str:
    """Return the digest in a file's name, or ``""`` if the name contains no digest."""
    folder, _, rest = name.partition("/")
    algorithm, _, digits = rest.partition("/")
    digest = f"{algorithm}:{digits}"
    return digest if folder == "blobs" and digests.is_digest(digest) else ""


def _read_exactly(data: Source, buffer: memoryview) -> None:
    if data.readinto(buffer) != len(buffer):
        raise DataLoss("the archive is cut off", remedy="Fetch or write the archive again")
