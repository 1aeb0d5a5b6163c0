"""Single HTTP requests on urllib3: pools, deadlines, raw bodies.

What lives here: the only sending of requests; urllib3's own retries and redirects are off.
What may not: credentials, redirects, retries, registries.

Two things are not urllib3's: every receive is bounded by the deadline of the exchange, so that
a peer that drips header lines cannot outlast it, and bodies are read straight into the caller's
buffer.  Both hang on ``http.client``'s response, which our connection class makes.
"""

from __future__ import annotations

import http.client
import io
import socket
import ssl
from collections.abc import Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Protocol

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager, Timeout
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.util.ssl_ import create_urllib3_context

from ..deadline import Deadline
from ..errors import ContainerdError, InvalidArgument, RegistryError, RegistryUnavailable
from .failures import TRANSPORT_FAULTS, Again, transport_failure
from .network import Network, Privacy, Url, refuse_private

if TYPE_CHECKING:
    from urllib3.response import BaseHTTPResponse

#: Bytes taken from the socket at a time where nobody offers a larger buffer.
_BUFFER = 64 << 10
#: Idle connections kept to one host: as many as a pull has layers at a time, and then some.
_POOLED = 16


class _Exchange:
    """The bounds of one request: its deadline, its stall time-out, and where it may connect."""

    __slots__ = ("deadline", "host", "limit", "network", "stall")

    def __init__(
        self,
        host: str,
        deadline: Deadline,
        stall: float,
        network: Network,
        limit: Privacy | None,
    ) -> None:
        self.host = host
        self.deadline = deadline
        self.stall = stall
        self.network = network
        self.limit = limit

    def patience(self) -> float:
        """Seconds that the next receive may take.  Raises TimeoutError at the deadline."""
        remaining = self.deadline.remaining()
        if remaining is None:
            return self.stall
        if remaining <= 0:
            raise TimeoutError
        return min(self.stall, remaining)


#: Handed past urllib3 to the connection that it picks, in the thread that asks.
_current: ContextVar[_Exchange] = ContextVar("exchange")


class _Timed(io.RawIOBase):
    """A socket's file of which every read is bounded by the exchange."""

    def __init__(self, sock: socket.socket, file: io.RawIOBase, exchange: _Exchange) -> None:
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
        return self._file.readinto(buffer)

    def close(self) -> None:
        self._file.close()
        super().close()


class _Response(http.client.HTTPResponse):
    """``http.client``'s response on a timed file."""

    exchange: _Exchange

    def attach(self, sock: socket.socket, exchange: _Exchange) -> None:
        self.exchange = exchange
        raw = self.fp.detach()
        self.fp = io.BufferedReader(_Timed(sock, raw, exchange), _BUFFER)


class _Raw(Protocol):
    """What both connection classes offer beyond urllib3's."""

    raw: _Response | None


class _Plain(HTTPConnection):
    raw: _Response | None = None

    def response_class(  # type: ignore[override]
        self, sock: socket.socket, *args: int, **kwargs: str
    ) -> _Response:
        self.raw = _Response(sock, *args, **kwargs)  # type: ignore[arg-type]
        self.raw.attach(sock, _current.get())
        return self.raw

    def connect(self) -> None:
        super().connect()
        _check_peer(self)


class _Secure(_Plain, HTTPSConnection):
    """The same over TLS: what ``_Plain`` calls ``super()`` is then urllib3's HTTPS connection."""


def _check_peer(connection: HTTPConnection) -> None:
    """Refuses the address connected to if it is more private than this exchange may reach.

    The name was looked up and judged before, but its second look-up can say something else
    (DNS rebinding); the socket cannot.  By the same token a registry is where its socket is.
    """
    exchange = _current.get()
    address = connection.sock.getpeername()[0]
    if exchange.limit is None:
        exchange.network.note(exchange.host, address)
    elif exchange.network.classify(address) > exchange.limit:
        connection.close()
        refuse_private(connection.host, "a host that the registry named")


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _Plain


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _Secure


