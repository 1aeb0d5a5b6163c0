"""Tar archives, read one entry after another and never extracted; and headers to write.

What lives here: headers of POSIX (ustar, pax) and GNU tar, and bounds on what they may ask for.
What may not: what the entries are for, files of this machine.

A name is only a name here: nothing is opened or made by it.  What two readers of tar could take
for two things (two sizes, two names, a link with data) is refused; but in a layer it is what Go's
archive/tar takes it for, for that is what the daemon unpacks.
"""

from __future__ import annotations

import posixpath
import tarfile
from collections.abc import Iterator
from itertools import count
from typing import Literal, NoReturn, Protocol

from ..errors import DataLoss, InvalidArgument
from ..oci.document import quoted
from ..records import field, record

BLOCK = 512
#: An index of 20 platforms with 127 layers each has 2,600 blobs.
MAX_ENTRIES = 100_000
#: Linux' PATH_MAX.
MAX_NAME = 4096
#: Of all names and links of an archive together, for the reader's caller keeps them.
MAX_NAMES = 16 << 20
#: Go's archive/tar allows a pax header or a long name as much.
MAX_SPECIAL = 1 << 20
#: What may follow the end: writers fill up their last record, with ``tar -b`` of up to 1 MiB.
MAX_PADDING = 1 << 20
#: Larger than any file (the widest integer of a Go peer, less a block).
_MAX_SIZE = (1 << 63) - 1 - BLOCK

EntryKind = Literal["file", "link", "symlink", "folder", "sparse", "other"]
FILE: EntryKind = "file"
LINK: EntryKind = "link"
SYMLINK: EntryKind = "symlink"
FOLDER: EntryKind = "folder"
OTHER: EntryKind = "other"
#: A file whose data has holes, as pax tells of it; in layers alone.
SPARSE: EntryKind = "sparse"
_KINDS: dict[bytes, EntryKind] = {
    b"0": FILE, b"\0": FILE, b"7": FILE, b"1": LINK, b"2": SYMLINK, b"5": FOLDER,
    b"3": OTHER, b"4": OTHER, b"6": OTHER,
}  # fmt: skip
_PAX, _PAX_GLOBAL, _LONG_NAME, _LONG_LINK = b"x", b"g", b"L", b"K"
_SPECIAL = (_PAX, _PAX_GLOBAL, _LONG_NAME, _LONG_LINK)
#: What a pax header may set that matters here.
_FIELDS = ("path", "linkpath", "size")
_SPARSE_NAME = "GNU.sparse.name"


class Source(Protocol):
    """The bytes of an archive, in their order."""

    def readinto(self, buffer: memoryview, /) -> int:
        """Fills the buffer, less at the end."""

    def skip(self, count: int) -> None:
        """Passes over ``count`` bytes.  At the end it may go further: a read tells."""


@record(frozen=True)
class Entry:
    """One member: its clean relative name, what it is, its size and the place of its data, in
    bytes; ``target`` is what a link names, as written."""

    name: str
    kind: EntryKind
    size: int = 0
    target: str = ""
    offset: int = 0


