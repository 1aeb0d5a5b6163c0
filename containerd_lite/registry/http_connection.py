"""Connections for urllib3 that apply the limits of one request to every send and receive.

These connections differ from urllib3's connections in two ways. First, each send and receive has
three limits: the request's deadline, its stall timeout and its least rate. So a peer cannot keep a
request alive by sending header lines or bytes slowly. Second, bodies are read directly into the
caller's buffer.
"""

from __future__ import annotations

import http.client
import io
import math
import select
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Protocol

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

from ..connecting import begin_connect, finish_connect
from ..deadline import Deadline
from ..errors import RegistryUnavailable
from ..interrupt import current_interrupt
from ..lookup import look_up
from ..undo import Undo
from .addresses import AddressLevel, is_address
from .destinations import Destinations, refuse_private
from .pace import LeastRate

#: Bytes that one read requests from the socket, unless the caller's buffer is larger.
BUFFER = 64 << 10
#: Largest number of interim responses, of header lines in an interim response, and of trailer
#: lines. ``http.client`` has the same limit for the headers of a final response.
_MAX_LINES = 100
#: Least average size of the chunks of a body, and the number of chunks up to which they may be
#: smaller. A chunk of one byte takes as much CPU time as a large chunk.
_MIN_CHUNK, _FREE_CHUNKS = 64, 10_000
#: Largest number of bytes of a request body that one send transfers. Before each send, the client
#: checks the deadline, and whether the peer has answered.
_SEND_SLICE = 256 << 10


class ActiveRequest:
    """An HTTP request in progress, with its response, its limits and its interrupt."""

    __slots__ = (
        "answered_early",
        "deadline",
        "host",
        "idle_since",
        "interrupt",
        "least_rate",
        "max_level",
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
        least_rate: LeastRate,
        network: Destinations,
        max_level: AddressLevel | None,
    ) -> None:
        self.host = host
        #: The request target, verbatim. urllib3 would change the percent-encoding.
        self.target = target
        self.sock: socket.socket | None = None
        self.deadline = deadline
        self.stall = stall
        self.least_rate = least_rate
        self.network = network
        self.max_level = max_level
        #: Whether the peer answered before the whole request was sent.
        self.answered_early = False
        #: Since when the connection was idle: see ``BoundedConnection``.
        self.idle_since = math.inf
        #: The interrupt that can end the request.
        self.interrupt = current_interrupt()

    @contextmanager
    def sending(self) -> Iterator[None]:
        """Run the block, which sends the request. If the block raises, end the request.

        Raises Cancelled if the request is interrupted.
        """
        reset_token = current_request.set(self)
        try:
            if self.interrupt is not None:
                self.interrupt.add(self._shut_down)
            self.check()
            yield
        except BaseException:
            self.end()
            raise
        finally:
            current_request.reset(reset_token)

    def use_socket(self, sock: socket.socket) -> None:
        """Record the socket of the request. Raises Cancelled if the request is interrupted."""
        self.sock = sock
        outer = _outer_socket(sock)
        if isinstance(outer, _TlsSocket):
            outer.request = self
        self.check()

    def check(self) -> None:
        """Raise Cancelled if the request is interrupted."""
        if self.interrupt is not None:
            self.interrupt.check()

    def end(self) -> None:
        """End the request. Afterwards, an interrupt does not shut down the request's socket."""
        if self.interrupt is not None:
            self.interrupt.drop(self._shut_down)
        outer = None if self.sock is None else _outer_socket(self.sock)
        if isinstance(outer, _TlsSocket) and outer.request is self:
            outer.request = None

    def _shut_down(self) -> None:
        """Shut the socket down, so that a thread that waits for the socket continues."""
        if self.sock is not None:
            # SSLSocket's own ``shutdown`` is not called, because it drops the TLS object. Another
            # thread may be using this object.
            with suppress(OSError):
                socket.socket.shutdown(_outer_socket(self.sock), socket.SHUT_RDWR)

    def socket_timeout(self) -> float:
        """Return the seconds that the next send or receive may take.

        Raises TimeoutError if the deadline has passed.
        """
        remaining = self.deadline.remaining()
        if remaining is None:
            return self.stall
        if remaining <= 0:
            raise TimeoutError
        return min(self.stall, remaining)


