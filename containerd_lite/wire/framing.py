"""gRPC's length-prefixed messages (PROTOCOL-HTTP2.md, "Length-Prefixed-Message").

What lives here: the 5-byte prefix, written and read incrementally under a size cap; gzip of a
message.  What may not: HTTP/2, protobuf.
"""

from __future__ import annotations

import sys
import zlib
from collections import deque
from collections.abc import Iterable
from struct import Struct

from ..errors import ContainerdError, Internal, ResourceExhausted

PREFIX_SIZE = 5
#: What containerd's own client and server allow, each way.
MAX_MESSAGE = 16 << 20

_PREFIX = Struct(">BL")
#: Bytes of an error page, say, that something sends which does not speak gRPC.
_MOST_DISCARDED = 64 << 10
#: A message in its reader's hands, the one before it, one that waits.
_MOST_SPARES = 3
_WORTH_KEEPING = 256 << 10


def _count(room: object) -> int:
    """How many hold an object, in the eyes of a function that is handed it."""
    return sys.getrefcount(room)


#: As ``_count`` sees something that only a list holds, and who goes through the list.
_UNUSED = next(_count(room) for room in [object()])
#: zlib's ``wbits`` for gzip (RFC 1952) at its largest window.
_GZIP = 16 + zlib.MAX_WBITS


def prefix(length: int, is_compressed: bool = False) -> bytes:
    """The prefix of a message of ``length`` bytes."""
    return _PREFIX.pack(is_compressed, length)


def compress(parts: Iterable[bytes | bytearray | memoryview]) -> bytes:
    """One message, given in parts, as gzip."""
    squeezer = zlib.compressobj(wbits=_GZIP)
    return b"".join([*map(squeezer.compress, parts), squeezer.flush()])


class Compressed:
    """A message that came compressed; it is opened where it is read, not where it waits.

    So what waits unread is bounded by the bytes that came, and not by what they may become.
    """

    __slots__ = ("_data", "_limit")

    def __init__(self, data: bytes | bytearray, limit: int) -> None:
        self._data = data
        self._limit = limit

    def __len__(self) -> int:
        return len(self._data)

    def opened(self) -> bytes:
        """The message itself.  Raises ``ResourceExhausted`` or ``Internal``."""
        parts: list[bytes] = []
        room, rest = self._limit, bytes(self._data)
        while rest or not parts:  # gzip may have several members
            opener = zlib.decompressobj(wbits=_GZIP)
            try:
                parts.append(opener.decompress(rest, room + 1))
            except zlib.error as error:
                raise Internal(f"a message that came compressed is no gzip: {error}") from None
            room -= len(parts[-1])
            if room < 0:
                raise ResourceExhausted(
                    f"a message came whose gzip opens to more than the limit, {self._limit} bytes"
                )
            if not opener.eof:
                raise Internal("a message that came compressed was cut short")
            rest = opener.unused_data
        return b"".join(parts)


Message = bytes | bytearray | Compressed


def opened(message: Message) -> bytes | bytearray:
    """The message itself.  Raises ``ResourceExhausted`` or ``Internal``."""
    return message.opened() if isinstance(message, Compressed) else message


class MessageReader:
    """Cuts a stream of bytes into messages; DATA frames need not align with them.

    ``messages`` holds the complete ones, oldest first.  ``wanted`` is the size in bytes of the
    message under way, 0 between messages.  ``encoding`` is what the peer said its compressed
    messages are in.
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
        self._view: memoryview | None = None  # of the partial one: there is one under way
        self._filled = 0
        self._spares: list[bytearray] = []

    @property
    def is_between_messages(self) -> bool:
        return self._view is None and not self._prefix

    def discard(self) -> None:
        """What comes is no messages: pass it over, up to a limit."""
        self.is_discarding = True
        self.wanted = _MOST_DISCARDED

    def feed(self, data: memoryview) -> None:
        """Take bytes.  Raises ``ResourceExhausted`` or ``Internal`` on a prefix not to be met."""
        at, end = 0, len(data)
        view = self._view
        if view is not None and self._filled + end < self.wanted:  # nearly every frame of content
            # A view takes the bytes as they are; a bytearray would copy them first.
            view[self._filled : self._filled + end] = data
            self._filled += end
            return
        if self.is_discarding:
            self.wanted -= end
            if self.wanted < 0:
                raise ResourceExhausted("an answer that is not gRPC's does not end")
            return
        while at < end:
            view = self._view
            if view is None:
                at = self._read_prefix(data, at, end)
                continue
            take = min(self.wanted - self._filled, end - at)
            view[self._filled : self._filled + take] = data[at : at + take]
            self._filled += take
            at += take
            if self._filled == self.wanted:
                self._complete()

    def _read_prefix(self, data: memoryview, at: int, end: int) -> int:
        if not self._prefix and end - at >= PREFIX_SIZE:
            flag, length = _PREFIX.unpack_from(data, at)
            at += PREFIX_SIZE
        else:
            take = min(PREFIX_SIZE - len(self._prefix), end - at)
            self._prefix += bytes(data[at : at + take])
            at += take
            if len(self._prefix) < PREFIX_SIZE:
                return at
            flag, length = _PREFIX.unpack(self._prefix)
            self._prefix = b""
        if flag or length > self._limit:
            self._check(flag, length)
        if length <= end - at:  # whole in this frame: one copy, no assembling
            whole = bytes(data[at : at + length])
            self.messages.append(Compressed(whole, self._limit) if flag else whole)
            return at + int(length)
        self._partial, self._filled, self.wanted = self._buffer(length), 0, length
        self._view, self._is_compressed = memoryview(self._partial), bool(flag)
        return at

    def _buffer(self, length: int) -> bytearray:
        """Room for a message: that of an earlier one, if nobody holds it any more.

        A new one is filled with zeros first, 0.1 ms for 1 MiB, in which the peer's socket runs
        full: reads of content took 10 to 15 % longer, and a quarter more CPU.
        """
        for spare in self._spares:
            if len(spare) == length and _count(spare) == _UNUSED:
                return spare
        room = bytearray(length)
        if length >= _WORTH_KEEPING:
            self._spares = [room, *self._spares[: _MOST_SPARES - 1]]
        return room

    def _check(self, flag: int, length: int) -> None:
        problem: ContainerdError | None = None
        if flag > 1:
            problem = Internal(f"a message came with a compressed flag of {flag}")
        elif flag and self.encoding != b"gzip":
            told = self.encoding[:40].decode("latin-1")
            problem = Internal(f"a compressed message came, and its grpc-encoding is {told!r}")
        elif length > self._limit:
            problem = ResourceExhausted(
                f"a message of {length} bytes came, and the limit is {self._limit}"
            )
        if problem is not None:
            raise problem

    def _complete(self) -> None:
        message, self._partial = self._partial, bytearray()
        self.messages.append(Compressed(message, self._limit) if self._is_compressed else message)
        self._view, self._filled, self.wanted = None, 0, 0
