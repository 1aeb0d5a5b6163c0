"""Media types: which is what."""

from __future__ import annotations

import pytest

from containerd_lite.oci import media_types as mt
from containerd_lite.oci.descriptor import Descriptor

OCI, DOCKER = "application/vnd.oci.image.", "application/vnd.docker."
ROOTFS = DOCKER + "image.rootfs."

# media type → kind, non-distributable
ROWS = [
    (OCI + "index.v1+json", "index", False),
    (DOCKER + "distribution.manifest.list.v2+json", "index", False),
    (OCI + "manifest.v1+json", "manifest", False),
    (DOCKER + "distribution.manifest.v2+json", "manifest", False),
    (OCI + "config.v1+json", "config", False),
    (DOCKER + "container.image.v1+json", "config", False),
    (OCI + "layer.v1.tar", "layer", False),
    (OCI + "layer.v1.tar+gzip", "layer", False),
    (OCI + "layer.v1.tar+zstd", "layer", False),
    (OCI + "layer.nondistributable.v1.tar", "layer", True),
    (OCI + "layer.nondistributable.v1.tar+gzip", "layer", True),
    (OCI + "layer.nondistributable.v1.tar+zstd", "layer", True),
    (ROOTFS + "diff.tar", "layer", False),
    (ROOTFS + "diff.tar.gzip", "layer", False),
    (ROOTFS + "diff.tar.zstd", "layer", False),
    (ROOTFS + "foreign.diff.tar.gzip", "layer", True),
    (OCI + "layer.v1.tar+gzip+encrypted", "layer", False),
    (OCI + "layer.nydus.blob.v1", "layer", False),
    (ROOTFS + "diff.tar.gzip+encrypted", "layer", False),
    ("application/vnd.erofs.layer.v1", "layer", False),
    ("application/vnd.erofs.layer.v1+zstd", "layer", False),
    ("application/vnd.erofs.layer.v12", "", False),
    (ROOTFS + "diff.tarball", "", False),
    (OCI + "layers.v1.tar", "", False),
    ("application/vnd.in-toto+json", "", False),
    ("application/octet-stream", "", False),
    ("", "", False),
]


@pytest.mark.parametrize(("media_type", "kind", "foreign"), ROWS)
def test_kinds(media_type: str, kind: str, foreign: bool) -> None:
    found = {
        "index": mt.is_index(media_type),
        "manifest": mt.is_manifest(media_type),
        "config": mt.is_config(media_type),
        "layer": mt.is_layer(media_type),
    }
    assert [name for name, holds in found.items() if holds] == ([kind] if kind else [])
    assert mt.is_non_distributable(media_type) is foreign
    for urls in ((), ("https://example.org/layer",)):
        layer = Descriptor(media_type, "sha256:" + "0" * 64, 1, urls=urls)
        assert layer.is_foreign is (foreign and bool(urls))


def test_archives_are_layers_that_anybody_can_read() -> None:
    layers = [media_type for media_type, kind, _ in ROWS if kind == "layer"]
    others = [one for one in layers if not mt.is_archive(one)]
    encrypted = [OCI + "layer.v1.tar+gzip+encrypted", ROOTFS + "diff.tar.gzip+encrypted"]
    erofs = ["application/vnd.erofs.layer.v1", "application/vnd.erofs.layer.v1+zstd"]
    assert others == [encrypted[0], OCI + "layer.nydus.blob.v1", encrypted[1], *erofs]
    assert not any(mt.is_archive(media_type) for media_type, kind, _ in ROWS if kind != "layer")


def test_schema1_and_attestations() -> None:
    assert mt.is_schema1(DOCKER + "distribution.manifest.v1+prettyjws")
    assert not mt.is_schema1(mt.DOCKER_MANIFEST)
    assert mt.is_attestation("application/vnd.in-toto+json")
    assert mt.is_attestation(mt.OCI_MANIFEST, {"vnd.docker.reference.type": "attestation-manifest"})
    assert not mt.is_attestation(mt.OCI_MANIFEST, {"vnd.docker.reference.type": "other"})


@pytest.mark.parametrize("text", ["a/b", "A/B", "a/b;charset=utf-8", " a/b ; x=y; z", "a/b;"])
def test_content_type_parameters_are_ignored(text: str) -> None:
    assert mt.bare(text) == "a/b"
