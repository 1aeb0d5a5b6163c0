"""TLS with authorities of one's own: given, out of ``hosts.toml``, and as Docker lays them out."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from containerd_lite.errors import RegistryUnavailable
from containerd_lite.registry.credentials import Credentials
from containerd_lite.registry.hosts import TlsFiles
from containerd_lite.registry.registry import Registry
from tests.e2e.registry.rounds import fetch, named, push, whole_round
from tests.harness.images import Image
from tests.harness.realm import Realm
from tests.harness.registry import Registry as Server
from tests.harness.tls import Files, Pair

pytestmark = pytest.mark.registry

Open = Callable[[Any], Any]

USER = Credentials("user", "hush-canary")


def folder_of(certs: Path, server: Server) -> Path:
    """The folder of a registry in ``certs``, made."""
    found = certs / server.host
    found.mkdir(exist_ok=True)
    return found


def in_hosts_toml(certs: Path, server: Server, ca: Path, client: Pair | None = None) -> TlsFiles:
    """Writes ``hosts.toml`` with names relative to it; gives nothing to hand over."""
    folder = folder_of(certs, server)
    shutil.copy(ca, folder / "authority.pem")
    lines = [f'server = "{server.url}"', 'ca = "authority.pem"']
    if client is not None:
        shutil.copy(client.certificate, folder / "own.pem")
        shutil.copy(client.key, folder / "own.key")
        lines.append('client = [["own.pem", "own.key"]]')
    (folder / "hosts.toml").write_text("\n".join(lines))
    return TlsFiles()


def as_docker_does(certs: Path, server: Server, ca: Path, client: Pair | None = None) -> TlsFiles:
    """Puts files of the endings that Docker knows; gives nothing to hand over."""
    folder = folder_of(certs, server)
    shutil.copy(ca, folder / "ca.crt")
    if client is not None:
        shutil.copy(client.certificate, folder / "client.cert")
        shutil.copy(client.key, folder / "client.key")
    return TlsFiles()


def handed_over(certs: Path, server: Server, ca: Path, client: Pair | None = None) -> TlsFiles:
    """Leaves the folder empty."""
    return TlsFiles((ca,), ((client.certificate, client.key),) if client else ())


WAYS = [handed_over, in_hosts_toml, as_docker_does]
Way = Callable[..., TlsFiles]
every_way = pytest.mark.parametrize("way", WAYS)


def joined(certs: Path, server: Server, tls: TlsFiles, **options: Any) -> Registry:
    """A client that looks into ``certs`` and nowhere else, and does not wait between tries."""
    given = tls if tls != TlsFiles() else None
    return Registry(server.host, hosts_dirs=[certs], tls=given, sleep=lambda _: None, **options)


@every_way
def test_the_whole_round_over_tls(
    way: Way, opened: Open, files: Files, certs: Path, image: Image, index: Image
) -> None:
    server = opened(Server(tls=files.server))
    tls = way(certs, server, files.authority.certificate)
    registry = opened(joined(certs, server, tls))
    assert repr(registry) == f"<Registry {server.url}>"
    whole_round(registry, image, index)


@every_way
def test_a_wrong_authority_is_refused(way: Way, opened: Open, files: Files, certs: Path) -> None:
    server = opened(Server(tls=files.server))
    tls = way(certs, server, files.other.certificate)
    with pytest.raises(RegistryUnavailable, match="certificate") as caught:
        opened(joined(certs, server, tls)).resolve(named(server.host))
    assert caught.value.status == 0


def test_no_authority_is_refused(opened: Open, files: Files, certs: Path) -> None:
    server = opened(Server(tls=files.server))
    registry = opened(Registry(server.host, hosts_dirs=[certs], plain_http=False))
    with pytest.raises(RegistryUnavailable, match="certificate"):
        registry.resolve(named(server.host))


def test_any_certificate_is_believed_where_a_file_says_so(
    opened: Open, files: Files, certs: Path, image: Image
) -> None:
    server = opened(Server(tls=files.server))
    toml = folder_of(certs, server) / "hosts.toml"
    toml.write_text(f'server = "{server.url}"\nskip_verify = true\n')
    registry = opened(Registry(server.host, hosts_dirs=[certs]))
    push(registry, named(server.host), image)
    assert fetch(registry, named(server.host)) == dict(image.blobs)


@pytest.mark.parametrize(
    "options", [{"names": ("DNS:elsewhere.example",)}, {"days": -1}], ids=["name", "date"]
)
def test_a_certificate_that_is_not_good_is_refused(
    options: dict[str, Any], opened: Open, files: Files, certs: Path
) -> None:
    name = f"bad-{'-'.join(options)}"
    server = opened(Server(tls=files.authority.issue(name, **options)))
    tls = TlsFiles((files.authority.certificate,))
    with pytest.raises(RegistryUnavailable, match="certificate"):
        opened(joined(certs, server, tls)).resolve(named(server.host))


@every_way
def test_the_whole_round_with_a_certificate_of_ones_own(
    way: Way, opened: Open, files: Files, certs: Path, image: Image, index: Image
) -> None:
    authority = files.authority.certificate
    server = opened(Server(tls=files.server, clients=authority))
    tls = way(certs, server, authority, files.client)
    whole_round(opened(joined(certs, server, tls)), image, index)


@every_way
@pytest.mark.parametrize("strange", [False, True], ids=["none", "a stranger's"])
def test_without_the_right_certificate_of_ones_own_one_is_refused(
    way: Way, strange: bool, opened: Open, files: Files, certs: Path
) -> None:
    authority = files.authority.certificate
    server = opened(Server(tls=files.server, clients=authority))
    tls = way(certs, server, authority, files.stranger if strange else None)
    with pytest.raises(RegistryUnavailable) as caught:
        opened(joined(certs, server, tls)).resolve(named(server.host))
    assert server.url in str(caught.value)


@pytest.mark.parametrize("kind", ["password", "tokens"])
def test_the_whole_round_over_tls_with_credentials(
    kind: str, opened: Open, files: Files, certs: Path, image: Image, index: Image
) -> None:
    auth: Any = ("user", USER.password)
    if kind == "tokens":
        auth = opened(Realm({"user": USER.password}, tls=files.server))
    server = opened(Server(auth, tls=files.server))
    tls = TlsFiles((files.authority.certificate,))
    whole_round(opened(joined(certs, server, tls, credentials=USER)), image, index)
