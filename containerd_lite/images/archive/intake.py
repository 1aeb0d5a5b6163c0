"""The bytes of an archive, or of a layout's folder, into a store.

What lives here: reading one after another or side by side, and writing blobs.  What may not: what
the blobs are for.

A file at ``blobs/<algorithm>/<digits>`` is that blob or refused.  The others are hashed here, for
nobody says what they are.
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
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias, cast

from ...errors import AlreadyExists, ContainerdError, DataLoss, InvalidArgument, SizeMismatch
from ...oci import digest as digests
from ...oci.document import quoted
from ...progress import Stage
from ...records import record
from ...store.layers import MAGIC, PlainStream, decompressed, detect
from ...store.protocol import ContentStore, Writer
from ...store.tar import FILE, LINK, SYMLINK, Source, TarReader, linked
from ...system import is_regular, open_file
from ..job import Job, side_by_side

if TYPE_CHECKING:
    from hashlib import _Hash

OCI_LAYOUT, INDEX, DOCKER = "oci-layout", "index.json", "manifest.json"
_DOCUMENTS = (OCI_LAYOUT, INDEX, DOCKER)
#: What containerd's importer allows a document.
MAX_JSON = 20 << 20
#: What docker archives hold for docker of 2015, by their base names.
_LEGACY = ("repositories", "VERSION", "json")
_BUFFER = 1 << 20

StrPath: TypeAlias = str | os.PathLike[str]


class FileStream:
    """A part of a regular file, read without moving the file's own position."""

    def __init__(self, descriptor: int, offset: int = 0) -> None:
        self._descriptor = descriptor
        self._offset = offset
        self._size = os.fstat(descriptor).st_size

    def readinto(self, buffer: memoryview, /) -> int:
        filled = 0
        while filled < len(buffer):
            count = os.preadv(self._descriptor, [buffer[filled:]], self._offset)
            if not count:
                break
            filled += count
            self._offset += count
        return filled

    def skip(self, count: int) -> None:
        self._offset = min(self._offset + count, self._size)


@record(frozen=True)
class Part:
    """A file of an archive or folder that can be read when one likes."""

    name: str
    size: int
    data: AbstractContextManager[Source]


