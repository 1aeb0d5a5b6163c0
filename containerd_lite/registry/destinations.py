"""Rules that say to which hosts the client is allowed to send requests and secrets.

A registry is not trusted. Its redirects and token realms name other hosts, and the client sends
requests to these hosts. A registry must not make the client send requests to addresses that only
this machine can reach, or send secrets to an unrelated host (CVE-2020-15157, CVE-2026-48978,
CVE-2026-33540).
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import IntEnum
from typing import NoReturn
from urllib.parse import urlencode, urljoin, urlsplit

from ..errors import InvalidArgument, RegistryError, RegistryUnavailable
from ..lazy import lazy_pattern
from ..oci.document import quoted
from ..records import record, replace

_PORTS = {"http": 80, "https": 443}
_MAX_URL = 16 << 10
#: Spaces and control characters. Some parsers drop these characters, and so see a different URL.
_UNSAFE = lazy_pattern(r"[\x00-\x20\x7f]")

_IPv4 = ipaddress.IPv4Address
_IPv6 = ipaddress.IPv6Address
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class AddressLevel(IntEnum):
    """How private an address is. Fewer machines can reach an address with a higher level."""

    PUBLIC = 0
    PRIVATE = 1
    LINK_LOCAL = 2
    LOOPBACK = 3


#: A function that returns the level of a numeric address. Tests replace it.
Classifier = Callable[[str], AddressLevel]
#: A function that returns the numeric addresses of a host, or raises OSError.
HostResolver = Callable[[str], Iterable[str]]


@record(frozen=True)
class Url:
    """An absolute HTTP or HTTPS URL. ``str()`` omits the query, which may contain a signature.

    Attributes:
        scheme: ``http`` or ``https``.
        host: The host in lower case. An IPv6 address has no brackets.
        port: The port. If the URL contains no port, this is the scheme's default port.
        target: The path and the query, verbatim.
    """

    scheme: str
    host: str
    port: int
    target: str

    @classmethod
    def parse(cls, text: str) -> Url:
        """Parse an absolute URL.

        Raises InvalidArgument for an invalid URL. The error never quotes the URL.
        """
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError:
            _bad_url("cannot be parsed")
        if len(text) > _MAX_URL:
            _bad_url(f"is longer than {_MAX_URL} characters")
        if not text.isascii() or _UNSAFE.search(text):
            _bad_url("contains a space, a control character or a non-ASCII character")
        if parts.scheme not in _PORTS or not parts.hostname:
            _bad_url("is not an absolute http or https URL")
        if "@" in parts.netloc:
            _bad_url("contains a user name")
        target = parts.path or "/"
        if parts.query:
            target += f"?{parts.query}"
        return cls(parts.scheme, parts.hostname, port or _PORTS[parts.scheme], target)

    def join(self, location: str) -> Url:
        """Return the absolute URL of a ``Location`` header (RFC 9110, section 10.2.2).

        This URL is the base of a relative ``location``.
        """
        if _UNSAFE.search(location):  # urljoin would drop some control characters
            _bad_url("contains a space or a control character")
        try:
            return Url.parse(urljoin(self.origin + self.target, location))
        except InvalidArgument:  # InvalidArgument is a subclass of ValueError
            raise
        except ValueError:
            _bad_url("cannot be joined with the base URL")

    def with_query(self, fields: Mapping[str, str] | Sequence[tuple[str, str]]) -> Url:
        """Return this URL with ``fields`` added to its query. Its other parts stay unchanged."""
        if not fields:
            return self
        mark = "&" if "?" in self.target else "?"
        return replace(self, target=f"{self.target}{mark}{urlencode(fields)}")

    @property
    def origin(self) -> str:
        """The origin ``scheme://host[:port]``, without the scheme's default port (RFC 6454)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == _PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}"

    def __str__(self) -> str:
        return self.origin + self.target.partition("?")[0]


def _bad_url(reason: str) -> NoReturn:
    raise InvalidArgument(f"the URL that the registry sent {reason}") from None


def address_level(address: str) -> AddressLevel:
    """Return the level of a numeric IPv4 or IPv6 address.

    If an IPv6 address contains an IPv4 address (mapped, 6to4 or NAT64), the level is that of the
    IPv4 address. Raises ValueError if ``address`` is not numeric.
    """
    found: _IPv4 | _IPv6 = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, _IPv6):
        found = found.ipv4_mapped or found.sixtofour or found
    if isinstance(found, _IPv6) and found in _NAT64:
        found = _IPv4(int(found) & 0xFFFFFFFF)
    if found.is_loopback or found.is_unspecified:  # 0.0.0.0 also means this machine
        return AddressLevel.LOOPBACK
    if found.is_link_local:  # clouds use link-local addresses for their metadata services
        return AddressLevel.LINK_LOCAL
    return AddressLevel.PUBLIC if found.is_global else AddressLevel.PRIVATE


def is_loopback(host: str) -> bool:
    """Return whether ``host`` is ``localhost`` or a loopback address, without a DNS lookup."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def addresses(host: str) -> list[str]:
    """Return the numeric addresses of ``host``. Raises OSError if the lookup fails."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


