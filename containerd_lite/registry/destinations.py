"""Where requests and secrets may go.

What lives here: the URL record, how private an address is, and the two rules made of it, for
redirects and for token realms (CVE-2020-15157, CVE-2026-48978, CVE-2026-33540).
What may not: sending anything.

A registry is somebody else's program.  It names the places that this client then talks to, so
it must not be able to name places that only this machine can reach, nor to have secrets sent
to a stranger.
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
#: Blanks and control characters, which some parsers drop, and so see another URL.
_UNSAFE = lazy_pattern(r"[\x00-\x20\x7f]")

_IPv4 = ipaddress.IPv4Address
_IPv6 = ipaddress.IPv6Address
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class Privacy(IntEnum):
    """How few machines reach an address; a higher one is more private."""

    PUBLIC = 0
    PRIVATE = 1
    LINK_LOCAL = 2
    LOOPBACK = 3


#: Tells the privacy of a numeric address; tests put their own in its place.
Classifier = Callable[[str], Privacy]
#: Tells the numeric addresses of a host; raises OSError.
HostResolver = Callable[[str], Iterable[str]]


@record(frozen=True)
class Url:
    """An absolute http or https URL; ``target`` is its path and query, verbatim.

    ``host`` is lower case and, for IPv6, without brackets.  ``str()`` leaves out the query,
    which may hold a signature.
    """

    scheme: str
    host: str
    port: int
    target: str

    @classmethod
    def parse(cls, text: str) -> Url:
        """Reads an absolute URL.  Raises InvalidArgument; the message never quotes the URL."""
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError:
            _bad_url("cannot be parsed")
        if len(text) > _MAX_URL or not text.isascii() or _UNSAFE.search(text):
            _bad_url("is too long or has characters that a URL may not have")
        if parts.scheme not in _PORTS or not parts.hostname:
            _bad_url("is not an absolute http or https URL")
        if "@" in parts.netloc:
            _bad_url("carries a user name")
        target = parts.path or "/"
        if parts.query:
            target += f"?{parts.query}"
        return cls(parts.scheme, parts.hostname, port or _PORTS[parts.scheme], target)

    def join(self, location: str) -> Url:
        """The URL that a ``Location`` header means, seen from this one (RFC 9110, 10.2.2)."""
        if _UNSAFE.search(location):  # urljoin would drop some
            _bad_url("has characters that a URL may not have")
        try:
            return Url.parse(urljoin(self.origin + self.target, location))
        except InvalidArgument:  # which is a ValueError, too
            raise
        except ValueError:
            _bad_url("cannot be used")

    def with_query(self, fields: Mapping[str, str] | Sequence[tuple[str, str]]) -> Url:
        """This URL with more in its query, if there is more; what is there stays as it is."""
        if not fields:
            return self
        mark = "&" if "?" in self.target else "?"
        return replace(self, target=f"{self.target}{mark}{urlencode(fields)}")

    @property
    def origin(self) -> str:
        """``scheme://host[:port]``, as a browser writes it (RFC 6454)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == _PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}"

    def __str__(self) -> str:
        return self.origin + self.target.partition("?")[0]


def _bad_url(why: str) -> NoReturn:
    raise InvalidArgument(f"a URL that the registry gave {why}") from None


def privacy(address: str) -> Privacy:
    """The privacy of a numeric IPv4 or IPv6 address, whichever way it is wrapped.

    Raises ValueError for anything else.
    """
    found: _IPv4 | _IPv6 = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, _IPv6):
        found = found.ipv4_mapped or found.sixtofour or found
    if isinstance(found, _IPv6) and found in _NAT64:
        found = _IPv4(int(found) & 0xFFFFFFFF)
    if found.is_loopback or found.is_unspecified:  # 0.0.0.0 reaches this machine too
        return Privacy.LOOPBACK
    if found.is_link_local:  # clouds keep their metadata service here
        return Privacy.LINK_LOCAL
    return Privacy.PUBLIC if found.is_global else Privacy.PRIVATE


def is_loopback(host: str) -> bool:
    """Whether ``host`` is ``localhost`` or a loopback address; looks nothing up."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def addresses(host: str) -> list[str]:
    """The numeric addresses of ``host``.  Raises OSError."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


