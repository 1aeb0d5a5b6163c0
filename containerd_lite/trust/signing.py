"""Makes signatures and attestations, in the forms that cosign and skopeo read.

All signatures are of SHA-256. For ECDSA keys on P-384 and P-521, Sigstore's bundles could use
SHA-384 and SHA-512, but cosign 2.5 and 3.1 verify bundles by such keys with SHA-256 only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timezone

from ..errors import InvalidArgument
from ..oci import digest as digests
from ..oci import media_types
from ..oci.descriptor import Descriptor
from ..records import field, record
from .bundles import CERTIFICATE, CHAIN, SIGNATURE
from .dsse import IN_TOTO, Envelope
from .encoding import from_base64, to_base64, to_pem
from .keys import PublicKey
from .proofs import Proofs
from .search import BUNDLE, DSSE_ENVELOPE, MAX_LAYERS, SIMPLE_SIGNING
from .signed_content import SignedContent
from .signers import Signer
from .simple_signing import PAYLOAD_TYPE
from .statements import COSIGN_SIGN, MAX_STATEMENT, STATEMENT_TYPES

#: The words that cosign accepts for the types of predicates, and the types.
PREDICATE_TYPES: Mapping[str, str] = {
    "slsaprovenance": "https://slsa.dev/provenance/v0.2",
    "slsaprovenance02": "https://slsa.dev/provenance/v0.2",
    "slsaprovenance1": "https://slsa.dev/provenance/v1",
    "spdx": "https://spdx.dev/Document",
    "spdxjson": "https://spdx.dev/Document",
    "cyclonedx": "https://cyclonedx.org/bom",
    "link": "https://in-toto.io/Link/v1",
    "vuln": "https://cosign.sigstore.dev/attestation/vuln/v1",
    "openvex": "https://openvex.dev/ns",
}
_EMPTY_JSON = b"{}"


@record(frozen=True)
class Blob:
    """A blob to push.

    Attributes:
        descriptor: The descriptor of the blob.
        body: The content.
    """

    descriptor: Descriptor
    body: bytes

    @classmethod
    def of(cls, media_type: str, body: bytes, annotations: Mapping[str, str] | None = None) -> Blob:
        """Return a blob with its descriptor."""
        descriptor = Descriptor(media_type, digests.of(body), len(body), dict(annotations or {}))
        return cls(descriptor, body)


@record(frozen=True)
class SignatureManifest:
    """A manifest that holds signatures, with the blobs to push before it.

    Attributes:
        manifest: The manifest.
        blobs: The blobs.
    """

    manifest: Blob
    blobs: tuple[Blob, ...]


@record(frozen=True)
class SignedPayload:
    """A signature in cosign's tag form.

    Attributes:
        payload: What is signed.
        signature: The signature.
        signer: The key, with its certificates.
        proofs: What services have said about the signature.
    """

    payload: bytes
    signature: bytes
    signer: Signer
    proofs: Proofs = field(default_factory=Proofs)

    @property
    def content(self) -> SignedContent:
        """The signature, and what it is over."""
        return SignedContent(self.signature, self.payload, "sha256")

    def to_layer(self) -> Blob:
        """Return the layer of cosign's tag for signatures."""
        annotations = {
            SIGNATURE: to_base64(self.signature),
            **_certificate_annotations(self.signer),
            **self.proofs.to_annotations(),
        }
        return Blob.of(SIMPLE_SIGNING, self.payload, annotations)


@record(frozen=True)
class SignedStatement:
    """A signed statement about an image.

    Attributes:
        predicate_type: The type of the statement's predicate.
        envelope: The DSSE envelope with the statement.
        signer: The key, with its certificates.
        proofs: What services have said about the signature.
    """

    predicate_type: str
    envelope: Envelope
    signer: Signer
    proofs: Proofs = field(default_factory=Proofs)

    @property
    def content(self) -> SignedContent:
        """The signature, and what it is over."""
        (signature,) = self.envelope.signatures
        return SignedContent(signature, self.envelope.signed_bytes, "sha256", self.envelope)

    def to_layer(self) -> Blob:
        """Return the layer of cosign's tag for attestations."""
        annotations = {
            SIGNATURE: "",
            "predicateType": self.predicate_type,
            **_certificate_annotations(self.signer),
            **self.proofs.to_annotations(),
        }
        return Blob.of(DSSE_ENVELOPE, self.envelope.to_bytes(), annotations)

    def to_bundle(self) -> bytes:
        """Return a Sigstore bundle (v0.3)."""
        key: dict[str, object] = {"publicKey": {"hint": self.signer.public.hint}}
        if self.signer.certificates:
            raw = to_base64(self.signer.certificates[0])
            key = {"certificate": {"rawBytes": raw}}
        return _to_json(
            {
                "mediaType": BUNDLE,
                "verificationMaterial": {**key, **self.proofs.to_material()},
                "dsseEnvelope": self.envelope.to_json(),
            }
        )

    def to_referrer(self, subject: Descriptor, now: datetime) -> SignatureManifest:
        """Return a manifest with the bundle that refers to the image.

        Args:
            subject: The image's manifest or index.
            now: The time of the signature, for the annotations.
        """
        layer = Blob.of(BUNDLE, self.to_bundle())
        config = Blob.of(media_types.OCI_EMPTY, _EMPTY_JSON)
        created = now.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        manifest = {
            "schemaVersion": 2,
            "mediaType": media_types.OCI_MANIFEST,
            "artifactType": BUNDLE,
            "config": config.descriptor.to_json(),
            "layers": [layer.descriptor.to_json()],
            "subject": Descriptor(subject.media_type, subject.digest, subject.size).to_json(),
            "annotations": {
                "dev.sigstore.bundle.content": "dsse-envelope",
                "dev.sigstore.bundle.predicateType": self.predicate_type,
                "org.opencontainers.image.created": created,
            },
        }
        body = Blob.of(media_types.OCI_MANIFEST, _to_json(manifest))
        return SignatureManifest(body, (config, layer))


