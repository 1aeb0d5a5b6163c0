"""A reader that reads tar archives entry by entry, and a function that makes tar headers.

The reader supports POSIX tar (ustar, pax) and GNU tar, and limits the sizes and the number of
entries. It does not extract files.

The reader refuses archives that two programs could interpret differently. For example, it refuses
an entry with two sizes or two names, and a link with data. Layers are an exception: the reader
interprets layers as Go's archive/tar does, because the daemon uses archive/tar.
"""

from __future__ import annotations

import posixpath
import tarfile
from collections.abc import Iterator
from itertools import count
from typing import Literal, NoReturn, Protocol

from ..errors import DataLoss, InvalidArgument
from ..printable import quoted
from ..records import field, record

#: The size of a tar block in bytes.
BLOCK = 512
#: The maximum number of entries in an archive. An image for 20 platforms with 127 layers each has
#: 2,600 blobs.
MAX_ENTRIES = 100_000
#: The maximum length of a name in characters (PATH_MAX of Linux).
MAX_NAME = 4096
#: The maximum number of characters in all names and link targets of an archive together. The caller
#: keeps all names and link targets in memory.
MAX_NAMES = 16 << 20
#: The maximum size of a pax header or a GNU long name in bytes, as in Go's archive/tar.
MAX_SPECIAL = 1 << 20
#: The maximum number of bytes after the end mark. Writers pad the last record of an archive. With
#: ``tar -b``, the padding can reach 1 MiB.
MAX_PADDING = 1 << 20
#: The maximum size of an entry in bytes: the largest signed 64-bit integer minus one block.
_MAX_SIZE = (1 << 63) - 1 - BLOCK

EntryKind = Literal["file", "link", "symlink", "folder", "sparse", "other"]
FILE: EntryKind = "file"
LINK: EntryKind = "link"
SYMLINK: EntryKind = "symlink"
FOLDER: EntryKind = "folder"
OTHER: EntryKind = "other"
#: A sparse file in a pax archive. The reader accepts sparse files only in layers.
SPARSE: EntryKind = "sparse"
_KINDS: dict[bytes, EntryKind] = {
    b"0": FILE, b"\0": FILE, b"7": FILE, b"1": LINK, b"2": SYMLINK, b"5": FOLDER,
    b"3": OTHER, b"4": OTHER, b"6": OTHER,
}  # fmt: skip
_PAX, _PAX_GLOBAL, _LONG_NAME, _LONG_LINK = b"x", b"g", b"L", b"K"
_SPECIAL = (_PAX, _PAX_GLOBAL, _LONG_NAME, _LONG_LINK)
#: The keys of the pax records that this module reads. The module also reads ``_SPARSE_NAME``.
_KEYS = ("path", "linkpath", "size")
_SPARSE_NAME = "GNU.sparse.name"


