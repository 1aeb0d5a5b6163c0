"""The hosts that serve a registry's content: the registry itself and its mirrors.

``own_host`` applies the rules for docker.io and for plain HTTP. ``hosts_file`` reads
``hosts.toml``.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from urllib.parse import parse_qsl

from ..arguments import is_path
from ..errors import InvalidArgument
from ..limits import refused
from ..oci.reference import DEFAULT_HOST, is_host
from ..printable import quoted
from ..records import field, record
from .addresses import is_loopback
from .destinations import Url

#: The host of Docker Hub's registry. References name this registry docker.io.
_DOCKER_ENDPOINT = "registry-1.docker.io"

PULL, RESOLVE, PUSH, REFERRERS = "pull", "resolve", "push", "referrers"
#: All capabilities. A capability is an operation that a host can serve (containerd's
#: docs/hosts.md).
CAPABILITIES = frozenset({PULL, RESOLVE, PUSH, REFERRERS})


@record(frozen=True)
class TlsFiles:
    """The TLS settings of one host. They do not apply to other ports of the host.

    All files have the PEM format, and are read before the first HTTPS connection.

    Attributes:
        ca: Certificates of authorities that are trusted in addition to the system's authorities.
        client: Pairs of a client certificate and its key. The key is ``None`` if the certificate's
            file also contains the key.
        skip_verify: Whether to accept any certificate.
    """

    ca: tuple[Path, ...] = ()
    client: tuple[tuple[Path, Path | None], ...] = ()
    skip_verify: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.ca, tuple) or not all(map(is_path, self.ca)):
            raise refused("ca", self.ca, "a tuple of paths, such as (Path('ca.pem'),)")
        if not isinstance(self.client, tuple) or not all(map(_is_pair, self.client)):
            wanted = "a tuple of pairs of paths, such as ((Path('cert.pem'), Path('key.pem')),)"
            raise refused("client", self.client, wanted)

    def joined(self, other: TlsFiles) -> TlsFiles:
        """Return settings with the files of both ``self`` and ``other``.

        ``skip_verify`` is true if it is true in ``self`` or in ``other``.
        """
        return TlsFiles(
            self.ca + other.ca, self.client + other.client, self.skip_verify or other.skip_verify
        )


def _is_pair(value: object) -> bool:
    if not isinstance(value, tuple) or len(value) != 2:
        return False
    certificate, key = value
    return is_path(certificate) and (key is None or is_path(key))


@record(frozen=True)
class Host:
    """One host that serves a registry's content.

    Attributes:
        namespace: The registry's name as it appears in references (``docker.io``).
        base: The URL of the API's root, which ends with a slash (``https://…/v2/``).
        capabilities: The operations for which the client is allowed to use the host.
        tls: The TLS settings.
        headers: Headers that every request to the host carries. They can contain secrets.
        realm_hosts: Names of further hosts to which the client is allowed to send the credentials
            if the host names a token server there.
        dial_timeout: Seconds that the client waits for a connection. Default: the client's
            ``connect_timeout``.
    """

    namespace: str
    base: Url
    capabilities: frozenset[str] = CAPABILITIES
    tls: TlsFiles = TlsFiles()
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    realm_hosts: frozenset[str] = frozenset()
    dial_timeout: float | None = None

    @cached_property
    def is_mirror(self) -> bool:
        """Whether this host is a mirror, which does not get the registry's credentials."""
        names = {self.namespace}
        if self.namespace == DEFAULT_HOST:
            names.add(_DOCKER_ENDPOINT)
        scheme, origin = self.base.scheme, self.base.origin
        return all(Url.parse(f"{scheme}://{name}").origin != origin for name in names)

    @property
    def address(self) -> str:
        """The host in the form ``name[:port]``, without the scheme's default port."""
        return self.base.origin.partition("://")[2]

    @property
    def account(self) -> str:
        """The name under which credentials are stored: ``namespace``, or a mirror's address."""
        return self.address if self.is_mirror else self.namespace

    def url(self, path: str, query: Mapping[str, str] | None = None) -> Url:
        """Return the URL of ``path`` (``"library/busybox/manifests/latest"``) below the API's root.

        The URL has the query parameter ``ns`` if the host is a mirror: see ``with_namespace``.
        """
        url = self.base.below(path).with_query(query or {})
        return self.with_namespace(url)

    def with_namespace(self, url: Url) -> Url:
        """Return a URL on a mirror with the query parameter ``ns``, which names the registry.

        A URL that has the parameter, or leads to another origin, is returned unchanged. Mirrors
        leave the parameter out of the URLs in their responses (distribution-spec, Registry
        Proxying).
        """
        if not self.is_mirror or url.origin != self.base.origin:
            return url
        names = {name for name, _ in parse_qsl(url.target.partition("?")[2])}
        return url if "ns" in names else url.with_query({"ns": self.namespace})


def own_host(namespace: str, plain_http: bool | None = None, tls: TlsFiles | None = None) -> Host:
    """Return the host of the registry itself, not of a mirror.

    Args:
        namespace: The registry: ``name``, ``name:port`` or ``[IPv6]:port``.
        plain_http: Whether to use HTTP without TLS. Default: true for ``localhost`` and for
            loopback addresses, unless ``tls`` is given or the port is 443, as in containerd.
        tls: The TLS settings. Default: the system's certificate authorities.

    Raises:
        InvalidArgument: ``namespace`` is not the host of a registry.
    """
    name = _DOCKER_ENDPOINT if namespace == DEFAULT_HOST else namespace
    try:
        base = Url.parse(f"https://{name}/v2/") if is_host(name) else None
    except InvalidArgument:
        base = None
    if base is None:
        raise InvalidArgument(f"{quoted(namespace)} is not the host of a registry")
    if plain_http is None:
        # As in containerd, names below localhost do not count: not every resolver knows them.
        is_local = is_loopback(base.host) and not base.host.endswith(".localhost")
        plain_http = is_local and tls is None and not name.endswith(":443")
    if plain_http:
        base = Url.parse(f"http://{name}/v2/")
    return Host(namespace, base, tls=tls or TlsFiles())
