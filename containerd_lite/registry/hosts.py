"""A host that serves a registry's content: the registry itself, or a mirror of it.

What lives here: the record, and the registry's own host by the rules for docker.io and for plain
http.  What may not: sending anything; reading ``hosts.toml``, which is ``hosts_file``'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..errors import InvalidArgument
from ..oci.document import quoted
from ..oci.reference import DEFAULT_HOST, is_host
from ..records import field, record
from .destinations import Url, is_loopback

#: Docker Hub's registry; docker.io itself is only its name.
_DOCKER_ENDPOINT = "registry-1.docker.io"

PULL, RESOLVE, PUSH, REFERRERS = "pull", "resolve", "push", "referrers"
#: What a host may be asked to do (containerd's docs/hosts.md, capabilities).
CAPABILITIES = frozenset({PULL, RESOLVE, PUSH, REFERRERS})


@record(frozen=True)
class TlsFiles:
    """What TLS to one host takes from files, all PEM; read when it is first spoken to.

    ``ca`` are authorities to trust beside the system's; ``client`` pairs of a certificate and
    its key, ``None`` where one file holds both.  ``skip_verify`` believes any certificate.
    """

    ca: tuple[Path, ...] = ()
    client: tuple[tuple[Path, Path | None], ...] = ()
    skip_verify: bool = False

    def joined(self, other: TlsFiles) -> TlsFiles:
        """Both: all files, and ``skip_verify`` if either says so."""
        return TlsFiles(
            self.ca + other.ca, self.client + other.client, self.skip_verify or other.skip_verify
        )


@record(frozen=True)
class Host:
    """One host: ``namespace`` is the registry as references name it (``docker.io``).

    ``base`` is the URL of the API's root and ends with a slash (``https://…/v2/``); ``headers``
    go with every request to it and may hold secrets; ``dial_timeout`` is in seconds.
    """

    namespace: str
    base: Url
    capabilities: frozenset[str] = CAPABILITIES
    tls: TlsFiles = TlsFiles()
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    dial_timeout: float | None = None

    @property
    def is_mirror(self) -> bool:
        """Whether this is not the registry itself, whose credentials then do not concern it."""
        names = {self.namespace}
        if self.namespace == DEFAULT_HOST:
            names.add(_DOCKER_ENDPOINT)
        scheme, origin = self.base.scheme, self.base.origin
        return all(Url.parse(f"{scheme}://{name}").origin != origin for name in names)

    @property
    def address(self) -> str:
        """``name[:port]`` as a reference would write it, the scheme's own port left out."""
        return self.base.origin.partition("://")[2]

    @property
    def account(self) -> str:
        """The host whose credentials are meant for it: the registry's, or the mirror's own."""
        return self.address if self.is_mirror else self.namespace

    def url(self, path: str, query: Mapping[str, str] | None = None) -> Url:
        """The URL of ``path`` (``"library/busybox/manifests/latest"``) below the API's root.

        A mirror is told in ``ns`` what it stands for (distribution-spec, Registry Proxying).
        """
        fields = {**(query or {}), **({"ns": self.namespace} if self.is_mirror else {})}
        return self.base.join(f"{self.base.target}{path}").with_query(fields)


def own_host(namespace: str, plain_http: bool | None = None, tls: TlsFiles | None = None) -> Host:
    """The registry itself: ``namespace`` is ``name``, ``name:port`` or ``[IPv6]:port``.

    Plain http is used for ``localhost`` and loopback addresses for which no ``tls`` files were
    given, as containerd does, and where ``plain_http`` is true; where it is false, nowhere.
    Raises InvalidArgument.
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
