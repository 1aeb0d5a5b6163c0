"""Connections of urllib3 that keep to the bounds of one exchange, both ways.

What lives here: what hangs on ``http.client``'s connection and response.  What may not: pools,
requests, registries.

Two things are not urllib3's: every send and receive is bounded by the deadline of the exchange,
its stall time-out and its least rate, so that a peer that drips header lines or bytes cannot
outlast it; and bodies are read straight into the caller's buffer.
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
from ..interrupt import current_word
from .destinations import Destinations, Privacy, refuse_private
from .pace import Floor

#: Bytes taken from the socket at a time where nobody offers a larger buffer.
BUFFER = 64 << 10
#: Header lines of an answer that is not the last, trailers, and interim answers: as many as
#: ``http.client`` takes headers.
_MOST_LINES = 100
#: Bytes of a request's body that go out before the clock and the peer are looked at again.
_SLICE = 256 << 10


class Exchange:
    """The bounds of one request: its deadline, its stall time-out, and where it may connect."""

    __slots__ = (
        "deadline",
        "early",
        "floor",
        "host",
        "limit",
        "network",
        "sock",
        "stall",
        "target",
        "word",
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
        #: What to ask for, as it is: urllib3 would write its escapes in another way.
        self.target = target
        self.sock: socket.socket | None = None
        self.deadline = deadline
        self.stall = stall
        self.floor = floor
        self.network = network
        self.limit = limit
        #: Whether the peer answered before it had the whole request.
        self.early = False
        #: What may end it.
        self.word = current_word()

    @contextmanager
    def beginning(self) -> Iterator[None]:
        """Asks, in this thread; what fails in the block is over.  Raises Cancelled."""
        token = current.set(self)
        try:
            if self.word is not None:
                self.word.add(self._cut)
            self.check()
            yield
        except BaseException:
            self.end()
            raise
        finally:
            current.reset(token)

    def use(self, sock: socket.socket) -> None:
        """Notes the connection that was found for it.  Raises Cancelled if it is not to go on."""
        self.sock = sock
        self.check()

    def check(self) -> None:
        """Raises Cancelled if it is not to go on."""
        if self.word is not None:
            self.word.check()

    def end(self) -> None:
        """Lets go of the connection, which may be another's from now on."""
        if self.word is not None:
            self.word.drop(self._cut)

    def _cut(self) -> None:
        if self.sock is not None:
            with suppress(OSError):  # TLS's own shutdown would say goodbye first, and wait
                socket.socket.shutdown(self.sock, socket.SHUT_RDWR)

    def patience(self) -> float:
        """Seconds that the next receive may take.  Raises TimeoutError at the deadline."""
        remaining = self.deadline.remaining()
        if remaining is None:
            return self.stall
        if remaining <= 0:
            raise TimeoutError
        return min(self.stall, remaining)


#: Handed past urllib3 to the connection that it picks, in the thread that asks.
current: ContextVar[Exchange] = ContextVar("exchange")


class _Timed(io.RawIOBase):
    """A socket's file of which every read is bounded by the exchange."""

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
        begun = time.monotonic()
        count = self._file.readinto(buffer)
        if not count:
            self._exchange.check()  # a connection that was cut from this end gives nothing, too
        self._exchange.floor.note(time.monotonic() - begun, count or 0)
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


class BoundedResponse(http.client.HTTPResponse):
    """``http.client``'s response on a timed file."""

    exchange: Exchange

    def attach(self, sock: socket.socket, exchange: Exchange) -> None:
        self.exchange = exchange
        raw = self.fp.detach()
        self.fp = io.BufferedReader(_Timed(sock, raw, exchange), BUFFER)

    def _read_status(self) -> tuple[str, int, str]:
        """The status line of the answer itself: interim ones are passed over (RFC 9110, 15.2)."""
        for _ in range(_MOST_LINES):
            version, status, reason = super()._read_status()  # type: ignore[misc]
            if status == http.client.SWITCHING_PROTOCOLS or not 100 <= status < 200:
                return version, status, reason
            self._skip_lines()
        raise http.client.HTTPException("too many interim answers")

    def _read_and_discard_trailer(self) -> None:
        self._skip_lines()  # http.client's own knows no end

    def _skip_lines(self) -> None:
        """Reads up to an empty line."""
        for _ in range(_MOST_LINES):
            if self.fp.readline(BUFFER).strip() == b"":
                return
        raise http.client.HTTPException("too many lines")

    def begin(self) -> None:
        super().begin()
        if self.exchange.early:  # the rest of the request was not sent: nothing may follow it
            self.will_close = True


class Raw(Protocol):
    """What both connection classes offer beyond urllib3's."""

    raw: BoundedResponse | None


class _Plain(HTTPConnection):
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
            if self.raw is not None:  # a proxy's refusal, which http.client closes since 3.11 only
                self.raw.close()
            raise
        current.get().use(self.sock)
        _check_peer(self)

    def putrequest(self, method: str, url: str, *args: bool, **kwargs: bool) -> None:
        exchange = current.get()
        exchange.use(self.sock)
        super().putrequest(method, exchange.target, *args, **kwargs)

    def send(self, data: object) -> None:
        """Sends a piece of a request in slices, each bounded as a read is."""
        if not isinstance(data, (bytes, bytearray, memoryview)) or len(data) <= BUFFER:
            super().send(data)  # type: ignore[arg-type]
            return
        view, exchange = memoryview(data), current.get()
        for start in range(0, len(view), _SLICE):
            self.sock.settimeout(exchange.patience())
            if self._has_answered():
                exchange.early = True
                raise BrokenPipeError  # which urllib3 takes for: read what the peer says
            piece, begun = view[start : start + _SLICE], time.monotonic()
            self.sock.sendall(piece)
            exchange.floor.note(time.monotonic() - begun, len(piece))

    def _has_answered(self) -> bool:
        return bool(select.select([self.sock], [], [], 0)[0])


class _Secure(_Plain, HTTPSConnection):
    """The same over TLS: what ``_Plain`` calls ``super()`` is then urllib3's HTTPS connection."""

    def connect(self) -> None:
        super().connect()
        self.is_verified = True  # as far as the user's files want it; urllib3 would warn

    def _has_answered(self) -> bool:
        return False  # a readable socket may hold session tickets (RFC 8446, 4.6.1) and no more


def _check_peer(connection: HTTPConnection) -> None:
    """Refuses the address connected to if it is more private than this exchange may reach.

    The name was looked up and judged before, but its second look-up can say something else
    (DNS rebinding); the socket cannot.  By the same token a registry is where its socket is.
    Behind a proxy there is nothing to see, and the networks are the proxy's.
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
    ConnectionCls = _Plain


class SecurePool(HTTPSConnectionPool):
    ConnectionCls = _Secure


#: What a urllib3 pool manager makes its pools of.
POOLS = {"http": PlainPool, "https": SecurePool}
