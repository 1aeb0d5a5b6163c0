"""A socket and a ``wire.Connection``, and the bytes between them.

What lives here: reading, writing, and what the socket's errors mean.  What may not: locks, waiting
(``link`` has both), knowledge of HTTP/2.

Each direction is in two halves: one touches the socket, and may run beside the other direction's;
the other touches the wire, under the lock of whoever drives this.
"""

from __future__ import annotations

import logging
import socket
from contextlib import suppress
from itertools import islice
from typing import Protocol

from ..wire import metadata
from ..wire.call import Buffer
from ..wire.connection import Connection
from ..wire.metadata import Status
from .failures import TLSFault

_LOGGER = logging.getLogger(__package__)
_RECEIVE_BUFFER = 256 << 10
#: Buffers in one sendmsg: 64 frames of 16 KiB are all that a Unix socket of ours has room for
#: (``address``), and what does not fit is looked at in vain.
_MOST_BUFFERS = 128


class Socket(Protocol):
    """What is needed of a socket in non-blocking mode."""

    def recv_into(self, buffer: memoryview, /) -> int: ...
    def sendmsg(self, buffers: list[Buffer], /) -> int: ...
    def fileno(self) -> int: ...
    def shutdown(self, how: int, /) -> None: ...
    def close(self) -> None: ...


class SocketIO:
    """Moves bytes as far as the socket lets it.

    ``sent`` counts bytes; ``is_shut`` says that the socket is.  ``is_blocked`` says that it took
    less than it was given; ``has_drained``, that everything went out; both until they are reset.
    """

    def __init__(self, sock: Socket, wire: Connection) -> None:
        self.sock = sock
        self.wire = wire
        self.sent = 0
        self.is_shut = False
        self.is_blocked = False
        self.has_drained = False
        self._buffer = memoryview(bytearray(_RECEIVE_BUFFER))
        self._filled = 0

    # ---- without the lock ------------------------------------------------------------------

    def read(self) -> int | Status:
        """Read once: how many bytes came, or the end of the connection."""
        try:
            room = self._buffer[self._filled :] if self._filled else self._buffer
            count = self.sock.recv_into(room)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as error:
            return self._failed(error)
        return count or self._gone("the peer closed the connection")

    def write(self, buffers: list[Buffer]) -> int | Status:
        """Send once: how many bytes went, or the end of the connection."""
        try:
            return self.sock.sendmsg(buffers)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as error:
            return self._failed(error)

    # ---- with the lock ---------------------------------------------------------------------

    def take_in(self, came: int | Status) -> None:
        """Give the wire what ``read`` brought."""
        if self.is_shut:
            return
        if isinstance(came, Status):
            self.lose(came)
            return
        self._filled += came
        used = self.wire.receive(self._buffer[: self._filled])
        left = self._filled - used
        if left and used:
            self._buffer[:left] = self._buffer[used : self._filled]
        self._filled = left

    def next_buffers(self) -> list[Buffer]:
        """What is to be written next; it stays in ``wire.outgoing`` until it was."""
        return list(islice(self.wire.outgoing, _MOST_BUFFERS))

    def wrote(self, buffers: list[Buffer], went: int | Status) -> None:
        """Strike out what ``write`` got rid of."""
        outgoing = self.wire.outgoing
        if self.is_shut:
            return
        if isinstance(went, Status):
            self.drain(went)
            return
        self.sent += went
        self._log_sent(buffers, went)
        for buffer in buffers:
            size = len(buffer)
            if size > went:
                self.is_blocked = True
                if went:
                    outgoing[0] = memoryview(buffer)[went:]
                return
            went -= size
            outgoing.popleft()
        self.wire.make_room()
        self.has_drained = not outgoing

    def _log_sent(self, buffers: list[Buffer], went: int) -> None:
        if self.wire.sent_log is not None:
            self.wire.sent_log.add(buffers, went)

    def drain(self, end: Status) -> None:
        """Writing has failed with ``end``: read what the peer said before it went."""
        while not self.wire.lost:
            self.wire.outgoing.clear()
            came = self.read()
            if not came:
                break
            self.take_in(came)
        self.lose(end)

    def finish(self, status: Status) -> None:
        """End with ``status``, and with what waits to go out, if the socket takes it at once.

        Acknowledgements may wait, or the GOAWAY that tells why.  Nobody may be writing.
        """
        self.wire.lose(status)
        if not self.is_shut and self.wire.outgoing:
            buffers = self.next_buffers()
            went = self.write(buffers)
            if not isinstance(went, Status):
                self._log_sent(buffers, went)
        self.lose(status)

    def lose(self, status: Status) -> None:
        """Every call ends with ``status``, if the connection was not lost before."""
        if not self.is_shut:
            _LOGGER.debug("connection %d is over: %s", self.wire.number, status.message)
        self.is_shut = True
        self.wire.lose(status)
        self.wire.outgoing.clear()
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)  # a forked child may hold it open, too

    def _failed(self, error: OSError) -> Status:
        if isinstance(error, TLSFault):
            return error.status
        return self._gone(f"the connection was lost: {error.strerror or error}")

    def _gone(self, said: str) -> Status:
        """The connection's end; a peer that never said a word provably did nothing."""
        return Status(metadata.UNAVAILABLE, said, b"", "connection", not self.wire.is_ready)
