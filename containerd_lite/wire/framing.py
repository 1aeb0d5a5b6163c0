"""gRPC's length-prefixed messages (PROTOCOL-HTTP2.md, "Length-Prefixed-Message").

What lives here: the 5-byte prefix, written and read incrementally under a size cap.  What may
not: HTTP/2, protobuf.
"""

from __future__ import annotations

from collections import deque
from struct import Struct

from ..errors import ContainerdError, Internal, ResourceExhausted

PREFIX_SIZE = 5
#: What containerd's own client and server allow, each way.
MAX_MESSAGE = 16 << 20

_PREFIX = Struct(">BL")


def prefix(length: int) -> bytes:
    """The prefix of an uncompressed message of ``length`` bytes."""
    return _PREFIX.pack(0, length)


class MessageReader:
    """Cuts a stream of bytes into messages; DATA frames need not align with them.

    ``messages`` holds the complete ones, oldest first.  ``wanted`` is the size in bytes of the
    message under way, 0 between messages.
    """

    __slots__ = ("_filled", "_limit", "_partial", "_prefix", "messages", "wanted")

    def __init__(self, limit: int = MAX_MESSAGE) -> None:
        self.messages: deque[bytes | bytearray] = deque()
        self.wanted = 0
        self._limit = limit
        self._prefix = b""
        self._partial: bytearray | None = None
        self._filled = 0

    @property
    def is_between_messages(self) -> bool:
        return self._partial is None and not self._prefix

    def feed(self, data: memoryview) -> None:
        """Take bytes.  Raises ``ResourceExhausted`` or ``Internal`` on a prefix not to be met."""
        at, end = 0, len(data)
        while at < end:
            if self._partial is None:
                at = self._read_prefix(data, at, end)
                continue
            take = min(self.wanted - self._filled, end - at)
            self._partial[self._filled : self._filled + take] = data[at : at + take]
            self._filled += take
            at += take
            if self._filled == self.wanted:
                self._complete(self._partial)

    def _read_prefix(self, data: memoryview, at: int, end: int) -> int:
        if not self._prefix and end - at >= PREFIX_SIZE:
            compressed, length = _PREFIX.unpack_from(data, at)
            at += PREFIX_SIZE
        else:
            take = min(PREFIX_SIZE - len(self._prefix), end - at)
            self._prefix += bytes(data[at : at + take])
            at += take
            if len(self._prefix) < PREFIX_SIZE:
                return at
            compressed, length = _PREFIX.unpack(self._prefix)
            self._prefix = b""
        self._check(compressed, length)
        if length <= end - at:  # whole in this frame: one copy, no assembling
            self.messages.append(bytes(data[at : at + length]))
            return at + int(length)
        self._partial, self._filled, self.wanted = bytearray(length), 0, length
        return at

    def _check(self, compressed: int, length: int) -> None:
        problem: ContainerdError | None = None
        if compressed:
            problem = Internal("a compressed message came, and no grpc-encoding was agreed")
        elif length > self._limit:
            problem = ResourceExhausted(
                f"a message of {length} bytes came, and the limit is {self._limit}"
            )
        if problem is not None:
            raise problem

    def _complete(self, message: bytearray) -> None:
        self.messages.append(message)
        self._partial, self._filled, self.wanted = None, 0, 0
