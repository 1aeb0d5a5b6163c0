"""Docker's schema 1 from scripted answers, and the sizes of its layers, which it does not tell."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from containerd_lite.errors import (
    ContainerdError,
    DigestMismatch,
    InvalidArgument,
    NotFound,
    RegistryError,
    RegistryNotFound,
    RegistryUnauthorized,
    RegistryUnavailable,
)
from containerd_lite.images.pull.convert_schema1 import SizedFetcher
from containerd_lite.images.resolver import RegistryFetcher
from containerd_lite.oci import digest as digests
from containerd_lite.oci import media_types as mt
from containerd_lite.oci.descriptor import Descriptor
from containerd_lite.oci.document import MAX_DOCUMENT
from containerd_lite.oci.reference import Reference
from containerd_lite.registry.credentials import Credentials
from containerd_lite.registry.registry import Registry
from tests.unit.oci.test_schema1 import (
    END,
    PAYLOAD,
    REAL,
    REAL_DIGEST,
    payload_of,
    signature,
    signed,
)
from tests.unit.registry.samples import BLOB, BLOB_PATH, BODY, LAYER, OTHER, TAGGED
from tests.unit.registry.scripted import Request, Scripted, challenge, reply

SIGNED = mt.DOCKER_SCHEMA1_SIGNED
OLD = REAL.encode()
TARGET = Descriptor(SIGNED, REAL_DIGEST, len(OLD))
PLACE = f"/v2/app/manifests/{REAL_DIGEST}"
#: Another signature, and a longer one, of the same payload.
AGAIN = signed(PAYLOAD, signature(END, kid="x" * 99))
MADE = signed(PAYLOAD)
MADE_TARGET = Descriptor(SIGNED, digests.of(PAYLOAD), len(MADE))
MADE_PLACE = f"/v2/app/manifests/{MADE_TARGET.digest}"


def old(body: bytes = OLD, kind: str = SIGNED, digest: str = REAL_DIGEST) -> bytes:
    """``digest`` is ``""`` for a registry that names none."""
    return reply(200, body, Content_Type=kind, Docker_Content_Digest=digest)


# resolve


@pytest.mark.parametrize("kind", [SIGNED, mt.DOCKER_SCHEMA1])
def test_resolve_by_head(server: Scripted, registry: Registry, ref: Reference, kind: str) -> None:
    """The digest is the payload's, the length that with the signatures."""
    server.on("HEAD", TAGGED, old(kind=f"{kind}; charset=utf-8"))
    assert registry.resolve(ref) == Descriptor(kind, REAL_DIGEST, len(OLD))
    (request,) = server.requests
    assert request.headers["accept"] == ", ".join((*mt.ACCEPTED, "*/*"))


@pytest.mark.parametrize(
    ("kind", "found"),
    [
        (SIGNED, SIGNED),
        (mt.DOCKER_SCHEMA1, mt.DOCKER_SCHEMA1),
        ("text/plain; charset=utf-8", SIGNED),
        ("application/json", SIGNED),
    ],
)
@pytest.mark.parametrize("named", [REAL_DIGEST, ""])
def test_resolve_by_get(
    server: Scripted, registry: Registry, ref: Reference, kind: str, found: str, named: str
) -> None:
    server.on("HEAD", TAGGED, reply(200, OLD, Content_Type="text/plain"))
    server.on("GET", TAGGED, reply(200, OLD, Content_Type=kind, Docker_Content_Digest=named))
    assert registry.resolve(ref) == Descriptor(found, REAL_DIGEST, len(OLD))


def test_resolve_without_signatures(server: Scripted, registry: Registry, ref: Reference) -> None:
    server.on("GET", TAGGED, reply(200, PAYLOAD, Content_Type=mt.DOCKER_SCHEMA1))
    found = registry.resolve(ref)
    assert found == Descriptor(mt.DOCKER_SCHEMA1, digests.of(PAYLOAD), len(PAYLOAD))


def test_resolve_by_digest(server: Scripted, registry: Registry) -> None:
    server.on("GET", PLACE, reply(200, OLD, Content_Type="text/plain"))
    assert registry.resolve(Reference.parse(f"{server.host}/app@{REAL_DIGEST}")) == TARGET


def test_the_digest_with_the_signatures_is_another(server: Scripted, registry: Registry) -> None:
    whole = digests.of(OLD)
    server.on("GET", f"/v2/app/manifests/{whole}", old(digest=whole))
    with pytest.raises(DigestMismatch, match=whole):
        registry.resolve(Reference.parse(f"{server.host}/app@{whole}"))


def with_tail(tail: bytes) -> bytes:
    """Signatures of which the first signs an end that is not the manifest's."""
    return signed(PAYLOAD, signature(END, tail), signature(END))


#: After what is signed there is more than the signatures, which no digest sees.
LEFT_OUT = PAYLOAD[:-1] + b',"x":1,"signatures":' + json.dumps([signature(END)]).encode() + b"}"

