"""Peers that want to be believed, or shown a certificate, because another peer is."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from containerd_lite.errors import InvalidArgument, RegistryUnavailable
from containerd_lite.oci.reference import Reference
from containerd_lite.registry.credentials import Credentials
from containerd_lite.registry.hosts import TlsFiles
from containerd_lite.registry.registry import Registry
from tests.harness.tls import Authority, Files, server_context
from tests.unit.registry.samples import BLOB, BLOB_PATH, LAYER, TAGGED, TARGET, manifest
from tests.unit.registry.scripted import Scripted, challenge, reply
from tests.unit.registry.test_proxies import proxying

pytestmark = pytest.mark.dependencies

#: A registry that only the proxy knows.
OUTSIDE = "registry.test"
REF = Reference.parse(f"{OUTSIDE}/app:v1")
USER = "canary:canary-3d1f"

Serve = Callable[..., Scripted]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def serve() -> Iterator[Serve]:
    with ExitStack() as stack:
        yield lambda *args, **kwargs: stack.enter_context(Scripted(*args, **kwargs))


# Another port of the registry's host.


def _other_port(serve: Serve, first: ssl.SSLContext, second: ssl.SSLContext) -> list[Scripted]:
    server, other = serve(tls=first), serve(tls=second)
    server.on("GET", BLOB_PATH, reply(307, Location=f"{other.origin}/x"))
    other.on("GET", "/x", reply(200, BLOB))
    server.on("HEAD", TAGGED, challenge(f'Bearer realm="{other.origin}/token"'))
    for method in ("GET", "POST"):
        other.on(method, "/token", reply(200, {"token": "t1"}))
    return [server, other]


def _context(files: Files, *, asks: bool = False) -> ssl.SSLContext:
    context = server_context(files.server, alpn=())
    if asks:
        context.verify_mode = ssl.CERT_OPTIONAL
        context.load_verify_locations(files.authority.certificate)
    return context


def test_another_port_is_not_believed_because_the_registry_is(serve: Serve, files: Files) -> None:
    server, other = _other_port(serve, _context(files), _context(files))
    ref = Reference.parse(f"{server.host}/app:v1")
    with Registry(server.host, tls=TlsFiles(skip_verify=True)) as registry:
        with pytest.raises(RegistryUnavailable, match="certificate"):
            registry.open_blob(ref, LAYER)
        assert other.requests == []


def test_a_realm_on_another_port_is_not_believed_because_the_registry_is(
    serve: Serve, files: Files
) -> None:
    server, other = _other_port(serve, _context(files), _context(files))
    ref = Reference.parse(f"{server.host}/app:v1")
    with (
        Registry(
            server.host, credentials=Credentials("me", "pw"), tls=TlsFiles(skip_verify=True)
        ) as registry,
        pytest.raises(RegistryUnavailable, match="certificate"),
    ):
        registry.resolve(ref)
    assert other.requests == []


def test_another_port_is_not_shown_the_clients_certificate(serve: Serve, files: Files) -> None:
    server, other = _other_port(serve, *(_context(files, asks=True) for _ in range(2)))
    mine = TlsFiles((files.authority.certificate,), ((files.client.certificate, files.client.key),))
    ref = Reference.parse(f"{server.host}/app:v1")
    with Registry(server.host, tls=mine) as registry, registry.open_blob(ref, LAYER) as reader:
        assert reader.readall() == BLOB
    assert server.requests[0].certificate is not None
    assert [request.certificate for request in other.requests] == [None]


# The proxy.


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("fault", ["stranger", "name"])
def test_a_proxy_is_not_believed_because_the_registry_is(
    files: Files, serve: Serve, monkeypatch: pytest.MonkeyPatch, plain: bool, fault: str
) -> None:
    """A proxy with a stranger's certificate, or with one for another name, gets no password."""
    pair = files.server
    if fault == "name":
        monkeypatch.setenv("SSL_CERT_FILE", str(files.authority.certificate))
        pair = files.authority.issue("away", names=["DNS:away.test"])
    server = serve() if plain else serve(tls=_context(files))
    server.on("HEAD", TAGGED, manifest())
    routes = {OUTSIDE: server.host, f"{OUTSIDE}:443": server.host}
    with (
        proxying(routes, tls=server_context(pair, alpn=())) as proxy,
        Registry(
            OUTSIDE, plain_http=plain, tls=TlsFiles(skip_verify=True), proxy=proxy.url(USER)
        ) as registry,
        pytest.raises(RegistryUnavailable, match="certificate" if plain else "proxy_ca"),
    ):
        registry.resolve(REF)
    assert proxy.told == []
    assert server.requests == []


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("by", ["option", "system"])
def test_a_proxy_is_believed_by_its_own_authority(
    tmp_path: Path,
    files: Files,
    serve: Serve,
    monkeypatch: pytest.MonkeyPatch,
    plain: bool,
    by: str,
) -> None:
    authority = Authority(tmp_path, "proxy")
    pair = authority.issue("proxy", names=["IP:127.0.0.1"])
    inner = files.authority.issue("outside", names=[f"DNS:{OUTSIDE}"])
    server = serve() if plain else serve(tls=server_context(inner, alpn=()))
    server.on("HEAD", TAGGED, manifest())
    routes = {OUTSIDE: server.host, f"{OUTSIDE}:443": server.host}
    if by == "system":
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
    own = [authority.certificate] if by == "option" else []
    with (
        proxying(routes, tls=server_context(pair, alpn=())) as proxy,
        Registry(
            OUTSIDE,
            plain_http=plain,
            tls=TlsFiles(ca=(files.authority.certificate,)),
            proxy=proxy.url(USER),
            proxy_ca=own,
        ) as registry,
    ):
        assert registry.resolve(REF) == TARGET
    assert len(proxy.told) == 1


def test_the_authority_of_the_proxy_is_not_believed_of_the_registry(
    tmp_path: Path, files: Files, serve: Serve
) -> None:
    authority = Authority(tmp_path, "proxy")
    proxy_pair = authority.issue("proxy", names=["IP:127.0.0.1"])
    pair = authority.issue("registry", names=[f"DNS:{OUTSIDE}"])
    server = serve(tls=server_context(pair, alpn=()))
    with (
        proxying({f"{OUTSIDE}:443": server.host}, tls=server_context(proxy_pair, alpn=())) as proxy,
        Registry(OUTSIDE, proxy=proxy.url(), proxy_ca=[authority.certificate]) as registry,
        pytest.raises(RegistryUnavailable, match="certificate"),
    ):
        registry.resolve(REF)
    assert server.requests == []


@pytest.mark.parametrize("plain", [False, True])
def test_an_authority_of_the_proxy_that_is_none(tmp_path: Path, plain: bool) -> None:
    missing = tmp_path / "none.pem"
    with (
        Registry(
            OUTSIDE, plain_http=plain, proxy="https://127.0.0.1:1", proxy_ca=[missing]
        ) as registry,
        pytest.raises(InvalidArgument, match=r"none\.pem"),
    ):
        registry.resolve(REF)
