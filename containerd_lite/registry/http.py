"""Single HTTP requests on urllib3: pools, proxies, raw bodies.

What lives here: the only sending of requests; urllib3's own retries and redirects are off.
What may not: credentials, redirects, retries, registries.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import unquote

from urllib3 import HTTPConnectionPool, PoolManager, ProxyManager, Timeout
from urllib3.exceptions import LocationParseError
from urllib3.util import make_headers, parse_url

from ..deadline import Deadline
from ..debug import LoggedStep
from ..errors import ContainerdError, InvalidArgument, RegistryError, RegistryUnavailable
from ..records import record
from .destinations import Destinations, Privacy, Url
from .hosts import TlsFiles
from .http_connection import BUFFER, POOLS, BoundedResponse, Exchange, Raw
from .http_errors import TRANSPORT_FAULTS, Again, told, transport_failure
from .pace import Floor, Pace
from .proxies import Proxies
from .tls_contexts import Contexts

if TYPE_CHECKING:
    from urllib3.response import BaseHTTPResponse

_LOGGER = logging.getLogger(__package__)
#: Idle connections kept to one host: as many as a pull has layers at a time, and then some.
_POOLED = 16


@record(frozen=True)
class Body:
    """What a request carries: ``size`` bytes in pieces, which are made once it is sent."""

    size: int
    pieces: Callable[[], Iterable[bytes | memoryview]]


@record(frozen=True)
class Bounds:
    """What holds for every request of a client; times in seconds, rates in bytes a second.

    ``stall`` bounds any wait for a byte, and a peer that gives less than ``least_rate`` over
    that time is given up, too.
    """

    connect: float = 10.0
    stall: float = 30.0
    least_rate: float = 0.0


class Response:
    """One response: the status, the headers, and a body that is read as it comes."""

    __slots__ = ("_pace", "_raw", "_response", "headers", "status", "url")

    def __init__(
        self, url: Url, response: BaseHTTPResponse, raw: BoundedResponse, pace: Pace
    ) -> None:
        self.url = url
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        self._response = response
        self._raw = raw
        self._pace = pace

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
        portion = self._pace.portion
        around = sys.exc_info()[1]
        try:
            if portion is None:
                return self._raw.readinto(buffer)
            return self._read_paced(memoryview(buffer), portion)
        except TRANSPORT_FAULTS as fault:
            self.close()
            failure, cause = transport_failure(fault, self.url, around), told(fault, around)
        self._raw.exchange.check()
        raise failure from cause

    def _read_paced(self, view: memoryview, portion: int) -> int:
        done = 0
        while done < len(view):
            wanted = view[done : done + portion]
            taken = self._raw.readinto(wanted)
            self._pace.spend(taken)
            done += taken
            if taken < len(wanted):
                break
        return done

    def read(self, limit: int, what: str) -> bytes:
        """The whole body.

        Raises RegistryError if it is longer than ``limit`` bytes, as ``readinto`` if it is cut.
        """
        too_long = f"{what} of {self.url.origin} has more than the {limit} bytes allowed"
        if (self.length or 0) > limit:
            self.close()
            raise RegistryError(too_long)
        expected = self.length
        body = bytearray()
        chunk = memoryview(bytearray(min(limit + 1, BUFFER)))
        while taken := self.readinto(chunk):
            body += chunk[:taken]
            if len(body) > limit:
                self.close()
                raise RegistryError(too_long)
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
        self._raw.exchange.end()
        if self._raw.isclosed():
            self._response.release_conn()
        self.close()

    def close(self) -> None:
        """Ends the exchange; a connection that is not idle is closed."""
        self._raw.exchange.end()
        self._raw.close()
        self._response.close()


class Transport:
    """Sends requests; thread-safe.  Connections are pooled by scheme, host and port."""

    def __init__(
        self,
        *,
        home: str,
        bounds: Bounds,
        user_agent: str,
        network: Destinations,
        tls: TlsFiles | None = None,
        pace: Pace | None = None,
        proxies: Proxies | None = None,
    ) -> None:
        """``home`` is the name of the host that ``tls`` was configured for."""
        self._network = network
        self._home = home
        self._bounds = bounds
        self._agent = user_agent
        self._pace = pace or Pace()
        self._proxies = proxies or Proxies()
        self._contexts = Contexts(tls or TlsFiles())
        self._lock = threading.Lock()
        self._managers: dict[str | None, PoolManager] = {}

    def limit(self, base: Url, target: Url, what: str) -> Privacy | None:
        """How private an address ``target`` may have, to which the registry at ``base`` points.

        ``None`` for the registry itself.  Raises RegistryError, in which ``what`` says what it
        is, for one that is in a more private network.
        """
        if target.origin == base.origin:
            return None
        limit = self._network.reach(base.host, self._is_proxied(base))
        self._network.check(target.host, limit, what, self._is_proxied(target))
        return limit

    def _is_proxied(self, url: Url) -> bool:
        """Whether requests to ``url`` go through a proxy, whose networks are not ours."""
        return self._proxies.find(url) is not None

    def send(
        self,
        method: str,
        url: Url,
        headers: Mapping[str, str],
        deadline: Deadline,
        limit: Privacy | None = None,
        *,
        body: bytes | Body | None = None,
        what: str,
    ) -> Response:
        """Sends one request and returns the answer to it, whatever its status.

        ``limit`` refuses a peer whose address is more private; ``None`` is for the registry
        itself.  The deadline bounds the body too, until ``Response.renew``.  Debug
        output has ``what`` and the URL's origin; the rest of a URL may be a secret.  Raises
        RegistryUnavailable, or ``failures.Again`` with it.
        """
        bounds = self._bounds
        pool, target, extra = self._pool(url)
        floor = Floor(bounds.least_rate, bounds.stall)
        exchange = Exchange(
            url.host,
            target,
            deadline,
            stall=bounds.stall,
            floor=floor,
            network=self._network,
            limit=limit,
        )
        around = sys.exc_info()[1]
        step = LoggedStep(_LOGGER, "%s %s %s", method, url.origin, what)
        try:
            with step, exchange.beginning():
                patience = exchange.patience()
                agent = {"User-Agent": self._agent, "Accept-Encoding": "identity"}
                sent = {**agent, **extra, **headers}
                if isinstance(body, Body):
                    sent["Content-Length"] = str(body.size)
                response = pool.urlopen(
                    method,
                    target,
                    body=self._paced(body) if isinstance(body, Body) else body,  # type: ignore[arg-type]
                    headers=sent,
                    retries=False,
                    redirect=False,
                    assert_same_host=False,  # through a proxy it is not, for urllib3
                    preload_content=False,
                    decode_content=False,
                    timeout=Timeout(connect=min(bounds.connect, patience), read=patience),
                )
                step.result = f"HTTP {response.status}"
                return Response(url, response, _raw_of(response), self._pace)
        except TRANSPORT_FAULTS as fault:
            failure, cause = transport_failure(fault, url, around), told(fault, around)
        exchange.check()
        raise failure from cause

    def _paced(self, body: Body) -> Iterable[bytes | memoryview]:
        pace, portion = self._pace, self._pace.portion
        for piece in body.pieces():
            view = memoryview(piece)
            step = portion or len(view) or 1
            for start in range(0, len(view), step):
                yield view[start : start + step]
                pace.spend(min(step, len(view) - start))

    def _pool(self, url: Url) -> tuple[HTTPConnectionPool, str, dict[str, str]]:
        """Where to send a request, what to ask for there, and what the proxy wants to be told."""
        proxy = self._proxies.find(url)
        with self._lock:
            manager = self._managers.get(proxy)
            if manager is None:
                manager = self._managers[proxy] = _manager(proxy)
        own = url.host == self._home
        arguments = self._contexts.pool_arguments(own) if url.scheme == "https" else {}
        pool = manager.connection_from_host(url.host, url.port, url.scheme, arguments)
        if isinstance(manager, ProxyManager) and url.scheme == "http":
            return pool, f"{url.origin}{url.target}", dict(manager.proxy_headers)
        return pool, url.target, {}

    def close(self) -> None:
        """Closes the idle connections; those in use close with their answers."""
        with self._lock:
            managers, self._managers = list(self._managers.values()), {}
        for manager in managers:
            # urllib3 2 leaves it to the collector to close a pool that was cleared away.
            for key in list(manager.pools.keys()):
                pool = manager.pools.get(key)
                if pool is not None:
                    pool.close()
            manager.clear()


def _manager(proxy: str | None) -> PoolManager:
    """The pools for connections straight to the peer, or through a proxy."""
    manager: PoolManager
    if proxy is None:
        manager = PoolManager(maxsize=_POOLED, block=False)
    else:
        try:
            parts = parse_url(proxy)
            headers = make_headers(proxy_basic_auth=unquote(parts.auth)) if parts.auth else {}
            bare = parts._replace(auth=None).url
            manager = ProxyManager(bare, proxy_headers=headers, maxsize=_POOLED, block=False)
        except (LocationParseError, ValueError):
            raise InvalidArgument("the URL of the proxy cannot be parsed") from None
    manager.pool_classes_by_scheme = POOLS
    return manager


def _raw_of(response: BaseHTTPResponse) -> BoundedResponse:
    connection: Raw = response.connection  # type: ignore[assignment]
    raw = connection.raw
    if raw is None:  # urllib3 made its response from something else: not a case we know
        raise RegistryError("the HTTP library gave no response to read")
    connection.raw = None
    return raw
