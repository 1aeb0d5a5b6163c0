"""The hosts that serve a registry's content: the registry itself and its mirrors.

``own_host`` applies the rules for docker.io and for plain http. ``hosts_file`` reads
``hosts.toml``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..errors import InvalidArgument
from ..oci.document import quoted
from ..oci.reference import DEFAULT_HOST, is_host
from ..records import field, record
from .destinations import Url, is_loopback

#: The host of Docker Hub's registry; docker.io is only its name in references.
_DOCKER_ENDPOINT = "registry-1.docker.io"

PULL, RESOLVE, PUSH, REFERRERS = "pull", "resolve", "push", "referrers"
#: All operations for which a host may be used (containerd's docs/hosts.md, capabilities).
CAPABILITIES = frozenset({PULL, RESOLVE, PUSH, REFERRERS})


@record(frozen=True)
class TlsFiles:
    """The TLS settings of one host. All files are PEM, and are read at the first connection.

    Attributes:
        ca: Files of certificate authorities that are trusted in addition to the system's.
        client: Pairs of a client certificate and its key. The key is ``None`` if one file holds
            both.
        skip_verify: Whether to accept any certificate.
    """

    ca: tuple[Path, ...] = ()
    client: tuple[tuple[Path, Path | None], ...] = ()
    skip_verify: bool = False

    def joined(self, other: TlsFiles) -> TlsFiles:
        """Return the files of both; ``skip_verify`` is set if it is set in either."""
        return TlsFiles(
            self.ca + other.ca, self.client + other.client, self.skip_verify or other.skip_verify
        )


@record(frozen=True)
class Host:
    """One host that serves a registry's content.

    Attributes:
        namespace: The registry as references name it (``docker.io``).
        base: The URL of the API's root, which ends with a slash (``https://…/v2/``).
        capabilities: The operations for which the host may be used.
        tls: The TLS settings.
        headers: Headers of every request to the host; they may hold secrets.
        dial_timeout: Seconds that connecting may take. Default: the client's.
    """

    namespace: str
    base: Url
    capabilities: frozenset[str] = CAPABILITIES
    tls: TlsFiles = TlsFiles()
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    dial_timeout: float | None = None

    @property
    def is_mirror(self) -> bool:
        """Whether this is another host than the registry; it does not get its credentials."""
        names = {self.namespace}
        if self.namespace == DEFAULT_HOST:
            names.add(_DOCKER_ENDPOINT)
        scheme, origin = self.base.scheme, self.base.origin
        return all(Url.parse(f"{scheme}://{name}").origin != origin for name in names)

    @property
    def address(self) -> str:
        """The form ``name[:port]`` that references use, without the scheme's default port."""
        return self.base.origin.partition("://")[2]

    @property
    def account(self) -> str:
        """The name under which to find credentials: the registry's, or the mirror's own."""
        return self.address if self.is_mirror else self.namespace

    def url(self, path: str, query: Mapping[str, str] | None = None) -> Url:
        """Return the URL of ``path`` (``"library/busybox/manifests/latest"``) below the API's root.

        For a mirror, the query names the registry in ``ns`` (distribution-spec, Registry
        Proxying).
        """
        fields = {**(query or {}), **({"ns": self.namespace} if self.is_mirror else {})}
        return self.base.join(f"{self.base.target}{path}").with_query(fields)


def own_host(namespace: str, plain_http: bool | None = None, tls: TlsFiles | None = None) -> Host:
    """Return the host of the registry itself.

    Args:
        namespace: The registry: ``name``, ``name:port`` or ``[IPv6]:port``.
        plain_http: Whether to use http in place of https. Default: only for ``localhost`` and
            loopback addresses without ``tls``, on another port than 443, as in containerd.
        tls: The TLS settings.

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
        plain_http = is_loopback(base.host) and tls is None and not name.endswith(":443")
    if plain_http:
        base = Url.parse(f"http://{name}/v2/")
    return Host(namespace, base, tls=tls or TlsFiles())
