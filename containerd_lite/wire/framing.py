"""gRPC's length-prefixed messages (PROTOCOL-HTTP2.md, "Length-Prefixed-Message").

This module writes the 5-byte prefix, reads messages incrementally up to a size limit, and handles
gzip.
"""

from __future__ import annotations

import sys
import zlib
from collections import deque
from collections.abc import Iterable
from struct import Struct

from ..errors import ContainerdError, Internal, ResourceExhausted

PREFIX_SIZE = 5
#: Maximum size of a sent or received message in bytes, as in containerd's own client and server.
MAX_MESSAGE = 16 << 20

_PREFIX = Struct(">BL")
#: Maximum size in bytes of a response that is not gRPC, such as an error page. The client ignores
#: the body of such a response.
_MAX_DISCARDED = 64 << 10
#: Maximum number of buffers that are kept for reuse. Three buffers are enough for the message that
#: the caller uses, the previous message, and an unread message.
_MAX_SPARES = 3
#: Minimum size in bytes of a buffer that is kept for reuse.
_MIN_SPARE = 256 << 10


def _references(buffer: object) -> int:
    """Return the reference count that ``buffer`` has during this call."""
    return sys.getrefcount(buffer)


#: The result of ``_references`` for an object to which only a list and a loop over this list refer.
_UNUSED_REFERENCES = next(_references(buffer) for buffer in [object()])
#: The value of zlib's ``wbits`` for gzip (RFC 1952) with the largest window.
_GZIP = 16 + zlib.MAX_WBITS
#: Maximum number of gzip members (RFC 1952, section 2.2) in a message. gRPC's implementations send
#: one member. Each member copies the rest of the message, so a message of 4 MiB that consisted of
#: empty members took 36 s.
_MAX_MEMBERS = 64


def prefix(length: int, is_compressed: bool = False) -> bytes:
    """Return the prefix of a message of ``length`` bytes."""
    return _PREFIX.pack(is_compressed, length)


def compress(parts: Iterable[bytes | bytearray | memoryview]) -> bytes:
    """Compress one message, which consists of ``parts``, with gzip."""
    compressor = zlib.compressobj(wbits=_GZIP)
    return b"".join([*map(compressor.compress, parts), compressor.flush()])


class Compressed:
    """A received gzip message that is decompressed only when the caller reads the message.

    An unread message takes only the memory of its compressed bytes.
    """

    __slots__ = ("_data", "_limit")

    def __init__(self, data: bytes | bytearray, limit: int) -> None:
        self._data = data
        self._limit = limit

    def __len__(self) -> int:
        return len(self._data)

    def opened(self) -> bytes:
        """Return the decompressed message.

        Raises:
            ResourceExhausted: The decompressed message exceeds the limit, or consists of too many
                gzip members.
            Internal: The data is not valid gzip.
        """
        parts: list[bytes] = []
        budget, rest = self._limit, bytes(self._data)
        while rest or not parts:
            if len(parts) == _MAX_MEMBERS:
                raise ResourceExhausted(
                    f"received a message of more than {_MAX_MEMBERS} gzip members"
                )
            decompressor = zlib.decompressobj(wbits=_GZIP)
            try:
                parts.append(decompressor.decompress(rest, budget + 1))
            except zlib.error as error:
                raise Internal(
                    f"received a compressed message that is not valid gzip: {error}"
                ) from None
            budget -= len(parts[-1])
            if budget < 0:
                raise ResourceExhausted(
                    f"decompressed message exceeds the limit of {self._limit} bytes"
                )
            if not decompressor.eof:
                raise Internal("received a compressed message that is incomplete")
            rest = decompressor.unused_data
        return b"".join(parts)


Message = bytes | bytearray | Compressed


def opened(message: Message) -> bytes | bytearray:
    """Return the message, decompressed if necessary.

    Raises:
        ResourceExhausted: The decompressed message exceeds the limit.
        Internal: The data is not valid gzip.
    """
    return message.opened() if isinstance(message, Compressed) else message


