"""Sends single HTTP requests with urllib3, and reads response bodies without decoding them.

All requests to registries go through this module. urllib3's own retries and redirects are off.
"""

from __future__ import annotations

import itertools
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from urllib3 import HTTPConnectionPool, PoolManager, ProxyManager, Timeout
from urllib3.exceptions import LocationParseError
from urllib3.util import make_headers, parse_url

from .. import limits
from ..deadline import Deadline
from ..debug import LoggedStep
from ..errors import ContainerdError, InvalidArgument, RegistryError, RegistryUnavailable
from ..records import record
from .addresses import AddressLevel
from .destinations import Destinations, Url
from .hosts import TlsFiles
from .http_connection import (
    BUFFER,
    POOLS,
    ActiveRequest,
    BoundedConnection,
    BoundedResponse,
    PlainPool,
)
from .http_errors import TRANSPORT_FAULTS, Retryable, transport_failure, visible_cause
from .pace import BandwidthLimit, LeastRate, TransferRate
from .proxies import Proxies
from .tls_contexts import Contexts, ProxyContexts

if TYPE_CHECKING:
    from urllib3.response import BaseHTTPResponse

_LOGGER = logging.getLogger(__package__)
#: Largest number of idle connections in the pool of a host. A pull fetches fewer layers at
#: the same time.
_POOLED = 16


#: The longest time limit of a socket in seconds. Python's sockets accept at most 24 days.
_LONGEST_SOCKET_TIME = 1e6


@record(frozen=True)
class Body:
    """A request body of ``size`` bytes. ``pieces`` is called when the request is sent."""

    size: int
    pieces: Callable[[], Iterable[bytes | memoryview]]


@record(frozen=True)
class Bounds:
    """Limits of every request of a client.

    Attributes:
        connect: Seconds that the client waits for a connection.
        stall: Seconds after which a request fails if no byte is transferred.
        least_rate: Lowest transfer rate in bytes per second. A request fails if its average rate
            over ``stall`` seconds is below ``least_rate``.
    """

    connect: float = 10.0
    stall: float = 30.0
    least_rate: float = 0.0


def socket_time(name: str, value: float | None) -> float:
    """Return a time limit that a socket accepts. ``None`` and infinity mean 11 days."""
    return min(limits.seconds(name, value) or _LONGEST_SOCKET_TIME, _LONGEST_SOCKET_TIME)


