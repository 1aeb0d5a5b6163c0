"""Detection and bounded decompression of streams that are compressed with gzip or zstd."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import BinaryIO, Protocol

from ..errors import DataLoss, FailedPrecondition, ResourceExhausted

#: The number of bytes that ``detect`` needs.
MAGIC = 4
_MAGICS = {"gzip": b"\x1f\x8b\x08", "zstd": b"\x28\xb5\x2f\xfd"}
#: Bytes 2 to 4 of a skippable zstd frame (RFC 8878, section 3.1.2). Byte 1 is from 0x50 to 0x5f.
#: The output of pzstd starts with a skippable frame.
_SKIPPABLE = b"\x2a\x4d\x18"
#: The number of compressed bytes to read at a time.
_CHUNK = 256 << 10
#: Decompress up to this many bytes at a time, even if the caller reads only a tar header.
_MIN_OUTPUT = 64 << 10
#: The zstd module of Python 3.14, and the module of the package backports.zstd for older Python
#: versions.
_ZSTD_MODULES = ("compression.zstd", "backports.zstd")
#: The maximum number of decompressed bytes per compressed byte. The layers of real images stay far
#: below this limit. gzip can reach 1,032:1, and zstd far more.
MAX_RATIO = 250
#: The number of decompressed bytes up to which a stream may exceed the ratio.
FREE = 1 << 30
#: The minimum average size of a gzip member or zstd frame in compressed bytes, and the number of
#: members up to which a stream may have smaller ones. The start of a zstd frame takes 15 µs, and
#: the smallest frame has 8 bytes: a layer of 1 MiB would take 2 s. Tools that write a member for
#: each file (stargz) compress the header of a tar entry to more bytes than this.
_MIN_MEMBER, _FREE_MEMBERS = 32, 1000


class Readable(Protocol):
    """A source of bytes, such as a binary file."""

    def readinto(self, buffer: memoryview, /) -> int | None:
        """Read bytes into ``buffer``, and return the number of bytes read; 0 at the end.

        The method can read fewer bytes than ``buffer`` has room for.
        """
        ...


class PlainStream:
    """A sequential stream of bytes, which the tar reader reads.

    This class does not decompress the bytes. To read a compressed stream, use ``decompressed``.

    Args:
        file: The source of the bytes.
        head: Bytes that the caller has already read from ``file``. The stream begins with ``head``.
    """

    def __init__(self, file: Readable | BinaryIO, head: bytes = b"") -> None:
        self._file = file
        self._head = head
        self._scratch = memoryview(b"")

    def readinto(self, buffer: memoryview) -> int:
        """Fill ``buffer``. At the end of the stream, fill only a part of ``buffer``.

        Returns:
            The number of bytes read.

        Raises:
            DataLoss: ``file`` is a decompressor, and its compressed stream is broken or cut off.
            ResourceExhausted: ``file`` is a decompressor, and its output is larger than
                ``MAX_RATIO`` allows, or its input has too many parts.
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
        data = self._file.read(len(buffer))  # the file has no readinto
        buffer[: len(data)] = data
        return len(data)

    def skip(self, count: int) -> None:
        """Skip ``count`` bytes. If fewer bytes are left, skip all of them."""
        if count and not self._scratch:
            self._scratch = memoryview(bytearray(_CHUNK))
        while count and (read := self.readinto(self._scratch[: min(count, _CHUNK)])):
            count -= read


def detect(head: bytes) -> str:
    """Return the compression format of a stream.

    Args:
        head: The first ``MAGIC`` bytes of the stream.

    Returns:
        ``"gzip"`` or ``"zstd"``; ``""`` if the stream has neither format.
    """
    if head[:1] and head[0] >> 4 == 5 and head[1:4] == _SKIPPABLE:
        return "zstd"
    return next((kind for kind, magic in _MAGICS.items() if head.startswith(magic)), "")


