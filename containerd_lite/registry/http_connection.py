"""Connections for urllib3 that apply the limits of one request to every send and receive.

They differ from urllib3's own in two ways. The request's deadline, stall timeout and least rate
limit each send and receive, so that a peer cannot keep a request alive by sending header lines
or bytes slowly. Bodies are read straight into the caller's buffer.
"""

from __future__ import annotations

import http.client
import io
import select
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Protocol

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

from ..deadline import Deadline
from ..interrupt import current_interrupt
from .destinations import Destinations, Privacy, refuse_private
from .pace import Floor

#: Bytes that one read takes from the socket, unless the caller's buffer is larger.
BUFFER = 64 << 10
#: Largest number of interim responses, of their header lines, and of trailers. ``http.client``
#: accepts the same number of headers.
_MAX_LINES = 100
#: Bytes of a request body that are sent between two checks of the deadline and of the peer.
_SEND_SLICE = 256 << 10


class Exchange:
    """One request and its response: the limits that apply, and the interrupt that ends it."""

    __slots__ = (
        "deadline",
        "early",
        "floor",
        "host",
        "interrupt",
        "limit",
        "network",
        "sock",
        "stall",
        "target",
    )

    def __init__(
        self,
        host: str,
        target: str,
        deadline: Deadline,
        stall: float,
        floor: Floor,
        network: Destinations,
        limit: Privacy | None,
    ) -> None:
        self.host = host
        #: The request target, verbatim. urllib3 would change its percent-encoding.
        self.target = target
        self.sock: socket.socket | None = None
        self.deadline = deadline
        self.stall = stall
        self.floor = floor
        self.network = network
        self.limit = limit
        #: Whether the peer answered before the whole request was sent.
        self.early = False
        #: The interrupt that may end the exchange.
        self.interrupt = current_interrupt()

    @contextmanager
    def beginning(self) -> Iterator[None]:
        """Run the block that sends the request. If it fails, the exchange ends.

        Raises Cancelled if the exchange is interrupted.
        """
        reset_token = current.set(self)
        try:
            if self.interrupt is not None:
                self.interrupt.add(self._shut_down)
            self.check()
            yield
        except BaseException:
            self.end()
            raise
        finally:
            current.reset(reset_token)

    def use(self, sock: socket.socket) -> None:
        """Record the socket that the exchange uses. Raises Cancelled if it is interrupted."""
        self.sock = sock
        self.check()

    def check(self) -> None:
        """Raise Cancelled if the exchange is interrupted."""
        if self.interrupt is not None:
            self.interrupt.check()

    def end(self) -> None:
        """Stop listening to the interrupt; another exchange may use the connection next."""
        if self.interrupt is not None:
            self.interrupt.drop(self._shut_down)

    def _shut_down(self) -> None:
        """Shut the socket down; the thread that waits for it then continues."""
        if self.sock is not None:
            # For TLS through a TLS proxy, urllib3 wraps the socket in an SSLTransport.
            sock = getattr(self.sock, "socket", self.sock)
            # Not SSLSocket's own method: it drops the TLS object, which another thread may use.
            with suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def patience(self) -> float:
        """Return the seconds that the next receive may take.

        Raises TimeoutError if the deadline has passed.
        """
        remaining = self.deadline.remaining()
        if remaining is None:
            return self.stall
        if remaining <= 0:
            raise TimeoutError
        return min(self.stall, remaining)


#: The exchange that this thread carries out. A connection finds its exchange here, because urllib3
#: chooses the connection and does not pass our objects to it.
current: ContextVar[Exchange] = ContextVar("exchange")


class _TimedFile(io.RawIOBase):
    """A socket's file that applies the exchange's limits to every read."""

    def __init__(self, sock: socket.socket, file: io.RawIOBase, exchange: Exchange) -> None:
        self._sock = sock
        self._file = file
        self._exchange = exchange
        self._patience = -1.0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int | None:  # type: ignore[override]
        patience = self._exchange.patience()
        if patience != self._patience:
            self._sock.settimeout(patience)
            self._patience = patience
        started = time.monotonic()
        count = self._file.readinto(buffer)
        if not count:
            self._exchange.check()  # an interrupt, too, makes the read return no bytes
        self._exchange.floor.note(time.monotonic() - started, count or 0)
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


