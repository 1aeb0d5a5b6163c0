"""Rules that say to which hosts the client is allowed to send requests and secrets.

A registry is not trusted. Its redirects and token realms name other hosts, and the client sends
requests to these hosts. A registry must not make the client send requests to addresses that only
this machine can reach, or send secrets to an unrelated host (CVE-2020-15157, CVE-2026-48978,
CVE-2026-33540).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn
from urllib.parse import urlencode, urljoin, urlsplit

from ..deadline import Deadline
from ..errors import InvalidArgument, RegistryError, RegistryUnavailable
from ..lazy import lazy_pattern
from ..locks import NEVER
from ..lookup import HostResolver, addresses, look_up
from ..printable import quoted
from ..records import record, replace
from .addresses import AddressLevel, address_level, is_address, is_loopback_name, normal_host

_PORTS = {"http": 80, "https": 443}
_MAX_URL = 16 << 10
#: Spaces and control characters. Some parsers drop these characters, and so see a different URL.
_UNSAFE = lazy_pattern(r"[\x00-\x20\x7f]")
#: The host and the port of a URL.
_AUTHORITY = lazy_pattern(r"(\[[^][]*\]|[^][:]*)(?::[0-9]*)?")

#: A function that returns the level of a numeric address. Tests replace it.
Classifier = Callable[[str], AddressLevel]


@record(frozen=True)
class Url:
    """An absolute HTTP or HTTPS URL. ``str()`` omits the query, which may contain a signature.

    Attributes:
        scheme: ``http`` or ``https``.
        host: The host in lower case, without a dot at its end. An IPv6 address has no brackets.
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
        _check_characters(text)
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError:
            _bad_url("cannot be parsed")
        if parts.scheme not in _PORTS or not parts.hostname:
            _bad_url("is not an absolute http or https URL")
        if "@" in parts.netloc:
            _bad_url("contains a user name")
        authority = _AUTHORITY.fullmatch(parts.netloc)
        try:
            host = normal_host(authority[1] if authority else "")
        except ValueError:
            _bad_url("contains no valid host")
        target = parts.path or "/"
        if parts.query:
            target += f"?{parts.query}"
        return cls(parts.scheme, host, port or _PORTS[parts.scheme], target)

    def join(self, location: str) -> Url:
        """Return the absolute URL of a ``Location`` header (RFC 9110, section 10.2.2).

        This URL is the base of a relative ``location``.
        """
        _check_characters(location)  # urljoin would drop some control characters
        try:
            return Url.parse(urljoin(self.origin + self.target, location))
        except InvalidArgument:  # InvalidArgument is a subclass of ValueError
            raise
        except ValueError:
            _bad_url("cannot be joined with the base URL")

    def below(self, path: str) -> Url:
        """Return the URL of a path below this URL, which ends with a slash.

        Unlike ``join``, this method does not interpret the path. It takes a fifth of the time.
        """
        _check_characters(path)
        return replace(self, target=self.target + path)

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


def _check_characters(text: str) -> None:
    """Raise InvalidArgument for a text that is too long, or has characters that no URL has.

    ``urlsplit`` and ``urljoin`` get only checked texts: the time that they need for non-ASCII
    characters can grow with the square of the text's length.
    """
    if len(text) > _MAX_URL:
        _bad_url(f"is longer than {_MAX_URL} characters")
    if not text.isascii() or _UNSAFE.search(text):
        _bad_url("contains a space, a control character or a non-ASCII character")


def _bad_url(reason: str) -> NoReturn:
    raise InvalidArgument(f"the URL that the registry sent {reason}") from None


class Destinations:
    """Compares the levels of hosts' addresses (``AddressLevel``).

    Args:
        classify: A function that returns the level of a numeric address.
        resolve: A function that returns the numeric addresses of a host, or raises OSError. For a
            host name, it is called in a thread of its own.
    """

    def __init__(
        self, classify: Classifier = address_level, resolve: HostResolver = addresses
    ) -> None:
        self.classify = classify
        self._resolve = resolve
        self._max_levels: dict[str, AddressLevel] = {}

    def _levels(self, host: str, deadline: Deadline) -> list[AddressLevel]:
        """Return the level of each address of ``host``."""
        if host != "localhost" and is_loopback_name(host):
            return [self.classify("127.0.0.1")]  # not every resolver knows these names
        try:
            if is_address(host):  # the look-up cannot block
                found = self._resolve(host)
            else:
                found = look_up(host, deadline, self._resolve)
            return [self.classify(address) for address in found]
        except TimeoutError as error:
            raise RegistryUnavailable(
                f"the address of the host {quoted(host)} was not found in time",
                remedy="Check this machine's DNS, or try again later",
            ) from error
        except (OSError, UnicodeError, ValueError) as error:
            raise RegistryUnavailable(
                f"the host {quoted(host)} has no address ({type(error).__name__})",
                remedy="Check the name and this machine's DNS",
            ) from error

    def max_level(
        self, host: str, proxied: bool = False, deadline: Deadline = NEVER
    ) -> AddressLevel:
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
            self._max_levels[host] = min(self._levels(host, deadline), default=AddressLevel.PUBLIC)
        return self._max_levels[host]

    def record_address(self, host: str, address: str) -> None:
        """Record that a connection to the registry ``host`` used ``address``."""
        level = self.classify(address)
        self._max_levels[host] = min(level, self._max_levels.get(host, level))

    def check(
        self,
        host: str,
        max_level: AddressLevel,
        what: str,
        proxied: bool = False,
        deadline: Deadline = NEVER,
    ) -> None:
        """Raise RegistryError if the level of any address of ``host`` is above ``max_level``.

        ``what`` names the target in the error. If the connection uses a proxy, a host name is not
        checked, because the proxy resolves the name.
        """
        if proxied and not is_address(host):
            return
        if max(self._levels(host, deadline), default=AddressLevel.PUBLIC) > max_level:
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