class Response:
    """One HTTP response: the status, the headers, and the body as a stream."""

    __slots__ = ("_bandwidth", "_raw", "_response", "headers", "status", "url")

    def __init__(
        self, url: Url, response: BaseHTTPResponse, raw: BoundedResponse, bandwidth: BandwidthLimit
    ) -> None:
        self.url = url
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        self._response = response
        self._raw = raw
        self._bandwidth = bandwidth

    def header_list(self, name: str) -> list[str]:
        """Return all values of a header that can occur several times."""
        return list(self._response.headers.getlist(name))

    @property
    def length(self) -> int | None:
        """The number of unread bytes of the body, or ``None`` if the peer announced no length."""
        return self._raw.length

    @property
    def content_length(self) -> int | None:
        """The value of ``Content-Length``, or ``None`` if the header is absent or invalid.

        A response to HEAD can have this header, too.
        """
        text = self.headers.get("Content-Length", "")
        return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None

    def set_deadline(self, deadline: Deadline) -> None:
        """Replace the deadline. The new deadline limits the reading of the rest of the body."""
        self._raw.request.deadline = deadline

    def readinto(self, buffer: bytearray | memoryview) -> int:
        """Fill ``buffer`` and return the number of bytes.

        If the number is less than the size of ``buffer``, the body ended or the connection broke.
        Raises RegistryUnavailable, or a ``Retryable`` that carries a RegistryUnavailable.
        """
        portion = self._bandwidth.portion
        handled = sys.exc_info()[1]
        try:
            if portion is None:
                return self._raw.readinto(buffer)
            return self._read_throttled(memoryview(buffer), portion)
        except TRANSPORT_FAULTS as fault:
            self.close()
            failure, cause = (
                transport_failure(fault, self.url, handled),
                visible_cause(fault, handled),
            )
        self._raw.request.check()
        raise failure from cause

    def _read_throttled(self, view: memoryview, portion: int) -> int:
        """Fill ``view`` in portions, within the bandwidth limit."""
        done = 0
        while done < len(view):
            wanted = view[done : done + portion]
            count = self._raw.readinto(wanted)
            self._bandwidth.throttle(count, self._raw.request.deadline)
            done += count
            if count < len(wanted):
                break
        return done

    def read(self, limit: int, what: str) -> bytes:
        """Return the whole body. ``what`` names the body in errors.

        Raises RegistryError if the body is longer than ``limit`` bytes, and raises the errors of
        ``readinto``.
        """
        too_long = f"{what} from {self.url.origin} has more than the {limit} bytes allowed"
        if (self.length or 0) > limit:
            self.close()
            raise RegistryError(too_long)
        expected = self.length
        body = bytearray()
        chunk = memoryview(bytearray(min(limit + 1, BUFFER)))
        while count := self.readinto(chunk):
            body += chunk[:count]
            if len(body) > limit:
                self.close()
                raise RegistryError(too_long)
        if expected is not None and len(body) < expected:
            self.close()
            error = (
                f"{self.url.origin} broke the connection after {len(body)} of {expected} bytes "
                f"of {what}"
            )
            raise Retryable(RegistryUnavailable(error))
        self.finish()
        return bytes(body)

    def snippet(self, limit: int) -> bytes:
        """Return the first ``limit`` bytes of the body, and end the response.

        The result is ``b""`` if the body cannot be read. If the body has no more bytes, the
        connection returns to the pool.
        """
        buffer = bytearray(limit + 1 if self.length is None else min(limit, self.length) + 1)
        try:
            count = self.readinto(buffer)
        except (Retryable, ContainerdError):
            return b""
        self.finish()
        return bytes(memoryview(buffer)[: min(count, limit)])

    def finish(self) -> None:
        """Return the connection to the pool if the body has been read; otherwise close it."""
        self._raw.request.end()
        connection: BoundedConnection | None = self._response.connection  # type: ignore[assignment]
        if connection is not None and self._raw.isclosed():
            connection.idle_since = time.monotonic()
            self._response.release_conn()
        self.close()

    def close(self) -> None:
        """End the request. Close the connection, unless it has returned to the pool."""
        self._raw.request.end()
        self._raw.close()
        self._response.close()


class Connections:
    """The pooled connections to one host, and to the hosts to which it refers. Thread-safe.

    Several transports can use them one after the other, or at the same time.

    Args:
        origin: The origin of the host. The settings ``tls`` are for this origin.
        tls: The TLS settings.
        proxy_contexts: The TLS contexts for an https proxy.
    """

    def __init__(
        self,
        origin: str,
        tls: TlsFiles | None = None,
        proxy_contexts: ProxyContexts | None = None,
    ) -> None:
        self._origin = origin
        self._contexts = Contexts(tls or TlsFiles())
        self._proxy_contexts = proxy_contexts or ProxyContexts()
        self._lock = threading.Lock()
        self._managers: dict[str | None, PoolManager] = {}

    def pool(self, url: Url, proxy: str | None) -> tuple[HTTPConnectionPool, str, dict[str, str]]:
        """Return the connection pool, the request target and the proxy's headers for ``url``."""
        with self._lock:
            manager = self._managers.get(proxy)
            if manager is None:
                manager = self._managers[proxy] = _manager(proxy, self._proxy_contexts)
        arguments: dict[str, object] = {}
        if url.scheme == "https":
            arguments = self._contexts.pool_arguments(url.origin == self._origin)
        elif proxy is not None and _is_secure(proxy):
            arguments = self._proxy_contexts.pool_arguments()
        pool = manager.connection_from_host(url.host, url.port, url.scheme, arguments)
        if isinstance(manager, ProxyManager) and url.scheme == "http":
            return pool, f"{url.origin}{url.target}", dict(manager.proxy_headers)
        return pool, url.target, {}

    def close_idle(self, seconds: float) -> None:
        """Close the connections that have been idle for more than ``seconds``."""
        before = time.monotonic() - seconds
        with self._lock:
            managers = list(self._managers.values())
        for pool in itertools.chain.from_iterable(map(_pools_of, managers)):
            pool.close_idle(before)

    def close(self) -> None:
        """Close the idle connections. A connection in use closes together with its response."""
        with self._lock:
            managers, self._managers = list(self._managers.values()), {}
        for manager in managers:
            # In urllib3 2, ``clear`` leaves the closing of the pools to the garbage collector.
            for pool in _pools_of(manager):
                pool.close()
            manager.clear()