def _certificate_annotations(signer: Signer) -> dict[str, str]:
    """Return the annotations of cosign's tag form with the certificate and its chain."""
    if not signer.certificates:
        return {}
    leaf, *chain = (to_pem(each, "CERTIFICATE") for each in signer.certificates)
    return {CERTIFICATE: leaf, CHAIN: "".join(chain)}


def sign_payload(
    signer: Signer, reference: str, digest: str, annotations: Mapping[str, str]
) -> SignedPayload:
    """Sign an image in cosign's tag form.

    Args:
        signer: The key.
        reference: The name of the image, which becomes a part of what is signed.
        digest: The digest of the image's manifest or index.
        annotations: Further parts of what is signed.
    """
    payload = _to_json(
        {
            "critical": {
                "identity": {"docker-reference": reference},
                "image": {"docker-manifest-digest": digest},
                "type": PAYLOAD_TYPE,
            },
            "optional": dict(annotations) or None,
        }
    )
    return SignedPayload(payload, signer.sign(payload), signer)


def sign_statement(
    signer: Signer,
    digest: str,
    predicate_type: str = COSIGN_SIGN,
    predicate: Mapping[str, object] | None = None,
    *,
    annotations: Mapping[str, str] | None = None,
) -> SignedStatement:
    """Sign an in-toto statement about an image.

    Args:
        signer: The key.
        digest: The digest of the image's manifest or index.
        predicate_type: The type of the predicate. Default: a signature without a further statement.
        predicate: What is stated. Default: nothing.
        annotations: The annotations of the statement's subject.

    Raises:
        InvalidArgument: ``predicate`` cannot be written as JSON, or is too large.
    """
    algorithm, _, encoded = digests.validate(digest).partition(":")
    subject: dict[str, object] = {"digest": {algorithm: encoded}}
    if annotations:
        subject["annotations"] = dict(annotations)
    statement = {
        "_type": STATEMENT_TYPES[0],
        "subject": [subject],
        "predicateType": predicate_type,
        "predicate": dict(predicate or {}),
    }
    payload = _to_json(statement)
    if len(payload) > MAX_STATEMENT:
        raise InvalidArgument(
            f"the statement has {len(payload)} bytes; at most {MAX_STATEMENT} are allowed"
        )
    unsigned = Envelope(payload, IN_TOTO, ())
    signature = signer.sign(unsigned.signed_bytes)
    envelope = Envelope(unsigned.payload, IN_TOTO, (signature,))
    return SignedStatement(predicate_type, envelope, signer)


@record(frozen=True)
class TagManifest:
    """The manifest under one of cosign's tags, to which signatures are appended.

    Attributes:
        layers: The descriptors of the layers that it has.
    """

    layers: tuple[Descriptor, ...] = field(default=())

    def has(self, layer: Blob, key: PublicKey) -> bool:
        """Return whether it has a signature of the same payload by the same key."""
        for found in self.layers:
            if found.digest == layer.descriptor.digest:
                text = found.annotations.get(SIGNATURE, "")
                if text == layer.descriptor.annotations[SIGNATURE]:
                    return True
                if _verifies(key, text, layer.body):
                    return True
        return False

    def with_layer(self, layer: Blob) -> SignatureManifest:
        """Return a manifest with a further layer.

        Raises:
            InvalidArgument: There are too many layers.
        """
        layers = [*self.layers, layer.descriptor]
        if len(layers) > MAX_LAYERS:
            raise InvalidArgument(
                f"the tag has {len(self.layers)} signatures; {MAX_LAYERS} are allowed",
                remedy="Delete old signatures",
            )
        config = Blob.of(media_types.OCI_CONFIG, _to_json(_config(layers)))
        manifest = {
            "schemaVersion": 2,
            "mediaType": media_types.OCI_MANIFEST,
            "config": config.descriptor.to_json(),
            "layers": [each.to_json() for each in layers],
        }
        body = Blob.of(media_types.OCI_MANIFEST, _to_json(manifest))
        return SignatureManifest(body, (config, layer))


def _config(layers: list[Descriptor]) -> dict[str, object]:
    """Return an image config that lists the layers, as registries may demand it."""
    rootfs = {"type": "layers", "diff_ids": [each.digest for each in layers]}
    return {"architecture": "", "os": "", "config": {}, "rootfs": rootfs}


def _verifies(key: PublicKey, text: str, message: bytes) -> bool:
    try:
        signature = from_base64(text, "the signature")
    except InvalidArgument:
        return False
    return key.verifies(signature, message)


def _to_json(value: Mapping[str, object]) -> bytes:
    try:
        return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidArgument(f"the predicate cannot be written as JSON ({error})") from None
