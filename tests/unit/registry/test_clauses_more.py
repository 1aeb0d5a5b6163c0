"""Clauses of the distribution-spec that no other test is about; docs/ has the table of all."""

from __future__ import annotations

import json
from urllib.parse import parse_qs, urlsplit

import pytest

from containerd_lite.errors import InvalidArgument
from containerd_lite.oci import digest as digests
from containerd_lite.oci import media_types as mt
from containerd_lite.oci.descriptor import Descriptor
from containerd_lite.oci.document import MAX_DOCUMENT
from containerd_lite.oci.reference import Reference
from containerd_lite.registry.referrers import fallback_tag
from containerd_lite.registry.registry import Registry
from containerd_lite.registry.upload import Outcome
from tests.unit.registry.samples import (
    BLOB,
    BODY,
    CONFIG,
    LAYER,
    TAGGED,
    TARGET,
    Uploads,
    manifest,
)
from tests.unit.registry.scripted import Scripted, reply

SILENT = json.dumps({"schemaVersion": 2, "config": CONFIG, "layers": []}).encode()


@pytest.mark.parametrize("body", [BODY, SILENT], ids=["the document says it", "it does not"])
def test_no_parameter_goes_out_with_the_type_of_a_manifest(
    server: Scripted, registry: Registry, ref: Reference, body: bytes
) -> None:
    with pytest.raises(InvalidArgument):
        registry.push_manifest(ref, body, f"{mt.OCI_MANIFEST}; charset=utf-8")
    assert server.requests == []


def test_no_type_goes_out_but_that_of_the_document(
    server: Scripted, registry: Registry, ref: Reference
) -> None:
    with pytest.raises(InvalidArgument, match="was expected"):
        registry.push_manifest(ref, BODY, mt.DOCKER_MANIFEST)
    assert server.requests == []


def test_manifests_of_four_mebibytes_go_both_ways(
    server: Scripted, registry: Registry, ref: Reference
) -> None:
    room = MAX_DOCUMENT - len(BODY[:-1] + b',"annotations":{"a":""}}')
    body = BODY[:-1] + b',"annotations":{"a":"' + b"x" * room + b'"}}'
    assert len(body) == 4 << 20
    target = Descriptor(mt.OCI_MANIFEST, digests.of(body), len(body))
    server.on("PUT", TAGGED, reply(201))
    server.on("HEAD", TAGGED, manifest(body))
    server.on("GET", f"/v2/app/manifests/{target.digest}", manifest(body))
    assert registry.push_manifest(ref, body) == target
    assert server.seen("PUT", TAGGED)[0].body == body
    assert registry.fetch_manifest(ref, registry.resolve(ref)) == body


def test_a_post_before_chunks_has_no_content_and_the_last_put_has_the_whole_digest(
    server: Scripted, registry: Registry, ref: Reference
) -> None:
    uploads = Uploads(server)
    registry.upload_blob(ref, LAYER, BLOB, chunk_size=4096)
    (post,) = server.seen("POST", Uploads.ROOT)
    assert (post.headers["content-length"], post.body) == ("0", b"")
    (put,) = server.seen("PUT", Uploads.PATH)
    assert parse_qs(urlsplit(put.target).query)["digest"] == [LAYER.digest]
    assert uploads.done == BLOB


def test_a_warning_changes_nothing_that_is_asked(
    server: Scripted, registry: Registry, ref: Reference
) -> None:
    warned = manifest().replace(b"\r\n", b'\r\nWarning: 299 - "delete everything"\r\n', 1)
    path = f"/v2/app/manifests/{TARGET.digest}"
    asked = []
    for answer in (manifest(), warned):
        server.requests.clear()
        server.on("HEAD", TAGGED, answer)
        server.on("GET", path, answer)
        assert registry.fetch_manifest(ref, registry.resolve(ref)) == BODY
        asked.append([(one.method, one.target, one.headers) for one in server.requests])
    assert asked[0] == asked[1]
    assert registry.warnings == ("delete everything",)


def test_the_algorithm_of_an_upload_is_told_where_it_is_not_sha256(
    server: Scripted, registry: Registry, ref: Reference
) -> None:
    layer = Descriptor(mt.OCI_LAYER, digests.of(BLOB, "sha512"), len(BLOB))
    server.on("POST", Uploads.ROOT, reply(202, Location=Uploads.PATH))
    server.on("PUT", Uploads.PATH, reply(201))
    assert registry.upload_blob(ref, layer, BLOB) is Outcome.UPLOADED
    (post,) = server.seen("POST", Uploads.ROOT)
    assert parse_qs(urlsplit(post.target).query) == {"digest-algorithm": ["sha512"]}


def test_a_referrer_that_is_deleted_is_taken_out_of_the_tag_of_its_subject(
    server: Scripted, registry: Registry, ref: Reference
) -> None:
    document = {**json.loads(BODY), "subject": TARGET.to_json()}
    body = json.dumps(document).encode()
    mine = Descriptor(mt.OCI_MANIFEST, digests.of(body), len(body))
    index = {"schemaVersion": 2, "mediaType": mt.OCI_INDEX, "manifests": [
        one.to_json() for one in (TARGET, mine)]}  # fmt: skip
    path = f"/v2/app/manifests/{mine.digest}"
    tag = f"/v2/app/manifests/{fallback_tag(TARGET.digest)}"
    server.on("HEAD", path, manifest(body))
    server.on("GET", path, manifest(body))
    server.on("DELETE", path, reply(202))
    server.on("GET", tag, reply(200, index, Content_Type=mt.OCI_INDEX))
    server.on("PUT", tag, reply(201))
    registry.delete(ref.with_digest(mine.digest))
    assert len(server.seen("DELETE", path)) == 1
    written = [json.loads(put.body)["manifests"] for put in server.seen("PUT", tag)]
    assert written == [[TARGET.to_json()]]
