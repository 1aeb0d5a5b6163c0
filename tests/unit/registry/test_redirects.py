"""Redirects: followed, but never with secrets to another origin, nor into private networks."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from containerd_lite.errors import (
    ContainerdError,
    InvalidArgument,
    RegistryError,
    RegistryUnavailable,
)
from containerd_lite.oci.reference import Reference
from containerd_lite.registry.addresses import AddressLevel
from containerd_lite.registry.credentials import Credentials
from containerd_lite.registry.destinations import Destinations, Url
from containerd_lite.registry.hosts import TlsFiles
from containerd_lite.registry.registry import Registry
from containerd_lite.registry.session import MAX_REDIRECTS
from tests.harness.tls import localhost_pem
from tests.unit.registry.samples import BLOB, BLOB_PATH, LAYER
from tests.unit.registry.scripted import Scripted, challenge, reply

CANARY = "canary-7f3a"
SECRETS = (CANARY.encode(), b"Y2FuYXJ5", Credentials("canary", CANARY).basic().encode())
STATUSES = (301, 302, 303, 307, 308)


def host_level(address: str) -> AddressLevel:
    """Plays internet: 127.0.0.1 is out there, 127.0.0.2 is within."""
    return AddressLevel.PRIVATE if address == "127.0.0.2" else AddressLevel.PUBLIC


def open_registry(server: Scripted, **options: object) -> Registry:
    options.setdefault("credentials", Credentials("canary", CANARY))
    options.setdefault("plain_http", not server.origin.startswith("https"))
    return Registry(server.host, tls=TlsFiles(ca=(localhost_pem(),)), **options)  # type: ignore[arg-type]


def fetch(server: Scripted, **options: object) -> bytes:
    with open_registry(server, **options) as registry:
        reference = Reference.parse(f"{server.host}/app")
        with registry.open_blob(reference, LAYER) as reader:
            return reader.readall()


def guarded(server: Scripted, location: str, status: int = 307) -> None:
    """A registry that wants Basic, and redirects who gives it."""

    def script(request: object) -> bytes:
        if "authorization" not in request.headers:  # type: ignore[attr-defined]
            return challenge('Basic realm="x"')
        return reply(status, Location=location)

    server.on("GET", BLOB_PATH, script)


@pytest.mark.turns(3)
@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize(
    ("host", "tls", "own_tls"),
    [("127.0.0.1", False, False), ("127.0.0.2", False, False), ("127.0.0.1", True, False),
     ("127.0.0.1", True, True), ("127.0.0.2", True, True)],
)  # fmt: skip
@pytest.mark.parametrize("greedy", ["", "Basic", "Bearer"])
def test_cve_2020_15157_no_secret_to_another_origin(
    another: Callable[..., Scripted],
    caplog: pytest.LogCaptureFixture,
    status: int,
    host: str,
    tls: bool,
    own_tls: bool,
    greedy: str,
) -> None:
    """Every status, to another port, host or scheme, where credentials are asked for or not."""
    caplog.set_level(logging.DEBUG)
    server, target = another(tls=own_tls), another(host, tls=tls)
    guarded(server, f"{target.origin}/data?sig=1%2F2", status)
    realm = f'realm="{target.origin}/token"'
    target.on("GET", "/data", challenge(f"{greedy} {realm}") if greedy else reply(200, BLOB))
    text = ""
    if greedy:
        with pytest.raises(RegistryError) as caught:
            fetch(server, plain_http=not own_tls)
        text = "".join(traceback.format_exception(caught.value))
        assert "sig=" not in str(caught.value)
    else:
        assert fetch(server, plain_http=not own_tls) == BLOB
    (request,) = target.requests
    assert request.target == "/data?sig=1%2F2"
    assert "authorization" not in request.headers
    for secret in SECRETS:
        assert secret not in target.bytes_seen
        assert secret.decode() not in text + caplog.text
    assert SECRETS[2] in server.bytes_seen


@pytest.mark.parametrize("scheme", ["Basic", "Bearer"])
def test_a_foreign_challenge_is_not_answered(
    server: Scripted, another: Callable[..., Scripted], scheme: str
) -> None:
    """A registry that wants nothing redirects to somebody who asks in its stead."""
    target = another()
    asked: list[str] = []
    server.on("GET", BLOB_PATH, reply(307, Location=f"{target.origin}/x"))
    target.on("GET", "/x", challenge(f'{scheme} realm="{target.origin}/token"'))
    with pytest.raises(RegistryError, match="registry refers"):
        fetch(server, credentials=asked.append)
    assert asked == []
    assert len(target.requests) == len(server.requests) == 1


def test_the_same_origin_keeps_its_authorization(server: Scripted) -> None:
    guarded(server, "../../elsewhere?x=1")
    server.on("GET", "/v2/elsewhere", reply(200, BLOB))
    assert fetch(server) == BLOB
    assert "authorization" in server.seen("GET", "/v2/elsewhere")[0].headers


def test_a_way_back_does_not_bring_the_authorization_back(
    server: Scripted, another: Callable[..., Scripted]
) -> None:
    middle = another()
    guarded(server, f"{middle.origin}/a")
    middle.on("GET", "/a", reply(302, Location=f"{server.origin}/b"))
    server.on("GET", "/b", reply(200, BLOB))
    assert fetch(server) == BLOB
    assert "authorization" not in server.seen("GET", "/b")[0].headers


def test_https_to_http_is_refused(another: Callable[..., Scripted]) -> None:
    server, target = another(tls=True), another()
    guarded(server, f"{target.origin}/data")
    with pytest.raises(RegistryError, match="https"):
        fetch(server, plain_http=False)
    assert target.requests == []


@pytest.mark.parametrize(
    "location",
    ["", "ftp://127.0.0.1/x", "file:///etc/passwd", "//", "http://", "http://[::1", "http://a:b/",
     "http://user:pw@127.0.0.1/x", "http://127.0.0.1/a b", "http://127.0.0.1/\x7f",
     "javascript:x", "http://127.0.0.1:99999/", "http://127.0.0.1/" + "a" * 20_000],
)  # fmt: skip
def test_locations_that_cannot_be(server: Scripted, location: str) -> None:
    server.on("GET", BLOB_PATH, reply(307, Location=location))
    with pytest.raises(RegistryError) as caught:
        fetch(server)
    assert "pw" not in str(caught.value)
    assert LAYER.digest in str(caught.value)


def test_no_end_of_redirects(server: Scripted) -> None:
    server.on("GET", BLOB_PATH, reply(307, Location=BLOB_PATH))
    with pytest.raises(RegistryError, match=str(MAX_REDIRECTS)):
        fetch(server)
    assert len(server.requests) == MAX_REDIRECTS + 1


def test_five_redirects_are_followed(server: Scripted) -> None:
    hops = [reply(307, Location=BLOB_PATH)] * MAX_REDIRECTS
    server.on("GET", BLOB_PATH, *hops, reply(200, BLOB))
    assert fetch(server) == BLOB


@pytest.mark.parametrize(
    "location",
    ["http://127.0.0.2:{}/x", "http://inner.test:{}/x", "http://[::ffff:127.0.0.2]:{}/x"],
)
def test_a_more_private_network_is_refused(
    server: Scripted, another: Callable[..., Scripted], location: str
) -> None:
    inner = another("127.0.0.2")
    port = inner.host.rpartition(":")[2]
    server.on("GET", BLOB_PATH, reply(307, Location=location.format(port)))
    names = {"inner.test": ["127.0.0.1", "127.0.0.2"], "::ffff:127.0.0.2": ["127.0.0.2"]}
    network = Destinations(host_level, lambda host: names.get(host, [host]))
    with pytest.raises(RegistryError, match="private"):
        fetch(server, network=network)
    assert inner.connections == 0
    # The other way round it is no more private, and allowed.
    inner.on("GET", BLOB_PATH, reply(307, Location=f"{server.origin}/x"))
    server.on("GET", "/x", reply(200, BLOB))
    assert fetch(inner, network=network) == BLOB


def test_dns_rebinding_is_seen_at_the_socket(
    server: Scripted, another: Callable[..., Scripted]
) -> None:
    """The name is judged as public, and its second look-up leads inside."""
    inner = another("127.0.0.2")
    server.on("GET", BLOB_PATH, reply(307, Location=f"{inner.origin}/x"))
    with pytest.raises(RegistryError, match="private"):
        fetch(server, network=Destinations(host_level, lambda host: ["127.0.0.1"]))
    assert inner.requests == []


def test_a_target_without_an_address(server: Scripted) -> None:
    server.on("GET", BLOB_PATH, reply(307, Location="http://nowhere.invalid/x"))
    with pytest.raises(RegistryUnavailable, match=r"nowhere\.invalid"):
        fetch(server)


def test_an_unknown_certificate_is_refused(another: Callable[..., Scripted]) -> None:
    server = another(tls=True)
    reference = Reference.parse(f"{server.host}/app")
    with (
        Registry(server.host, plain_http=False) as registry,
        pytest.raises(RegistryUnavailable, match="certificate"),
    ):
        registry.resolve(reference)
    assert server.requests == []


def test_a_certificate_of_another_host_is_refused(another: Callable[..., Scripted]) -> None:
    server = another("127.0.0.3", tls=True)
    with pytest.raises(RegistryUnavailable, match=r"127\.0\.0\.3") as caught:
        fetch(server, plain_http=False)
    assert "certificate" in str(caught.value)
    assert server.requests == []


def test_a_file_without_authorities(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("")
    for name in ("empty.pem", "none.pem"):
        with (
            Registry(
                "127.0.0.1", plain_http=False, tls=TlsFiles(ca=(tmp_path / name,))
            ) as registry,
            pytest.raises(InvalidArgument, match=name),
        ):
            registry.resolve(Reference.parse("127.0.0.1/app"))


def test_tls_to_a_plain_registry_says_what_to_do(server: Scripted) -> None:
    with (
        Registry(server.host, plain_http=False) as registry,
        pytest.raises(ContainerdError, match="plain_http=True"),
    ):
        registry.resolve(Reference.parse(f"{server.host}/app"))


def test_urls_do_not_show_their_query() -> None:
    url = Url.parse("https://store.example/blob?sig=secret")
    assert "secret" not in str(url)
    assert url.join("/x?y=%2f").target == "/x?y=%2f"
