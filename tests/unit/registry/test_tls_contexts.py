"""TLS to a registry: whom it is believed of, and who is shown a certificate of ours."""

from __future__ import annotations

import ssl
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from containerd_lite.errors import ContainerdError, InvalidArgument, RegistryUnavailable
from containerd_lite.oci.reference import Reference
from containerd_lite.registry.hosts import TlsFiles
from containerd_lite.registry.registry import Registry
from containerd_lite.registry.tls_contexts import Contexts
from tests.harness.tls import Authority, Files, Pair, openssl, server_context
from tests.unit.registry.samples import BLOB, BLOB_PATH, LAYER, TAGGED, TARGET, manifest
from tests.unit.registry.scripted import Scripted, reply

pytestmark = pytest.mark.interpreter

Start = Callable[..., Scripted]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(tmp_path_factory.mktemp("tls"))


def context(pair: Pair, clients: Path | None = None, *, must: bool = True) -> ssl.SSLContext:
    """A server's; with ``clients`` it wants a certificate of theirs, or takes one if offered."""
    made = server_context(pair, clients=clients, alpn=())
    if clients is not None and not must:
        made.verify_mode = ssl.CERT_OPTIONAL
    return made


def client_files(pair: Pair) -> tuple[tuple[Path, Path | None], ...]:
    return ((pair.certificate, pair.key),)


def resolved(server: Scripted, files: TlsFiles | None, **options: object) -> object:
    with Registry(server.host, tls=files, **options) as registry:  # type: ignore[arg-type]
        return registry.resolve(Reference.parse(f"{server.host}/app:v1"))


def test_an_authority_that_was_given_is_believed(another: Start, files: Files) -> None:
    server = another(tls=context(files.server))
    server.on("HEAD", TAGGED, manifest())
    both = TlsFiles(ca=(files.other.certificate, files.authority.certificate))
    assert resolved(server, both) == TARGET
    assert [request.certificate for request in server.requests] == [None]


@pytest.mark.parametrize("own", [True, False])
def test_an_authority_that_was_not_given_is_not_believed(
    another: Start, files: Files, own: bool
) -> None:
    server = another(tls=context(files.server))
    trusted = TlsFiles(ca=(files.other.certificate,)) if own else None
    with pytest.raises(RegistryUnavailable, match="certificate") as caught:
        resolved(server, trusted, plain_http=False)
    assert server.host in str(caught.value)
    assert server.requests == []


def test_a_certificate_that_is_over_is_not_believed(another: Start, files: Files) -> None:
    server = another(tls=context(files.authority.issue("late", days=-1)))
    with pytest.raises(RegistryUnavailable, match="expired"):
        resolved(server, TlsFiles(ca=(files.authority.certificate,)))


def test_a_certificate_of_another_name_is_not_believed(another: Start, files: Files) -> None:
    server = another(tls=context(files.authority.issue("away", names=["DNS:away.test"])))
    with pytest.raises(RegistryUnavailable, match="certificate"):
        resolved(server, TlsFiles(ca=(files.authority.certificate,)))
    assert server.requests == []


def test_any_certificate_is_believed_where_the_user_says_so(another: Start, files: Files) -> None:
    for pair in (files.server, files.authority.issue("away", names=["DNS:away.test"])):
        server = another(tls=context(pair))
        server.on("HEAD", TAGGED, manifest())
        assert resolved(server, TlsFiles(skip_verify=True)) == TARGET


def test_the_host_is_shown_the_clients_certificate(another: Start, files: Files) -> None:
    server = another(tls=context(files.server, files.authority.certificate))
    server.on("HEAD", TAGGED, manifest())
    mine = TlsFiles((files.authority.certificate,), client_files(files.client))
    assert resolved(server, mine) == TARGET
    shown = ssl.PEM_cert_to_DER_cert(files.client.certificate.read_text())
    assert [request.certificate for request in server.requests] == [shown]


def test_a_certificate_and_its_key_may_be_in_one_file(
    another: Start, files: Files, tmp_path: Path
) -> None:
    server = another(tls=context(files.server, files.authority.certificate))
    server.on("HEAD", TAGGED, manifest())
    both = tmp_path / "both.pem"
    both.write_bytes(files.client.certificate.read_bytes() + files.client.key.read_bytes())
    assert resolved(server, TlsFiles((files.authority.certificate,), ((both, None),))) == TARGET


@pytest.mark.parametrize("stranger", [True, False])
def test_a_host_that_does_not_take_our_certificate_or_its_absence(
    another: Start, files: Files, stranger: bool
) -> None:
    server = another(tls=context(files.server, files.authority.certificate))
    shown = client_files(files.stranger) if stranger else ()
    with pytest.raises(RegistryUnavailable) as caught:
        resolved(server, TlsFiles((files.authority.certificate,), shown))
    assert server.host in str(caught.value)
    assert server.requests == []


