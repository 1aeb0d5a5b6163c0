"""Makes signatures as cosign 2 stores them, with keys of the tests' own, without cosign.

This module does not use the package under test.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence

from .images import (
    OCI_CONFIG,
    OCI_MANIFEST,
    Image,
    Json,
    descriptor,
    digest_of,
    encode,
)
from .keypairs import KeyPair

SIMPLE_SIGNING = "application/vnd.dev.cosign.simplesigning.v1+json"
DSSE = "application/vnd.dsse.envelope.v1+json"
BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
SIGNATURE = "dev.cosignproject.cosign/signature"


def tag(digest: str, suffix: str = ".sig") -> str:
    """Return the tag of an image's signatures."""
    return digest.replace(":", "-") + suffix


def payload(digest: str, reference: str = "", **optional: str) -> bytes:
    """Return what a signature in a tag is over."""
    critical = {
        "identity": {"docker-reference": reference},
        "image": {"docker-manifest-digest": digest},
        "type": "cosign container image signature",
    }
    return encode({"critical": critical, "optional": optional or None})


def layer(body: bytes, key: KeyPair, **annotations: str) -> tuple[Json, bytes]:
    """Return the descriptor and the content of a payload's signature."""
    signature = base64.b64encode(key.sign(body)).decode()
    return {
        **descriptor(SIMPLE_SIGNING, body),
        "annotations": {SIGNATURE: signature, **annotations},
    }, body


def statement(digest: str, kind: str, predicate: Json, **fields: object) -> bytes:
    """Return an in-toto statement about an image."""
    subject = {"name": "app", "digest": {"sha256": digest.partition(":")[2]}}
    return encode(
        {
            "_type": "https://in-toto.io/Statement/v0.1",
            "predicateType": kind,
            "subject": [subject],
            "predicate": predicate,
            **fields,
        }
    )


def envelope(
    body: bytes,
    *keys: KeyPair,
    kind: str = "application/vnd.in-toto+json",
    hash_name: str = "sha256",
) -> bytes:
    """Return a DSSE envelope of a statement."""
    encoded = b"DSSEv1 %d %b %d %b" % (len(kind), kind.encode(), len(body), body)
    return encode(
        {
            "payloadType": kind,
            "payload": base64.b64encode(body).decode(),
            "signatures": [
                {"keyid": "", "sig": base64.b64encode(key.sign(encoded, hash_name)).decode()}
                for key in keys
            ],
        }
    )


def attestation(body: bytes, *keys: KeyPair) -> tuple[Json, bytes]:
    """Return the descriptor and the content of an attestation in a tag."""
    content = envelope(body, *keys)
    return {**descriptor(DSSE, content), "annotations": {SIGNATURE: ""}}, content


def bundle(body: bytes, key: KeyPair) -> tuple[Json, bytes]:
    """Return the descriptor and the content of a bundle with a statement, signed by a key."""
    document = {
        "mediaType": BUNDLE,
        "verificationMaterial": {"publicKey": {}},
        "dsseEnvelope": json.loads(envelope(body, key)),
    }
    content = encode(document)
    return descriptor(BUNDLE, content), content


def manifest(
    layers: Sequence[tuple[Json, bytes]], *, subject: Json | None = None, **fields: object
) -> Image:
    """Return the manifest of signatures, as an image to push."""
    config = encode({"architecture": "", "os": "", "config": {}, "rootfs": {"type": "layers"}})
    body = encode(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": descriptor(OCI_CONFIG, config),
            "layers": [found for found, _ in layers],
            **({"subject": subject} if subject else {}),
            **fields,
        }
    )
    blobs = {digest_of(content): content for _, content in layers}
    blobs |= {digest_of(config): config, digest_of(body): body}
    return Image(descriptor(OCI_MANIFEST, body), blobs)


def signed(image: Image, *keys: KeyPair, reference: str = "", **optional: str) -> Image:
    """Return the manifest with the signatures of an image, one for each key."""
    body = payload(image.digest, reference, **optional)
    return manifest([layer(body, key) for key in keys])


def referrer(
    image: Image, layers: Sequence[tuple[Json, bytes]], artifact_type: str, **fields: object
) -> Image:
    """Return a manifest of signatures that refers to an image."""
    found = {name: image.manifest[name] for name in ("mediaType", "digest", "size")}
    return manifest(layers, subject=found, artifactType=artifact_type, **fields)
