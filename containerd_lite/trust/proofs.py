"""Proofs of when and by whom a signature was made: requests to services, and their answers.

Source: Rekor's openapi.yaml, rekor-tiles' api/proto/rekor/v2, and cosign's specs/BUNDLE_SPEC.md.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from ..errors import InvalidArgument
from ..oci.document import Document
from ..records import field, record
from .bundles import ENTRY, TIMESTAMP, LogEntry, read_log_entry
from .encoding import from_base64, from_hex, to_base64, to_pem
from .entry_bodies import LoggedSigner
from .keys import Algorithm, PublicKey
from .log_entries import check_about
from .proto_json import required
from .signed_content import SignedContent

#: The maximum size of a log's answer in bytes.
MAX_ANSWER = 4 << 20
_ID_SIZE = 32

#: The names of signature algorithms in Rekor v2, for signatures of SHA-256.
_KEY_DETAILS: Mapping[Algorithm, str] = {
    "ecdsa-p256": "PKIX_ECDSA_P256_SHA_256",
    "ecdsa-p384": "PKIX_ECDSA_P384_SHA_256",
    "ecdsa-p521": "PKIX_ECDSA_P521_SHA_256",
    "rsa": "PKIX_RSA_PKCS1V15_2048_SHA256",
    "ed25519": "PKIX_ED25519",
}


@record(frozen=True)
class SignatureKey:
    """What verifies a signature: a key, or the certificate of a key.

    Attributes:
        key: The key.
        certificate: The certificate in DER; empty for a key without one.
    """

    key: PublicKey
    certificate: bytes = b""

    def to_pem(self) -> bytes:
        """Return the certificate or the key in PEM."""
        if not self.certificate:
            return self.key.to_pem().encode()
        return to_pem(self.certificate, "CERTIFICATE").encode()


@record(frozen=True)
class Proofs:
    """What services have said about one signature.

    Attributes:
        entries: Entries of transparency logs, in the JSON form of bundles.
        timestamps: Timestamps (RFC 3161) in DER.
    """

    entries: tuple[Mapping[str, object], ...] = ()
    timestamps: tuple[bytes, ...] = field(default=(), repr=False)

    def to_annotations(self) -> dict[str, str]:
        """Return the annotations of cosign's tag form.

        Raises:
            InvalidArgument: An entry does not fit into this form.
        """
        found = {}
        for entry in self.entries:
            found[ENTRY] = json.dumps(_cosign_entry(entry))
        for timestamp in self.timestamps:
            stamp = {"SignedRFC3161Timestamp": to_base64(timestamp)}
            found[TIMESTAMP] = json.dumps(stamp)
        return found

    def to_material(self) -> dict[str, object]:
        """Return the fields of a bundle's verification material."""
        found: dict[str, object] = {}
        if self.entries:
            found["tlogEntries"] = [dict(entry) for entry in self.entries]
        if self.timestamps:
            stamps = [{"signedTimestamp": to_base64(each)} for each in self.timestamps]
            found["timestampVerificationData"] = {"rfc3161Timestamps": stamps}
        return found


def log_request(signed: SignedContent, verifier: SignatureKey, version: int) -> tuple[str, bytes]:
    """Return the path and the body of the request that adds a signature to Rekor.

    Args:
        signed: The signature, and what it is over.
        verifier: The key or certificate.
        version: 1 or 2.
    """
    signature = to_base64(signed.signature)
    digest = signed.digest_by("sha256")
    if version == 2:
        raw = verifier.certificate or verifier.key.der
        kind = "x509Certificate" if verifier.certificate else "publicKey"
        details = _KEY_DETAILS[verifier.key.algorithm]
        content = {
            "digest": to_base64(digest),
            "signature": {
                "content": signature,
                "verifier": {kind: {"rawBytes": to_base64(raw)}, "keyDetails": details},
            },
        }
        return "/api/v2/log/entries", _to_json({"hashedRekordRequestV002": content})
    pem, spec = to_base64(verifier.to_pem()), dict[str, object]()
    if signed.envelope is not None:
        # cosign 2 compares the hash of this text with the hash of the layer's bytes.
        envelope = signed.envelope.to_bytes().decode()
        kind, spec = "dsse", {"proposedContent": {"envelope": envelope, "verifiers": [pem]}}
    else:
        kind = "hashedrekord"
        spec = {
            "data": {"hash": {"algorithm": "sha256", "value": digest.hex()}},
            "signature": {"content": signature, "publicKey": {"content": pem}},
        }
    body = {"apiVersion": "0.0.1", "kind": kind, "spec": spec}
    return "/api/v1/log/entries", _to_json(body)