def decompressed(stream: PlainStream) -> PlainStream:
    """Return the decompressed bytes of a stream.

    Args:
        stream: A gzip, zstd or uncompressed stream from which no bytes have been read.

    Raises:
        FailedPrecondition: The stream is zstd, and this Python has no zstd module.
    """
    buffer = bytearray(MAGIC)
    head = bytes(buffer[: stream.readinto(memoryview(buffer))])
    kind = detect(head)
    whole = PlainStream(stream, head)
    if not kind:
        return whole
    return PlainStream(Decompressor(whole, _gzip if kind == "gzip" else _zstd(_zstd_module())))


class Codec(Protocol):
    """A decompressor for one gzip member or zstd frame, as ``zlib`` and ``zstd`` provide it."""

    @property
    def eof(self) -> bool:
        """Whether the member or frame has ended."""
        ...

    @property
    def unused_data(self) -> bytes:
        """The bytes passed to ``decompress`` that follow the end of the member or frame."""
        ...

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        """Decompress ``data``, and return at most ``max_length`` decompressed bytes."""
        ...


class Decompressor:
    """A reader that decompresses all gzip members or zstd frames of a stream.

    Args:
        source: The compressed bytes.
        new: A function that makes a new codec for each member or frame.
        max_ratio: The maximum number of decompressed bytes per compressed byte.
        free: The number of decompressed bytes up to which the stream may exceed ``max_ratio``.
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
        #: Compressed bytes that the codec has not decompressed yet.
        self._pending = b""
        #: Decompressed bytes that the caller has not read yet.
        self._plain = memoryview(b"")
        #: The number of compressed bytes and the number of decompressed bytes so far.
        self._compressed_size = self._plain_size = 0
        #: The number of members or frames so far.
        self._members = 1

    def readinto(self, buffer: memoryview) -> int:
        """Read bytes into ``buffer``, and return the number of bytes read; 0 at the end.

        The method can read fewer bytes than ``buffer`` has room for.

        Raises:
            DataLoss: The compressed stream is broken or cut off.
            ResourceExhausted: The decompressed stream is larger than ``max_ratio`` allows, or
                consists of too many members or frames.
        """
        if not self._plain:
            self._plain = memoryview(self._decompress_next(max(len(buffer), _MIN_OUTPUT)))
        count = min(len(buffer), len(self._plain))
        buffer[:count] = self._plain[:count]
        self._plain = self._plain[count:]
        return count

    def _decompress_next(self, limit: int) -> bytes:
        """Return the next decompressed bytes, at most ``limit``; ``b""`` at the end."""
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
        """Start the next member or frame if the current one has ended.

        Return false if the last member or frame of the stream has ended.
        """
        if self._codec.eof:
            self._pending = self._pending or self._read_chunk()
            if self._pending:
                self._count_member()
                self._codec = self._new()
        return not self._codec.eof

    def _count_member(self) -> None:
        self._members += 1
        if self._members > _FREE_MEMBERS + self._compressed_size // _MIN_MEMBER:
            raise ResourceExhausted(
                f"{self._compressed_size} compressed bytes consist of more than {_FREE_MEMBERS} "
                f"parts, with less than {_MIN_MEMBER} bytes each on average",
                remedy="If you trust the content, compress it again as one part",
            )

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
        """Add ``count`` to the number of decompressed bytes.

        Raise ``ResourceExhausted`` if the ratio is too high.
        """
        self._plain_size += count
        if self._plain_size > max(self._free, self._max_ratio * self._compressed_size):
            raise ResourceExhausted(
                f"{self._compressed_size} compressed bytes decompress to more than "
                f"{self._max_ratio} times as many bytes",
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
        remedy="Install backports.zstd, use Python 3.14, or decompress the content yourself",
    )


def _zstd(module: ModuleType) -> Callable[[], Codec]:
    """Return the module's decompressor class.

    By default, the class refuses a frame with a window of more than 128 MiB.
    """
    decompressor: Callable[[], Codec] = module.ZstdDecompressor
    return decompressor
