"""The bodies of entries of transparency logs, by their kinds.

The logs are Rekor v1 and v2. Source: https://github.com/sigstore/rekor (pkg/types), and
https://github.com/sigstore/rekor-tiles (api/proto/rekor/v2).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..errors import InvalidArgument
from ..oci.document import Document
from ..printable import quoted
from ..records import record
from .bundles import HASHES, MAX_BUNDLE, MAX_CERTIFICATE, MAX_SIGNATURE, LogEntry
from .encoding import from_base64, from_hex, from_pem
from .proto_json import check_fields, octets, one_of, required

_MAX_DIGEST = 64
_DIGEST_SIZES = {"sha256": 32, "sha384": 48, "sha512": 64}


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
