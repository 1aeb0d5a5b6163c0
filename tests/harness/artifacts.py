"""Attestations as BuildKit makes them, and artifacts that refer to an image.

As in `images`, the results depend only on the arguments.
"""

from __future__ import annotations

from .images import OCI_CONFIG, OCI_MANIFEST, Image, descriptor, digest_of, encode


def attested(index: Image) -> Image:
    """Add an attestation of each manifest to an index, with the annotations that BuildKit sets."""
    document = index.json()
    blobs = dict(index.blobs)
    for entry in list(document["manifests"]):
        statement = encode({"_type": "https://in-toto.io/Statement/v0.1", "of": entry["digest"]})
        layers = [descriptor("application/vnd.in-toto+json", statement)]
        config = encode({"architecture": "unknown", "os": "unknown", "rootfs": {}})
        manifest = encode(
            {
                "schemaVersion": 2,
                "mediaType": OCI_MANIFEST,
                "config": descriptor(OCI_CONFIG, config),
                "layers": layers,
            }
        )
        blobs |= {digest_of(blob): blob for blob in (statement, config, manifest)}
        annotations = {
            "vnd.docker.reference.type": "attestation-manifest",
            "vnd.docker.reference.digest": entry["digest"],
        }
        unknown = {"architecture": "unknown", "os": "unknown"}
        entry = descriptor(OCI_MANIFEST, manifest)
        document["manifests"].append({**entry, "annotations": annotations, "platform": unknown})
    blob = encode(document)
    del blobs[index.digest]
    return Image(descriptor(index.manifest["mediaType"], blob), {**blobs, digest_of(blob): blob})


def artifact(subject: Image, content: bytes, kind: str = "application/vnd.test.sbom") -> Image:
    """Make an artifact that refers to another image."""
    empty = b"{}"
    manifest = encode(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": kind,
            "config": descriptor("application/vnd.oci.empty.v1+json", empty),
            "layers": [descriptor(kind, content)],
            "subject": subject.manifest,
        }
    )
    blobs = {digest_of(blob): blob for blob in (empty, content, manifest)}
    return Image(descriptor(OCI_MANIFEST, manifest), blobs)
