"""Manifests put into a registry, and the lists of those that refer to others: the registry's
own, or the one under the tag that stands in for it.
"""

from __future__ import annotations

import json
from urllib.parse import parse_qs, urlsplit

import pytest

from containerd_lite.errors import (
    ContainerdError,
    DigestMismatch,
    InvalidArgument,
    RegistryError,
    RegistryUnavailable,
)
from containerd_lite.oci import digest as digests
from containerd_lite.oci import media_types as mt
from containerd_lite.oci.descriptor import Descriptor
from containerd_lite.oci.platform import Platform
from containerd_lite.oci.reference import Reference
from containerd_lite.registry import listing, referrers
from containerd_lite.registry.referrers import fallback_tag
from containerd_lite.registry.registry import Registry
from tests.unit.registry.samples import BODY, CONFIG, OTHER, PINNED, TAGGED, TARGET, manifest
from tests.unit.registry.scripted import Scripted, reply

LIST = f"/v2/app/referrers/{TARGET.digest}"
TAG = f"/v2/app/manifests/{TARGET.digest.replace(':', '-')}"
SUBJECT = TARGET.to_json()
KIND = "application/vnd.example.sbom"


def document(**fields: object) -> bytes:
    """A manifest that refers to ``TARGET``."""
    base = {"schemaVersion": 2, "mediaType": mt.OCI_MANIFEST, "config": CONFIG, "layers": []}
    return json.dumps({**base, "subject": SUBJECT, **fields}).encode()


def one(name: str, **fields: object) -> Descriptor:
    body = name.encode()
    return Descriptor(mt.OCI_MANIFEST, digests.of(body), len(body), **fields)  # type: ignore[arg-type]


A, B, C = one("a", artifact_type=KIND), one("b", annotations={"x": "y"}), one("c")


def index(*entries: Descriptor, **fields: object) -> bytes:
    base = {"schemaVersion": 2, "mediaType": mt.OCI_INDEX}
    return json.dumps({**base, "manifests": [e.to_json() for e in entries], **fields}).encode()


def listed(*entries: Descriptor, link: str = "", kind: str = mt.OCI_INDEX) -> bytes:
    return reply(200, index(*entries), Content_Type=kind, Link=link)


def put(server: Scripted, path: str) -> list[bytes]:
    return [request.body for request in server.seen("PUT", path)]


@pytest.fixture
def pinned(ref: Reference) -> Reference:
    return Reference(ref.host, "app", digest=TARGET.digest)


# Putting manifests


def test_a_manifest_is_put_under_its_tag(
    server: Scripted, registry: Registry, ref: Reference
) -> None:
    server.on("PUT", TAGGED, reply(201, Docker_Content_Digest=TARGET.digest))
    assert registry.push_manifest(ref, BODY) == TARGET
    (request,) = server.requests
    assert (request.body, request.headers["content-type"]) == (BODY, mt.OCI_MANIFEST)


def test_a_manifest_is_put_under_its_digest(
    server: Scripted, registry: Registry, pinned: Reference
) -> None:
    server.on("PUT", PINNED, reply(201))
    assert registry.push_manifest(pinned, BODY) == TARGET
    assert put(server, PINNED) == [BODY]


def test_a_manifest_under_a_digest_of_the_other_kind(
    server: Scripted, registry: Registry, ref: Reference
) -> None:
    digest = digests.of(BODY, "sha512")
    server.on("PUT", f"/v2/app/manifests/{digest}", reply(201))
    found = registry.push_manifest(Reference(ref.host, "app", digest=digest), BODY)
    assert found == Descriptor(mt.OCI_MANIFEST, digest, len(BODY))


def test_the_type_may_be_told_where_the_document_does_not(
    server: Scripted, registry: Registry, ref: Reference
) -> None:
    silent = json.dumps({"schemaVersion": 2, "config": CONFIG, "layers": []}).encode()
    server.on("PUT", TAGGED, reply(201))
    assert registry.push_manifest(ref, silent, mt.DOCKER_MANIFEST).media_type == mt.DOCKER_MANIFEST
    assert server.requests[0].headers["content-type"] == mt.DOCKER_MANIFEST


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"x" * (5 << 20), BODY[:-1]])
def test_what_is_no_manifest_is_not_put(
    server: Scripted, registry: Registry, ref: Reference, body: bytes
) -> None:
    with pytest.raises(InvalidArgument, match="push"):
        registry.push_manifest(ref, body)
    assert server.requests == []


def test_a_reference_that_names_another_digest(
    server: Scripted, registry: Registry, ref: Reference
) -> None:
    for tag in ("", "v1"):
        with pytest.raises(DigestMismatch, match=TARGET.digest):
            registry.push_manifest(Reference(ref.host, "app", tag, OTHER), BODY)
    assert server.requests == []


def test_a_registry_that_took_something_else(
    server: Scripted, registry: Registry, ref: Reference
) -> None:
    server.on("PUT", TAGGED, reply(201, Docker_Content_Digest=OTHER))
    with pytest.raises(DigestMismatch, match=OTHER):
        registry.push_manifest(ref, BODY)