class MessageReader:
    """Splits the payload of DATA frames into messages, which can start and end inside a frame.

    Attributes:
        encoding: The peer's ``grpc-encoding``.
        is_discarding: Whether the body is ignored, because it contains no messages.
        messages: The complete messages, oldest first.
        wanted: The size in bytes of the incomplete message, or 0 if every message is complete.
            While the body is ignored, ``wanted`` is the number of bytes that the peer can still
            send without an error.
    """

    __slots__ = (
        "_filled",
        "_is_compressed",
        "_limit",
        "_partial",
        "_prefix",
        "_spares",
        "_view",
        "encoding",
        "is_discarding",
        "messages",
        "wanted",
    )

    def __init__(self, limit: int = MAX_MESSAGE) -> None:
        self.messages: deque[Message] = deque()
        self.wanted = 0
        self.encoding = b"identity"
        self.is_discarding = False
        self._limit = limit
        self._prefix = b""
        self._is_compressed = False
        self._partial = bytearray()
        self._view: memoryview | None = None  # a view of ``_partial`` if a message is incomplete
        self._filled = 0
        self._spares: list[bytearray] = []

    @property
    def is_between_messages(self) -> bool:
        """Whether every received message is complete."""
        return self._view is None and not self._prefix

    def discard(self) -> None:
        """Ignore the body. A body of more than ``_MAX_DISCARDED`` bytes is an error."""
        self.is_discarding = True
        self.wanted = _MAX_DISCARDED

    def feed(self, data: memoryview) -> None:
        """Process bytes of the body, and append complete messages to ``messages``.

        Raises:
            ResourceExhausted: A message or an ignored body is too large.
            Internal: A message has an unknown compressed flag, or its encoding is not gzip.
        """
        at, end = 0, len(data)
        view = self._view
        if view is not None and self._filled + end < self.wanted:  # true for most frames of content
            # An assignment to a slice of the bytearray itself would copy the bytes twice.
            view[self._filled : self._filled + end] = data
            self._filled += end
            return
        if self.is_discarding:
            self.wanted -= end
            if self.wanted < 0:
                raise ResourceExhausted(
                    f"received more than {_MAX_DISCARDED} bytes in a response that is not gRPC"
                )
            return
        while at < end:
            view = self._view
            if view is None:
                at = self._read_prefix(data, at, end)
                continue
            size = min(self.wanted - self._filled, end - at)
            view[self._filled : self._filled + size] = data[at : at + size]
            self._filled += size
            at += size
            if self._filled == self.wanted:
                self._complete_message()

    def _read_prefix(self, data: memoryview, at: int, end: int) -> int:
        if not self._prefix and end - at >= PREFIX_SIZE:
            flag, length = _PREFIX.unpack_from(data, at)
            at += PREFIX_SIZE
        else:
            size = min(PREFIX_SIZE - len(self._prefix), end - at)
            self._prefix += bytes(data[at : at + size])
            at += size
            if len(self._prefix) < PREFIX_SIZE:
                return at
            flag, length = _PREFIX.unpack(self._prefix)
            self._prefix = b""
        if flag or length > self._limit:
            self._check_prefix(flag, length)
        if length <= end - at:  # the frame contains the whole message
            whole = bytes(data[at : at + length])
            self.messages.append(Compressed(whole, self._limit) if flag else whole)
            return at + int(length)
        self._partial, self._filled, self.wanted = self._reuse_buffer(length), 0, length
        self._view, self._is_compressed = memoryview(self._partial), bool(flag)
        return at

    def _reuse_buffer(self, length: int) -> bytearray:
        """Return an unused buffer of this size from an earlier message, or a new buffer.

        Python fills a new buffer with zeros. For 1 MiB, this takes 0.1 ms, and the peer's socket
        fills up in this time. Before this class reused buffers, reads of content took 10 to 15 %
        more time and a quarter more CPU time.
        """
        for spare in self._spares:
            if len(spare) == length and _references(spare) == _UNUSED_REFERENCES:
                return spare
        buffer = bytearray(length)
        if length >= _MIN_SPARE:
            self._spares = [buffer, *self._spares[: _MAX_SPARES - 1]]
        return buffer

    def _check_prefix(self, flag: int, length: int) -> None:
        problem: ContainerdError | None = None
        if flag > 1:
            problem = Internal(f"received a message with compressed flag {flag}")
        elif flag and self.encoding != b"gzip":
            encoding = self.encoding[:40].decode("latin-1")
            problem = Internal(f"received a compressed message, but grpc-encoding is {encoding!r}")
        elif length > self._limit:
            problem = ResourceExhausted(
                f"received a message of {length} bytes, but the limit is {self._limit}"
            )
        if problem is not None:
            raise problem

    def _complete_message(self) -> None:
        message, self._partial = self._partial, bytearray()
        self.messages.append(Compressed(message, self._limit) if self._is_compressed else message)
        self._view, self._filled, self.wanted = None, 0, 0
