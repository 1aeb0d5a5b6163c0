"""Peers that want to be believed, or shown a certificate, because another peer is."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from containerd_lite.errors import RegistryUnavailable
from containerd_lite.oci.reference import Reference
from containerd_lite.registry.credentials import Credentials
from containerd_lite.registry.hosts import TlsFiles
from containerd_lite.registry.registry import Registry
from tests.harness.tls import Files, server_context
from tests.unit.registry.samples import BLOB, BLOB_PATH, LAYER, TAGGED
from tests.unit.registry.scripted import Scripted, challenge, reply

pytestmark = pytest.mark.dependencies

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
