"""Streams that may be compressed, and their plain bytes.

What lives here: telling gzip and zstd by their first bytes, and bounded decompression.  What may
not: tar, and unpacking layers, which is the daemon's.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import BinaryIO, Protocol

from ..errors import DataLoss, FailedPrecondition, ResourceExhausted

#: How many bytes ``detect`` wants to see.
MAGIC = 4
_MAGICS = {"gzip": b"\x1f\x8b\x08", "zstd": b"\x28\xb5\x2f\xfd"}
#: Of a zstd frame that is skipped (RFC 8878, section 3.1.2), behind a byte of 0x50 to 0x5f: pzstd
#: begins with one.
_SKIPPABLE = b"\x2a\x4d\x18"
#: Compressed bytes that are read at a time.
_PIECE = 256 << 10
#: Plain bytes that are made at a time at least: what is asked for may be a header of tar.
_LEAST = 64 << 10
#: Where Python has zstd: since 3.14, and what gives it to older ones.
_ZSTD = ("compression.zstd", "backports.zstd")
#: gzip comes to 1,032:1 at most, and zstd far beyond; real images stay far below.
MAX_RATIO = 250
#: Of less than this nobody asks for its ratio (bytes, decompressed).
FREE = 1 << 30


class Readable(Protocol):
    """What a stream is read by: like a binary file, it may give less than fits, 0 at its end."""

    def readinto(self, buffer: memoryview, /) -> int | None: ...


class PlainStream:
    """The plain bytes of a file, compressed or not, in their order; for the tar reader.

    ``head`` are its first bytes, where they were read already to look at them.
    """

    def __init__(self, file: Readable | BinaryIO, head: bytes = b"") -> None:
        self._file = file
        self._head = head
        self._scratch = memoryview(b"")

    def readinto(self, buffer: memoryview) -> int:
        """Fills the buffer, less at the end.  Raises ``DataLoss`` for a broken stream,
        ``ResourceExhausted`` for one that is a bomb."""
        filled = 0
        while filled < len(buffer) and (count := self._read(buffer[filled:])):
            filled += count
        return filled

    def _read(self, buffer: memoryview) -> int:
        if self._head:
            count = min(len(buffer), len(self._head))
            buffer[:count] = self._head[:count]
            self._head = self._head[count:]
            return count
        if hasattr(self._file, "readinto"):
            return self._file.readinto(buffer) or 0
        data = self._file.read(len(buffer))  # a file that knows no better
        buffer[: len(data)] = data
        return len(data)

    def skip(self, count: int) -> None:
        """Pass over ``count`` bytes, or to the end."""
        if count and not self._scratch:
            self._scratch = memoryview(bytearray(_PIECE))
        while count and (read := self.readinto(self._scratch[: min(count, _PIECE)])):
            count -= read


def detect(head: bytes) -> str:
    """``"gzip"``, ``"zstd"``, or ``""`` for anything else, by the first ``MAGIC`` bytes."""
    if head[:1] and head[0] >> 4 == 5 and head[1:4] == _SKIPPABLE:
        return "zstd"
    return next((kind for kind, magic in _MAGICS.items() if head.startswith(magic)), "")


def decompressed(stream: PlainStream) -> PlainStream:
    """The plain bytes of ``stream``: itself, if it is not compressed.

    Raises ``FailedPrecondition`` for zstd where this Python has none.
    """
    head = bytearray(MAGIC)
    seen = bytes(head[: stream.readinto(memoryview(head))])
    kind = detect(seen)
    whole = PlainStream(stream, seen)
    if not kind:
        return whole
    return PlainStream(Decompressor(whole, _gzip if kind == "gzip" else _zstd_of(_zstd())))


class Codec(Protocol):
    """What ``zlib`` and ``zstd`` share, of one member or frame."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


class Decompressor:
    """The plain bytes of one compressed file, of all its members or frames.

    ``max_ratio`` bounds plain bytes by compressed ones, once there are more than ``free``.
    """

    def __init__(
        self,
        source: PlainStream,
        new: Callable[[], Codec],
        *,
        max_ratio: int = MAX_RATIO,
        free: int = FREE,
    ) -> None:
        self._source = source
        self._new = new
        self._codec = new()
        self._max_ratio = max_ratio
        self._free = free
        self._piece = memoryview(bytearray(_PIECE))
        self._pending = b""
        self._plain = memoryview(b"")
        self._read = self._written = 0

    def readinto(self, buffer: memoryview) -> int:
        """The next bytes, 0 at the end.  Raises as ``PlainStream.readinto``."""
        if not self._plain:
            self._plain = memoryview(self._next(max(len(buffer), _LEAST)))
        count = min(len(buffer), len(self._plain))
        buffer[:count] = self._plain[:count]
        self._plain = self._plain[count:]
        return count

    def _next(self, most: int) -> bytes:
        while self._begin():
            codec = self._codec
            is_hungry = getattr(codec, "needs_input", True)
            data = self._pending or (self._more() if is_hungry else b"")
            plain = self._decompress(codec, data, most)
            if plain:
                self._count(len(plain))
                return plain
            if is_hungry and not data:
                raise DataLoss("the compressed stream is cut off", remedy="Fetch it again")
        return b""

    def _begin(self) -> bool:
        """Go on to the next member if one has ended; false at the end of the last."""
        if self._codec.eof:
            self._pending = self._pending or self._more()
            if self._pending:
                self._codec = self._new()
        return not self._codec.eof

    def _more(self) -> bytes:
        count = self._source.readinto(self._piece)
        self._read += count
        return bytes(self._piece[:count])

    def _decompress(self, codec: Codec, data: bytes, most: int) -> bytes:
        try:
            plain = codec.decompress(data, most)
        except Exception as error:  # zlib.error, ZstdError
            raise DataLoss(f"the compressed stream is broken: {error}") from error
        self._pending = codec.unused_data if codec.eof else getattr(codec, "unconsumed_tail", b"")
        return plain

    def _count(self, count: int) -> None:
        self._written += count
        if self._written > max(self._free, self._max_ratio * self._read):
            raise ResourceExhausted(
                f"{self._read} bytes decompress to more than {self._max_ratio} times as many",
                remedy="If that is right, decompress it yourself",
            )


def _gzip() -> Codec:
    return zlib.decompressobj(16 + zlib.MAX_WBITS)


def _zstd() -> ModuleType:
    for name in _ZSTD:
        try:
            return import_module(name)
        except ImportError:
            continue
    raise FailedPrecondition(
        "this Python cannot read zstd",
        remedy="Install backports.zstd, use Python 3.14, or decompress it yourself",
    )


def _zstd_of(module: ModuleType) -> Callable[[], Codec]:
    """As it comes, it refuses windows of more than 128 MiB."""
    found: Callable[[], Codec] = module.ZstdDecompressor
    return found