class Destinations:
    """Judges hosts by their addresses; the two look-ups can be replaced."""

    def __init__(self, classify: Classifier = privacy, resolve: HostResolver = addresses) -> None:
        self.classify = classify
        self._resolve = resolve
        self._reaches: dict[str, Privacy] = {}

    def _levels(self, host: str) -> list[Privacy]:
        try:
            return [self.classify(address) for address in self._resolve(host)]
        except (OSError, UnicodeError, ValueError) as error:
            raise RegistryUnavailable(
                f"the host {quoted(host)} has no address ({type(error).__name__})",
                remedy="Check the name and this machine's DNS",
            ) from error

    def reach(self, host: str, proxied: bool = False) -> Privacy:
        """The most private level that ``host``, a registry, may send this client to.

        It goes by the addresses that connections to it had.  Of several the most public counts:
        a registry must not gain this machine's loopback by naming it in its own DNS entry.
        Behind a proxy, which looks names up by itself, only a literal address says anything.
        """
        if proxied and not is_address(host):
            return Privacy.PUBLIC
        if host not in self._reaches:
            self._reaches[host] = min(self._levels(host), default=Privacy.PUBLIC)
        return self._reaches[host]

    def note(self, host: str, address: str) -> None:
        """Notes that a connection to the registry ``host`` went to ``address``."""
        level = self.classify(address)
        self._reaches[host] = min(level, self._reaches.get(host, level))

    def check(self, host: str, limit: Privacy, what: str, proxied: bool = False) -> None:
        """Refuses a target of which any address is more private than ``limit``.

        Raises RegistryError; ``what`` says what the target is.
        """
        if proxied and not is_address(host):
            return
        if max(self._levels(host), default=Privacy.PUBLIC) > limit:
            refuse_private(host, what)


def refuse_private(host: str, what: str) -> NoReturn:
    raise RegistryError(
        f"{what} points to {quoted(host)}, in a more private network than the registry's own",
        remedy="This is refused, for it would let the registry reach into that network",
    )


def check_redirect(origin: Url, target: Url) -> None:
    """Refuses a redirect from TLS to plain http.  Raises RegistryError."""
    if origin.scheme == "https" and target.scheme != "https":
        raise RegistryError(
            f"the registry redirects from https to {target.origin}",
            remedy="This is refused, for the content would come without TLS",
        )


def check_realm(registry: Url, realm: Url, secret: bool, trusted: Iterable[str] = ()) -> None:
    """Refuses a token realm that must not be asked, or not with a secret.

    ``secret`` tells whether credentials would go along; ``trusted`` are host names that the
    user named for them.  Raises RegistryError, naming the fact and, where there is one, the
    option that allows it.
    """
    what = f"the token realm {realm.origin}"
    if registry.scheme == "https" and realm.scheme != "https":
        raise RegistryError(f"{what} is without TLS, and the registry has it")
    if not secret:
        return
    own_loopback = realm.host == registry.host and is_loopback(realm.host)
    if realm.scheme != "https" and not own_loopback:
        raise RegistryError(f"{what} is without TLS; credentials are not sent there")
    if realm.host in trusted or same_party(registry.host, realm.host):
        return
    raise RegistryError(
        f"{what} is not of the site of {registry.host}; credentials are not sent there",
        remedy=f"If it is right, name it: realm_hosts=({realm.host!r},)",
    )


#: Hosts under which unrelated people have names, by their last labels.
_SHARED = frozenset(
    ("amazonaws.com", "azure.com", "azurecr.io", "azurewebsites.net", "appspot.com",
     "cloudapp.net", "cloudfront.net", "duckdns.org", "dyndns.org", "fly.dev", "github.io",
     "gitlab.io", "herokuapp.com", "netlify.app", "ngrok.io", "pages.dev", "pkg.dev", "run.app",
     "trycloudflare.com", "vercel.app", "web.app", "windows.net", "workers.dev")
)  # fmt: skip
_DOCKER = "docker.io"
_SHORT_LABEL = 3


def same_party(registry: str, realm: str) -> bool:
    """Whether two host names belong to one party, as far as names can tell.

    They are equal, one lies under the other, or both lie under one name that looks like
    somebody's own domain.  Without a list of public suffixes the last test has to guess, and
    guesses "no": two labels under a country (``co.uk``) and known shared hosts do not count.
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
    """Whether ``host`` is a numeric address."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_shared(domain: str) -> bool:
    labels = domain.split(".")
    if len(labels) < 2 or ".".join(labels[-2:]) in _SHARED:
        return True
    country = len(labels[-1]) == 2 and domain != _DOCKER
    return country and len(labels) == 2 and len(labels[0]) <= _SHORT_LABEL
