"""A socket and a ``wire.Connection``, and the bytes between them.

What lives here: reading, writing, and what the socket's errors mean.  What may not: locks, waiting
(``link`` has both), knowledge of HTTP/2.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from itertools import islice

from ..wire import metadata
from ..wire.connection import Connection
from ..wire.metadata import Status

_RECEIVE_BUFFER = 256 << 10
#: Buffers in one sendmsg; Linux takes up to 1024 (IOV_MAX).
_MOST_BUFFERS = 256


class Pump:
    """Moves bytes as far as the non-blocking socket lets it; whoever drives it holds the lock.

    ``sent`` counts bytes; ``has_drained`` says that everything went out, until it is reset.
    """

    def __init__(self, sock: socket.socket, wire: Connection) -> None:
        self.sock = sock
        self.wire = wire
        self.sent = 0
        self.has_drained = False
        self._buffer = memoryview(bytearray(_RECEIVE_BUFFER))
        self._filled = 0

    def receive(self) -> bool:
        """Read once, as much as there is room for; whether there may be more."""
        try:
            count = self.sock.recv_into(self._buffer[self._filled :])
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as error:
            self.lose(self._gone(f"the connection was lost: {error.strerror or error}"))
            return False
        if not count:
            self.lose(self._gone("the peer closed the connection"))
            return False
        self._filled += count
        used = self.wire.receive(self._buffer[: self._filled])
        left = self._filled - used
        if left and used:
            self._buffer[:left] = self._buffer[used : self._filled]
        self._filled = left
        if self.wire.lost:
            self.flush()  # its GOAWAY, if the socket takes it
            self.lose(self.wire.lost)
            return False
        return True

    def flush(self) -> None:
        """Send what the socket takes; the rest stays in ``wire.outgoing``."""
        outgoing = self.wire.outgoing
        if not outgoing:
            return
        try:
            while outgoing:
                self._send_some()
            self.has_drained = True
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            # The peer may have said why before it closed: read that first.
            outgoing.clear()
            while not self.wire.lost and self.receive():
                outgoing.clear()
            self.lose(self._gone(f"the connection was lost: {error.strerror or error}"))

    def _send_some(self) -> None:
        outgoing = self.wire.outgoing
        sent = self.sock.sendmsg(list(islice(outgoing, _MOST_BUFFERS)))
        self.sent += sent
        while sent:
            first = outgoing.popleft()
            if len(first) > sent:
                outgoing.appendleft(memoryview(first)[sent:])
                break
            sent -= len(first)

    def lose(self, status: Status) -> None:
        """Every call ends with ``status``, if the connection was not lost before."""
        self.wire.lose(status)
        self.wire.outgoing.clear()
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)  # a forked child may hold it open, too

    def _gone(self, said: str) -> Status:
        """The connection's end; a peer that never said a word provably did nothing."""
        return Status(metadata.UNAVAILABLE, said, b"", "connection", not self.wire.is_ready)
