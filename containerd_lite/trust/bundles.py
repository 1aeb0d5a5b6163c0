"""Sigstore bundles, and the same content in the annotations of cosign's older form.

Source: https://github.com/sigstore/protobuf-specs (protos/sigstore_bundle.proto), and cosign's
specs/SIGNATURE_SPEC.md.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import InvalidArgument
from ..oci.document import Document
from ..printable import quoted
from ..records import record
from .checkpoints import MAX_CHECKPOINT
from .dsse import Envelope
from .encoding import from_base64, from_hex, from_pem
from .merkle import HASH_SIZE
from .proto_json import check_fields, check_size, integer64, octets, one_of, required

#: The media types of bundles, with the second number of their versions.
MEDIA_TYPES: Mapping[str, int] = {
    "application/vnd.dev.sigstore.bundle+json;version=0.1": 1,
    "application/vnd.dev.sigstore.bundle+json;version=0.2": 2,
    "application/vnd.dev.sigstore.bundle+json;version=0.3": 3,
    "application/vnd.dev.sigstore.bundle.v0.3+json": 3,
}
#: The maximum size of a bundle in bytes. A log entry can repeat the payload of the bundle.
MAX_BUNDLE = 24 << 20
#: The maximum numbers of log entries and timestamps, as in sigstore-go, and of certificates.
MAX_ENTRIES, MAX_TIMESTAMPS, MAX_CERTIFICATES = 32, 32, 16
#: The maximum sizes in bytes.
MAX_CERTIFICATE, MAX_TIMESTAMP, MAX_SIGNATURE = 64 << 10, 64 << 10, 16 << 10
#: The maximum size of certificates in PEM, in bytes.
_MAX_PEM = 2 * MAX_CERTIFICATES * MAX_CERTIFICATE
#: A tree with 2⁶³ leaves has proofs of 63 hashes.
_MAX_HASHES = 63
_MAX_HINT = 256

#: The names of hashes in the JSON form, and in ``hashlib``.
HASHES: Mapping[str, str] = {"SHA2_256": "sha256", "SHA2_384": "sha384", "SHA2_512": "sha512"}
_MAX_DIGEST = 64
_LOG_ID_SIZE = 32

#: cosign's annotations of a layer: the signature of the layer's bytes, and the proofs about it.
SIGNATURE = "dev.cosignproject.cosign/signature"
CERTIFICATE = "dev.sigstore.cosign/certificate"
CHAIN = "dev.sigstore.cosign/chain"
ENTRY = "dev.sigstore.cosign/bundle"
TIMESTAMP = "dev.sigstore.cosign/rfc3161timestamp"


@record(frozen=True)
class InclusionProof:
    """Says that a tree of a transparency log contains an entry.

    Attributes:
        index: The index of the entry in the tree.
        size: The number of entries of the tree.
        root: The root hash of the tree.
        hashes: The hashes of the siblings, from the leaf to the root.
        checkpoint: The signed checkpoint of the tree.
    """

    index: int
    size: int
    root: bytes
    hashes: tuple[bytes, ...]
    checkpoint: str


@record(frozen=True)
class LogEntry:
    """An entry of a transparency log, as the signer states it. No part is verified yet.

    Attributes:
        log_id: The ID of the log, 32 bytes.
        index: The index of the entry in all trees of the log together.
        kind: The kind of the entry, such as ``"hashedrekord"``.
        version: The version of the kind.
        body: The entry.
        integrated_time: When the log got the entry, in seconds since 1970; 0 if not stated.
        promise: The log's signature of body, time and index; empty if absent.
        proof: The proof that the log contains the entry; ``None`` if absent.
    """

    log_id: bytes
    index: int
    kind: str
    version: str
    body: bytes
    integrated_time: int = 0
    promise: bytes = b""
    proof: InclusionProof | None = None


@record(frozen=True)
class Material:
    """The material to verify a signature. No part is verified yet.

    Attributes:
        certificates: The certificates in DER. The first is the signer's.
        key_hint: A hint at the signer's key, or ``""``.
        entries: Entries of transparency logs about the signature.
        timestamps: Timestamps of the signature (RFC 3161), in DER.
        chain: The certificates of issuers that came with the signature, in DER.

    Raises:
        InvalidArgument: There are too many entries or timestamps, or some occur twice.
    """

    certificates: tuple[bytes, ...] = ()
    key_hint: str = ""
    entries: tuple[LogEntry, ...] = ()
    timestamps: tuple[bytes, ...] = ()
    chain: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        for what, found, limit in (
            ("certificates", self.certificates, MAX_CERTIFICATES),
            ("log entries", self.entries, MAX_ENTRIES),
            ("timestamps", self.timestamps, MAX_TIMESTAMPS),
            ("issuers", self.chain, MAX_CERTIFICATES),
        ):
            if len(found) > limit:
                raise InvalidArgument(f"{len(found)} {what} are more than the {limit} allowed")
        for name in ("index", "body"):
            if len({(each.log_id, getattr(each, name)) for each in self.entries}) < len(
                self.entries
            ):
                raise InvalidArgument("a log entry occurs twice")
        if len(set(self.timestamps)) < len(self.timestamps):
            raise InvalidArgument("a timestamp occurs twice")


@record(frozen=True)
class MessageSignature:
    """The signature of an artifact that the bundle does not contain.

    Attributes:
        signature: The signature.
        hash_name: The hash of the stated digest (``"sha256"``), or ``""``.
        digest: The stated digest of the artifact, which is only a hint; empty if absent.
    """

    signature: bytes
    hash_name: str = ""
    digest: bytes = b""


@record(frozen=True)
class Bundle:
    """A Sigstore bundle of version 0.1, 0.2 or 0.3. No part is verified yet.

    Attributes:
        material: What is needed to verify the signature.
        envelope: The envelope with the signature and its payload; ``None`` if the bundle has a
            ``message_signature``.
        message_signature: The signature of an artifact; ``None`` if the bundle has an ``envelope``.
    """

    material: Material
    envelope: Envelope | None = None
    message_signature: MessageSignature | None = None

    @classmethod
    def parse(cls, body: bytes, what: str = "the bundle") -> Bundle:
        """Parse a bundle in JSON.

        Args:
            body: The JSON text, of at most 24 MiB.
            what: The name of the bundle in error messages.

        Raises:
            InvalidArgument: ``body`` is not a bundle of a known version, or has an unknown field.
        """
        document = Document.parse(body, what, limit=MAX_BUNDLE)
        media_type = document.text("mediaType", None)
        if media_type not in MEDIA_TYPES:
            raise InvalidArgument(f"{what} has the unknown type {quoted(media_type)}")
        contents = ("dsseEnvelope", "messageSignature")
        check_fields(document, ("mediaType", "verificationMaterial", *contents))
        content = one_of(document, contents)
        material = _read_material(
            required(document, "verificationMaterial"), MEDIA_TYPES[media_type]
        )
        if content == "messageSignature":
            return cls(material, None, _read_message_signature(required(document, content)))
        return cls(material, _read_envelope(required(document, content)))


def _read_envelope(document: Document) -> Envelope:
    check_fields(document, ("payload", "payloadType", "signatures"))
    document.each("signatures", lambda each: check_fields(each, ("sig", "keyid")))
    envelope = Envelope.read(document)
    if len(envelope.signatures) != 1:
        raise InvalidArgument(
            f"{document.what} has {len(envelope.signatures)} signatures instead of one"
        )
    check_size(envelope.signatures[0], MAX_SIGNATURE, f"{document.what}: signature")
    return envelope


def _read_message_signature(document: Document) -> MessageSignature:
    check_fields(document, ("messageDigest", "signature"))
    signature = octets(document, "signature", MAX_SIGNATURE)
    stated = document.document("messageDigest")
    if stated is None:
        return MessageSignature(signature)
    check_fields(stated, ("algorithm", "digest"))
    name = stated.text("algorithm", None)
    if name not in HASHES:
        raise InvalidArgument(f"{stated.what} has the unknown algorithm {quoted(name)}")
    return MessageSignature(signature, HASHES[name], octets(stated, "digest", _MAX_DIGEST))


def _read_material(document: Document, version: int) -> Material:
    certificate = "certificate" if version >= 3 else "x509CertificateChain"
    check_fields(document, (certificate, "publicKey", "tlogEntries", "timestampVerificationData"))
    certificates: tuple[bytes, ...] = ()
    hint = ""
    found = one_of(document, (certificate, "publicKey"))
    content = required(document, found)
    if found == "publicKey":
        hint = check_fields(content, ("hint",)).text("hint")
        check_size(hint.encode(), _MAX_HINT, f"{content.what}: hint")
    elif found == "certificate":
        certificates = (_read_certificate(content),)
    else:
        check_fields(content, ("certificates",))
        certificates = content.each("certificates", _read_certificate)
        if not certificates:
            raise InvalidArgument(f"{content.what} has no certificate")
    stamps = document.document("timestampVerificationData")
    return Material(
        certificates,
        hint,
        document.each("tlogEntries", lambda entry: _read_entry(entry, version)),
        check_fields(stamps, ("rfc3161Timestamps",)).each("rfc3161Timestamps", _read_timestamp)
        if stamps
        else (),
    )


def _read_certificate(document: Document) -> bytes:
    return octets(check_fields(document, ("rawBytes",)), "rawBytes", MAX_CERTIFICATE)


def _read_timestamp(document: Document) -> bytes:
    check_fields(document, ("signedTimestamp",))
    return octets(document, "signedTimestamp", MAX_TIMESTAMP)


def read_log_entry(document: Document) -> LogEntry:
    """Return a log entry in the form of bundles (v0.3).

    Raises:
        InvalidArgument: The document is not an entry with an inclusion proof.
    """
    return _read_entry(document, 3)


def _read_entry(document: Document, version: int) -> LogEntry:
    check_fields(
        document,
        (
            *("logIndex", "logId", "kindVersion", "integratedTime", "inclusionPromise"),
            *("inclusionProof", "canonicalizedBody"),
        ),
    )
    log = check_fields(required(document, "logId"), ("keyId",))
    kind = check_fields(required(document, "kindVersion"), ("kind", "version"))
    promise = document.document("inclusionPromise")
    proof = document.document("inclusionProof")
    entry = LogEntry(
        log_id=octets(log, "keyId", _LOG_ID_SIZE, size=_LOG_ID_SIZE),
        index=integer64(document, "logIndex"),
        kind=kind.text("kind", None),
        version=kind.text("version", None),
        body=octets(document, "canonicalizedBody", MAX_BUNDLE),
        integrated_time=integer64(document, "integratedTime"),
        promise=_read_promise(promise) if promise else b"",
        proof=_read_proof(proof) if proof else None,
    )
    if entry.proof is None and (version >= 2 or not entry.promise):
        raise InvalidArgument(f"{document.what} has no inclusion proof with a checkpoint")
    return entry


def _read_promise(document: Document) -> bytes:
    check_fields(document, ("signedEntryTimestamp",))
    return octets(document, "signedEntryTimestamp", MAX_SIGNATURE)


def _read_proof(document: Document) -> InclusionProof | None:
    """Return the proof; ``None`` if it has no checkpoint and so proves nothing."""
    check_fields(document, ("logIndex", "rootHash", "treeSize", "hashes", "checkpoint"))
    hashes = document.texts("hashes")
    if len(hashes) > _MAX_HASHES:
        raise InvalidArgument(f"{document.what} has more than the {_MAX_HASHES} hashes allowed")
    checkpoint = document.document("checkpoint")
    proof = InclusionProof(
        integer64(document, "logIndex"),
        integer64(document, "treeSize"),
        octets(document, "rootHash", HASH_SIZE, size=HASH_SIZE),
        tuple(_read_hash(text, document.what) for text in hashes),
        check_fields(checkpoint, ("envelope",)).text("envelope", None) if checkpoint else "",
    )
    check_size(proof.checkpoint.encode(), MAX_CHECKPOINT, f"{document.what}: checkpoint")
    return proof if proof.checkpoint else None


def _read_hash(text: str, what: str) -> bytes:
    return check_size(from_base64(text, what), HASH_SIZE, f"{what}: hash", size=HASH_SIZE)


def material_of_annotations(annotations: Mapping[str, str]) -> Material:
    """Return what cosign's annotations of a layer contain beside the signature.

    Args:
        annotations: The annotations of a layer that is a signature or an attestation.

    Raises:
        InvalidArgument: An annotation is malformed.
    """
    certificate, chain = annotations.get(CERTIFICATE), annotations.get(CHAIN)
    entry, stamp = annotations.get(ENTRY), annotations.get(TIMESTAMP)
    certificates = _certificates_of_pem(certificate, CERTIFICATE) if certificate else ()
    if len(certificates) > 1:
        raise InvalidArgument(f"{CERTIFICATE} has {len(certificates)} certificates instead of one")
    return Material(
        certificates,
        entries=(_read_cosign_entry(entry),) if entry else (),
        timestamps=(_read_cosign_timestamp(stamp),) if stamp else (),
        chain=_certificates_of_pem(chain, CHAIN) if chain else (),
    )


def _certificates_of_pem(text: str, what: str) -> tuple[bytes, ...]:
    body = check_size(text.encode("utf-8", "replace"), _MAX_PEM, what)
    found = from_pem(body, "CERTIFICATE", what)
    return tuple(check_size(each, MAX_CERTIFICATE, what) for each in found)


def _read_cosign_entry(text: str) -> LogEntry:
    body = text.encode("utf-8", "replace")
    document = Document.parse(body, ENTRY, limit=MAX_BUNDLE)
    check_fields(document, ("SignedEntryTimestamp", "Payload"))
    payload = required(document, "Payload")
    check_fields(payload, ("body", "integratedTime", "logIndex", "logID"))
    entry = octets(payload, "body", MAX_BUNDLE)
    kind = Document.parse(entry, f"{ENTRY}: body", limit=MAX_BUNDLE)
    return LogEntry(
        log_id=from_hex(payload.text("logID", None), _LOG_ID_SIZE, f"{ENTRY}: logID"),
        index=payload.integer("logIndex"),
        kind=kind.text("kind", None),
        version=kind.text("apiVersion", None),
        body=entry,
        integrated_time=payload.integer("integratedTime"),
        promise=octets(document, "SignedEntryTimestamp", MAX_SIGNATURE),
    )


def _read_cosign_timestamp(text: str) -> bytes:
    document = Document.parse(text.encode("utf-8", "replace"), TIMESTAMP)
    check_fields(document, ("SignedRFC3161Timestamp",))
    return octets(document, "SignedRFC3161Timestamp", MAX_TIMESTAMP)
