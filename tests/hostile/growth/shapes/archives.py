"""Shapes of archives: tar entries, layers, compressed streams, and Docker's ``manifest.json``."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO

from containerd_lite.deadline import Deadline
from containerd_lite.errors import FailedPrecondition
from containerd_lite.images.archive import docker_archive
from containerd_lite.images.archive.intake import Intake
from containerd_lite.images.files.image_files import _LayerFiles
from containerd_lite.images.files.layer_tree import Steps, Wanted, read_tree
from containerd_lite.images.job import Job
from containerd_lite.oci import media_types
from containerd_lite.oci.descriptor import Descriptor
from containerd_lite.oci.document import MAX_DOCUMENT
from containerd_lite.store.layers import (
    _FREE_MEMBERS,
    _MIN_MEMBER,
    PlainStream,
    _zstd_module,
    decompressed,
)
from containerd_lite.store.tar import (
    BLOCK,
    MAX_ENTRIES,
    MAX_NAME,
    MAX_SPECIAL,
    TarReader,
    link_target,
)
from tests.hostile.growth.measuring import Shape

PASSWD, GROUP = "etc/passwd", "etc/group"
_END = bytes(2 * BLOCK)


def header(name: bytes, kind: bytes = b"0", size: int = 0, target: bytes = b"") -> bytes:
    """A ustar header; a name of more than 100 bytes is divided at a slash."""
    prefix = b""
    if len(name) > 100:
        at = name.rindex(b"/", 0, 156)
        prefix, name = name[:at], name[at + 1 :]
    block = bytearray(BLOCK)
    block[: len(name)] = name
    block[100:136] = b"%07o\0" % 0o644 + b"%07o\0" % 0 * 2 + b"%011o\0" % size
    block[136:148] = b"%011o\0" % 0
    block[156:157] = kind
    block[157 : 157 + len(target)] = target
    block[257:263] = b"ustar\0"
    block[345 : 345 + len(prefix)] = prefix
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def member(kind: bytes, body: bytes, name: bytes = b"x") -> bytes:
    """An entry with data."""
    return header(name, kind, len(body)) + body + bytes(-len(body) % BLOCK)


def pax(**records: bytes) -> bytes:
    """A pax header."""
    return member(b"x", b"".join(_record(key.encode(), value) for key, value in records.items()))


def _record(key: bytes, value: bytes) -> bytes:
    length = len(key) + len(value) + 3
    while len(b"%d" % length) + len(key) + len(value) + 3 != length:
        length = len(b"%d" % length) + len(key) + len(value) + 3
    return b"%d %s=%s\n" % (length, key, value)


def _read_archive(body: bytes) -> object:
    reader = TarReader(PlainStream(io.BytesIO(body)))
    return [link_target(entry) for entry in reader if entry.kind in ("link", "symlink")]


def _read_layer(body: bytes) -> object:
    wanted = Wanted()
    wanted.add(PASSWD)
    wanted.add(GROUP)
    return read_tree(PlainStream(io.BytesIO(body)), wanted, Steps())


def _drain(body: bytes) -> object:
    stream, buffer, total = (
        decompressed(PlainStream(io.BytesIO(body))),
        memoryview(bytearray(1 << 18)),
        0,
    )
    while count := stream.readinto(buffer):
        total += count
    return total


class _Blobs:
    """A content store that only reads: a blob for each digest."""

    identity = "blobs"

    def __init__(self, blobs: Sequence[bytes]) -> None:
        self._blobs = blobs

    def reader(self, digest: str) -> BinaryIO:
        return io.BytesIO(self._blobs[int(digest[7:], 16) % len(self._blobs)])


def _digest(number: int) -> str:
    return f"sha256:{number:064x}"


def _read_files(layers: Sequence[bytes]) -> object:
    """Look up the files that a container's user needs, in layers with the top one last."""
    found = [
        Descriptor(media_types.OCI_LAYER, _digest(number), len(body))
        for number, body in enumerate(layers)
    ]
    files = _LayerFiles(_Blobs(layers), found, (PASSWD, GROUP), Deadline(None))  # type: ignore[arg-type]
    return [files.find(name) for name in (PASSWD, GROUP)]


# ---- archives --------------------------------------------------------------------------------


def _entries(
    name: str, entry: Callable[[int], bytes], largest: int = MAX_ENTRIES, **options: Any
) -> Shape:
    """An archive of numbered entries."""

    def make(n: int) -> bytes:
        return b"".join(map(entry, range(n))) + _END

    return Shape("archive", name, make, _read_archive, largest, **options)


