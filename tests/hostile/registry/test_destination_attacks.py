"""Hosts, realms and addresses that a registry names to reach this machine, or to get a secret."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from containerd_lite.errors import InvalidArgument, RegistryError
from containerd_lite.oci.reference import Reference
from containerd_lite.registry.addresses import AddressLevel, address_level
from containerd_lite.registry.credentials import Credentials
from containerd_lite.registry.destinations import Url
from containerd_lite.registry.realms import check_realm
from containerd_lite.registry.registry import Registry
from tests.unit.registry.samples import BLOB, BLOB_PATH, LAYER, TAGGED
from tests.unit.registry.scripted import Scripted, challenge, reply
from tests.unit.registry.test_proxies import proxying

pytestmark = pytest.mark.dependencies

#: A registry that only a proxy on this machine knows.
OUTSIDE = "registry.test"
REF = Reference.parse(f"{OUTSIDE}/app:v1")
ME = Credentials("canary", "canary-3d1f")

#: Spellings of this machine. A proxy, or ``inet_aton`` behind it, understands all of them.
THIS_MACHINE = [
    "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.1", "0X7F.0.0.1", "0177.0.0.1",
    "017700000001", "0177.0.0.01", "0", "0x0", "127.1.", "127.0.0.1.", "0.0.0.0", "localhost",
    "localhost.", "LOCALHOST", "LocalHost.", "a.localhost", "a.LOCALHOST.", "[::1]",
    "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[64:ff9b::127.0.0.1]",
    "[2002:7f00:1::]",
]  # fmt: skip


@contextmanager
def behind_a_proxy(host: str) -> Iterator[tuple[Scripted, Scripted, Registry, str]]:
    """A registry outside, a server on this machine, a client, and the server's ``host:port``.

    The proxy on this machine takes the client to both.
    """
    with Scripted() as outside, Scripted() as inside:
        target = f"{host}:{inside.host.rpartition(':')[2]}"
        for method in ("GET", "POST", "PATCH", "PUT"):
            inside.on(method, "/x", reply(200, BLOB))
        with (
            proxying({OUTSIDE: outside.host, target: inside.host}) as proxy,
            Registry(OUTSIDE, plain_http=True, proxy=proxy.url(), timeout=3.0) as registry,
        ):
            yield outside, inside, registry, target


@pytest.mark.parametrize("host", THIS_MACHINE)
def test_a_redirect_through_a_proxy_to_this_machine(host: str) -> None:
    with behind_a_proxy(host) as (outside, inside, registry, target):
        outside.on("GET", BLOB_PATH, reply(307, Location=f"http://{target}/x"))
        with pytest.raises(RegistryError), registry.open_blob(REF, LAYER) as reader:
            reader.readall()
        assert len(outside.requests) == 1
        assert inside.connections == 0


@pytest.mark.parametrize("host", THIS_MACHINE)
def test_a_realm_through_a_proxy_on_this_machine(host: str) -> None:
    with behind_a_proxy(host) as (outside, inside, registry, target):
        outside.on("HEAD", TAGGED, challenge(f'Bearer realm="http://{target}/x"'))
        with pytest.raises(RegistryError):
            registry.resolve(REF)
        assert len(outside.requests) == 1
        assert inside.connections == 0


@pytest.mark.parametrize("host", THIS_MACHINE)
def test_an_upload_through_a_proxy_to_this_machine(host: str) -> None:
    with behind_a_proxy(host) as (outside, inside, registry, target):
        start = "/v2/app/blobs/uploads/"
        outside.on("POST", start, reply(202, Location=f"http://{target}/x"))
        with pytest.raises(RegistryError):
            registry.upload_blob(REF, LAYER, BLOB)
        assert outside.seen("POST", start)
        assert inside.connections == 0


# Hosts that are none.


@pytest.mark.parametrize(
    "host",
    ["a\\b", "a;b", "a%b", "a%2eb", "a'b", 'a"b', "a,b", "a$b", "a!b", "a*b", "a(b)", "a~b", "a|b",
     "a{b}", "a^b", "a`b", "a<b>", "a+b", "a=b", "a&b", "..", ".", "a..b", ".a", "a..",
     "[::1%25lo]", "[::1%lo]", "[v1.x]", "[::1]a", "a[::1]", "[127.0.0.1]", "[::1", "::1", "1.2.3",
     "1.2.3.4.5", "256.0.0.1", "01.2.3.4"],
)  # fmt: skip
def test_characters_that_no_host_has(host: str) -> None:
    with pytest.raises(InvalidArgument):
        Url.parse(f"http://{host}/x")
    with pytest.raises(InvalidArgument):
        Url.parse(f"http://{host}:80/x")


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("A_b-1.Test", "a_b-1.test"),
        ("registry.test.", "registry.test"),
        ("10.0.0.1.", "10.0.0.1"),
        ("1.2.3.a", "1.2.3.a"),
        ("0xg.1", "0xg.1"),
        ("[2001:DB8::1]", "2001:db8::1"),
        ("xn--bcher-kva.test", "xn--bcher-kva.test"),
    ],
)
def test_hosts_that_are_some(text: str, host: str) -> None:
    assert Url.parse(f"https://{text}/").host == host


# Addresses: the same answer by every Python.

_PRIVATE = [
    "100.64.0.1", "100.127.255.255", "192.0.0.1", "192.0.0.8", "192.0.0.170", "192.0.2.1",
    "192.88.99.1", "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1", "240.0.0.1",
    "255.255.255.255", "224.0.0.1", "239.255.255.255", "172.31.255.255",
    "64:ff9b:1::1", "64:ff9b:1:ffff::1", "100::1", "100:0:0:1::1", "2001::1", "2001:1::4",
    "2001:2::1", "2001:5::1", "2001:10::1", "2001:1ff::1", "2001:db8::1", "3fff::1", "3fff:fff::1",
    "5f00::1", "fc00::1", "fdff::1", "fec0::1", "feff::1", "ff02::1", "::127.0.0.1", "::8.8.8.8",
    "::ffff:0:8.8.8.8", "4000::1", "1::1", "::ffff:192.0.2.1", "64:ff9b::192.168.0.1",
    "2002:c0a8:1::1",
]  # fmt: skip
_PUBLIC = [
    "8.8.8.8", "100.63.255.255", "100.128.0.1", "172.15.0.1", "172.32.0.1", "192.0.0.9",
    "192.0.0.10", "192.0.1.1", "192.31.196.1", "192.52.193.1", "192.175.48.1", "198.17.255.255",
    "198.20.0.1", "223.255.255.255", "2001:1::1", "2001:1::2", "2001:1::3", "2001:3::1",
    "2001:4:112::1", "2001:20::1", "2001:30::1", "2001:200::1", "2620:4f:8000::1", "2606:4700::1",
    "2a00::1", "3ffe::1", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2002:808:808::1",
]  # fmt: skip
_LINK_LOCAL = ["169.254.0.1", "fe80::1", "febf::1", "::ffff:169.254.169.254", "2002:a9fe:a9fe::"]
_LOOPBACK = [
    "127.0.0.0", "127.255.255.255", "0.0.0.0", "0.1.2.3", "::1", "::", "64:ff9b::127.0.0.1",
    "2002:7f00:1::", "::ffff:0.0.0.0", "::1%lo",
]  # fmt: skip


@pytest.mark.parametrize(
    ("level", "addresses"),
    [
        (AddressLevel.PRIVATE, _PRIVATE),
        (AddressLevel.PUBLIC, _PUBLIC),
        (AddressLevel.LINK_LOCAL, _LINK_LOCAL),
        (AddressLevel.LOOPBACK, _LOOPBACK),
    ],
)
def test_addresses_of_special_purposes(level: AddressLevel, addresses: list[str]) -> None:
    assert {address: address_level(address) for address in addresses} == dict.fromkeys(
        addresses, level
    )


# Realms of strangers on a domain that many share.

_SHARED = [
    "azurecontainer.io", "azurecr.io", "amazonaws.com", "cloudfront.net", "b-cdn.net", "fly.dev",
    "github.io", "gitlab.io", "herokuapp.com", "netlify.app", "ngrok-free.app", "onrender.com",
    "pages.dev", "r2.dev", "railway.app", "repl.co", "s3.example", "surge.sh", "web.app",
    "workers.dev", "co.uk", "com.au", "uk.com", "eu.org", "nhs.uk", "duckdns.org", "no-ip.org",
    "ddns.net", "firebaseapp.com", "blogspot.com", "wordpress.com", "deno.dev", "digitalocean.app",
    "example.com", "docker.io",
]  # fmt: skip


@pytest.mark.parametrize("domain", _SHARED)
@pytest.mark.parametrize("realm", ["evil.{}", "{}", "a.mine.{}", "auth.{}"])
def test_a_realm_of_a_stranger_on_a_shared_domain(domain: str, realm: str) -> None:
    registry = Url.parse(f"https://mine.{domain}/v2/")
    stranger = Url.parse(f"https://{realm.format(domain)}/token")
    with pytest.raises(RegistryError, match="gets no credentials") as caught:
        check_realm(registry, stranger, secret=True)
    for option in ("realm_hosts=(", "hosts.toml"):
        assert f"{option}" in str(caught.value)
    check_realm(registry, stranger, secret=False)
    check_realm(registry, stranger, secret=True, trusted={stranger.host})


@pytest.mark.parametrize(
    ("registry", "realm"),
    [
        ("registry-1.docker.io", "auth.docker.io.evil.test"),
        ("registry-1.docker.io", "gitlab.com"),
        ("registry.gitlab.com", "auth.docker.io"),
        ("evil.docker.io", "auth.docker.io"),
        ("auth.docker.io", "registry-1.docker.io"),
        ("gitlab.com", "registry.gitlab.com"),
    ],
)
def test_a_published_realm_is_for_its_own_registry(registry: str, realm: str) -> None:
    with pytest.raises(RegistryError, match="gets no credentials"):
        check_realm(Url.parse(f"https://{registry}/"), Url.parse(f"https://{realm}/"), secret=True)


@pytest.mark.parametrize("where", ["argument", "hosts.toml"])
def test_an_option_that_names_the_realm_spells_it_as_it_likes(where: str, tmp_path: Path) -> None:
    """The realm is reached, and refuses TLS: it got as far as the connection."""
    with Scripted() as server, Scripted("127.0.0.2") as realm:
        port = realm.host.rpartition(":")[2]
        server.on("HEAD", TAGGED, challenge(f'Bearer realm="https://LOCALHOST.:{port}/t"'))
        folder = tmp_path / server.host
        folder.mkdir()
        written = 'realm_hosts = ["LocalHost."]' if where == "hosts.toml" else ""
        (folder / "hosts.toml").write_text(f'server = "{server.origin}"\n{written}\n')
        given = ["LocalHost."] if where == "argument" else []
        ref = Reference.parse(f"{server.host}/app:v1")
        with (
            Registry(
                server.host, credentials=ME, realm_hosts=given, hosts_dirs=[tmp_path]
            ) as registry,
            pytest.raises(RegistryError) as caught,
        ):
            registry.resolve(ref)
        assert "gets no credentials" not in str(caught.value)
        assert "cannot be reached" in str(caught.value)


@pytest.mark.parametrize("host", ["https://sso.test", "sso.test:5000", "sso.test/x", "", "127.1"])
def test_an_option_that_names_no_host(host: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="realm_hosts"):
        Registry("registry.test", realm_hosts=[host])
    (tmp_path / "registry.test").mkdir()
    (tmp_path / "registry.test" / "hosts.toml").write_text(f'realm_hosts = ["{host}"]\n')
    with pytest.raises(InvalidArgument, match="realm_hosts"):
        Registry("registry.test", hosts_dirs=[tmp_path])


def test_the_command_line_names_the_realm(tmp_path: Path) -> None:
    """Without the option the error names it; with the option the realm is reached."""
    with Scripted() as server, Scripted("127.0.0.2") as realm:
        named = challenge(f'Bearer realm="https://localhost:{realm.host.rpartition(":")[2]}/t"')
        server.on("HEAD", TAGGED, named)
        auths = {server.host: {"auth": ME.basic().removeprefix("Basic ")}}
        (tmp_path / "auth.json").write_text(json.dumps({"auths": auths}))
        command = [sys.executable, "-m", "containerd_lite", "pull", f"{server.host}/app:v1"]
        command += ["--to", str(tmp_path / "layout")]
        environ = {**os.environ, "REGISTRY_AUTH_FILE": str(tmp_path / "auth.json")}
        for option in ([], ["--realm-host", "localhost"]):
            done = subprocess.run(
                [*command, *option], env=environ, capture_output=True, text=True, timeout=30
            )
            assert done.returncode
            assert ("--realm-host localhost" in done.stderr) is (not option)
            assert ("gets no credentials" in done.stderr) is (not option)