class Intake:
    """What came of an archive: ``documents`` and ``blobs`` (digest, size) by name, ``links``, and
    the ``sizes`` of all blobs by digest."""

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

    def take(self, name: str, size: int, data: Source) -> None:
        """Take a file in.  Raises ``InvalidArgument`` for a second one of its name, and what the
        store raises; then nothing of it is left."""
        if name in _DOCUMENTS:
            self._once(self.documents, name, self._read(name, size, data))
        elif name.rpartition("/")[2] not in _LEGACY:
            expected = _expected(name)
            self._once(self.blobs, name, (self.put(expected, size, data, name), size))

    def _once(self, table: dict[str, Any], name: str, value: object) -> None:
        """Raises ``InvalidArgument`` for a name that has stood for something else: of two
        readers each could take another one."""
        with self._lock:
            for known in (self.documents, self.blobs, self.links):
                if known.get(name, value) != value:
                    raise InvalidArgument(f"the archive has two files {quoted(name)}")
            table[name] = value

    @staticmethod
    def _read(name: str, size: int, data: Source) -> bytes:
        if size > MAX_JSON:
            raise InvalidArgument(f"{name} has {size} bytes; {MAX_JSON} are allowed")
        body = bytearray(size)
        _fill(data, memoryview(body))
        return bytes(body)

    def put(self, expected: str, size: int, data: Source, name: str = "") -> str:
        """Write a blob; returns its digest, ``expected`` unless that is ``""``.

        Each write has a ref of its own: nobody waits for another's, and none is resumed.
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
            with suppress(ContainerdError):
                self._store.abort(ref)
            if not isinstance(error, AlreadyExists):
                raise
        digest = expected if hasher is None else f"sha256:{hasher.hexdigest()}"
        self._record(digest, size, is_known=stage == "downloaded")
        self._job.report(stage, digest, size, size)
        return digest

    def _record(self, digest: str, size: int, is_known: bool) -> None:
        found = size if is_known else self._store.info(digest).size
        if found != size:
            raise SizeMismatch(f"{digest} has {found} bytes here, and {size} in the archive")
        self.sizes[digest] = size

    def _copy(
        self, writer: Writer, size: int, data: Source, name: str, hasher: _Hash | None
    ) -> None:
        if writer.offset > size:
            raise SizeMismatch(f"{name} has {writer.offset} bytes here, and {size} in the archive")
        data.skip(writer.offset)  # another namespace has it, and the daemon knows
        buffer = memoryview(bytearray(min(_BUFFER, size)))
        while writer.offset < size:
            self._job.check()
            piece = buffer[: size - writer.offset]
            _fill(data, piece)
            if hasher is not None:
                hasher.update(piece)
            writer.write(piece)
            self._job.report("downloading", name, writer.offset, size)

    # ---- sources ---------------------------------------------------------------------------

    def take_all(self, source: StrPath | BinaryIO, workers: int) -> None:
        """Take in an archive, or a folder, whole."""
        if workers < 1:
            raise InvalidArgument("max_concurrent must be 1 or more")
        if not isinstance(source, str | os.PathLike):
            self._take_file(source, workers)
        elif os.path.isdir(source):
            side_by_side(self._take_part, _parts_of_folder(Path(source)), self._job, workers)
        else:
            with open(source, "rb", buffering=0) as file:
                self._take_file(cast(BinaryIO, file), workers)

    def _take_file(self, file: BinaryIO, workers: int) -> None:
        place = _place(file)
        if place is None:
            self._take_stream(decompressed(PlainStream(file)))
        elif detect(os.pread(*place[:1], MAGIC, place[1])):
            self._take_stream(decompressed(PlainStream(FileStream(*place))))
        else:
            side_by_side(self._take_part, self._parts_of_archive(*place), self._job, workers)

    def _take_stream(self, stream: Source) -> None:
        reader = TarReader(stream)
        for entry in reader:
            if entry.kind == FILE:
                self.take(entry.name, entry.size, reader)
            elif entry.kind in (LINK, SYMLINK):
                self._once(self.links, entry.name, linked(entry))

    def _parts_of_archive(self, descriptor: int, offset: int) -> Iterator[Part]:
        """The files of a plain archive; only its headers are read for this."""
        for entry in TarReader(FileStream(descriptor, offset)):
            if entry.kind == FILE:
                data = FileStream(descriptor, offset + entry.offset)
                yield Part(entry.name, entry.size, nullcontext(data))
            elif entry.kind in (LINK, SYMLINK):
                self._once(self.links, entry.name, linked(entry))

    def _take_part(self, part: Part) -> None:
        with part.data as data:
            self.take(part.name, part.size, data)


def _place(file: BinaryIO) -> tuple[int, int] | None:
    """The descriptor and position of a regular file; ``None`` for what must be streamed."""
    raw = getattr(file, "raw", file)
    if not isinstance(raw, io.FileIO) or not stat.S_ISREG(os.fstat(raw.fileno()).st_mode):
        return None
    return raw.fileno(), file.tell()


def _parts_of_folder(folder: Path) -> Iterator[Part]:
    """The files of an OCI image layout; what else lies there is nobody's business."""
    names = [OCI_LAYOUT, INDEX]
    for algorithm in digests.ALGORITHMS:
        blobs = folder / "blobs" / algorithm
        found = sorted(os.listdir(blobs)) if blobs.is_dir() else []
        names += (f"blobs/{algorithm}/{n}" for n in found if digests.is_digest(f"{algorithm}:{n}"))
    for name in names:
        with suppress(FileNotFoundError):
            yield Part(name, (folder / name).lstat().st_size, _regular(folder / name))


@contextmanager
def _regular(path: Path) -> Iterator[Source]:
    """A file, and never a link out of the folder, or a pipe that nobody writes to."""
    try:
        file = open_file(path, os.O_NOFOLLOW)
    except OSError as error:
        raise InvalidArgument(f"{path} is no plain file: {error.strerror}") from error
    with file:
        if not is_regular(file):
            raise InvalidArgument(f"{path} is no plain file")
        yield FileStream(file.fileno())


def _expected(name: str) -> str:
    """The digest that the name of a file says it has, ``""`` if it says none."""
    folder, _, rest = name.partition("/")
    algorithm, _, digits = rest.partition("/")
    digest = f"{algorithm}:{digits}"
    return digest if folder == "blobs" and digests.is_digest(digest) else ""


def _fill(data: Source, buffer: memoryview) -> None:
    if data.readinto(buffer) != len(buffer):
        raise DataLoss("the archive is cut off", remedy="Fetch or write it again")