class Destinations:
    """Compares the levels of hosts' addresses (``AddressLevel``).

    Args:
        classify: A function that returns the level of a numeric address.
        resolve: A function that returns the numeric addresses of a host, or raises OSError.
    """

    def __init__(
        self, classify: Classifier = address_level, resolve: HostResolver = addresses
    ) -> None:
        self.classify = classify
        self._resolve = resolve
        self._max_levels: dict[str, AddressLevel] = {}

    def _levels(self, host: str) -> list[AddressLevel]:
        """Return the level of each address of ``host``."""
        try:
            return [self.classify(address) for address in self._resolve(host)]
        except (OSError, UnicodeError, ValueError) as error:
            raise RegistryUnavailable(
                f"the host {quoted(host)} has no address ({type(error).__name__})",
                remedy="Check the name and this machine's DNS",
            ) from error

    def max_level(self, host: str, proxied: bool = False) -> AddressLevel:
        """Return the highest level to which the registry ``host`` is allowed to refer the client.

        The result is the level of the registry's own address. The address comes from connections
        to the registry or, before the first connection, from DNS. If the registry has several
        addresses, the lowest level counts. Otherwise, a registry could add a loopback address to
        its own DNS entry, and then refer the client to services on this machine's loopback.

        A proxy resolves names itself. If a proxy is used, every registry therefore counts as
        public, unless ``host`` is a numeric address.
        """
        if proxied and not is_address(host):
            return AddressLevel.PUBLIC
        if host not in self._max_levels:
            self._max_levels[host] = min(self._levels(host), default=AddressLevel.PUBLIC)
        return self._max_levels[host]

    def record_address(self, host: str, address: str) -> None:
        """Record that a connection to the registry ``host`` used ``address``."""
        level = self.classify(address)
        self._max_levels[host] = min(level, self._max_levels.get(host, level))

    def check(self, host: str, max_level: AddressLevel, what: str, proxied: bool = False) -> None:
        """Raise RegistryError if the level of any address of ``host`` is above ``max_level``.

        ``what`` names the target in the error. If the connection uses a proxy, a host name is not
        checked, because the proxy resolves the name.
        """
        if proxied and not is_address(host):
            return
        if max(self._levels(host), default=AddressLevel.PUBLIC) > max_level:
            refuse_private(host, what)


def refuse_private(host: str, what: str) -> NoReturn:
    """Raise the error for a target whose network is more private than the registry's network."""
    raise RegistryError(
        f"{what} points to {quoted(host)}, which is in a more private network than the registry",
        remedy="Check the registry; a registry must not refer clients to more private networks",
    )


def check_redirect(origin: Url, target: Url) -> None:
    """Raise RegistryError for a redirect from https to http."""
    if origin.scheme == "https" and target.scheme != "https":
        raise RegistryError(
            f"the registry redirects from https to {target.origin}",
            remedy="Check the registry; a redirect must not turn TLS off",
        )


def check_realm(registry: Url, realm: Url, secret: bool, trusted: Iterable[str] = ()) -> None:
    """Raise RegistryError if a token request must not be sent to ``realm``.

    ``secret`` says whether the request carries credentials. ``trusted`` contains the names of the
    hosts that the user allows to receive the credentials. If an option can allow the realm, the
    error's remedy names this option.
    """
    what = f"the token realm {realm.origin}"
    if registry.scheme == "https" and realm.scheme != "https":
        raise RegistryError(f"{what} does not use TLS, but the registry uses TLS")
    if not secret:
        return
    own_loopback = realm.host == registry.host and is_loopback(realm.host)
    if realm.scheme != "https" and not own_loopback:
        raise RegistryError(f"{what} does not use TLS, so it gets no credentials")
    if realm.host in trusted or same_owner(registry.host, realm.host):
        return
    raise RegistryError(
        f"{what} does not belong to {registry.host}, so it gets no credentials",
        remedy=f"If the realm can be trusted, pass realm_hosts=({realm.host!r},)",
    )


#: Domains below which unrelated people have host names.
_SHARED_DOMAINS = frozenset(
    ("amazonaws.com", "azure.com", "azurecr.io", "azurewebsites.net", "appspot.com",
     "cloudapp.net", "cloudfront.net", "duckdns.org", "dyndns.org", "fly.dev", "github.io",
     "gitlab.io", "herokuapp.com", "netlify.app", "ngrok.io", "pages.dev", "pkg.dev", "run.app",
     "trycloudflare.com", "vercel.app", "web.app", "windows.net", "workers.dev")
)  # fmt: skip
_DOCKER = "docker.io"
#: A label with at most this many characters, followed by a country code, counts as a shared domain
#: (``co.uk``).
_MAX_SHORT_LABEL = 3


def same_owner(registry: str, realm: str) -> bool:
    """Return whether two host names seem to have the same owner.

    Equal names have the same owner. A name and its subdomain have the same owner. If a
    domain seems to have a single owner, all names below the domain have the same owner. This is a
    guess, because the client has no list of public suffixes. In doubt, the result is false, for
    example below a shared domain (``github.io``) or below a short name with a country code
    (``co.uk``).
    """
    if registry == realm:
        return True
    if is_address(registry) or is_address(realm):
        return False
    if _is_shared(realm) or _is_shared(registry):
        return False
    if registry.endswith(f".{realm}") or realm.endswith(f".{registry}"):
        return True
    parent = registry.partition(".")[2]
    return not _is_shared(parent) and (realm == parent or realm.endswith(f".{parent}"))


def is_address(host: str) -> bool:
    """Return whether ``host`` is a numeric address."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_shared(domain: str) -> bool:
    """Return whether unrelated people can have host names below ``domain``."""
    labels = domain.split(".")
    if len(labels) < 2 or ".".join(labels[-2:]) in _SHARED_DOMAINS:
        return True
    country = len(labels[-1]) == 2 and domain != _DOCKER
    return country and len(labels) == 2 and len(labels[0]) <= _MAX_SHORT_LABEL
