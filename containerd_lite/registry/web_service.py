"""Requests to servers that are not registries, such as transparency logs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from .. import limits
from ..deadline import Deadline
from ..errors import InvalidArgument
from ..version import USER_AGENT
from .destinations import Destinations, Url
from .hosts import TlsFiles
from .http import Bounds, Connections, Response, Transport, socket_time
from .http_errors import Retryable, naming, status_failure
from .proxies import Proxies
from .tls_contexts import ProxyContexts

#: The maximum size of a response in bytes.
MAX_RESPONSE = 4 << 20
#: The lowest transfer rate in bytes per second, as for registries.
_LEAST_RATE = 100.0


class WebService:
    """A server that answers POST requests.

    The server gets no credentials of registries. Redirects are not followed.

    Args:
        url: The URL of the server, with ``http`` or ``https``.
        tls: TLS files for the server.
        proxy: As for ``Registry``.
        proxy_ca: As for ``Registry``.
        timeout: Seconds that a request may take, including a second try.
        connect_timeout: Seconds that the client waits for a connection.

    Raises:
        InvalidArgument: ``url`` is not an absolute URL.
    """

    def __init__(
        self,
        url: str,
        *,
        tls: TlsFiles | None = None,
        proxy: str | None = None,
        proxy_ca: Iterable[str | Path] = (),
        timeout: float = 30.0,
        connect_timeout: float = 10.0,
    ) -> None:
        self._base = Url.parse(url.rstrip("/"))
        if "?" in self._base.target:
            raise InvalidArgument("the URL of a service has no query")
        self._timeout = limits.seconds("timeout", timeout)
        stall = socket_time("timeout", timeout)
        self._connections = Connections(self._base.origin, tls, ProxyContexts(map(Path, proxy_ca)))
        self._transport = Transport(
            self._connections,
            bounds=Bounds(socket_time("connect_timeout", connect_timeout), stall, _LEAST_RATE),
            user_agent=USER_AGENT,
            network=Destinations(),
            proxies=Proxies(proxy),
        )

    def post(self, path: str, body: bytes, *, content_type: str, accept: str, what: str) -> bytes:
        """Send a POST request, and return the body of the response.

        Args:
            path: The path below the URL of the server.
            body: The body of the request.
            content_type: The media type of ``body``.
            accept: The media type of the response.
            what: The name of the response in errors.

        Raises:
            RegistryError: The server refuses the request.
            RegistryUnavailable: The server cannot be reached, or fails twice.
        """
        url = self._base.join(self._base.target.rstrip("/") + path)
        headers = {"Content-Type": content_type, "Accept": accept}
        deadline = Deadline(self._timeout)
        with naming(f"POST {self._base.origin}"):
            for is_last in (False, True):
                try:
                    response = self._transport.send(
                        "POST", url, headers, deadline, body=body, what=what
                    )
                    return self._read(response, what)
                except Retryable as failure:
                    if is_last:
                        raise failure.error from failure.__cause__
        raise AssertionError("unreachable")

    @staticmethod
    def _read(response: Response, what: str) -> bytes:
        body = response.read(MAX_RESPONSE, what)
        if response.status in (200, 201):
            return body
        raise status_failure(
            response.status,
            response.headers,
            b"",  # a server that received a token may quote it
            what=what,
            url=response.url,
            had_credentials=False,
        )

    def close(self) -> None:
        """Close the idle connections."""
        self._connections.close()

    def __repr__(self) -> str:
        return f"<WebService {self._base.origin}>"