WRONG = [
    (old(digest=OTHER), DigestMismatch),
    (old(OLD.replace(b"amd64", b"arm64", 1)), DigestMismatch),
    (old(LEFT_OUT, digest=""), RegistryError),
    (old(with_tail(b',"x":1}'), digest=""), RegistryError),
    (old(signed(PAYLOAD, signature(END - 1)), digest=""), RegistryError),
    (old(signed(PAYLOAD, signature(1 << 62)), digest=""), RegistryError),
    (old(signed(payload_of([], [])), digest=""), RegistryError),
    (old(signed(payload_of([OTHER], [])), digest=""), RegistryError),
    (old(signed(payload_of([OTHER], [{}], layers=[])), digest=""), RegistryError),
    (old(signed(payload_of([OTHER], [{}], manifests=None)), digest=""), RegistryError),
    (old(signed(payload_of([OTHER], [{}], mediaType=mt.OCI_INDEX)), digest=""), RegistryError),
    (old(BODY, digest=""), RegistryError),
    (old(b"<html>", digest=""), RegistryError),
    (old(b"[" * 100_000, digest=""), RegistryError),
    (old(kind=mt.DOCKER_MANIFEST, digest=""), RegistryError),
    (old(kind="text/html", digest=""), RegistryError),
    (reply(200, OLD[:99], length=len(OLD), Connection="close"), RegistryUnavailable),
]


@pytest.mark.parametrize(("answer", "error"), WRONG)
def test_resolve_refuses_what_is_wrong(
    server: Scripted,
    registry: Registry,
    ref: Reference,
    answer: bytes,
    error: type[ContainerdError],
) -> None:
    server.on("GET", TAGGED, answer)
    with pytest.raises(error) as caught:
        registry.resolve(ref)
    assert type(caught.value) is error
    assert str(ref) in str(caught.value)


def test_resolve_refuses_a_head_of_five_mebibytes(
    server: Scripted, registry: Registry, ref: Reference
) -> None:
    head = reply(200, length=5 << 20, Content_Type=SIGNED, Docker_Content_Digest=REAL_DIGEST)
    server.on("HEAD", TAGGED, head)
    with pytest.raises(RegistryError, match=str(MAX_DOCUMENT)):
        registry.resolve(ref)


# manifests


@pytest.mark.parametrize("asked", [SIGNED, mt.DOCKER_SCHEMA1])
@pytest.mark.parametrize("kind", [SIGNED, mt.DOCKER_SCHEMA1, "text/plain", "application/json"])
def test_it_is_asked_for_among_manifests(
    server: Scripted, registry: Registry, ref: Reference, asked: str, kind: str
) -> None:
    server.on("GET", PLACE, old(kind=kind))
    target = Descriptor(asked, REAL_DIGEST, len(OLD))
    assert registry.fetch_manifest(ref, target) == OLD
    (request,) = server.requests
    assert request.headers["accept"] == asked


@pytest.mark.parametrize("size", [0, 1, len(MADE), MAX_DOCUMENT])
@pytest.mark.parametrize("body", [MADE, AGAIN])
def test_its_length_may_be_another_than_head_said(
    server: Scripted, registry: Registry, ref: Reference, size: int, body: bytes
) -> None:
    """It is signed again whenever it is asked for; and a HEAD that lies has no use of it."""
    target = Descriptor(SIGNED, MADE_TARGET.digest, size)
    server.on("GET", MADE_PLACE, old(body, digest=target.digest))
    assert registry.fetch_manifest(ref, target) == body
    fetcher = RegistryFetcher(registry, ref)
    buffer = memoryview(bytearray(len(body) + 1))
    reader = fetcher.fetch(target)
    assert reader.readinto(buffer) == len(body)
    assert buffer[:-1] == body
    reader.close()


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (old(OLD.replace(b"amd64", b"arm64", 1)), DigestMismatch),
        (old(MADE), DigestMismatch),
        (old(LEFT_OUT), RegistryError),
        (old(with_tail(b",}")), RegistryError),
        (old(BODY), DigestMismatch),
        (old(kind=mt.DOCKER_MANIFEST), RegistryError),
        (old(b"<html>"), RegistryError),
        (reply(404), RegistryNotFound),
    ],
)
def test_fetch_refuses_what_it_is_not(
    server: Scripted,
    registry: Registry,
    ref: Reference,
    answer: bytes,
    error: type[ContainerdError],
) -> None:
    server.on("GET", PLACE, answer)
    with pytest.raises(error) as caught:
        registry.fetch_manifest(ref, TARGET)
    assert type(caught.value) is error
    assert REAL_DIGEST in str(caught.value)


@pytest.mark.parametrize(
    "body", [BODY, signed(payload_of([OTHER], [{}], layers=[])), signed(payload_of([], []))]
)
def test_the_right_digest_does_not_make_it_schema_1(
    server: Scripted, registry: Registry, ref: Reference, body: bytes
) -> None:
    payload = body.partition(b',"signatures":')[0] + (b"}" if body is not BODY else b"")
    digest = digests.of(payload)
    server.on("GET", f"/v2/app/manifests/{digest}", old(body, digest=digest))
    with pytest.raises(RegistryError, match="unusable manifest"):
        registry.fetch_manifest(ref, Descriptor(SIGNED, digest, len(body)))