def _layer(name: str, entry: Callable[[int], bytes], before: bytes = b"", **options: Any) -> Shape:
    """A layer of numbered entries; layers may have any size."""

    def make(n: int) -> bytes:
        return before + b"".join(map(entry, range(n))) + _END

    return Shape("layer", name, make, _read_layer, **{"per_mib": 0.5, **options})


def _special(
    name: str, make: Callable[[int], bytes], largest: int = MAX_SPECIAL, **options: Any
) -> Shape:
    """A layer with one special header of any size."""
    return Shape(
        "tar header",
        name,
        lambda n: make(n) + header(b"x") + _END,
        _read_layer,
        largest,
        memory=32,
        **options,
    )


def _records(record: Callable[[int], bytes]) -> Callable[[int], bytes]:
    return lambda n: member(b"x", b"".join(map(record, range(n))))


_DEEP = b"a/" * 75 + b"x"
_SLASHES = b"a/" * (MAX_NAME // 2 - 4)


def _chain(n: int) -> bytes:
    """Hard links, each to the one before."""
    return header(
        b"etc/passwd" if n % 2 else b"etc/group", b"1", 0, b"etc/group" if n % 2 else b"etc/passwd"
    )


TAR = [
    _special("records of five bytes", _records(lambda n: b"5 a=\n"), MAX_SPECIAL // 5),
    _special(
        "records of sparse files",
        _records(lambda n: _record(b"GNU.sparse.%07d" % n, b"")),
        MAX_SPECIAL // 26,
        is_table=True,
    ),
    _special(
        "records of one path",
        _records(lambda n: _record(b"path", b"")),
        MAX_SPECIAL // 8,
    ),
    _special("one long record", lambda n: member(b"x", _record(b"a", b"x" * n)), MAX_SPECIAL - 16),
    _special(
        "one long path", lambda n: member(b"x", _record(b"path", b"a/" * n)), MAX_SPECIAL // 2 - 16
    ),
    _special("a record without a length", lambda n: member(b"x", b"1" * n)),
    _special("zeros of a length", lambda n: member(b"x", b"0" * n + b"5 a=\n"), MAX_SPECIAL - 8),
    _special("a long name", lambda n: member(b"L", b"a/" * n), MAX_SPECIAL // 2),
    _special("a long name of dots", lambda n: member(b"L", b"../" * n), MAX_NAME // 3),
    _entries("empty files", lambda n: header(b"%d" % n)),
    _entries("links that go up", lambda n: header(_DEEP, b"2", 0, b"../" * 33)),
    _entries("names in pax headers", lambda n: pax(path=b"a/%d" % n) + header(b"x")),
    _entries("zeros after the end", lambda n: b"", 1),
    _layer("empty files", lambda n: header(b"f%d" % n)),
    _layer("files with wanted names", lambda n: header(b"%d/passwd" % n), memory=8),
    _layer("deep files", lambda n: header(_DEEP)),
    _layer(
        "deep folders with wanted names",
        lambda n: header(b"%d/" % n + b"etc/" * 30 + b"etc", b"5"),
        memory=64,
    ),
    _layer("names of the longest kind", lambda n: pax(path=_SLASHES + b"%d" % n) + header(b"x")),
    _layer("symbolic links", lambda n: header(b"l%d" % n, b"2", 0, b"x")),
    _layer(
        "symbolic links in folders of their own",
        lambda n: header(b"%d/%d/l" % (n % 10, n), b"2"),
        memory=4,
    ),
    _layer(
        "symbolic links in deep folders",
        lambda n: pax(path=b"%d/" % n + b"a/" * 2000 + b"l") + header(b"x", b"2"),
        memory=128,
        per_mib=1.0,
    ),
    _layer("hard links to each other", _chain, member(b"0", b"x", b"etc/passwd")),
    _layer("hard links to long names", lambda n: header(b"etc/passwd", b"1", 0, b"a/" * 50)),
    _layer("whiteouts", lambda n: header(b"etc/.wh.%d" % n)),
    _layer("whiteouts of one name", lambda n: header(b"etc/.wh.passwd") + header(b"etc/passwd")),
    _layer("opaque folders", lambda n: header(b"etc/.wh..wh..opq")),
    _layer("long names before an entry", lambda n: member(b"L", b"x" * 512)),
    _layer("empty pax headers", lambda n: member(b"x", b"")),
    _layer("global pax headers", lambda n: member(b"g", b"5 a=\n" * 100)),
    _layer(
        "sparse files",
        lambda n: member(b"x", _record(b"GNU.sparse.name", b"etc/passwd")) + header(b"x"),
    ),
    _layer(
        "long chains of links",
        lambda n: header(b"l%d/passwd" % (n % 39)),
        b"".join(header(b"l%d" % n, b"2", 0, b"l%d" % (n + 1)) for n in range(39)),
    ),
    _layer("data of files", lambda n: member(b"0", bytes(BLOCK))),
    _layer("a large file", lambda n: header(b"x", b"0", BLOCK) + bytes(BLOCK)),
]

# ---- images ----------------------------------------------------------------------------------


def _layers_of_links(n: int) -> list[bytes]:
    layer = b"".join(header(b"%d/l" % number, b"2") for number in range(64)) + _END
    return [layer] * n


IMAGES = [
    Shape(
        "files of an image",
        "many layers",
        lambda n: [header(b"a") + _END] * n,
        _read_files,
        MAX_DOCUMENT // 110,
        memory=8,
        per_mib=1.0,
    ),
    Shape(
        "files of an image", "layers with symbolic links", _layers_of_links, _read_files, memory=4
    ),
]

# ---- compressed streams ----------------------------------------------------------------------

_EMPTY_MEMBER = gzip.compress(b"", mtime=0)
_SMALL_MEMBER = gzip.compress(b"x", mtime=0)
_STORED = zlib.compressobj(0, wbits=31)
_HEADER_WITH_NAME = b"\x1f\x8b\x08\x08" + bytes(6)


def _stored_blocks(n: int) -> bytes:
    """One gzip member of empty stored blocks."""
    return b"\x1f\x8b\x08" + bytes(7) + b"\0\0\0\xff\xff" * n


def _stream(name: str, make: Callable[[int], bytes], **options: Any) -> Shape:
    return Shape("compressed stream", name, make, _drain, **{"per_mib": 0.5, **options})


def _most(small_part: bytes) -> int:
    """The largest number of members or frames, all of one small size, that a stream may have."""
    return int(_FREE_MEMBERS / (1 - len(small_part) / _MIN_MEMBER))


def _zstd_frames() -> Iterator[Shape]:
    try:
        zstd = _zstd_module()
    except FailedPrecondition:
        return
    empty, small, large = (zstd.compress(bytes(size)) for size in (0, 1, 1 << 20))
    yield _stream("zstd frames without data", lambda n: empty * n, per_mib=2.0)
    yield _stream("zstd frames of one byte", lambda n: small * n, per_mib=2.0)
    yield _stream("zstd frames of zeros", lambda n: large * n, per_mib=50.0, memory=1 << 14)
    yield _stream("zstd frames to skip", lambda n: b"\x50\x2a\x4d\x18\0\0\0\0" * n, per_mib=2.0)


STREAMS = [
    _stream("gzip members without data", lambda n: _EMPTY_MEMBER * n, largest=_most(_EMPTY_MEMBER)),
    _stream("gzip members of one byte", lambda n: _SMALL_MEMBER * n),
    _stream("gzip blocks without data", _stored_blocks),
    _stream("a gzip member with a long name", lambda n: _HEADER_WITH_NAME + b"x" * n),
    _stream("zeros", lambda n: gzip.compress(bytes(n << 10), 9), per_mib=8.0, memory=1 << 10),
    _stream("plain bytes", lambda n: b"x" * n, largest=64 << 20),
    *_zstd_frames(),
]

# ---- archives of docker save ------------------------------------------------------------------


class _Written(_Blobs):
    """The blobs of an archive; what is written goes nowhere."""


def _read_saved(body: bytes) -> object:
    config = b'{"os":"linux","architecture":"amd64","rootfs":{"diff_ids":[]}}'
    intake = Intake(_Blobs([config]), Job(None))  # type: ignore[arg-type]
    intake.blobs["c"] = (_digest(0), len(config))
    return docker_archive._parse(body)


SAVED = [
    Shape(
        "manifest.json",
        "images",
        lambda n: b"[" + b",".join([b'{"Config":"c"}'] * n) + b"]",
        _read_saved,
        (1 << 18) - 8,
        memory=48,
    ),
    Shape(
        "manifest.json",
        "layers of an image",
        lambda n: b'[{"Config":"c","Layers":[' + b",".join([b'"c"'] * n) + b"]}]",
        _read_saved,
        (1 << 19) - 8,
        memory=32,
    ),
]

ARCHIVES = [*TAR, *IMAGES, *STREAMS, *SAVED]
