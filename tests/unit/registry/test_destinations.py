"""Hosts to endpoints, URLs, and how private an address is."""

from __future__ import annotations

import subprocess
import sys

import pytest

from containerd_lite.errors import InvalidArgument, RegistryUnavailable
from containerd_lite.registry.addresses import AddressLevel, address_level, is_loopback
from containerd_lite.registry.destinations import Destinations, Url
from containerd_lite.registry.hosts import own_host


@pytest.mark.parametrize(
    ("host", "plain", "base"),
    [
        ("docker.io", None, "https://registry-1.docker.io/v2/"),
        ("quay.io", None, "https://quay.io/v2/"),
        ("quay.io", True, "http://quay.io/v2/"),
        ("Quay.IO:443", None, "https://quay.io/v2/"),
        ("quay.io:8443", None, "https://quay.io:8443/v2/"),
        ("localhost", None, "http://localhost/v2/"),
        ("localhost:5000", None, "http://localhost:5000/v2/"),
        ("localhost:5000", False, "https://localhost:5000/v2/"),
        ("127.0.0.1:5000", None, "http://127.0.0.1:5000/v2/"),
        ("127.255.0.1", None, "http://127.255.0.1/v2/"),
        ("127.0.0.1:443", None, "https://127.0.0.1/v2/"),
        ("[::1]:5000", None, "http://[::1]:5000/v2/"),
        ("10.0.0.1:5000", None, "https://10.0.0.1:5000/v2/"),
        ("localhost.example", None, "https://localhost.example/v2/"),
        ("a.localhost:5000", None, "https://a.localhost:5000/v2/"),
        ("127.0.0.1.example", None, "https://127.0.0.1.example/v2/"),
        ("[2001:db8::1]", None, "https://[2001:db8::1]/v2/"),
    ],
)
def test_endpoints(host: str, plain: bool | None, base: str) -> None:
    assert str(own_host(host, plain).base) == base


@pytest.mark.parametrize(
    "host", ["", "a b", "a:99999", "a:x", "[::1", "u@a", "a/b?c#d e", "..", "a\\b", "a;b"]
)
def test_hosts_that_cannot_be(host: str) -> None:
    with pytest.raises(InvalidArgument):
        own_host(host)


def test_paths_below_the_base() -> None:
    url = own_host("quay.io").url("a/b/manifests/v1")
    assert (url.origin, url.target) == ("https://quay.io", "/v2/a/b/manifests/v1")


@pytest.mark.parametrize(
    ("address", "level"),
    [
        ("8.8.8.8", AddressLevel.PUBLIC), ("2606:4700::1", AddressLevel.PUBLIC),
        ("10.0.0.1", AddressLevel.PRIVATE), ("172.16.0.1", AddressLevel.PRIVATE),
        ("192.168.1.1", AddressLevel.PRIVATE), ("100.64.0.1", AddressLevel.PRIVATE),
        ("fd00::1", AddressLevel.PRIVATE), ("::ffff:10.0.0.1", AddressLevel.PRIVATE),
        ("64:ff9b::a00:1", AddressLevel.PRIVATE), ("2002:a00:1::", AddressLevel.PRIVATE),
        ("169.254.169.254", AddressLevel.LINK_LOCAL), ("fe80::1%eth0", AddressLevel.LINK_LOCAL),
        ("::ffff:169.254.169.254", AddressLevel.LINK_LOCAL), ("127.0.0.1", AddressLevel.LOOPBACK),
        ("127.9.9.9", AddressLevel.LOOPBACK), ("::1", AddressLevel.LOOPBACK),
        ("0.0.0.0", AddressLevel.LOOPBACK), ("::", AddressLevel.LOOPBACK),
        ("::ffff:127.0.0.1", AddressLevel.LOOPBACK),
        ("::ffff:0.0.0.0", AddressLevel.LOOPBACK),
    ],
)  # fmt: skip
def test_address_level(address: str, level: AddressLevel) -> None:
    assert address_level(address) is level


def test_a_registry_does_not_gain_by_adding_addresses() -> None:
    network = Destinations(resolve=lambda host: ["8.8.8.8", "127.0.0.1"])
    assert network.max_level("registry.test") is AddressLevel.PUBLIC
    assert Destinations(resolve=lambda host: []).max_level("registry.test") is AddressLevel.PUBLIC


def test_loopback_is_told_without_a_look_up() -> None:
    for host in ("localhost", "LOCALHOST.", "a.localhost", "127.9.9.9", "::1", "::ffff:127.0.0.1"):
        assert is_loopback(host)
    for host in ("alocalhost", "localhost.test", "10.0.0.1", "::ffff:10.0.0.1", "0.0.0.0"):
        assert not is_loopback(host)
    assert not is_loopback("127.1")


@pytest.mark.parametrize("host", ["a" * 70 + ".test", "nowhere.invalid", ".."])
def test_names_without_addresses(host: str) -> None:
    with pytest.raises(RegistryUnavailable):
        Destinations().max_level(host)


def test_url_forms() -> None:
    url = Url.parse("HTTPS://Example.COM:443/a?b=%2f#c")
    assert url == Url("https", "example.com", 443, "/a?b=%2f")
    assert url.origin == "https://example.com"
    assert url.join("//other.test:1/x").origin == "https://other.test:1"


def test_importing_does_no_work() -> None:
    code = (
        "import sys, threading, logging; import containerd_lite.registry.registry as c;"
        "assert threading.active_count() == 1 and not logging.root.handlers;"
        "assert not any(n.split('.')[0] in ('h2', 'google') for n in sys.modules)"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=30)