def test_a_put_that_was_cut_is_sent_again(
    server: Scripted, registry: Registry, ref: Reference
) -> None:
    server.on("PUT", TAGGED, b"", reply(503), reply(201))
    assert registry.push_manifest(ref, BODY) == TARGET
    assert put(server, TAGGED) == [BODY] * 3


@pytest.mark.parametrize("status", [400, 405, 413])
def test_a_put_that_is_refused(
    server: Scripted, registry: Registry, ref: Reference, status: int
) -> None:
    error = {"errors": [{"code": "MANIFEST_INVALID", "message": "no"}]}
    server.on("PUT", TAGGED, reply(status, error))
    with pytest.raises(RegistryError, match="MANIFEST_INVALID") as caught:
        registry.push_manifest(ref, BODY)
    assert caught.value.status == status
    assert len(server.requests) == 1


# The tag that stands in


def test_a_registry_that_keeps_referrers_needs_no_tag(
    server: Scripted, registry: Registry, ref: Reference
) -> None:
    server.on("PUT", TAGGED, reply(201, OCI_Subject=TARGET.digest))
    registry.push_manifest(ref, document())
    assert [r.method for r in server.requests] == ["PUT"]


def test_the_tag_is_made(server: Scripted, registry: Registry, ref: Reference) -> None:
    server.on("PUT", TAGGED, reply(201))
    server.on("PUT", TAG, reply(201))
    body = document(artifactType=KIND, annotations={"made": "today"})
    found = registry.push_manifest(ref, body)
    (request,) = server.seen("PUT", TAG)
    assert request.headers["content-type"] == mt.OCI_INDEX
    assert json.loads(request.body) == {
        "schemaVersion": 2,
        "mediaType": mt.OCI_INDEX,
        "manifests": [
            {
                "mediaType": mt.OCI_MANIFEST,
                "digest": found.digest,
                "size": len(body),
                "annotations": {"made": "today"},
                "artifactType": KIND,
            }
        ],
    }
    assert [r.method for r in server.requests] == ["PUT", "GET", "PUT"]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (document(artifactType=KIND), KIND),
        (document(), mt.OCI_CONFIG),
        (index(A, subject=SUBJECT, artifactType=KIND), KIND),
        (index(A, subject=SUBJECT), None),
    ],
)
def test_the_artifact_type_is_the_documents_or_its_configs(
    server: Scripted, registry: Registry, ref: Reference, body: bytes, kind: str | None
) -> None:
    server.on("PUT", TAGGED, reply(201))
    server.on("PUT", TAG, reply(201))
    registry.push_manifest(ref, body)
    (entry,) = json.loads(put(server, TAG)[0])["manifests"]
    assert entry.get("artifactType") == kind


def test_the_tag_keeps_what_is_there(server: Scripted, registry: Registry, ref: Reference) -> None:
    there = one("d", artifact_type=KIND, platform=Platform("linux", "arm64"), urls=("http://x/y",))
    held = index(A, there, B, annotations={"k": "v"})
    server.on("GET", TAG, reply(200, held, Content_Type=mt.OCI_INDEX))
    server.on("PUT", TAGGED, reply(201))
    server.on("PUT", TAG, reply(201))
    found = registry.push_manifest(ref, document())
    written = json.loads(put(server, TAG)[0])
    assert written["manifests"][:3] == json.loads(held)["manifests"]
    assert [e["digest"] for e in written["manifests"][3:]] == [found.digest]
    assert written["annotations"] == {"k": "v"}


def test_nobody_is_listed_twice(server: Scripted, registry: Registry, ref: Reference) -> None:
    body = document()
    mine = Descriptor(mt.OCI_MANIFEST, digests.of(body), len(body))
    server.on("GET", TAG, listed(A, mine))
    server.on("PUT", TAGGED, reply(201))
    assert registry.push_manifest(ref, body) == mine
    assert put(server, TAG) == []


@pytest.mark.parametrize(
    "answer",
    [manifest(), reply(200, b"{}", Content_Type=mt.OCI_INDEX), reply(200, b"<html>"), reply(400),
     reply(200, index(A), Content_Type="text/html"), reply(200, index(), length=5 << 20)],
)  # fmt: skip
def test_a_tag_with_something_else_under_it_is_left_alone(
    server: Scripted, registry: Registry, ref: Reference, answer: bytes
) -> None:
    server.on("GET", TAG, answer)
    server.on("PUT", TAGGED, reply(201))
    server.on("PUT", TAG, reply(201))
    with pytest.raises(RegistryError, match="push"):
        registry.push_manifest(ref, document())
    assert put(server, TAG) == []


def test_tags_of_long_digests_are_cut() -> None:
    assert fallback_tag(f"sha256:{'a' * 64}") == f"sha256-{'a' * 64}"
    assert fallback_tag(f"sha512:{'b' * 128}") == f"sha512-{'b' * 64}"
    assert fallback_tag(f"{'x' * 40}+y:{'c' * 9}") == f"{'x' * 32}-{'c' * 9}"
    assert fallback_tag("a+b:c/d") == "a-b-c-d"