@pytest.mark.parametrize("length", [5 << 20, -1])
def test_five_mebibytes_are_too_many(
    server: Scripted, registry: Registry, ref: Reference, length: int
) -> None:
    """Whether announced or not, and though JSON may end in blanks."""
    big = OLD.ljust(5 << 20)
    for place in (TAGGED, PLACE):
        server.on("GET", place, lambda _: reply(200, big, length=length, Connection="close"))
    with pytest.raises(RegistryError, match=f"{MAX_DOCUMENT} bytes allowed"):
        registry.resolve(ref)
    with pytest.raises(RegistryError, match=f"{MAX_DOCUMENT} bytes allowed"):
        registry.fetch_manifest(ref, TARGET)


def test_it_is_no_stream(server: Scripted, registry: Registry, ref: Reference) -> None:
    with pytest.raises(InvalidArgument, match="schema 1"):
        registry.open_blob(ref, TARGET)
    assert server.requests == []


# sizes


UNKNOWN = Descriptor(mt.DOCKER_LAYER_GZIP, LAYER.digest, 0)


def test_the_size_of_a_blob(server: Scripted, registry: Registry, ref: Reference) -> None:
    server.on("HEAD", BLOB_PATH, reply(200, BLOB))
    assert registry.blob_size(ref, UNKNOWN) == len(BLOB)
    fetcher = RegistryFetcher(registry, ref)
    assert isinstance(fetcher, SizedFetcher)
    assert fetcher.size_of(UNKNOWN) == len(BLOB)
    assert [request.method for request in server.requests] == ["HEAD"] * 2
    assert server.connections == 1


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (reply(200, length=-1), RegistryError),
        (reply(200, length=-1, Content_Length="many"), RegistryError),
        (reply(200, length=-1, Content_Length="-1"), RegistryError),
        (reply(200, length=-1, Content_Length="1, 2"), RegistryUnavailable),
        (reply(200, length=1 << 63), RegistryError),
        (reply(200, length=10**30), RegistryError),
        (reply(200, BLOB, Docker_Content_Digest=OTHER), DigestMismatch),
        (reply(200, BLOB, Docker_Content_Digest="sha256:../canary"), RegistryError),
        (reply(206, BLOB), RegistryError),
        (reply(302), RegistryError),
        (reply(405), RegistryError),
        (reply(403), RegistryUnauthorized),
        (reply(404), RegistryNotFound),
        (reply(503), RegistryUnavailable),
    ],
)
def test_a_size_that_is_not_told(
    server: Scripted,
    registry: Registry,
    ref: Reference,
    answer: bytes,
    error: type[ContainerdError],
) -> None:
    server.on("HEAD", BLOB_PATH, answer)
    with pytest.raises(error) as caught:
        registry.blob_size(ref, UNKNOWN)
    assert type(caught.value) is error
    assert LAYER.digest in str(caught.value)
    assert isinstance(caught.value, NotFound) == (error is RegistryNotFound)


def test_a_size_is_asked_for_with_credentials_that_a_redirect_does_not_get(
    server: Scripted, another: Callable[..., Scripted], ref: Reference
) -> None:
    store = another()
    store.on("HEAD", "/blob", reply(200, BLOB))

    def guarded(request: Request) -> bytes:
        if "authorization" not in request.headers:
            return challenge('Basic realm="x"')
        return reply(307, Location=f"{store.origin}/blob")

    server.on("HEAD", BLOB_PATH, guarded)
    with Registry(server.host, credentials=Credentials("me", "canary")) as registry:
        assert registry.blob_size(ref, UNKNOWN) == len(BLOB)
    assert "authorization" not in store.requests[0].headers


@pytest.mark.parametrize("said", [reply(404), reply(200, length=-1), reply(500)])
def test_a_mirror_that_tells_no_size_has_the_registry_behind_it(
    server: Scripted,
    another: Callable[..., Scripted],
    ref: Reference,
    tmp_path: Path,
    said: bytes,
) -> None:
    mirror = another()
    mirror.on("HEAD", BLOB_PATH, said)
    server.on("HEAD", BLOB_PATH, reply(200, BLOB))
    folder = tmp_path / f"{server.host.replace(':', '_')}_"
    folder.mkdir()
    toml = f'server = "{server.origin}"\n[host."{mirror.origin}"]\ncapabilities = ["pull"]\n'
    (folder / "hosts.toml").write_text(toml)
    with Registry(server.host, hosts_dirs=[tmp_path]) as registry:
        assert registry.blob_size(ref, UNKNOWN) == len(BLOB)
    assert len(mirror.seen("HEAD", BLOB_PATH)) == 1


def test_a_size_of_another_registry_is_a_mistake(registry: Registry) -> None:
    with pytest.raises(InvalidArgument, match=r"quay\.io"):
        registry.blob_size(Reference.parse("quay.io/app"), UNKNOWN)
