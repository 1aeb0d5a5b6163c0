"""Moves bytes between a socket and a ``wire.Connection``.

Reads and writes have two steps. The first step uses the socket. During the first step, the caller
does not hold a lock, so one thread can read while another thread writes. The second step updates
the ``wire.Connection``. During the second step, the caller must hold the lock of the
``Multiplexer``.
"""

from __future__ import annotations

import logging
import socket
from contextlib import suppress
from itertools import islice
from typing import Protocol

from ..printable import printable
from ..wire import metadata
from ..wire.call import Buffer
from ..wire.connection import Connection
from ..wire.metadata import Status
from .failures import TLSFault

_LOGGER = logging.getLogger(__package__)
_RECEIVE_BUFFER = 256 << 10
#: Maximum number of buffers in one call of sendmsg. A frame of 16 KiB has two buffers, so 128
#: buffers are 64 such frames. The send buffer that the module ``unix`` sets has room for 64 frames,
#: so a larger number of buffers would only take time.
_MAX_BUFFERS = 128


class Socket(Protocol):
    """The methods of a non-blocking socket that a connection needs."""

    def recv_into(self, buffer: memoryview, /) -> int:
        """Read into the buffer, and return the number of bytes.

        If the peer has closed the connection, return 0.
        """
        ...

    def sendmsg(self, buffers: list[Buffer], /) -> int:
        """Send the bytes that the kernel accepts at once. Return the number of sent bytes."""
        ...

    def fileno(self) -> int:
        """Return the file descriptor."""
        ...

    def shutdown(self, how: int, /) -> None:
        """Shut down one direction of the connection, or both."""
        ...

    def close(self) -> None:
        """Close the file descriptor."""
        ...


class SocketIO:
    """Reads and writes a non-blocking socket.

    Attributes:
        sent: The number of bytes that were sent.
        is_shut: Whether the socket has been shut down.
        is_blocked: Whether the socket accepted only a part of a write. The caller resets this flag.
        has_drained: Whether a write has sent all outgoing bytes. The caller resets this flag.
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
        """Read once. Return the number of bytes, or the status if the connection has ended."""
        try:
            room = self._buffer[self._filled :] if self._filled else self._buffer
            count = self.sock.recv_into(room)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as error:
            return self._status_of_error(error)
        return count or self._status_of_loss("the peer closed the connection")

    def write(self, buffers: list[Buffer]) -> int | Status:
        """Send once. Return the number of bytes, or the status if the connection has ended."""
        try:
            return self.sock.sendmsg(buffers)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as error:
            return self._status_of_error(error)

    # ---- with the lock ---------------------------------------------------------------------

    def process(self, received: int | Status) -> None:
        """Process the result of ``read``."""
        if self.is_shut:
            return
        if isinstance(received, Status):
            self.lose(received)
            return
        self._filled += received
        consumed = self.wire.receive(self._buffer[: self._filled])
        remaining = self._filled - consumed
        if remaining and consumed:
            self._buffer[:remaining] = self._buffer[consumed : self._filled]
        self._filled = remaining

    def next_buffers(self) -> list[Buffer]:
        """Return the buffers for the next ``write``.

        The buffers stay in ``wire.outgoing`` until ``process_sent`` removes them.
        """
        return list(islice(self.wire.outgoing, _MAX_BUFFERS))

    def process_sent(self, buffers: list[Buffer], sent: int | Status) -> None:
        """Process the result of ``write``: remove the sent bytes from ``wire.outgoing``."""
        outgoing = self.wire.outgoing
        if self.is_shut:
            return
        if isinstance(sent, Status):
            self.drain(sent)
            return
        self.sent += sent
        self._log_sent(buffers, sent)
        for buffer in buffers:
            size = len(buffer)
            if size > sent:
                self.is_blocked = True
                if sent:
                    outgoing[0] = memoryview(buffer)[sent:]
                return
            sent -= size
            outgoing.popleft()
        self.wire.add_waiting_frames()
        self.has_drained = not outgoing

    def _log_sent(self, buffers: list[Buffer], sent: int) -> None:
        if self.wire.sent_log is not None:
            self.wire.sent_log.add(buffers, sent)

    def drain(self, status: Status) -> None:
        """End the connection after a failed write.

        First, this method processes all bytes that the peer has sent, because these bytes can say
        why the write failed. ``status`` is the result of the failed write.
        """
        while not self.wire.lost:
            self.wire.outgoing.clear()
            received = self.read()
            if not received:
                break
            self.process(received)
        self.lose(status)

    def finish(self, status: Status) -> None:
        """End the connection, but first send the outgoing frames that the socket accepts at once.

        These frames are acknowledgements, or a GOAWAY frame that says why the connection ends. The
        caller must not call this method while a thread is writing.
        """
        self.wire.lose(status)
        if not self.is_shut and self.wire.outgoing:
            buffers = self.next_buffers()
            sent = self.write(buffers)
            if not isinstance(sent, Status):
                self._log_sent(buffers, sent)
        self.lose(status)

    def lose(self, status: Status) -> None:
        """End the connection. All calls that have not ended yet end with ``status``."""
        if not self.is_shut:
            _LOGGER.debug("connection %d is over: %s", self.wire.number, printable(status.message))
        self.is_shut = True
        self.wire.lose(status)
        self.wire.outgoing.clear()
        with suppress(OSError):
            # To close the socket is not enough, because a forked child can have it open, too.
            self.sock.shutdown(socket.SHUT_RDWR)

    def _status_of_error(self, error: OSError) -> Status:
        if isinstance(error, TLSFault):
            return error.status
        return self._status_of_loss(f"the connection was lost: {error.strerror or error}")

    def _status_of_loss(self, message: str) -> Status:
        """Return the status for the calls on a connection that was lost.

        gRPC servers send their SETTINGS before they read a call. So if the peer's SETTINGS have not
        arrived, the peer has not processed any call.
        """
        return Status(metadata.UNAVAILABLE, message, b"", "connection", not self.wire.is_ready)