class Answer:
    """One response: the status, the headers, and a body that is read as it comes."""

    __slots__ = ("_raw", "_response", "headers", "status", "url")

    def __init__(self, url: Url, response: BaseHTTPResponse, raw: _Response) -> None:
        self.url = url
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        self._response = response
        self._raw = raw

    def header_list(self, name: str) -> list[str]:
        """All values of a header that may come several times."""
        return list(self._response.headers.getlist(name))

    @property
    def length(self) -> int | None:
        """The bytes still to come; ``None`` where the peer does not say."""
        return self._raw.length

    @property
    def declared(self) -> int | None:
        """The ``Content-Length``, which the answer to HEAD has too."""
        text = self.headers.get("Content-Length", "")
        return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None

    def renew(self, deadline: Deadline) -> None:
        """Sets another deadline for the rest of the body."""
        self._raw.exchange.deadline = deadline

    def readinto(self, buffer: bytearray | memoryview) -> int:
        """Fills ``buffer``; fewer bytes mean the end, or that the peer broke off.

        Raises RegistryUnavailable, or ``failures.Again`` with it.
        """
        try:
            return self._raw.readinto(buffer)
        except TRANSPORT_FAULTS as fault:
            self.close()
            raise transport_failure(fault, self.url) from fault

    def read(self, limit: int, what: str) -> bytes:
        """The whole body.

        Raises RegistryError if it is longer than ``limit`` bytes, as ``readinto`` if it is cut.
        """
        if (self.length or 0) > limit:
            self.close()
            raise RegistryError(f"{what} has more than the {limit} bytes allowed")
        expected = self.length
        body = bytearray()
        chunk = memoryview(bytearray(min(limit + 1, _BUFFER)))
        while taken := self.readinto(chunk):
            body += chunk[:taken]
            if len(body) > limit:
                self.close()
                raise RegistryError(f"{what} has more than the {limit} bytes allowed")
        if expected is not None and len(body) < expected:
            self.close()
            error = f"{self.url.origin} broke off {what} at byte {len(body)} of {expected}"
            raise Again(RegistryUnavailable(error))
        self.finish()
        return bytes(body)

    def snippet(self, limit: int) -> bytes:
        """The first ``limit`` bytes of a body that need not be whole, and the end of it all.

        Leaves the connection for the next request if that was the body.
        """
        buffer = bytearray(limit + 1 if self.length is None else min(limit, self.length) + 1)
        try:
            taken = self.readinto(buffer)
        except (Again, ContainerdError):
            return b""
        self.finish()
        return bytes(memoryview(buffer)[: min(taken, limit)])

    def finish(self) -> None:
        """Gives the connection back if the body has been read, else closes it."""
        if self._raw.isclosed():
            self._response.release_conn()
        self.close()

    def close(self) -> None:
        """Ends the exchange; a connection that is not idle is closed."""
        self._raw.close()
        self._response.close()


class Transport:
    """Sends requests; thread-safe.  Connections are pooled by scheme, host and port."""

    def __init__(
        self,
        *,
        connect_timeout: float,
        stall_timeout: float,
        user_agent: str,
        network: Network,
        ca_file: str | None = None,
    ) -> None:
        """``connect_timeout`` and ``stall_timeout`` (a wait for any byte) in seconds."""
        self.network = network
        self._connect = connect_timeout
        self._stall = stall_timeout
        self._agent = user_agent
        self._ca_file = ca_file
        self._tls: ssl.SSLContext | None = None
        self._pools = PoolManager(maxsize=_POOLED, block=False)
        self._pools.pool_classes_by_scheme = {"http": _PlainPool, "https": _SecurePool}

    def send(
        self,
        method: str,
        url: Url,
        headers: Mapping[str, str],
        deadline: Deadline,
        limit: Privacy | None = None,
    ) -> Answer:
        """Sends one request and returns the answer to it, whatever its status.

        ``limit`` refuses a peer whose address is more private; ``None`` is for the registry
        itself.  The deadline bounds the body
        too, until ``Answer.renew``.  Raises RegistryUnavailable, or ``failures.Again`` with it.
        """
        exchange = _Exchange(url.host, deadline, self._stall, self.network, limit)
        token = _current.set(exchange)
        try:
            patience = exchange.patience()
            pool = self._pool(url)
            response = pool.urlopen(
                method,
                url.target,
                headers={"User-Agent": self._agent, "Accept-Encoding": "identity", **headers},
                retries=False,
                redirect=False,
                preload_content=False,
                decode_content=False,
                timeout=Timeout(connect=min(self._connect, patience), read=patience),
            )
        except TRANSPORT_FAULTS as fault:
            raise transport_failure(fault, url) from fault
        finally:
            _current.reset(token)
        return Answer(url, response, _raw_of(response))

    def _pool(self, url: Url) -> HTTPConnectionPool:
        if url.scheme == "http":
            return self._pools.connection_from_host(url.host, url.port, url.scheme)
        if self._tls is None:  # made when first needed: it reads the system's certificates
            self._tls = _tls_context(self._ca_file)
        # Said here too, for urllib3 1.26 does not verify unless it is told to.
        kwargs = {"ssl_context": self._tls, "cert_reqs": "CERT_REQUIRED"}
        return self._pools.connection_from_host(url.host, url.port, url.scheme, kwargs)

    def close(self) -> None:
        """Closes the idle connections; those in use close with their answers."""
        # urllib3 2 leaves it to the collector to close a pool that was cleared away.
        for key in list(self._pools.pools.keys()):
            pool = self._pools.pools.get(key)
            if pool is not None:
                pool.close()
        self._pools.clear()


def _tls_context(ca_file: str | None) -> ssl.SSLContext:
    """A context that trusts the system's authorities and those of ``ca_file``.

    It is urllib3's, not ``ssl``'s: 1.26 compares host names itself, and a context that does too
    makes it fail on IP addresses.
    """
    context = create_urllib3_context(cert_reqs=ssl.CERT_REQUIRED)
    context.load_default_certs()
    try:
        if ca_file is not None:
            context.load_verify_locations(cafile=ca_file)
    except OSError as error:  # ssl.SSLError is one
        raise InvalidArgument(f"{ca_file} is not a file of certificates") from error
    return context


def _raw_of(response: BaseHTTPResponse) -> _Response:
    connection: _Raw = response.connection  # type: ignore[assignment]
    raw = connection.raw
    if raw is None:  # urllib3 made its response from something else: not a case we know
        raise RegistryError("the HTTP library gave no response to read")
    connection.raw = None
    return raw