class BoundedResponse(http.client.HTTPResponse):
    """``http.client``'s response with the exchange's limits on every read."""

    exchange: Exchange

    def attach(self, sock: socket.socket, exchange: Exchange) -> None:
        """Apply the exchange's limits to all reads of this response."""
        self.exchange = exchange
        raw = self.fp.detach()
        self.fp = io.BufferedReader(_TimedFile(sock, raw, exchange), BUFFER)

    def _read_status(self) -> tuple[str, int, str]:
        """Return the final status line; skip interim responses (RFC 9110, section 15.2)."""
        for _ in range(_MAX_LINES):
            version, status, reason = super()._read_status()  # type: ignore[misc]
            if status == http.client.SWITCHING_PROTOCOLS or not 100 <= status < 200:
                return version, status, reason
            self._skip_lines()
        raise http.client.HTTPException("too many interim responses")

    def _read_and_discard_trailer(self) -> None:
        self._skip_lines()  # http.client's own method reads without a limit

    def _skip_lines(self) -> None:
        """Read up to an empty line."""
        for _ in range(_MAX_LINES):
            if self.fp.readline(BUFFER).strip() == b"":
                return
        raise http.client.HTTPException("too many lines")

    def begin(self) -> None:
        """Read the status line and the headers."""
        super().begin()
        if self.exchange.early:  # a part of the request is missing, so no other can follow
            self.will_close = True


class Raw(Protocol):
    """The attribute that both connection classes add to urllib3's."""

    raw: BoundedResponse | None


class _PlainConnection(HTTPConnection):
    """A connection without TLS that applies the limits of the current exchange."""

    raw: BoundedResponse | None = None

    def response_class(  # type: ignore[override]
        self, sock: socket.socket, *args: int, **kwargs: str
    ) -> BoundedResponse:
        self.raw = BoundedResponse(sock, *args, **kwargs)  # type: ignore[arg-type]
        self.raw.attach(sock, current.get())
        return self.raw

    def connect(self) -> None:
        try:
            super().connect()
        except BaseException:
            if self.raw is not None:  # a proxy refused; http.client closes this since 3.11 only
                self.raw.close()
            raise
        current.get().use(self.sock)
        _check_peer(self)

    def putrequest(self, method: str, url: str, *args: bool, **kwargs: bool) -> None:
        exchange = current.get()
        exchange.use(self.sock)
        super().putrequest(method, exchange.target, *args, **kwargs)

    def send(self, data: object) -> None:
        """Send a part of a request in slices, with the exchange's limits for each."""
        if not isinstance(data, (bytes, bytearray, memoryview)) or len(data) <= BUFFER:
            super().send(data)  # type: ignore[arg-type]
            return
        view, exchange = memoryview(data), current.get()
        for start in range(0, len(view), _SEND_SLICE):
            self.sock.settimeout(exchange.patience())
            if self._has_answered():
                exchange.early = True
                raise BrokenPipeError  # urllib3 then reads the response
            piece, started = view[start : start + _SEND_SLICE], time.monotonic()
            self.sock.sendall(piece)
            exchange.floor.note(time.monotonic() - started, len(piece))

    def _has_answered(self) -> bool:
        """Return whether the peer has sent bytes."""
        return bool(select.select([self.sock], [], [], 0)[0])


class _SecureConnection(_PlainConnection, HTTPSConnection):
    """The same over TLS. ``super()`` in ``_PlainConnection`` is then urllib3's HTTPS connection."""

    def connect(self) -> None:
        super().connect()
        self.is_verified = True  # as the TLS settings want it; otherwise urllib3 would warn

    def _has_answered(self) -> bool:
        return False  # readable bytes may be session tickets only (RFC 8446, section 4.6.1)


def _check_peer(connection: HTTPConnection) -> None:
    """Raise RegistryError if the peer's address is more private than the exchange allows.

    The client has checked the name before. But connecting looks the name up again, and DNS may
    return another address (DNS rebinding). Only the socket's address is certain. Therefore the
    address of the registry itself is also recorded here. The target of a proxied connection
    cannot be checked; it is in the proxy's networks.
    """
    if connection.proxy is not None:
        return
    exchange = current.get()
    address = connection.sock.getpeername()[0]
    if exchange.limit is None:
        exchange.network.note(exchange.host, address)
    elif exchange.network.classify(address) > exchange.limit:
        connection.close()
        refuse_private(connection.host, "a host that the registry named")


class PlainPool(HTTPConnectionPool):
    """A pool of connections without TLS."""

    ConnectionCls = _PlainConnection


class SecurePool(HTTPSConnectionPool):
    """A pool of connections with TLS."""

    ConnectionCls = _SecureConnection


#: The pool classes for a pool manager of urllib3, by scheme.
POOLS = {"http": PlainPool, "https": SecurePool}