#: The request that this thread is sending. A connection finds its request here, because urllib3
#: chooses the connection and passes no object of this module to the connection.
current_request: ContextVar[ActiveRequest] = ContextVar("request")


def _outer_socket(sock: socket.socket) -> socket.socket:
    """Return the socket of a connection.

    For TLS through a TLS proxy, urllib3 wraps the proxy's socket in an SSLTransport.
    """
    return getattr(sock, "socket", sock)


class _TlsSocket(ssl.SSLSocket):
    """A TLS socket whose handshake has the limits of the current request.

    In a tunnel through a TLS proxy, urllib3's SSLTransport calls ``recv`` for each piece of the
    inner TLS connection: for the handshake, and for each record. Otherwise, ``recv`` is not called.
    """

    request: ActiveRequest | None = None

    def do_handshake(self, block: bool = False) -> None:
        try:
            request = current_request.get()
            request.use_socket(self)
            self.settimeout(request.socket_timeout())  # limits the handshake as a whole
            super().do_handshake(block)
        except BaseException:
            self.close()
            raise

    def recv(self, size: int = 1024, flags: int = 0) -> bytes:
        if self.request is not None:
            self.settimeout(self.request.socket_timeout())
        return super().recv(size, flags)


class _TimedFile(io.RawIOBase):
    """A file object that reads from a socket, within the request's limits."""

    def __init__(self, sock: socket.socket, file: io.RawIOBase, request: ActiveRequest) -> None:
        self._sock = sock
        self._file = file
        self._request = request
        self._timeout = -1.0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int | None:  # type: ignore[override]
        timeout = self._request.socket_timeout()
        if timeout != self._timeout:
            self._sock.settimeout(timeout)
            self._timeout = timeout
        started = time.monotonic()
        count = self._file.readinto(buffer)
        if not count:
            # The read also returns no bytes after an interrupt, which shuts the socket down.
            self._request.check()
        self._request.least_rate.record(time.monotonic() - started, count or 0)
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


class BoundedResponse(http.client.HTTPResponse):
    """An ``http.client`` response that applies the request's limits to every read."""

    request: ActiveRequest
    _chunks = _chunk_bytes = 0

    def attach(self, sock: socket.socket, request: ActiveRequest) -> None:
        """Apply the request's limits to all reads of this response."""
        self.request = request
        raw = self.fp.detach()
        self.fp = io.BufferedReader(_TimedFile(sock, raw, request), BUFFER)

    def _read_status(self) -> tuple[str, int, str]:
        """Return the final status line; skip interim responses (RFC 9110, section 15.2)."""
        for _ in range(_MAX_LINES):
            version, status, reason = super()._read_status()  # type: ignore[misc]
            if status == http.client.SWITCHING_PROTOCOLS or not 100 <= status < 200:
                return version, status, reason
            self._skip_lines()
        raise http.client.HTTPException("too many interim responses")

    def _read_next_chunk_size(self) -> int:
        size: int = super()._read_next_chunk_size()  # type: ignore[misc]
        self._chunks += 1
        self._chunk_bytes += size
        if self._chunks > _FREE_CHUNKS + self._chunk_bytes // _MIN_CHUNK:
            raise http.client.HTTPException("too many small chunks")
        return size

    def _read_and_discard_trailer(self) -> None:
        self._skip_lines()  # http.client's own method reads without a limit

    def _skip_lines(self) -> None:
        """Read and drop all lines up to the next empty line."""
        for _ in range(_MAX_LINES):
            if self.fp.readline(BUFFER).strip() == b"":
                return
        raise http.client.HTTPException("too many lines")

    def begin(self) -> None:
        """Read the status line and the headers."""
        super().begin()
        # urllib3 would log lines that are not headers. Such a line can repeat a secret.
        self.msg.defects = []
        self.msg.set_payload("")
        # If the request is incomplete, the connection cannot carry another request.
        if self.request.answered_early:
            self.will_close = True