class Transport:
    """Sends requests over the connections to one host. Thread-safe."""

    def __init__(
        self,
        connections: Connections,
        *,
        bounds: Bounds,
        user_agent: str,
        network: Destinations,
        bandwidth: BandwidthLimit | None = None,
        proxies: Proxies | None = None,
    ) -> None:
        self._connections = connections
        self._network = network
        self._bounds = bounds
        self._agent = user_agent
        self._bandwidth = bandwidth or BandwidthLimit()
        self._proxies = proxies or Proxies()
        self._began = time.monotonic()

    def max_level(
        self, base: Url, target: Url, what: str, deadline: Deadline
    ) -> AddressLevel | None:
        """Return the highest level that the address of ``target`` is allowed to have.

        The registry at ``base`` has sent the URL ``target``. The result is ``None`` if ``target``
        is the registry itself. Raises RegistryError if ``target`` has an address with a higher
        level. ``what`` names the target in the error. The deadline limits the look-up of names.
        """
        if target.origin == base.origin:
            return None
        level = self._network.max_level(base.host, self._is_proxied(base), deadline)
        self._network.check(target.host, level, what, self._is_proxied(target), deadline)
        return level

    def secrets(self, url: Url) -> list[str]:
        """Return the secrets that the proxy for ``url`` receives."""
        auth = ""
        with suppress(ValueError):  # the proxy's URL is invalid
            auth = urlsplit(self._proxies.find(url) or "").netloc.rpartition("@")[0]
        if not auth:
            return []
        header = make_headers(proxy_basic_auth=unquote(auth))["proxy-authorization"]
        return [unquote(auth.partition(":")[2]), header.partition(" ")[2]]

    def _is_proxied(self, url: Url) -> bool:
        """Return whether requests to ``url`` use a proxy."""
        return self._proxies.find(url) is not None

    def send(
        self,
        method: str,
        url: Url,
        headers: Mapping[str, str],
        deadline: Deadline,
        max_level: AddressLevel | None = None,
        *,
        body: bytes | Body | None = None,
        what: str,
        rate: TransferRate | None = None,
    ) -> Response:
        """Send one request, and return its response, which can have any status.

        Args:
            method: The HTTP method.
            url: The URL.
            headers: The headers of the request, which override the default headers.
            deadline: The deadline for the response and its body. ``Response.set_deadline`` can
                replace this deadline later.
            max_level: The highest level that the peer's address is allowed to have. Default: no
                limit, for requests to the registry itself.
            body: The request body.
            what: The name of the request in debug output. The output contains only the origin of
                the URL, because the path and the query may contain a secret.
            rate: The rate of the transfer of which this request is a part.

        Raises:
            RegistryError: The level of the peer's address is above ``max_level``.
            RegistryUnavailable: The peer cannot be reached or does not answer.
            Retryable: The peer is unavailable, but a retry may help.
        """
        default_headers = {"User-Agent": self._agent, "Accept-Encoding": "identity"}
        size_header = {"Content-Length": str(body.size)} if isinstance(body, Body) else {}
        handled = sys.exc_info()[1]
        step = LoggedStep(_LOGGER, "%s %s %s", method, url.origin, what)
        while True:
            pool, target, proxy_headers = self._connections.pool(url, self._proxies.find(url))
            request = self._new_request(url.host, target, deadline, max_level, rate=rate)
            try:
                with step, request.sending():
                    timeout = request.socket_timeout()
                    response = pool.urlopen(
                        method,
                        # urllib3 logs this URL. The connection sends ``target``, which may be
                        # secret.
                        "/" if target.startswith("/") else f"{url.origin}/",
                        body=self._throttled(body, deadline) if isinstance(body, Body) else body,  # type: ignore[arg-type]
                        headers={**default_headers, **proxy_headers, **headers, **size_header},
                        retries=False,
                        redirect=False,
                        assert_same_host=False,  # with a proxy, the pool's host is the proxy
                        preload_content=False,
                        decode_content=False,
                        timeout=Timeout(connect=min(self._bounds.connect, timeout), read=timeout),
                    )
                    step.result = f"HTTP {response.status}"
                    return Response(url, response, _raw_of(response), self._bandwidth)
            except TRANSPORT_FAULTS as fault:
                failure = transport_failure(fault, url, handled)
                cause = visible_cause(fault, handled)
            request.check()
            # The peer can close a connection of an earlier client while the request is on its way.
            # As in Go's net/http, the client then sends the request over another connection. Each
            # failure removes such a connection, so this loop ends.
            was_lost = request.idle_since < self._began and isinstance(failure, Retryable)
            if not was_lost or isinstance(body, Body):
                raise failure from cause

    def _new_request(
        self,
        host: str,
        target: str,
        deadline: Deadline,
        max_level: AddressLevel | None,
        rate: TransferRate | None,
    ) -> ActiveRequest:
        bounds = self._bounds
        return ActiveRequest(
            host,
            target,
            deadline,
            stall=bounds.stall,
            least_rate=LeastRate(bounds.least_rate, bounds.stall, rate),
            network=self._network,
            max_level=max_level,
        )

    def _throttled(self, body: Body, deadline: Deadline) -> Iterable[bytes | memoryview]:
        """Yield the body in portions, within the bandwidth limit."""
        bandwidth, portion = self._bandwidth, self._bandwidth.portion
        for piece in body.pieces():
            view = memoryview(piece)
            step = portion or len(view) or 1
            for start in range(0, len(view), step):
                yield view[start : start + step]
                bandwidth.throttle(min(step, len(view) - start), deadline)


