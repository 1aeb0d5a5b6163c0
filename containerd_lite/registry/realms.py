"""Rules that say which token realms are allowed to receive a request, and which get credentials.

A registry names its token realm, and is not trusted (CVE-2026-48978, CVE-2026-33540). Host names do
not show who owns them: unrelated people have names below the same domain. Therefore a realm on
another host gets credentials only if the owner of the registry has published the realm, or if the
user has named it.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..errors import InvalidArgument, RegistryError
from ..printable import quoted
from .addresses import is_loopback, normal_host
from .destinations import Url

#: The token server of each registry whose owner has published a token server on another host.
_PUBLISHED = {
    # https://distribution.github.io/distribution/spec/auth/token/
    "registry-1.docker.io": "auth.docker.io",
    # https://gitlab.com/gitlab-org/container-registry/-/blob/master/docs/auth-request-flow.md
    "registry.gitlab.com": "gitlab.com",
}


def parse_realm_hosts(texts: Iterable[str]) -> frozenset[str]:
    """Return names of hosts in the form of ``Url.host``. Raises InvalidArgument for other texts."""
    hosts = set()
    for text in texts:
        try:
            hosts.add(normal_host(text))
        except ValueError:
            raise InvalidArgument(
                f"realm_hosts has {quoted(text)}, which is not the name of a host",
                remedy="Write only the name, such as auth.registry.example, without a scheme or "
                "a port",
            ) from None
    return frozenset(hosts)


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
    host = realm.host
    if host in (registry.host, _PUBLISHED.get(registry.host)) or host in trusted:
        return
    raise RegistryError(
        f"{what} is not on the registry's host {registry.host}, so it gets no credentials",
        remedy=f"If the realm can be trusted, pass realm_hosts=({host!r},), "
        f'or write realm_hosts = ["{host}"] for the registry in its hosts.toml',
    )