class BoundedConnection(Protocol):
    """A connection with the attributes that this module adds to urllib3's connections."""

    raw: BoundedResponse | None
    #: When the last request ended (monotonic seconds), or infinity for a new connection.
    idle_since: float


class _PlainConnection(HTTPConnection):
    """A connection without TLS that applies the limits of the current request."""

    raw: BoundedResponse | None = None
    idle_since = math.inf
    _peer = ""

    def response_class(  # type: ignore[override]
        self, sock: socket.socket, *args: int, **kwargs: str
    ) -> BoundedResponse:
        self.raw = BoundedResponse(sock, *args, **kwargs)  # type: ignore[arg-type]
        self.raw.attach(sock, current_request.get())
        return self.raw

    def connect(self) -> None:
        try:
            super().connect()
        except BaseException:
            # A proxy refused. Before Python 3.11, http.client does not close the proxy's response.
            if self.raw is not None:
                self.raw.close()
            raise
        current_request.get().use_socket(self.sock)

    def _new_conn(self) -> socket.socket:
        """Connect, and check the peer's address before TLS begins or a request is sent."""
        request = current_request.get()
        self.idle_since = math.inf
        sock = self._connect_within_limits(request)
        try:
            self._peer = sock.getpeername()[0]
            self._check_peer(request)
        except BaseException:
            sock.close()
            raise
        return sock

    def _connect_within_limits(self, request: ActiveRequest) -> socket.socket:
        """Connect to one of the host's addresses, within the limits of the request.

        urllib3 looks names up without a limit, waits for each address as long as for a single one,
        and cannot be interrupted.
        """
        fault: Exception = NewConnectionError(self, "the host has no address")
        try:
            for address in self._find_addresses(self._dns_host, request):
                try:
                    return self._connect_to(address, request)
                except (NewConnectionError, ConnectTimeoutError) as error:
                    fault = error
        except TimeoutError as error:
            raise ConnectTimeoutError(self, "the deadline has passed") from error
        try:
            raise fault
        finally:
            del fault  # a frame that refers to its own exception would keep the connection alive

    def _connect_to(self, address: str, request: ActiveRequest) -> socket.socket:
        """Connect to a numeric address. Raises ConnectTimeoutError or NewConnectionError.

        Raises TimeoutError if the deadline has passed before.
        """
        limit: float = min(self.timeout, request.socket_timeout())  # type: ignore[type-var, assignment]
        try:
            family, kind, protocol, _, target = socket.getaddrinfo(
                address, self.port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
            )[0]
            sock = socket.socket(family, kind, protocol)
        except OSError as error:
            raise NewConnectionError(self, f"Failed to connect: {error}") from error
        with Undo(sock.close):
            try:
                for option in self.socket_options or ():
                    sock.setsockopt(*option)
                begin_connect(sock, target)
                request.use_socket(sock)  # from now on, an interrupt ends the connect
                finish_connect(sock, limit)
            except TimeoutError as error:
                raise ConnectTimeoutError(self, f"no answer within {limit:g} s") from error
            except OSError as error:
                raise NewConnectionError(self, f"Failed to connect: {error}") from error
            request.check()
            sock.settimeout(limit)
        return sock

    def _find_addresses(self, host: str, request: ActiveRequest) -> list[str]:
        """Return the addresses of ``host``. Raises TimeoutError or NewConnectionError."""
        host = host.strip("[]")
        if is_address(host):
            return [host]
        try:
            return look_up(host, request.deadline.sooner(request.stall))
        except TimeoutError:
            raise
        except (OSError, UnicodeError) as error:
            raise NewConnectionError(self, "the look-up failed") from error

    def putrequest(self, method: str, url: str, *args: bool, **kwargs: bool) -> None:
        request = current_request.get()
        if self.sock is not None and self.idle_since < math.inf:
            request.idle_since = self.idle_since
            self._check_peer(request)
        request.use_socket(self.sock)
        super().putrequest(method, request.target, *args, **kwargs)

    def _check_peer(self, request: ActiveRequest) -> None:
        """Raise RegistryError if the level of the peer's address is above ``max_level``.

        The client has checked the host name before. But to connect, urllib3 looks the name up
        again, and DNS can return a different address (DNS rebinding). Only the socket's address is
        certain. Therefore, this function also records the address of the registry itself. The
        connection may be from an earlier client, which allowed another level. If a proxy is used,
        the address of the target is unknown and is not checked. The proxy connects to the target
        from its own networks.
        """
        if self.proxy is not None:
            return
        if request.max_level is None:
            request.network.record_address(request.host, self._peer)
        elif request.network.classify(self._peer) > request.max_level:
            refuse_private(self.host, "the registry")

    def send(self, data: object) -> None:
        """Send a part of a request in slices, and apply the request's limits to each slice."""
        if not isinstance(data, (bytes, bytearray, memoryview)) or len(data) <= BUFFER:
            super().send(data)  # type: ignore[arg-type]
            return
        view, request = memoryview(data), current_request.get()
        for start in range(0, len(view), _SEND_SLICE):
            self.sock.settimeout(request.socket_timeout())
            if self._has_answered():
                request.answered_early = True
                raise BrokenPipeError  # after this error, urllib3 reads the response
            piece, started = view[start : start + _SEND_SLICE], time.monotonic()
            self.sock.sendall(piece)
            request.least_rate.record(time.monotonic() - started, len(piece))

    def _has_answered(self) -> bool:
        """Return whether the peer has sent bytes."""
        return bool(select.select([self.sock], [], [], 0)[0])


