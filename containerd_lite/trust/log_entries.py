"""Entries of transparency logs: what they say, and whether the log has them.

The logs are Rekor v1 and v2. Source: https://github.com/sigstore/rekor (pkg/types), and
https://github.com/sigstore/rekor-tiles (api/proto/rekor/v2).
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from ..errors import InvalidArgument, SignatureError
from ..oci.document import Document, quoted
from ..records import record
from .bundles import HASHES, MAX_BUNDLE, MAX_CERTIFICATE, MAX_SIGNATURE, LogEntry
from .checkpoints import LogCheckpoint
from .encoding import from_base64, from_hex, from_pem
from .merkle import leaf_hash, root_hash
from .proto_json import check_fields, octets, one_of, required

if TYPE_CHECKING:
    from .signed_content import SignedContent
    from .trust_root import TransparencyLog

_MAX_DIGEST = 64
_DIGEST_SIZES = {"sha256": 32, "sha384": 48, "sha512": 64}
#: The latest time that an entry can state, 31 December 9999, in seconds since 1970.
_LATEST = 253402300799


@record(frozen=True)
class LoggedSigner:
    """The key or the certificate that an entry is about.

    Attributes:
        der: The key or certificate in DER.
        is_certificate: Whether ``der`` is a certificate.
    """

    der: bytes
    is_certificate: bool


@record(frozen=True)
class EntryContent:
    """What an entry says.

    Attributes:
        signatures: The signatures, each with its signer.
        hash_name: The hash of ``digest`` (``"sha256"``).
        digest: The digest of the signed bytes, or of the payload of an envelope.
        is_of_payload: Whether ``digest`` is of the payload of an envelope.
        payload: The payload of the envelope, if the entry contains it.
        payload_type: The type of the payload, if the entry contains it.
    """

    signatures: tuple[tuple[bytes, LoggedSigner], ...]
    hash_name: str
    digest: bytes
    is_of_payload: bool = False
    payload: bytes | None = None
    payload_type: str | None = None


@record(frozen=True)
class CheckedEntry:
    """A verified entry.

    Attributes:
        log_id: The ID of the log.
        index: The index of the entry in the log, as the log signed it.
        time: When the log got the entry; ``None`` if the log did not sign a time.
    """

    log_id: bytes
    index: int
    time: datetime | None


def check_about(entry: LogEntry, signed: SignedContent, signer: LoggedSigner) -> None:
    """Verify that an entry is about this signature, this signer and this artifact.

    Otherwise, an entry of another signature could stand in for the entry of this signature
    (CVE-2022-36056, CVE-2026-22703).

    Raises:
        InvalidArgument: The body of the entry is malformed or of an unknown kind.
        SignatureError: The entry is about another signature, signer or artifact.
    """
    content = read_content(entry)
    if (signed.signature, signer) not in content.signatures:
        same = any(signature == signed.signature for signature, _ in content.signatures)
        raise SignatureError(
            f"the log entry is about another {'key or certificate' if same else 'signature'}"
        )
    if not _is_same_artifact(content, signed):
        raise SignatureError("the log entry is about another artifact")


def _is_same_artifact(content: EntryContent, signed: SignedContent) -> bool:
    if not content.is_of_payload:
        return content.digest == signed.digest_by(content.hash_name)
    envelope = signed.envelope
    return (
        envelope is not None
        and content.digest == hashlib.new(content.hash_name, envelope.payload).digest()
        and content.payload in (None, envelope.payload)
        and content.payload_type in (None, envelope.payload_type)
        and {signature for signature, _ in content.signatures} <= set(envelope.signatures)
    )


# ---- what the log signed ------------------------------------------------------------------------


def promised_time(entry: LogEntry, logs: Sequence[TransparencyLog]) -> datetime | None:
    """Return the time that the log signed together with the entry (Rekor v1).

    Args:
        entry: The entry.
        logs: The logs of the trusted root.

    Returns:
        The time; ``None`` if the entry has no signature by the log. A time without this signature
        proves nothing.

    Raises:
        InvalidArgument: The time is out of range, or Rekor v2 cannot have signed it.
        SignatureError: The signature or the log is not valid.
    """
    if (entry.kind, entry.version) in _VERSION_2 and (entry.promise or entry.integrated_time):
        raise InvalidArgument("the log entry has a time, which logs of Rekor v2 do not sign")
    if not entry.promise:
        return None
    if entry.integrated_time > _LATEST:
        raise InvalidArgument("the time of the log entry is out of range")
    time = datetime.fromtimestamp(entry.integrated_time, timezone.utc)
    signed = {
        "body": base64.b64encode(entry.body).decode(),
        "integratedTime": entry.integrated_time,
        "logID": entry.log_id.hex(),
        "logIndex": entry.index,
    }
    message = json.dumps(signed, separators=(",", ":"), sort_keys=True).encode()

    def check(log: TransparencyLog) -> None:
        if not log.verifies(entry.promise, message):
            raise SignatureError("the log did not sign the time of the log entry")
        _check_period(log, [time])

    _check_by_log(entry, logs, check)
    return time


def check_included(
    entry: LogEntry, logs: Sequence[TransparencyLog], times: Sequence[datetime]
) -> CheckedEntry:
    """Verify that a log has an entry, or at least promised to have it.

    Args:
        entry: The entry. Its promise was verified by ``promised_time``.
        logs: The logs of the trusted root.
        times: The times at which the signature existed. The log must have been in use at one of
            them. If there are none, the log must be one whose use does not end.

    Raises:
        InvalidArgument: The checkpoint is malformed.
        SignatureError: The proof, the checkpoint or the log is not valid.
    """
    time = datetime.fromtimestamp(entry.integrated_time, timezone.utc) if entry.promise else None
    proof = entry.proof
    if proof is None:
        if time is None or (entry.kind, entry.version) in _VERSION_2:
            raise SignatureError("the log entry has no inclusion proof")
        return CheckedEntry(entry.log_id, entry.index, time)
    is_version_2 = (entry.kind, entry.version) in _VERSION_2
    if is_version_2 and entry.index != proof.index:
        raise SignatureError("the log entry and its inclusion proof have different indexes")
    checkpoint = LogCheckpoint.parse(proof.checkpoint)

    def check(log: TransparencyLog) -> None:
        _check_checkpoint(checkpoint, log)
        _check_period(log, times)

    _check_by_log(entry, logs, check)
    if (checkpoint.size, checkpoint.root) != (proof.size, proof.root):
        raise SignatureError("the inclusion proof does not belong to its checkpoint")
    if root_hash(leaf_hash(entry.body), proof.index, proof.size, proof.hashes) != proof.root:
        raise SignatureError("the log does not contain the log entry")
    # Without a promise, the log signed only the index in this tree. In Rekor v1, a log can have
    # earlier trees, and the entry's own index counts their entries, too.
    return CheckedEntry(entry.log_id, entry.index if time else proof.index, time)


def _check_by_log(
    entry: LogEntry, logs: Sequence[TransparencyLog], check: Callable[[TransparencyLog], None]
) -> None:
    """Call ``check`` with the log of the entry. If several have this ID, one must pass."""
    error = SignatureError(f"the trusted root does not have the log {entry.log_id.hex()}")
    for log in logs:
        if log.id == entry.log_id:
            try:
                return check(log)
            except SignatureError as found:
                error = found
    raise error


def _check_period(log: TransparencyLog, times: Sequence[datetime]) -> None:
    if not times and log.period.end is not None:
        raise SignatureError(f"nothing proves that the log {log.base_url} was in use")
    if times and not any(log.period.covers(time) for time in times):
        raise SignatureError(f"the log {log.base_url} was not in use at the time of the signature")


def _check_checkpoint(checkpoint: LogCheckpoint, log: TransparencyLog) -> None:
    # The names of Rekor v1 are not compared with the URL: by default, all its instances have the
    # name of the public instance. The key decides.
    if not checkpoint.has_tree_id and checkpoint.name not in log.names:
        raise SignatureError(
            f"the checkpoint is by {quoted(checkpoint.origin)}, not by {log.base_url}"
        )
    own = [
        each.signature
        for each in checkpoint.signatures
        if (each.name, each.hint) == (checkpoint.name, log.hint)
    ]
    if not own or not all(log.verifies(each, checkpoint.signed_bytes) for each in own):
        raise SignatureError(f"the log {log.base_url} did not sign the checkpoint")


# ---- the kinds of entries -----------------------------------------------------------------------


def read_content(entry: LogEntry) -> EntryContent:
    """Return what an entry says.

    Raises:
        InvalidArgument: The body of the entry is malformed or of an unknown kind.
    """
    what = "the log entry"
    read = _KINDS.get((entry.kind, entry.version))
    if read is None:
        raise InvalidArgument(f"{what} has the unknown kind {quoted(entry.kind)} {entry.version}")
    document = Document.parse(entry.body, what, limit=MAX_BUNDLE)
    check_fields(document, ("apiVersion", "kind", "spec"))
    stated = document.text("kind", None), document.text("apiVersion", None)
    if stated != (entry.kind, entry.version):
        raise InvalidArgument(f"{what} is of the kind {' '.join(stated)}, not {entry.kind}")
    return read(required(document, "spec"))


def _read_hashedrekord_1(spec: Document) -> EntryContent:
    check_fields(spec, ("data", "signature"))
    data = check_fields(required(spec, "data"), ("hash",))
    signature = check_fields(required(spec, "signature"), ("content", "publicKey"))
    key = check_fields(required(signature, "publicKey"), ("content",))
    signer = _signer_of_pem(octets(key, "content", 2 * MAX_CERTIFICATE), key.what)
    return EntryContent(
        ((octets(signature, "content", MAX_SIGNATURE), signer),),
        *_read_hash_1(required(data, "hash")),
    )


def _read_dsse_1(spec: Document) -> EntryContent:
    # The hash of the envelope depends on its spacing, so it is not compared.
    check_fields(spec, ("envelopeHash", "payloadHash", "signatures"))

    def read(document: Document) -> tuple[bytes, LoggedSigner]:
        check_fields(document, ("signature", "verifier"))
        pem = octets(document, "verifier", 2 * MAX_CERTIFICATE)
        return (
            octets(document, "signature", MAX_SIGNATURE),
            _signer_of_pem(pem, document.what),
        )

    found = _read_hash_1(required(spec, "payloadHash"))
    return EntryContent(spec.each("signatures", read), *found, is_of_payload=True)


def _read_intoto_2(spec: Document) -> EntryContent:
    """Read an entry whose payload and signatures are base64 of base64."""
    content = check_fields(required(spec, "content"), ("envelope", "hash", "payloadHash"))
    check_fields(spec, ("content",))
    envelope = required(content, "envelope")
    check_fields(envelope, ("payload", "payloadType", "signatures"))

    def inner(document: Document, name: str, limit: int) -> bytes:
        text = octets(document, name, limit).decode("ascii", "replace")
        return from_base64(text, f"{document.what}: {name}")

    def read(document: Document) -> tuple[bytes, LoggedSigner]:
        check_fields(document, ("keyid", "publicKey", "sig"))
        pem = octets(document, "publicKey", 2 * MAX_CERTIFICATE)
        return inner(document, "sig", MAX_SIGNATURE), _signer_of_pem(pem, document.what)

    found = _read_hash_1(required(content, "payloadHash"))
    return EntryContent(
        envelope.each("signatures", read),
        *found,
        is_of_payload=True,
        payload=inner(envelope, "payload", MAX_BUNDLE) if envelope.has("payload") else None,
        payload_type=envelope.text("payloadType", None),
    )


def _read_hash_1(document: Document) -> tuple[str, bytes]:
    check_fields(document, ("algorithm", "value"))
    name = document.text("algorithm", None)
    if name not in _DIGEST_SIZES:
        raise InvalidArgument(f"{document.what} has the unknown algorithm {quoted(name)}")
    return name, from_hex(document.text("value", None), _DIGEST_SIZES[name], document.what)


def _signer_of_pem(pem: bytes, what: str) -> LoggedSigner:
    is_certificate = b"-----BEGIN CERTIFICATE-----" in pem
    blocks = from_pem(pem, "CERTIFICATE" if is_certificate else "PUBLIC KEY", what)
    if len(blocks) != 1:
        raise InvalidArgument(f"{what} has {len(blocks)} keys or certificates instead of one")
    return LoggedSigner(blocks[0], is_certificate)


def _read_hashedrekord_2(spec: Document) -> EntryContent:
    check_fields(spec, ("hashedRekordV002",))
    content = check_fields(required(spec, "hashedRekordV002"), ("data", "signature"))
    return EntryContent(
        (_read_signature_2(required(content, "signature")),),
        *_read_hash_2(required(content, "data")),
    )


def _read_dsse_2(spec: Document) -> EntryContent:
    """Read an entry of a kind that only older releases of Rekor v2 write."""
    check_fields(spec, ("dsseV002",))
    content = check_fields(required(spec, "dsseV002"), ("payloadHash", "signatures"))
    found = _read_hash_2(required(content, "payloadHash"))
    return EntryContent(content.each("signatures", _read_signature_2), *found, is_of_payload=True)


def _read_hash_2(document: Document) -> tuple[str, bytes]:
    check_fields(document, ("algorithm", "digest"))
    name = HASHES.get(document.text("algorithm", None), "")
    if not name:
        raise InvalidArgument(f"{document.what} has an unknown algorithm")
    return name, octets(document, "digest", _MAX_DIGEST, size=_DIGEST_SIZES[name])


def _read_signature_2(document: Document) -> tuple[bytes, LoggedSigner]:
    check_fields(document, ("content", "verifier"))
    verifier = required(document, "verifier")
    check_fields(verifier, ("keyDetails", "publicKey", "x509Certificate"))
    found = one_of(verifier, ("publicKey", "x509Certificate"))
    der = octets(
        check_fields(required(verifier, found), ("rawBytes",)), "rawBytes", MAX_CERTIFICATE
    )
    signature = octets(document, "content", MAX_SIGNATURE)
    return signature, LoggedSigner(der, found == "x509Certificate")


_KINDS: Mapping[tuple[str, str], Callable[[Document], EntryContent]] = {
    ("hashedrekord", "0.0.1"): _read_hashedrekord_1,
    ("dsse", "0.0.1"): _read_dsse_1,
    ("intoto", "0.0.2"): _read_intoto_2,
    ("hashedrekord", "0.0.2"): _read_hashedrekord_2,
    ("dsse", "0.0.2"): _read_dsse_2,
}
#: The kinds of Rekor v2, whose logs sign no times.
_VERSION_2 = (("hashedrekord", "0.0.2"), ("dsse", "0.0.2"))