class Source(Protocol):
    """A sequential stream of the bytes of an archive."""

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill ``buffer``. At the end of the stream, fill only a part of ``buffer``.

        Return the number of bytes read.
        """

    def skip(self, count: int) -> None:
        """Skip ``count`` bytes.

        If fewer bytes are left, this method need not raise an error. The next ``readinto`` then
        reads 0 bytes.
        """


@record(frozen=True)
class Entry:
    """An entry of an archive.

    Attributes:
        name: The relative name, without ``.`` and ``..``.
        kind: The type of the entry.
        size: The size of the entry's data in bytes.
        target: The target of a link, as the archive states it.
        offset: The offset in the archive at which the entry's data begins, in bytes.
    """

    name: str
    kind: EntryKind
    size: int = 0
    target: str = ""
    offset: int = 0


@record
class TarReader:
    """An iterable of the entries of an archive, in their order in the archive.

    ``readinto`` reads the data of the entry that the iteration returned last. The iteration skips
    data that the caller has not read.

    A layer can have any number of entries. The names in a layer can contain any bytes, which are
    decoded as in PEP 383. The names can also contain ``..``, which never leads out of the root.
    A layer can lack the end mark. The reader ignores data after the end mark of a layer.

    Args:
        source: The bytes of the archive.
        is_layer: Whether the archive is a layer.

    Raises:
        InvalidArgument: The source is not a tar archive, or is ambiguous. The iteration raises
            this error.
        DataLoss: The archive is cut off. The iteration and ``readinto`` raise this error.
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
        """Fill ``buffer`` with data of the entry, and return the number of bytes read.

        At the end of the data, fill only a part of ``buffer``.
        """
        size = min(len(buffer), self._rest)
        if size and self.source.readinto(buffer[:size]) != size:
            _raise_cut_off()
        self._rest -= size
        self._offset += size
        return size

    def skip(self, count: int) -> None:
        """Skip ``count`` bytes of the entry's data."""
        self.source.skip(count)
        self._rest -= count
        self._offset += count

    def _next_header(self) -> bytes | None:
        if self.is_layer and self._rest:
            self.skip(self._rest - 1)
            self.readinto(memoryview(bytearray(1)))  # this read fails if the layer is cut off
        self.skip(self._rest)
        self.source.skip(self._padding)
        self._offset += self._padding
        self._padding = 0
        header = self._block(may_end=self.is_layer)
        if header.strip(b"\0"):
            return _verify_checksum(header)
        if self._special:
            _refuse("has a pax header or GNU header without an entry")
        if self._block(may_end=self.is_layer).strip(b"\0"):
            _refuse("has a single zero block, but an end mark has two zero blocks")
        if not self.is_layer:
            self._finish()
        return None

    def _block(self, *, may_end: bool = False) -> bytes:
        block = bytearray(BLOCK)
        size = self.source.readinto(memoryview(block))
        if size != BLOCK and (size or not may_end):
            _raise_cut_off()
        self._offset += BLOCK
        return bytes(block)

    def _finish(self) -> None:
        """Read the bytes after the end mark, so that a program that writes to a pipe can finish."""
        rest = memoryview(bytearray(MAX_PADDING + 1))
        count = self.source.readinto(rest)
        if count > MAX_PADDING:
            _refuse(f"has more than {MAX_PADDING} bytes after its end mark")
        if any(rest[:count]):
            _refuse("has data after its end mark")

    def _begin_data(self, size: int) -> None:
        self._rest, self._padding = size, -size % BLOCK

    def _read_special(self, kind: bytes, size: int) -> None:
        if size > MAX_SPECIAL:
            _refuse(f"has a header of {size} bytes, more than the {MAX_SPECIAL} allowed")
        if kind in self._special and not self.is_layer:
            _refuse("has two headers of the same type for one entry")
        body = bytearray(size)
        self._begin_data(size)
        self.readinto(memoryview(body))
        if kind != _PAX_GLOBAL:
            self._special[kind] = bytes(body)
        elif not self.is_layer and any(name in _KEYS for name in self._records(bytes(body))):
            _refuse("has a global pax header that sets a name or a size")

    def _entry(self, header: bytes) -> Entry:
        special, self._special = self._special, {}
        kind = _KINDS.get(header[156:157])
        records = self._records(special[_PAX]) if _PAX in special else {}
        is_sparse = any(name.startswith("GNU.sparse.") for name in records)
        if kind is None:
            _refuse("has an entry of an unsupported type")
        if is_sparse and not self.is_layer:
            _refuse("has a sparse file")
        gnu_name, gnu_target = (self._gnu_text(special, key) for key in (_LONG_NAME, _LONG_LINK))
        pax_name, pax_target = records.get("path"), records.get("linkpath")
        if self.is_layer:  # Go prefers GNU's long names to pax records
            pax_name, pax_target = (
                gnu_name or records.get(_SPARSE_NAME) or pax_name,
                gnu_target or pax_target,
            )
        name = pax_name or gnu_name or self._name(header)
        target = pax_target or gnu_target or self._text(header[157:257])
        size = _size(records["size"]) if "size" in records else _number(header[124:136])
        self._names += len(name) + len(target)
        if max(len(name), len(target)) > MAX_NAME:
            _refuse(f"has a name or link target of more than {MAX_NAME} characters")
        if self._names > MAX_NAMES and not self.is_layer:
            _refuse(f"has more than {MAX_NAMES} characters in all names and link targets together")
        # The tar format of 1979 has no folder type: the name of a folder ends with a slash.
        if kind == FILE and name.endswith("/"):
            kind = FOLDER
        if kind != FILE and size:
            if not self.is_layer:
                _refuse(f"has data for {quoted(name)}, but {quoted(name)} is not a file")
            size = 0
        self._begin_data(size)
        name = below_root(name) if self.is_layer else normalise_name(name)
        return Entry(name, SPARSE if is_sparse else kind, size, target, self._offset)

    def _name(self, header: bytes) -> str:
        name = self._text(header[:100])
        if header[257:263] == b"ustar\0" and (prefix := self._text(header[345:500])):
            return f"{prefix}/{name}"
        return name

    def _gnu_text(self, special: dict[bytes, bytes], kind: bytes) -> str:
        return self._text(special[kind]) if kind in special else ""

    def _text(self, data: bytes) -> str:
        return self._decoded(data.partition(b"\0")[0])

    def _decoded(self, data: bytes) -> str:
        try:
            return data.decode("utf-8", "surrogateescape" if self.is_layer else "strict")
        except UnicodeDecodeError:
            _refuse("has a name that is not UTF-8")

    def _records(self, body: bytes) -> dict[str, str]:
        """Return the records of a pax header by name.

        Each record is ``length name=value``, followed by a newline.
        """
        found: dict[str, str] = {}
        position = 0
        while position < len(body):
            digits = body[position : position + 8].partition(b" ")[0]
            length = int(digits) if digits.isdigit() else 0
            record = body[position : position + length]
            name, equals, value = record[len(digits) + 1 : -1].partition(b"=")
            if len(record) != length or not name or not equals or record[-1:] != b"\n":
                _refuse("has an invalid pax header")
            key = name.decode("latin-1")
            if key in _KEYS or key == _SPARSE_NAME:
                if key in found and not self.is_layer:
                    _refuse(f"has a pax header with two values of {key}")
                found[key] = self._decoded(value)
            elif key.startswith("GNU.sparse."):
                found[key] = ""
            position += length
        return found


