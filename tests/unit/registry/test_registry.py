"""The registry client against scripted answers: each failure is its own typed error."""

from __future__ import annotations

import pickle
from collections.abc import Iterator

import pytest

from containerd_lite.errors import (
    ContainerdError,
    DigestMismatch,
    InvalidArgument,
    RegistryError,
    RegistryNotFound,
    RegistryUnauthorized,
    RegistryUnavailable,
    SizeMismatch,
)
from containerd_lite.oci import media_types as mt
from containerd_lite.oci.descriptor import Descriptor
from containerd_lite.oci.reference import Reference
from containerd_lite.registry.registry import Registry
from tests.unit.registry.samples import (
    BLOB_PATH,
    BODY,
    ERROR,
    LAYER,
    OTHER,
    PINNED,
    TAGGED,
    TARGET,
    manifest,
)
from tests.unit.registry.scripted import Request, Scripted, reply

# resolve


def test_resolve_by_head(server: Scripted, registry: Registry, ref: Reference) -> None:
    server.on("HEAD", TAGGED, manifest())
    assert server.requests == []
    assert registry.resolve(ref) == TARGET
    (request,) = server.requests
    assert request.headers["user-agent"] == "tester/1"
    assert set(mt.ACCEPTED) < set(request.headers["accept"].split(", "))
    assert "authorization" not in request.headers


def test_resolve_ignores_parameters_of_the_type(
    server: Scripted, registry: Registry, ref: Reference
) -> None:
    server.on("HEAD", TAGGED, manifest(kind=f"{mt.OCI_MANIFEST}; charset=utf-8"))
    assert registry.resolve(ref).media_type == mt.OCI_MANIFEST


@pytest.mark.parametrize(
    "head",
    [
        reply(405),
        reply(404),
        reply(400),
        reply(501),
        reply(200, BODY, Content_Type=mt.OCI_MANIFEST),
        reply(200, BODY, Docker_Content_Digest=TARGET.digest),
        reply(200, BODY, Docker_Content_Digest=TARGET.digest, Content_Type="text/plain"),
        reply(200, length=-1, Docker_Content_Digest=TARGET.digest, Content_Type=mt.OCI_MANIFEST),
        reply(200, Docker_Content_Digest=TARGET.digest, Content_Type=mt.OCI_MANIFEST),
    ],
)
@pytest.mark.parametrize("kind", [mt.OCI_MANIFEST, "application/json"])
def test_resolve_gets_and_hashes_where_head_does_not_tell(
    server: Scripted, registry: Registry, ref: Reference, head: bytes, kind: str
) -> None:
    server.on("HEAD", TAGGED, head)
    server.on("GET", TAGGED, reply(200, BODY, Content_Type=kind))
    assert registry.resolve(ref) == TARGET


def test_resolve_by_digest_needs_no_header(server: Scripted, registry: Registry) -> None:
    server.on("HEAD", PINNED, reply(200, BODY, Content_Type=mt.OCI_MANIFEST))
    pinned = Reference.parse(f"{server.host}/app:v1@{TARGET.digest}")
    assert registry.resolve(pinned) == TARGET


def test_resolve_refuses_another_digest_than_asked_for(
    server: Scripted, registry: Registry
) -> None:
    server.on("HEAD", PINNED, manifest(digest=OTHER))
    with pytest.raises(DigestMismatch, match=OTHER):
        registry.resolve(Reference.parse(f"{server.host}/app@{TARGET.digest}"))


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (manifest(digest=OTHER), DigestMismatch),
        (manifest(digest="sha256:../canary"), RegistryError),
        (manifest(digest=f"{OTHER}, {TARGET.digest}"), RegistryError),
        (manifest(kind=mt.OCI_INDEX), RegistryError),
        (manifest(kind="text/html"), RegistryError),
        (manifest(kind=mt.DOCKER_SCHEMA1_SIGNED), RegistryError),
        (manifest(b"<html>", "text/plain"), RegistryError),
        (manifest(b"{}"), RegistryError),
        (manifest(b"[" * 100_000, ""), RegistryError),
        (manifest(BODY[:-1] + b',"manifests":[]}'), RegistryError),
        (reply(200, BODY, length=len(BODY) + 9, Connection="close"), RegistryUnavailable),
        (reply(200, b"", length=5 << 20), RegistryError),
        (reply(206, BODY, Content_Type=mt.OCI_MANIFEST, Content_Range="x"), RegistryError),
        (reply(302), RegistryError),
        (reply(418), RegistryError),
        (b"HTTP/1.1 nonsense\r\n\r\n", RegistryUnavailable),
        (b"SSH-2.0-OpenSSH_9\r\n", RegistryUnavailable),
        (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200 + b"\r\n", RegistryUnavailable),
        (b"HTTP/1.1 200 OK\r\nA: " + b"b" * 70_000 + b"\r\n\r\n", RegistryUnavailable),
    ],
)
def test_resolve_refuses_answers_that_are_wrong(
    server: Scripted,
    registry: Registry,
    ref: Reference,
    answer: bytes,
    error: type[ContainerdError],
) -> None:
    server.on("HEAD", TAGGED, reply(405))
    server.on("GET", TAGGED, answer)
    with pytest.raises(error) as caught:
        registry.resolve(ref)
    assert str(ref) in str(caught.value)
    assert pickle.loads(pickle.dumps(caught.value)).message == caught.value.message