def _pools_of(manager: PoolManager) -> Iterator[PlainPool]:
    """Yield the pools of a manager, which another thread may be changing."""
    for key in list(manager.pools.keys()):
        pool: PlainPool | None = manager.pools.get(key)  # type: ignore[assignment]
        if pool is not None:
            yield pool


def _is_secure(proxy: str) -> bool:
    """Return whether the URL of a proxy has the scheme https."""
    return proxy.lower().startswith("https:")


def _manager(proxy: str | None, contexts: ProxyContexts) -> PoolManager:
    """Return a pool manager for direct connections, or for connections through ``proxy``."""
    manager: PoolManager
    if proxy is None:
        manager = PoolManager(maxsize=_POOLED, block=False)
    else:
        context = contexts.tunnel if _is_secure(proxy) else None
        try:
            parts = parse_url(proxy)
            headers = make_headers(proxy_basic_auth=unquote(parts.auth)) if parts.auth else {}
            bare = parts._replace(auth=None).url
            manager = ProxyManager(
                bare,
                proxy_headers=headers,
                proxy_ssl_context=context,
                maxsize=_POOLED,
                block=False,
            )
        except (LocationParseError, ValueError):
            raise InvalidArgument("the URL of the proxy cannot be parsed") from None
    manager.pool_classes_by_scheme = POOLS
    return manager


def _raw_of(response: BaseHTTPResponse) -> BoundedResponse:
    """Return the ``http.client`` response of the connection, and clear the connection's ``raw``."""
    connection: BoundedConnection = response.connection  # type: ignore[assignment]
    raw = connection.raw
    if raw is None:  # urllib3 made the response in another way, which should not happen
        raise RegistryError("the HTTP library returned no response to read")
    connection.raw = None
    return raw
