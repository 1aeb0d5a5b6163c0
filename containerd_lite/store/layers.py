"""Streams that may be compressed: detection of gzip and zstd, and bounded decompression."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import BinaryIO, Protocol

from ..errors import DataLoss, FailedPrecondition, ResourceExhausted

#: Bytes that ``detect`` needs.
MAGIC = 4
_MAGICS = {"gzip": b"\x1f\x8b\x08", "zstd": b"\x28\xb5\x2f\xfd"}
#: A skippable zstd frame (RFC 8878, section 3.1.2) starts with a byte of 0x50 to 0x5f and these
#: bytes. pzstd writes such a frame first.
_SKIPPABLE = b"\x2a\x4d\x18"
#: Compressed bytes to read at a time.
_CHUNK = 256 << 10
#: Least number of bytes to decompress at a time. The caller may read only a tar header.
_MIN_OUTPUT = 64 << 10
#: The modules for zstd: of Python 3.14, and of a package for older versions.
_ZSTD_MODULES = ("compression.zstd", "backports.zstd")
#: Most decompressed bytes per compressed byte. gzip reaches at most 1,032:1 and zstd far more;
#: real images stay far below.
MAX_RATIO = 250
#: Decompressed bytes up to which the ratio is not checked.
FREE = 1 << 30


class Readable(Protocol):
    """A source of bytes, such as a binary file."""

    def readinto(self, buffer: memoryview, /) -> int | None:
        """Read bytes into ``buffer``; return how many, 0 at the end. May read fewer than fit."""
        ...


class PlainStream:
    """A sequential stream of bytes, which the tar reader reads.

    Args:
        file: The source of the bytes. ``decompressed`` and ``Decompressor`` decompress it.
        head: Bytes that were read from ``file`` before. The stream begins with them.
    """

    def __init__(self, file: Readable | BinaryIO, head: bytes = b"") -> None:
        self._file = file
        self._head = head
        self._scratch = memoryview(b"")

    def readinto(self, buffer: memoryview) -> int:
        """Fill ``buffer``, or a part of it at the end of the stream.

        Returns:
            How many bytes were read.

        Raises:
            DataLoss: The compressed stream is broken or cut off.
            ResourceExhausted: The decompressed stream is larger than ``MAX_RATIO`` allows.
        """
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
        data = self._file.read(len(buffer))  # a file without readinto
        buffer[: len(data)] = data
        return len(data)

    def skip(self, count: int) -> None:
        """Skip ``count`` bytes, or the rest of the stream if it is shorter."""
        if count and not self._scratch:
            self._scratch = memoryview(bytearray(_CHUNK))
        while count and (read := self.readinto(self._scratch[: min(count, _CHUNK)])):
            count -= read


def detect(head: bytes) -> str:
    """Return the compression of a stream.

    Args:
        head: The first ``MAGIC`` bytes of the stream.

    Returns:
        ``"gzip"``, ``"zstd"``, or ``""`` for anything else.
    """
    if head[:1] and head[0] >> 4 == 5 and head[1:4] == _SKIPPABLE:
        return "zstd"
    return next((kind for kind, magic in _MAGICS.items() if head.startswith(magic)), "")


def decompressed(stream: PlainStream) -> PlainStream:
    """Return the decompressed bytes of a stream.

    Args:
        stream: A stream at its beginning: gzip, zstd or uncompressed.

    Raises:
        FailedPrecondition: The stream is zstd, and this Python has no module for it.
    """
    buffer = bytearray(MAGIC)
    head = bytes(buffer[: stream.readinto(memoryview(buffer))])
    kind = detect(head)
    whole = PlainStream(stream, head)
    if not kind:
        return whole
    return PlainStream(Decompressor(whole, _gzip if kind == "gzip" else _zstd(_zstd_module())))


class Codec(Protocol):
    """A decompressor of one gzip member or zstd frame, as ``zlib`` and ``zstd`` have it."""

    @property
    def eof(self) -> bool:
        """Whether the member or frame has ended."""
        ...

    @property
    def unused_data(self) -> bytes:
        """The bytes that were given after the end of the member or frame."""
        ...

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        """Take compressed bytes, and return at most ``max_length`` decompressed bytes."""
        ...


class Decompressor:
    """The decompressed bytes of a stream, of all its gzip members or zstd frames.

    Args:
        source: The compressed bytes.
        new: Makes the decompressor of each member or frame.
        max_ratio: Most decompressed bytes per compressed byte.
        free: Decompressed bytes up to which the ratio is not checked.
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
        self._chunk = memoryview(bytearray(_CHUNK))
        #: Compressed bytes that the codec has not taken yet.
        self._pending = b""
        #: Decompressed bytes that the caller has not read yet.
        self._plain = memoryview(b"")
        #: How many compressed and decompressed bytes there were so far.
        self._compressed_size = self._plain_size = 0

    def readinto(self, buffer: memoryview) -> int:
        """Read bytes into ``buffer``; return how many, 0 at the end. May read fewer than fit.

        Raises:
            DataLoss: The compressed stream is broken or cut off.
            ResourceExhausted: The decompressed stream is larger than ``max_ratio`` allows.
        """
        if not self._plain:
            self._plain = memoryview(self._decompress_next(max(len(buffer), _MIN_OUTPUT)))
        count = min(len(buffer), len(self._plain))
        buffer[:count] = self._plain[:count]
        self._plain = self._plain[count:]
        return count

    def _decompress_next(self, limit: int) -> bytes:
        """Return the next decompressed bytes, at most ``limit``; none at the end."""
        while self._start_member():
            codec = self._codec
            needs_input = getattr(codec, "needs_input", True)
            data = self._pending or (self._read_chunk() if needs_input else b"")
            plain = self._decompress(codec, data, limit)
            if plain:
                self._check_ratio(len(plain))
                return plain
            if needs_input and not data:
                raise DataLoss("the compressed stream is cut off", remedy="Fetch it again")
        return b""

    def _start_member(self) -> bool:
        """Start the next member or frame if one has ended; return false after the last one."""
        if self._codec.eof:
            self._pending = self._pending or self._read_chunk()
            if self._pending:
                self._codec = self._new()
        return not self._codec.eof

    def _read_chunk(self) -> bytes:
        count = self._source.readinto(self._chunk)
        self._compressed_size += count
        return bytes(self._chunk[:count])

    def _decompress(self, codec: Codec, data: bytes, limit: int) -> bytes:
        try:
            plain = codec.decompress(data, limit)
        except Exception as error:  # zlib.error, ZstdError
            raise DataLoss(f"the compressed stream is broken: {error}") from error
        self._pending = codec.unused_data if codec.eof else getattr(codec, "unconsumed_tail", b"")
        return plain

    def _check_ratio(self, count: int) -> None:
        """Count decompressed bytes, and raise ``ResourceExhausted`` if there are too many."""
        self._plain_size += count
        if self._plain_size > max(self._free, self._max_ratio * self._compressed_size):
            raise ResourceExhausted(
                f"{self._compressed_size} bytes decompress to more than {self._max_ratio} times "
                "as many",
                remedy="If you trust the content, decompress it yourself",
            )


def _gzip() -> Codec:
    return zlib.decompressobj(16 + zlib.MAX_WBITS)


def _zstd_module() -> ModuleType:
    for name in _ZSTD_MODULES:
        try:
            return import_module(name)
        except ImportError:
            continue
    raise FailedPrecondition(
        "this Python cannot read zstd",
        remedy="Install backports.zstd, use Python 3.14, or decompress it yourself",
    )


def _zstd(module: ModuleType) -> Callable[[], Codec]:
    """Return the class of decompressors, which refuse windows of more than 128 MiB by default."""
    found: Callable[[], Codec] = module.ZstdDecompressor
    return found