def test_a_subject_with_a_long_digest(server: Scripted, registry: Registry, ref: Reference) -> None:
    digest = digests.of(BODY, "sha512")
    tag = f"/v2/app/manifests/sha512-{digest[7:71]}"
    server.on("PUT", TAGGED, reply(201))
    server.on("PUT", tag, reply(201))
    registry.push_manifest(ref, document(subject={**SUBJECT, "digest": digest}))
    assert len(put(server, tag)) == 1


# Warnings


def test_warnings_are_kept_once_and_cleaned(
    server: Scripted, registry: Registry, ref: Reference
) -> None:
    for warning in (
        '299 - "quota is \\"near\\""',
        '299 - "quota is \\"near\\""',
        '299 registry.example "red\x1b[31m\x07"',
        '199 - "for caches"',
        '110 - "stale"',
        "299 - unquoted",
        '299 - ""',
    ):
        server.on("PUT", TAGGED, reply(201, Warning=warning))
        registry.push_manifest(ref, BODY)
    assert registry.warnings == ('quota is "near"', r"red\x1b[31m\x07")


# Finding referrers


def test_referrers_are_listed(server: Scripted, registry: Registry, pinned: Reference) -> None:
    server.on("GET", LIST, listed(A, B))
    assert registry.referrers(pinned) == (A, B)
    (request,) = server.requests
    assert (request.target, request.headers["accept"]) == (LIST, mt.OCI_INDEX)


def test_referrers_of_one_type_whether_the_registry_filters_or_not(
    server: Scripted, registry: Registry, pinned: Reference
) -> None:
    server.on("GET", LIST, listed(A, B, C))
    assert registry.referrers(pinned, KIND) == (A,)
    assert parse_qs(urlsplit(server.requests[0].target).query) == {"artifactType": [KIND]}


def test_the_pages_of_referrers(server: Scripted, registry: Registry, pinned: Reference) -> None:
    link = f'<{LIST}?last=a%2F>; rel="next"'
    server.on("GET", LIST, listed(A, B, link=link), listed(B, link=link), listed(C))
    assert registry.referrers(pinned) == (A, B, C)
    assert server.requests[1].target == f"{LIST}?last=a%2F"


def test_pages_without_anything_new_do_not_go_on_for_ever(
    server: Scripted, registry: Registry, pinned: Reference
) -> None:
    server.on("GET", LIST, listed(A, link=f'<{LIST}?x>; rel="next"'))
    with pytest.raises(RegistryError, match="without new entries"):
        registry.referrers(pinned)
    assert len(server.requests) < 30


def test_referrers_have_bounds(
    server: Scripted,
    registry: Registry,
    pinned: Reference,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server.on("GET", LIST, listed(A, B, C))
    monkeypatch.setattr(referrers, "MAX_REFERRERS", 2)
    with pytest.raises(RegistryError, match="more than the 2"):
        registry.referrers(pinned)
    monkeypatch.setattr(listing, "MAX_PAGES", 2)
    link = f'<{LIST}?x>; rel="next"'
    server.on("GET", LIST, listed(A, link=link), listed(B, link=link))
    with pytest.raises(RegistryError, match="2 pages"):
        registry.referrers(pinned)


def test_a_registry_without_the_list_has_the_tag(
    server: Scripted, registry: Registry, pinned: Reference
) -> None:
    server.on("GET", TAG, listed(A, B))
    assert registry.referrers(pinned, KIND) == (A,)
    assert [r.path for r in server.requests] == [LIST, TAG]


def test_a_registry_with_neither_has_no_referrers(
    server: Scripted, registry: Registry, pinned: Reference
) -> None:
    assert registry.referrers(pinned) == ()
    assert [r.path for r in server.requests] == [LIST, TAG]


@pytest.mark.parametrize("path", [LIST, TAG])
@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (manifest(), RegistryError),
        (reply(200, b"<html>", Content_Type="text/html"), RegistryError),
        (reply(200, index(A), Content_Type="application/json"), RegistryError),
        (reply(200, b'{"schemaVersion": 2, "manifests": [{}]}'), RegistryError),
        (reply(200, index(A), length=5 << 20), RegistryError),
        (reply(503), RegistryUnavailable),
        (reply(400), RegistryError),
    ],
)
def test_other_answers_are_errors(
    server: Scripted,
    registry: Registry,
    pinned: Reference,
    path: str,
    answer: bytes,
    error: type[ContainerdError],
) -> None:
    server.on("GET", path, answer)
    with pytest.raises(error, match="list referrers"):
        registry.referrers(pinned)


def test_referrers_of_a_tag_cannot_be_asked_for(
    server: Scripted, registry: Registry, ref: Reference
) -> None:
    with pytest.raises(InvalidArgument, match="Resolve"):
        registry.referrers(ref)
    assert server.requests == []
