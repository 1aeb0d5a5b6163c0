"""Which proxy stands between this machine and a registry.

What lives here: the variables that curl and Go's programs read, ``HTTP_PROXY HTTPS_PROXY
NO_PROXY`` in either case.  What may not: connecting.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping

from ..errors import InvalidArgument
from .destinations import Url, is_loopback


class Proxies:
    """Chooses by URL.  ``explicit`` is the one for all; ``""`` none; ``None`` as the variables say.

    Loopback addresses are never asked for through a proxy.
    """

    def __init__(
        self, explicit: str | None = None, environ: Mapping[str, str] | None = None
    ) -> None:
        self._explicit = explicit
        self._environ = environ

    def find(self, url: Url) -> str | None:
        """The URL of the proxy to take to ``url``, or ``None``.  Raises InvalidArgument."""
        if is_loopback(url.host):
            return None
        if self._explicit is not None:
            return _checked(self._explicit, "the proxy given") if self._explicit else None
        # A CGI program's HTTP_PROXY is a header of its client's (CVE-2016-5386).
        cgi = url.scheme == "http" and self._read("REQUEST_METHOD")
        name = f"{url.scheme}_proxy"
        value = self._read(name) or ("" if cgi else self._read(name.upper()))
        if not value or _is_exempt(url, self._read("no_proxy") or self._read("NO_PROXY")):
            return None
        return _checked(value, f"the proxy in ${name.upper()}")

    def _read(self, name: str) -> str:
        environ = os.environ if self._environ is None else self._environ
        return environ.get(name, "").strip()


def _checked(text: str, what: str) -> str:
    """A proxy's URL, with a scheme; it may carry a password and is never quoted."""
    text = text if "://" in text else f"http://{text}"
    if text.partition("://")[0].lower() not in ("http", "https"):
        raise InvalidArgument(
            f"{what} is not an http or https one", remedy="SOCKS proxies are not spoken to"
        )
    return text


def _is_exempt(url: Url, text: str) -> bool:
    """Whether ``NO_PROXY`` names the URL's host: by name, domain, address, network, or ``*``."""
    for entry in text.replace(",", " ").split():
        if entry == "*" or _matches(url, entry.lower()):
            return True
    return False


def _matches(url: Url, entry: str) -> bool:
    try:
        return ipaddress.ip_address(url.host) in ipaddress.ip_network(
            entry.strip("[]"), strict=False
        )
    except ValueError:
        pass  # the host or the entry is a name
    name, colon, port = entry.rpartition(":")
    if colon and port.isdigit() and (entry.count(":") == 1 or entry.startswith("[")):
        if port != str(url.port):
            return False
        entry = name.strip("[]")
    domain = entry.removeprefix("*").removeprefix(".")
    # An entry with a dot before it means the names below alone, as in Go.
    below = url.host.endswith(f".{domain}")
    return below if entry[:1] in "*." else url.host == domain or below
