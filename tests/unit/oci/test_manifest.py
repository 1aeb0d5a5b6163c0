"""Manifests, indexes, descriptors: what is read, and what is refused."""

from __future__ import annotations

import base64
import json
import pickle

import pytest

from containerd_lite.errors import ContainerdError, DigestMismatch, InvalidArgument, SizeMismatch
from containerd_lite.oci import digest as digests
from containerd_lite.oci import media_types as mt
from containerd_lite.oci.descriptor import Descriptor
from containerd_lite.oci.manifest import Index, Manifest, parse
from containerd_lite.oci.platform import Platform

D = digests.of(b"x")
CONFIG = {"mediaType": mt.OCI_CONFIG, "digest": D, "size": 1}
LAYER = {"mediaType": mt.OCI_LAYER_GZIP, "digest": D, "size": 1}
CHILD = {"mediaType": mt.OCI_MANIFEST, "digest": D, "size": 1}
MANIFEST = {
    "schemaVersion": 2, "mediaType": mt.OCI_MANIFEST, "config": CONFIG, "layers": [LAYER],
}  # fmt: skip
INDEX = {"schemaVersion": 2, "mediaType": mt.OCI_INDEX, "manifests": [CHILD]}


def dump(value: object) -> bytes:
    return json.dumps(value).encode()


def change(value: dict[str, object], **changes: object) -> dict[str, object]:
    return {k: v for k, v in {**value, **changes}.items() if v != "-"}


def test_a_manifest() -> None:
    body = change(
        MANIFEST, annotations={"a": "b"}, subject=CHILD, artifactType="application/x", more={"x": 1}
    )
    found = parse(dump(body), mt.OCI_MANIFEST)
    assert isinstance(found, Manifest)
    assert found.config == Descriptor(mt.OCI_CONFIG, D, 1)
    assert found.layers == (Descriptor(mt.OCI_LAYER_GZIP, D, 1),)
    assert (found.annotations, found.artifact_type) == ({"a": "b"}, "application/x")
    assert found.subject is not None
    assert pickle.loads(pickle.dumps(found)) == found
    assert hash(found)


def test_an_index() -> None:
    platform = {"os": "linux", "architecture": "arm", "variant": "v7", "os.version": "1"}
    found = parse(dump(change(INDEX, manifests=[{**CHILD, "platform": platform}, CHILD])))
    assert isinstance(found, Index)
    assert found.manifests[0].platform == Platform("linux", "arm", "v7", "1")
    assert found.manifests[1].platform is None


def test_the_envelope_says_the_type_where_the_body_does_not() -> None:
    bare = dump(change(MANIFEST, mediaType="-"))
    assert parse(bare, mt.OCI_MANIFEST).media_type == mt.OCI_MANIFEST
    with pytest.raises(InvalidArgument):
        parse(bare)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (change(MANIFEST, manifests=[CHILD]), mt.OCI_MANIFEST),
        (change(INDEX, layers=[LAYER]), mt.OCI_INDEX),
        (change(INDEX, config=CONFIG), mt.OCI_INDEX),
        (change(INDEX, layers=None), mt.OCI_INDEX),
        (change(MANIFEST, manifests=[CHILD], mediaType="-"), mt.OCI_MANIFEST),
        (change(INDEX, layers=[LAYER], mediaType="-"), mt.OCI_INDEX),
        (MANIFEST, mt.OCI_INDEX),
        (INDEX, mt.OCI_MANIFEST),
        (MANIFEST, mt.DOCKER_MANIFEST),
        (change(MANIFEST, Layers=[LAYER]), mt.OCI_MANIFEST),
        (change(MANIFEST, MANIFESTS=[CHILD]), mt.OCI_MANIFEST),
        (change(MANIFEST, **{"layer\u017f": [LAYER]}), mt.OCI_MANIFEST),  # for Go a spelling of s
        (change(MANIFEST, fsLayers=[]), mt.OCI_MANIFEST),
    ],
)
def test_cve_2021_41190_ambiguous_documents(value: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidArgument):
        parse(dump(value), said)


