"""From the host in a reference to the endpoint that serves it.

What lives here: the rule for docker.io and for plain http; the reading of hosts.toml belongs
here too.  What may not: sending anything.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import InvalidArgument
from ..oci.document import quoted
from ..oci.reference import DEFAULT_HOST
from .network import Url, is_loopback

#: Docker Hub's registry; docker.io itself is only its name.
_DOCKER_ENDPOINT = "registry-1.docker.io"


@dataclass(frozen=True)
class Endpoint:
    """A registry's API: ``host`` as references name it, ``base`` the URL of ``/v2/``."""

    host: str
    base: Url

    def url(self, path: str) -> Url:
        """The URL of ``path`` (``"library/busybox/manifests/latest"``) below ``/v2/``."""
        return self.base.join(self.base.target + path)


def endpoint(host: str, plain_http: bool | None = None) -> Endpoint:
    """The endpoint of ``host`` (``name``, ``name:port``, ``[IPv6]:port``).

    Plain http is used for ``localhost`` and loopback addresses, as containerd does, and where
    ``plain_http`` is true; where it is false, nowhere.  Raises InvalidArgument.
    """
    name = _DOCKER_ENDPOINT if host == DEFAULT_HOST else host
    try:
        base = Url.parse(f"https://{name}/v2/")
    except InvalidArgument:
        raise InvalidArgument(f"{quoted(host)} is not the host of a registry") from None
    if is_loopback(base.host) if plain_http is None else plain_http:
        base = Url.parse(f"http://{name}/v2/")
    return Endpoint(host, base)