class _SecureConnection(_PlainConnection, HTTPSConnection):
    """A connection with TLS that applies the limits of the current request.

    In an object of this class, ``super()`` in the methods of ``_PlainConnection`` means urllib3's
    ``HTTPSConnection``.
    """

    def connect(self) -> None:
        if self.ssl_context is not None:
            self.ssl_context.sslsocket_class = _TlsSocket
        super().connect()
        # Without this attribute, urllib3 would warn if the user has turned verification off.
        self.is_verified = True

    def _connect_tls_proxy(self, hostname: str, sock: socket.socket) -> ssl.SSLSocket:
        """Begin TLS with the proxy of a tunnel.

        urllib3 2 would verify the proxy like the target of the tunnel, and urllib3 1.26 would not
        compare an IP address with the proxy's certificate.
        """
        context: ssl.SSLContext = self.proxy_config.ssl_context  # type: ignore[union-attr, assignment]
        context.sslsocket_class = _TlsSocket
        try:
            wrapped = context.wrap_socket(sock, server_hostname=hostname.strip("[]"))
        except ssl.SSLCertVerificationError as error:
            raise RegistryUnavailable(
                f"the proxy's certificate is not valid ({error.verify_message})",
                remedy="Check the proxy; if it has an authority of its own, pass proxy_ca=",
            ) from error
        self.proxy_is_verified = True
        return wrapped

    def _has_answered(self) -> bool:
        # Readable bytes may be only session tickets (RFC 8446, section 4.6.1).
        return False


class PlainPool(HTTPConnectionPool):
    """A pool of connections without TLS."""

    ConnectionCls = _PlainConnection

    def close_idle(self, before: float) -> None:
        """Close the connections that have been idle since a time before ``before``."""
        if self.pool is None:  # the pool is closed
            return
        with self.pool.mutex:
            for position, connection in enumerate(self.pool.queue):
                if connection is not None and connection.idle_since < before:
                    connection.close()
                    self.pool.queue[position] = None


class SecurePool(PlainPool, HTTPSConnectionPool):
    """A pool of connections with TLS."""

    ConnectionCls = _SecureConnection


#: The pool classes for a pool manager of urllib3, by scheme.
POOLS = {"http": PlainPool, "https": SecurePool}