def redirected(another: Start, tls: ssl.SSLContext) -> tuple[Scripted, Scripted]:
    """A registry, and the host of another name to which it sends for the blob."""
    server, target = another(tls=tls), another(tls=tls)
    port = target.host.rpartition(":")[2]
    server.on("GET", BLOB_PATH, reply(307, Location=f"https://localhost:{port}/"))
    target.on("GET", "/", reply(200, BLOB))
    return server, target


def fetched(server: Scripted, files: TlsFiles) -> bytes:
    with (
        Registry(server.host, tls=files) as registry,
        registry.open_blob(Reference.parse(f"{server.host}/app"), LAYER) as reader,
    ):
        return reader.readall()


def test_a_redirect_to_another_name_is_not_shown_the_clients_certificate(
    another: Start, files: Files
) -> None:
    tls = context(files.server, files.authority.certificate, must=False)
    server, target = redirected(another, tls)
    mine = TlsFiles((files.authority.certificate,), client_files(files.client))
    assert fetched(server, mine) == BLOB
    assert server.requests[0].certificate is not None
    assert [request.certificate for request in target.requests] == [None]


def test_a_redirect_to_another_name_is_not_believed_without_proof(
    another: Start, files: Files
) -> None:
    server, target = redirected(another, context(files.server))
    with pytest.raises(RegistryUnavailable, match="localhost") as caught:
        fetched(server, TlsFiles(skip_verify=True))
    assert "certificate" in str(caught.value)
    assert len(server.requests) == 1
    assert target.requests == []
    # With the authority the same redirect is followed.
    believing = TlsFiles((files.authority.certificate,), skip_verify=True)
    assert fetched(server, believing) == BLOB


# Files


@pytest.mark.parametrize("what", ["none", "folder", "empty", "no certificate", "a key"])
def test_authorities_that_are_none(files: Files, tmp_path: Path, what: str) -> None:
    path = tmp_path / "ca.pem"
    if what == "folder":
        path.mkdir()
    elif what != "none":
        texts = {"empty": "", "a key": files.client.key.read_text()}
        path.write_text(texts.get(what, what))
    with pytest.raises(InvalidArgument, match=r"ca\.pem"):
        Contexts(TlsFiles(ca=(path,))).pool_arguments(own=False)


@pytest.mark.parametrize("what", ["no certificate", "no key", "another key", "swapped"])
def test_client_certificates_that_are_none(files: Files, tmp_path: Path, what: str) -> None:
    none, client, stranger = tmp_path / "none.pem", files.client, files.stranger
    pairs = {
        "no certificate": (none, client.key),
        "no key": (client.certificate, none),
        "another key": (client.certificate, stranger.key),
        "swapped": (client.key, client.certificate),
    }
    found = Contexts(TlsFiles(client=(pairs[what],)))
    with pytest.raises(InvalidArgument, match="certificate and its key") as caught:
        found.pool_arguments(own=True)
    assert str(pairs[what][0]) in str(caught.value)
    # Others are not shown it, so it does not matter to them.
    assert found.pool_arguments(own=False)["cert_reqs"] == "CERT_REQUIRED"


def test_a_key_that_is_encrypted_is_refused_and_nobody_is_asked(
    files: Files, tmp_path: Path
) -> None:
    locked = tmp_path / "locked.key"
    openssl(
        *("pkcs8", "-topk8", "-in", str(files.client.key), "-out", str(locked)),
        *("-passout", "pass:canary-7f3a"),
    )
    found = Contexts(TlsFiles(client=((files.client.certificate, locked),)))
    with pytest.raises(InvalidArgument, match="encrypted") as caught:
        found.pool_arguments(own=True)
    text = "".join(traceback.format_exception(caught.value))
    assert "canary-7f3a" not in text
    assert "BEGIN" not in text


def test_files_are_read_when_they_are_needed(another: Start, tmp_path: Path) -> None:
    missing = TlsFiles(ca=(tmp_path / "none.pem",))
    server = another()
    server.on("HEAD", TAGGED, manifest())
    assert resolved(server, missing, plain_http=True) == TARGET
    with pytest.raises(ContainerdError, match=r"none\.pem"):
        resolved(server, missing)


def test_files_are_read_once_for_each_kind_of_peer(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    found = Contexts(TlsFiles(ca=(authority.certificate,)))
    first = [found.pool_arguments(own)["ssl_context"] for own in (True, False)]
    authority.certificate.unlink()
    assert [found.pool_arguments(own)["ssl_context"] for own in (True, False)] == first
    assert first[0] is not first[1]
