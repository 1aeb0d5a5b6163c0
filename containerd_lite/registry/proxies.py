"""Chooses the proxy for a request, as curl and Go do.

The environment variables ``HTTP_PROXY``, ``HTTPS_PROXY`` and ``NO_PROXY`` can have upper or lower
case.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from urllib.parse import urlsplit

from ..errors import InvalidArgument
from .addresses import is_loopback
from .destinations import Url


class Proxies:
    """Chooses the proxy for a URL. Requests to loopback addresses never use a proxy.

    Args:
        explicit: The URL of the proxy for all requests. ``""`` means no proxy. Default: the
            proxy that the environment variables name.
        environ: The environment variables. Default: the variables of this process.

    Raises:
        InvalidArgument: ``explicit`` is not an http or https URL.
    """

    def __init__(
        self, explicit: str | None = None, environ: Mapping[str, str] | None = None
    ) -> None:
        self._explicit = _with_scheme(explicit, "proxy=") if explicit else explicit
        self._environ = environ

    def find(self, url: Url) -> str | None:
        """Return the URL of the proxy for ``url``, or ``None`` for a direct connection.

        Raises InvalidArgument if the proxy's URL is not http or https.
        """
        if is_loopback(url.host):
            return None
        if self._explicit is not None:
            return self._explicit or None
        # In a CGI program, HTTP_PROXY contains a header of the HTTP request (CVE-2016-5386).
        cgi = url.scheme == "http" and self._read("REQUEST_METHOD")
        name = f"{url.scheme}_proxy"
        value = self._read(name) or ("" if cgi else self._read(name.upper()))
        if not value or _is_exempt(url, self._read("no_proxy") or self._read("NO_PROXY")):
            return None
        return _with_scheme(value, f"the proxy in ${name.upper()}")

    def _read(self, name: str) -> str:
        environ = os.environ if self._environ is None else self._environ
        return environ.get(name, "").strip()


def _with_scheme(text: str, what: str) -> str:
    """Return the URL of a proxy. If ``text`` has no scheme, add ``http://``.

    Errors never quote the URL, because it may contain a password.
    """
    text = text if "://" in text else f"http://{text}"
    try:
        parts = urlsplit(text)
        is_valid = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        is_valid = False
    if not is_valid:
        raise InvalidArgument(
            f"{what} is not an http or https URL",
            remedy="Use an http or https proxy; SOCKS is not supported",
        )
    return text


def _is_exempt(url: Url, text: str) -> bool:
    """Return whether the URL's host matches an entry of ``text``, the value of ``NO_PROXY``.

    An entry is a host name, a domain, an address, a network, or ``*``.
    """
    for entry in text.replace(",", " ").split():
        if entry == "*" or _matches(url, entry.lower()):
            return True
    return False


def _matches(url: Url, entry: str) -> bool:
    """Return whether one entry of ``NO_PROXY`` other than ``*`` matches the URL's host."""
    try:
        return ipaddress.ip_address(url.host) in ipaddress.ip_network(
            entry.strip("[]"), strict=False
        )
    except ValueError:
        pass  # the host or the entry is a name, not an address
    name, colon, port = entry.rpartition(":")
    if colon and port.isdigit() and (entry.count(":") == 1 or entry.startswith("[")):
        if port != str(url.port):
            return False
        entry = name.strip("[]")
    domain = entry.removeprefix("*").removeprefix(".").removesuffix(".")
    # An entry with a leading dot matches only names below the domain, as in Go.
    below = url.host.endswith(f".{domain}")
    return below if entry[:1] in "*." else url.host == domain or below