@record
class TarReader:
    """The entries of an archive in their order; ``readinto`` gives the data of the last one.

    Data that was not read is passed over.  With ``is_layer`` names may lead anywhere, and are
    those below ``/`` then; there may be any number of them, and in any bytes (PEP 383); an end
    mark is not needed, and nobody looks behind it.

    Raises ``InvalidArgument`` for what is no tar archive, or not a plain one, ``DataLoss`` for one
    that is cut off.
    """

    source: Source
    is_layer: bool = False
    _offset: int = 0
    _rest: int = 0
    _padding: int = 0
    _names: int = 0
    _special: dict[bytes, bytes] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Entry]:
        for number in count():
            header = self._next_header()
            if header is None:
                return
            if number == MAX_ENTRIES and not self.is_layer:
                _refuse(f"has more than {MAX_ENTRIES} entries")
            kind = header[156:157]
            if kind in _SPECIAL:
                self._read_special(kind, _number(header[124:136]))
                continue
            yield self._entry(header)

    def readinto(self, buffer: memoryview) -> int:
        """The next bytes of the entry's data, fewer than fit only at its end."""
        size = min(len(buffer), self._rest)
        if size and self.source.readinto(buffer[:size]) != size:
            _cut()
        self._rest -= size
        self._offset += size
        return size

    def skip(self, count: int) -> None:
        """Pass over bytes of the entry's data."""
        self.source.skip(count)
        self._rest -= count
        self._offset += count

    def _next_header(self) -> bytes | None:
        if self.is_layer and self._rest:
            self.skip(self._rest - 1)
            self.readinto(memoryview(bytearray(1)))  # which tells of an end that comes too early
        self.skip(self._rest)
        self.source.skip(self._padding)
        self._offset += self._padding
        self._padding = 0
        header = self._block(may_end=self.is_layer)
        if header.strip(b"\0"):
            return _checked(header)
        if self._special or self._block(may_end=self.is_layer).strip(b"\0"):
            _refuse("has an end mark before its end")
        if not self.is_layer:
            self._finish()
        return None

    def _block(self, *, may_end: bool = False) -> bytes:
        block = bytearray(BLOCK)
        size = self.source.readinto(memoryview(block))
        if size != BLOCK and (size or not may_end):
            _cut()
        self._offset += BLOCK
        return bytes(block)

    def _finish(self) -> None:
        """Read what follows the end mark, so that whoever writes can end too."""
        rest = memoryview(bytearray(MAX_PADDING + 1))
        count = self.source.readinto(rest)
        if count > MAX_PADDING or any(rest[:count]):
            _refuse("goes on behind its end mark")

    def _take(self, size: int) -> None:
        self._rest, self._padding = size, -size % BLOCK

    def _read_special(self, kind: bytes, size: int) -> None:
        if size > MAX_SPECIAL:
            _refuse(f"has a header of {size} bytes; {MAX_SPECIAL} are allowed")
        if kind in self._special and not self.is_layer:
            _refuse("has two headers of one kind for one entry")
        body = bytearray(size)
        self._take(size)
        self.readinto(memoryview(body))
        if kind != _PAX_GLOBAL:
            self._special[kind] = bytes(body)
        elif not self.is_layer and any(name in _FIELDS for name in self._records(bytes(body))):
            _refuse("has a global header that names its entries")

    def _entry(self, header: bytes) -> Entry:
        special, self._special = self._special, {}
        kind = _KINDS.get(header[156:157])
        records = self._records(special[_PAX]) if _PAX in special else {}
        is_sparse = any(name.startswith("GNU.sparse.") for name in records)
        if kind is None or (is_sparse and not self.is_layer):
            _refuse("has an entry that is not plain: a sparse file, or of an unknown type")
        long, long_target = (self._long(special, one) for one in (_LONG_NAME, _LONG_LINK))
        told, told_target = records.get("path"), records.get("linkpath")
        if self.is_layer:  # Go lets the older way go before
            told, told_target = (
                long or records.get(_SPARSE_NAME) or told,
                long_target or told_target,
            )
        name = told or long or self._name(header)
        target = told_target or long_target or self._text(header[157:257])
        size = _size(records["size"]) if "size" in records else _number(header[124:136])
        self._names += len(name) + len(target)
        is_long = self._names > MAX_NAMES and not self.is_layer
        if max(len(name), len(target)) > MAX_NAME or is_long:
            _refuse("has names that are too long")
        if kind == FILE and name.endswith("/"):
            kind = FOLDER  # as tar of 1979 had it
        if kind != FILE and size:
            if not self.is_layer:
                _refuse(f"has data for {quoted(name)}, which is no file")
            size = 0
        self._take(size)
        name = rooted(name) if self.is_layer else cleaned(name)
        return Entry(name, SPARSE if is_sparse else kind, size, target, self._offset)

    def _name(self, header: bytes) -> str:
        name = self._text(header[:100])
        if header[257:263] == b"ustar\0" and (prefix := self._text(header[345:500])):
            return f"{prefix}/{name}"
        return name

    def _long(self, special: dict[bytes, bytes], kind: bytes) -> str:
        return self._text(special[kind]) if kind in special else ""

    def _text(self, data: bytes) -> str:
        return self._decoded(data.partition(b"\0")[0])

    def _decoded(self, data: bytes) -> str:
        try:
            return data.decode("utf-8", "surrogateescape" if self.is_layer else "strict")
        except UnicodeDecodeError:
            _refuse("has a name that is not UTF-8")

    def _records(self, body: bytes) -> dict[str, str]:
        """The records of a pax header: ``length name=value`` and a newline each."""
        found: dict[str, str] = {}
        place = 0
        while place < len(body):
            digits = body[place : place + 8].partition(b" ")[0]
            length = int(digits) if digits.isdigit() else 0
            record = body[place : place + length]
            name, equals, value = record[len(digits) + 1 : -1].partition(b"=")
            if len(record) != length or not name or not equals or record[-1:] != b"\n":
                _refuse("has a pax header that is none")
            key = name.decode("latin-1")
            if key in _FIELDS or key == _SPARSE_NAME:
                if key in found and not self.is_layer:
                    _refuse(f"has a pax header with two values of {key}")
                found[key] = self._decoded(value)
            elif key.startswith("GNU.sparse."):
                found[key] = ""
            place += length
        return found