def check_logged(entry: LogEntry, signed: SignedContent, verifier: SignatureKey) -> None:
    """Verify that a log's answer is about the signature that was sent.

    Raises:
        InvalidArgument: The body of the entry is malformed.
        SignatureError: The entry is about another signature.
    """
    is_certificate = bool(verifier.certificate)
    signer = LoggedSigner(verifier.certificate or verifier.key.der, is_certificate=is_certificate)
    check_about(entry, signed, signer)


def read_log_answer(body: bytes, version: int) -> tuple[Mapping[str, object], LogEntry]:
    """Return the entry in Rekor's answer: in the JSON form of bundles, and parsed.

    Raises:
        InvalidArgument: The answer is not an entry.
    """
    document = Document.parse(body, "the log's answer", limit=MAX_ANSWER)
    entry = dict(document.fields) if version == 2 else _entry_of_v1(document)
    return entry, read_log_entry(Document.of(entry, document.what))


def _entry_of_v1(document: Document) -> dict[str, object]:
    """Return the entry in an answer of Rekor v1 in the JSON form of bundles."""
    if len(document.fields) != 1:
        raise InvalidArgument(f"{document.what} has {len(document.fields)} entries")
    (found,) = document.fields.values()
    entry = Document.of(found, document.what)
    verification = required(entry, "verification")
    proof = required(verification, "inclusionProof")
    body = from_base64(entry.text("body", None), f"{entry.what}: body")
    kind = Document.parse(body, f"{entry.what}: body")

    def hashed(text: str) -> str:
        return to_base64(from_hex(text, hashlib.sha256().digest_size, proof.what))

    return {
        "logIndex": str(entry.integer("logIndex")),
        "logId": {"keyId": to_base64(from_hex(entry.text("logID"), _ID_SIZE, entry.what))},
        "kindVersion": {"kind": kind.text("kind"), "version": kind.text("apiVersion")},
        "integratedTime": str(entry.integer("integratedTime")),
        "inclusionPromise": {"signedEntryTimestamp": verification.text("signedEntryTimestamp")},
        "inclusionProof": {
            "logIndex": str(proof.integer("logIndex")),
            "rootHash": hashed(proof.text("rootHash")),
            "treeSize": str(proof.integer("treeSize")),
            "hashes": [hashed(text) for text in proof.texts("hashes")],
            "checkpoint": {"envelope": proof.text("checkpoint")},
        },
        "canonicalizedBody": entry.text("body"),
    }


def _cosign_entry(entry: Mapping[str, object]) -> dict[str, object]:
    """Return an entry of Rekor v1 as cosign's annotation has it."""
    document = Document.of(dict(entry), "the log entry")
    promise = document.document("inclusionPromise")
    if promise is None:
        raise InvalidArgument(
            "an entry of Rekor 2 does not fit into cosign's tag form",
            remedy='Pass form="referrer", or use Rekor 1',
        )
    log_id = from_base64(required(document, "logId").text("keyId"), "the log's ID")
    return {
        "SignedEntryTimestamp": promise.text("signedEntryTimestamp"),
        "Payload": {
            "body": document.text("canonicalizedBody"),
            "integratedTime": int(document.text("integratedTime")),
            "logIndex": int(document.text("logIndex")),
            "logID": log_id.hex(),
        },
    }


def _to_json(value: Mapping[str, object]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