def normalise_name(name: str) -> str:
    """Return the name of an entry without its empty and ``.`` components.

    Raises:
        InvalidArgument: The name leads out of the archive, or contains NUL.
    """
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts:
        _refuse(f"has an entry {quoted(name)}, which leads out of the archive")
    if "\0" in name:
        _refuse(f"has an entry {quoted(name)}, whose name contains NUL")
    return "/".join(parts)


def below_root(name: str) -> str:
    """Return a name relative to the root of a filesystem.

    Resolve ``..`` without regard to symbolic links. ``..`` never leads out of the root.
    """
    return posixpath.normpath(f"/{name}").strip("/")


def link_target(entry: Entry) -> str:
    """Return the name of the entry that a link refers to.

    Raises:
        InvalidArgument: The link leads out of the archive.
    """
    if entry.kind == LINK:
        return normalise_name(entry.target)
    folder = entry.name.split("/")[:-1]
    if entry.target.startswith("/"):
        _refuse(f"has a link to {quoted(entry.target)}, which is outside the archive")
    for part in entry.target.split("/"):
        if part == "..":
            if not folder:
                _refuse(f"has a link to {quoted(entry.target)}, which is outside the archive")
            folder.pop()
        else:
            folder.append(part)
    return normalise_name("/".join(folder))


def header(name: str, size: int, *, mode: int, folder: bool = False) -> bytes:
    """Return the header of an entry, without owner and time.

    The header depends only on the arguments.

    Args:
        name: The name of the entry.
        size: The size of the entry's data in bytes.
        mode: The permissions of the entry.
        folder: Whether the entry is a folder. Default: the entry is a file.
    """
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, mode
    info.type = tarfile.DIRTYPE if folder else tarfile.REGTYPE
    return info.tobuf(tarfile.PAX_FORMAT)


def _verify_checksum(header: bytes) -> bytes:
    """Return the header if its checksum equals the sum of its bytes.

    The bytes can be unsigned or signed numbers, because some programs add signed bytes.
    """
    checksum = _number(header[148:156])
    body = header[:148] + b" " * 8 + header[156:]
    unsigned = sum(body)
    if checksum != unsigned and checksum != unsigned - 256 * sum(byte > 127 for byte in body):
        _refuse("has a header with a wrong checksum, or is not a tar archive")
    return header


def _number(data: bytes) -> int:
    """Return the number in a header field, which has octal digits or GNU's base-256 form."""
    if data[0] & 0x80:
        if data[0] & 0x40:
            _refuse("has a negative size")
        value = int.from_bytes(bytes((data[0] & 0x7F,)) + data[1:], "big")
        return _check_size(value)
    digits = data.strip(b" \0")
    if digits.strip(b"01234567"):
        _refuse("has an invalid number")
    return int(digits or b"0", 8)


def _size(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 19:
        _refuse("has an invalid size")
    return _check_size(int(text))


def _check_size(value: int) -> int:
    if value > _MAX_SIZE:
        _refuse(f"has an entry of {value} bytes, more than the {_MAX_SIZE} allowed")
    return value


def _refuse(reason: str) -> NoReturn:
    raise InvalidArgument(f"the archive {reason}")


def _raise_cut_off() -> NoReturn:
    raise DataLoss("the archive is cut off", remedy="Fetch or write it again")