def test_endless_manifest_is_cut_off(server: Scripted, registry: Registry, ref: Reference) -> None:
    def endless(_: Request) -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        while True:
            yield b"10000\r\n" + b" " * 65536 + b"\r\n"

    server.on("GET", TAGGED, endless)
    with pytest.raises(RegistryError, match="4194304"):
        registry.resolve(ref)


def test_a_reference_to_another_registry_is_a_mistake(registry: Registry) -> None:
    with pytest.raises(InvalidArgument, match=r"quay\.io"):
        registry.resolve(Reference.parse("quay.io/app"))


# manifests


def test_fetch_manifest(server: Scripted, registry: Registry, ref: Reference) -> None:
    server.on("GET", PINNED, manifest())
    assert registry.fetch_manifest(ref, TARGET) == BODY
    assert server.requests[0].headers["accept"] == mt.OCI_MANIFEST


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (manifest(BODY.replace(b"2", b"3", 1)), DigestMismatch),
        (manifest(BODY[:-1]), SizeMismatch),
        (manifest(BODY + b" "), SizeMismatch),
        (reply(200, BODY + b" ", length=-1, Connection="close"), SizeMismatch),
        (manifest(kind=mt.OCI_INDEX), RegistryError),
        (reply(404, ERROR), RegistryNotFound),
    ],
)
def test_fetch_manifest_refuses_what_it_is_not(
    server: Scripted,
    registry: Registry,
    ref: Reference,
    answer: bytes,
    error: type[ContainerdError],
) -> None:
    server.on("GET", PINNED, answer)
    with pytest.raises(error) as caught:
        registry.fetch_manifest(ref, TARGET)
    assert TARGET.digest in str(caught.value)


def test_too_large_a_manifest_is_not_asked_for(
    server: Scripted, registry: Registry, ref: Reference
) -> None:
    with pytest.raises(RegistryError):
        registry.fetch_manifest(ref, Descriptor(mt.OCI_MANIFEST, OTHER, 5 << 20))
    assert server.requests == []


# statuses


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, RegistryUnauthorized),
        (403, RegistryUnauthorized),
        (404, RegistryNotFound),
        (408, RegistryUnavailable),
        (410, RegistryError),
        (429, RegistryUnavailable),
        (500, RegistryUnavailable),
        (501, RegistryError),
        (502, RegistryUnavailable),
        (503, RegistryUnavailable),
        (504, RegistryUnavailable),
    ],
)
@pytest.mark.parametrize(
    "body", [ERROR, "<html>", b"\xff", {"errors": 7}, {"errors": [7]}, b"[" * 99_999, b""]
)
def test_statuses(
    server: Scripted,
    registry: Registry,
    ref: Reference,
    status: int,
    error: type[RegistryError],
    body: object,
) -> None:
    server.on("GET", BLOB_PATH, reply(status, body))
    with pytest.raises(error) as caught:
        registry.open_blob(ref, LAYER)
    assert type(caught.value) is error
    assert caught.value.status == status
    assert caught.value.codes == (("CODE_X",) if body is ERROR else ())
    assert LAYER.digest in str(caught.value)
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (reply(403, ERROR), "CODE_X"),
        (reply(403, b"x" * 200_000), "HTTP 403)"),
        (reply(404, ERROR), "HTTP 403)"),
        (reply(200, b"x" * 200_000), "HTTP 403)"),
        (reply(307, Location="/other"), "HTTP 403)"),
        (reply(302, Location="ftp://x"), "HTTP 403)"),
        (b"", "HTTP 403)"),
    ],
)
def test_a_refused_head_has_the_words_of_a_get(
    server: Scripted, registry: Registry, ref: Reference, answer: bytes, said: str
) -> None:
    path = f"/v2/{ref.repository}/manifests/{ref.target}"
    server.on("HEAD", path, reply(403))
    server.on("GET", path, answer)
    with pytest.raises(RegistryUnauthorized) as caught:
        registry.resolve(ref)
    assert said in str(caught.value)
    assert caught.value.codes == (("CODE_X",) if said == "CODE_X" else ())
    assert [request.method for request in server.requests][:2] == ["HEAD", "GET"]
    assert len(server.seen("GET", path)) == 1


def test_a_refused_get_is_not_sent_again(
    server: Scripted, registry: Registry, ref: Reference
) -> None:
    server.on("GET", BLOB_PATH, reply(403))
    with pytest.raises(RegistryUnauthorized):
        registry.open_blob(ref, LAYER)
    assert len(server.requests) == 1


def test_endless_error_body(server: Scripted, registry: Registry, ref: Reference) -> None:
    def endless(_: Request) -> Iterator[bytes]:
        yield b"HTTP/1.1 404 No\r\n\r\n"
        while True:
            yield b" " * 65536

    server.on("GET", BLOB_PATH, endless)
    with pytest.raises(RegistryNotFound):
        registry.open_blob(ref, LAYER)


def test_nothing_listens() -> None:
    with Scripted() as gone:
        pass
    with Registry(gone.host) as registry, pytest.raises(RegistryUnavailable, match="refused") as e:
        registry.resolve(Reference.parse(f"{gone.host}/app"))
    assert gone.host in str(e.value)
    assert e.value.remedy


def test_no_such_name() -> None:
    with Registry("nowhere.invalid") as registry, pytest.raises(RegistryUnavailable) as caught:
        registry.resolve(Reference.parse("nowhere.invalid/app"))
    assert "nowhere.invalid" in str(caught.value)