BROKEN = [
    b"", b"null", b"[]", b'"x"', b"{", b"{}", b"\xff", b"\xef\xbb\xbf{}", b"[" * 200_000,
    b'{"a":' * 100_000, b'{"schemaVersion":NaN}', b'{"schemaVersion":' + b"9" * 100_000 + b"}",
    dump(MANIFEST).replace(b"{", b'{"schemaVersion":2,', 1),
    dump(MANIFEST).decode().encode("utf-16"),
    dump(change(MANIFEST, schemaVersion=1)), dump(change(MANIFEST, schemaVersion="2")),
    dump(change(MANIFEST, schemaVersion=True)), dump(change(MANIFEST, schemaVersion="-")),
    dump(change(MANIFEST, schemaVersion=2.0)),
    dump(change(MANIFEST, mediaType=7)), dump(change(MANIFEST, mediaType="text/plain")),
    dump(change(MANIFEST, config="-")), dump(change(MANIFEST, config=None)),
    dump(change(MANIFEST, config=[])), dump(change(MANIFEST, layers="-")),
    dump(change(MANIFEST, layers=None)), dump(change(MANIFEST, layers={})),
    dump(change(MANIFEST, layers=[None])), dump(change(MANIFEST, layers=["x"])),
    dump(change(MANIFEST, annotations=[])), dump(change(MANIFEST, annotations={"a": 1})),
    dump(change(MANIFEST, annotations={"a": "\ud800"})),
    dump(change(MANIFEST, subject="x")), dump(change(MANIFEST, artifactType="x")),
    dump(change(INDEX, manifests="-")), dump(change(INDEX, manifests=7)),
    b" " * (4 << 20) + dump(MANIFEST),
]  # fmt: skip


@pytest.mark.parametrize("body", BROKEN, ids=range(len(BROKEN)))
def test_broken_documents(body: bytes) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse(body)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("said", [mt.DOCKER_SCHEMA1, mt.DOCKER_SCHEMA1_SIGNED])
def test_schema1_is_called_by_its_name(said: str) -> None:
    with pytest.raises(InvalidArgument, match="schema 1"):
        parse(b'{"schemaVersion":1}', said)


@pytest.mark.parametrize(
    "changes",
    [
        {"digest": "-"}, {"digest": 7}, {"digest": "sha256:../canary"}, {"digest": ""},
        {"size": "-"}, {"size": -1}, {"size": "1"}, {"size": 1.0}, {"size": True},
        {"size": 1 << 63}, {"mediaType": "-"}, {"mediaType": ""}, {"mediaType": "x"},
        {"mediaType": "a/b; c"}, {"mediaType": "a/b\n"}, {"urls": "x"}, {"urls": [1]},
        {"annotations": {"a": []}}, {"platform": []}, {"platform": {"os": 1}}, {"data": 1},
        {"data": "%%"}, {"artifactType": 1}, {"Digest": D}, {"platform": {"OS": "linux"}},
        {"platform": {"os.features": "x"}},
    ],
)  # fmt: skip
def test_broken_descriptors(changes: dict[str, object]) -> None:
    with pytest.raises(InvalidArgument):
        Descriptor.from_json(change(LAYER, **changes))
    with pytest.raises(InvalidArgument):
        parse(dump(change(MANIFEST, layers=[change(LAYER, **changes)])))


def test_embedded_data_is_the_content() -> None:
    def data(body: bytes) -> dict[str, object]:
        return change(LAYER, data=base64.b64encode(body).decode())

    assert Descriptor.from_json(data(b"x")).data == b"x"
    with pytest.raises(DigestMismatch):
        Descriptor.from_json(data(b"y"))
    with pytest.raises(SizeMismatch):
        Descriptor.from_json(data(b"xy"))


def test_a_descriptor_both_ways() -> None:
    full = Descriptor(
        mt.OCI_LAYER,
        D,
        1,
        {"a": "b"},
        ("https://x/y",),
        Platform("linux", "arm", "v7"),
        b"x",
        "a/b",
    )
    value = json.loads(json.dumps(full.to_json()))
    assert Descriptor.from_json(value) == full
    assert list(Descriptor(mt.OCI_LAYER, D, 1).to_json()) == ["mediaType", "digest", "size"]
    assert pickle.loads(pickle.dumps(full)) == full
    assert hash(full)


def test_a_descriptor_cannot_be_made_wrong() -> None:
    for digest, size in (("sha256:x", 1), (D, -1)):
        with pytest.raises(ContainerdError):
            Descriptor(mt.OCI_LAYER, digest, size)