def cleaned(name: str) -> str:
    """A name within an archive, without ``.`` and empty parts.

    Raises ``InvalidArgument`` for one that would lead out of it, or no file could have.
    """
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts or "\0" in name:
        _refuse(f"has an entry {quoted(name)}, which leads out of it")
    return "/".join(parts)


def rooted(name: str) -> str:
    """A name within a root filesystem, which ``..`` does not leave, by its parts alone."""
    return posixpath.normpath(f"/{name}").strip("/")


def linked(entry: Entry) -> str:
    """The name of what a link leads to.  Raises ``InvalidArgument`` where that is outside."""
    if entry.kind == LINK:
        return cleaned(entry.target)
    folder = entry.name.split("/")[:-1]
    if entry.target.startswith("/"):
        _refuse(f"has a link to {quoted(entry.target)}, outside of it")
    for part in entry.target.split("/"):
        if part == "..":
            if not folder:
                _refuse(f"has a link to {quoted(entry.target)}, outside of it")
            folder.pop()
        else:
            folder.append(part)
    return cleaned("/".join(folder))


def header(name: str, size: int, *, mode: int, folder: bool = False) -> bytes:
    """The header of an entry that depends on nothing else: no owner, no time."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, mode
    info.type = tarfile.DIRTYPE if folder else tarfile.REGTYPE
    return info.tobuf(tarfile.PAX_FORMAT)


def _checked(header: bytes) -> bytes:
    """The header, once its checksum is right; some writers took bytes for signed."""
    told = _number(header[148:156])
    body = header[:148] + b" " * 8 + header[156:]
    unsigned = sum(body)
    if told != unsigned and told != unsigned - 256 * sum(byte > 127 for byte in body):
        _refuse("has a header whose checksum is wrong, or is none")
    return header


def _number(data: bytes) -> int:
    """A field in octal digits, or in GNU's base 256."""
    if data[0] & 0x80:
        if data[0] & 0x40:
            _refuse("has a negative size")
        value = int.from_bytes(bytes((data[0] & 0x7F,)) + data[1:], "big")
        return _bounded(value)
    digits = data.strip(b" \0")
    if digits.strip(b"01234567"):
        _refuse("has a number that is none")
    return int(digits or b"0", 8)


def _size(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 19:
        _refuse("has a size that is none")
    return _bounded(int(text))


def _bounded(value: int) -> int:
    if value > _MAX_SIZE:
        _refuse("has an entry of a size that no file has")
    return value


def _refuse(why: str) -> NoReturn:
    raise InvalidArgument(f"the archive {why}")


def _cut() -> NoReturn:
    raise DataLoss("the archive is cut off", remedy="Fetch or write it again")
