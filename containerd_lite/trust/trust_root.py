"""Trusted roots: the authorities and transparency logs that signatures may rely on.

Source: https://github.com/sigstore/protobuf-specs (protos/sigstore_trustroot.proto).
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import TypeAlias

from ..errors import InvalidArgument, SignatureError
from ..lazy import lazy_pattern
from ..oci.document import Document
from ..printable import quoted
from ..records import record
from .bundles import MAX_CERTIFICATE, MAX_CERTIFICATES
from .checkpoints import HINT_SIZE
from .files import read_file
from .keys import Algorithm, PublicKey
from .proto_json import moment, octets, required

StrPath: TypeAlias = str | os.PathLike[str]

#: The media types of trusted roots.
MEDIA_TYPES = (
    "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
    "application/vnd.dev.sigstore.trustedroot.v0.1+json",
    "application/vnd.dev.sigstore.trustedroot.v0.2+json",
)
#: The maximum size of a trusted root in bytes, and the maximum number of its logs and authorities.
MAX_ROOT, MAX_MEMBERS = 4 << 20, 256
_MAX_KEY, _MAX_ID = 16 << 10, 64

#: The algorithm of a key and the hash of its signatures, by the name in a trusted root.
_ALGORITHMS: Mapping[str, tuple[Algorithm, str]] = {
    "PKIX_ECDSA_P256_SHA_256": ("ecdsa-p256", "sha256"),
    "PKIX_ECDSA_P384_SHA_384": ("ecdsa-p384", "sha384"),
    "PKIX_ECDSA_P384_SHA_256": ("ecdsa-p384", "sha256"),
    "PKIX_ECDSA_P521_SHA_512": ("ecdsa-p521", "sha512"),
    "PKIX_ECDSA_P521_SHA_256": ("ecdsa-p521", "sha256"),
    "PKIX_RSA_PKCS1V15_2048_SHA256": ("rsa", "sha256"),
    "PKIX_RSA_PKCS1V15_3072_SHA256": ("rsa", "sha256"),
    "PKIX_RSA_PKCS1V15_4096_SHA256": ("rsa", "sha256"),
    "PKIX_ED25519": ("ed25519", ""),
}
_HOST = lazy_pattern(
    r"(?:[A-Za-z][A-Za-z0-9+.-]*://)?(([^/:@?#\s]+|\[[0-9a-fA-F:.]+\])(?::[0-9]+)?)(?:/.*)?"
)
_LOGGER = logging.getLogger(__package__)


@record(frozen=True)
class Period:
    """A period of time. Both ends belong to it.

    Attributes:
        start: The start of the period, with a time zone.
        end: The end of the period; ``None`` if it has no end.
    """

    start: datetime
    end: datetime | None = None

    def covers(self, time: datetime) -> bool:
        """Return whether ``time`` is within the period."""
        return self.start <= time and (self.end is None or time <= self.end)


@record(frozen=True)
class TransparencyLog:
    """A transparency log, or a log of certificates.

    Attributes:
        base_url: The URL of the log.
        id: The ID of the log.
        hint: The first four bytes of the ID of the log's key in checkpoints.
        key_details: The name of the key's algorithm, as the trusted root has it.
        key: The key of the log; ``None`` if this package does not support its algorithm.
        period: When the log was in use.
    """

    base_url: str
    id: bytes
    hint: bytes
    key_details: str
    key: PublicKey | None
    period: Period

    @property
    def names(self) -> tuple[str, ...]:
        """The names that the log can have in checkpoints: its host, with or without the port."""
        match = _HOST.fullmatch(self.base_url)
        return (match[1], match[2]) if match else ()

    def verifies(self, signature: bytes, message: bytes) -> bool:
        """Return whether ``signature`` is the log's signature of ``message``.

        Raises:
            SignatureError: This package does not support the algorithm of the log's key.
        """
        if self.key is None:
            raise SignatureError(
                f"the log {self.base_url} has a key of the unknown type {quoted(self.key_details)}"
            )
        name = _ALGORITHMS[self.key_details][1]
        if not name:
            return self.key.verifies(signature, message)
        return self.key.verifies_digest(signature, hashlib.new(name, message).digest(), name)


@record(frozen=True)
class Authority:
    """An authority that issues certificates or timestamps.

    Attributes:
        uri: The URL of the authority.
        certificates: Its certificates in DER. The last certificate is the trust anchor, and each
            other certificate was issued by the next.
        period: When the authority was in use.
        is_own: Whether this is not the authority of a Sigstore instance, but one of a company, as
            policies of skopeo name it. Its certificates need no log of certificates and no issuer
            of tokens. Intermediate certificates may come with the signature. If no log and no
            timestamp proves the time of a signature, the certificate must be valid now.
    """

    uri: str
    certificates: tuple[bytes, ...]
    period: Period
    is_own: bool = False


@record(frozen=True)
class TrustRoot:
    """The authorities and logs that signatures may rely on. Trusted roots can be pickled.

    Attributes:
        logs: The transparency logs of signatures.
        ct_logs: The logs of certificates.
        authorities: The authorities that certify the keys of signers.
        timestamp_authorities: The authorities that issue timestamps.
    """

    logs: tuple[TransparencyLog, ...]
    ct_logs: tuple[TransparencyLog, ...]
    authorities: tuple[Authority, ...]
    timestamp_authorities: tuple[Authority, ...]

    @classmethod
    def load(cls, path: StrPath) -> TrustRoot:
        """Read the file ``trusted_root.json`` of a Sigstore instance.

        The method logs a warning if the file covers no signatures of today, because it is probably
        out of date.

        Raises:
            NotFound: The file does not exist.
            InvalidArgument: The file is not a trusted root.
        """
        root = cls.parse(read_file(path, "the trusted root", MAX_ROOT), os.fspath(path))
        if not root.is_current(datetime.now(timezone.utc)):
            _LOGGER.warning("the trusted root %s covers no signatures of today", os.fspath(path))
        return root

    @classmethod
    def parse(cls, body: bytes, what: str = "the trusted root") -> TrustRoot:
        """Parse a trusted root in JSON.

        Unknown fields are ignored, because they cannot add a log or an authority.

        Args:
            body: The JSON text, of at most 4 MiB.
            what: The name of the trusted root in error messages.

        Raises:
            InvalidArgument: ``body`` is not a trusted root, or a period has no start.
        """
        document = Document.parse(body, what, limit=MAX_ROOT)
        names = ("tlogs", "ctlogs", "certificateAuthorities", "timestampAuthorities")
        _check_names(document, ("mediaType", *names))
        media_type = document.text("mediaType", None)
        if media_type not in MEDIA_TYPES:
            raise InvalidArgument(f"{what} has the unknown type {quoted(media_type)}")
        for name in names:
            found = document.fields.get(name)
            if isinstance(found, list) and len(found) > MAX_MEMBERS:
                raise InvalidArgument(f"{what} has more than the {MAX_MEMBERS} {name} allowed")
        return cls(
            document.each("tlogs", _read_log),
            document.each("ctlogs", _read_log),
            document.each("certificateAuthorities", _read_authority),
            document.each("timestampAuthorities", _read_authority),
        )

    def is_current(self, now: datetime) -> bool:
        """Return whether signatures that are made now can be verified.

        Args:
            now: The time, with a time zone.

        Returns:
            Whether each kind of log and authority that the trusted root has includes one whose
            period covers ``now``. False for a trusted root without logs and authorities.
        """
        kinds = (self.logs, self.ct_logs, self.authorities, self.timestamp_authorities)
        used = [kind for kind in kinds if kind]
        return bool(used) and all(any(each.period.covers(now) for each in kind) for kind in used)


def _check_names(document: Document, names: tuple[str, ...]) -> Document:
    """Refuse other spellings of known names, such as snake case."""
    document.check_case(names)
    spellings = {name.lower() for name in names}
    for name in document.fields:
        if "_" in name and name.replace("_", "").lower() in spellings:
            raise InvalidArgument(f"{document.what} has {quoted(name)}, which is not in camel case")
    return document


def _read_log(document: Document) -> TransparencyLog:
    _check_names(
        document, ("baseUrl", "hashAlgorithm", "publicKey", "logId", "checkpointKeyId", "operator")
    )
    if document.text("hashAlgorithm", "SHA2_256") != "SHA2_256":
        raise InvalidArgument(f"{document.what} does not use SHA2_256")
    stated = _check_names(required(document, "publicKey"), ("rawBytes", "keyDetails", "validFor"))
    details = stated.text("keyDetails", None)
    key = _read_key(stated, details) if details in _ALGORITHMS else None
    id = _read_id(required(document, "logId"))
    note = document.document("checkpointKeyId")
    hint = (_read_id(note) if note else id)[:HINT_SIZE]
    return TransparencyLog(
        base_url=document.text("baseUrl"),
        id=id,
        hint=hint,
        key_details=details,
        key=key,
        period=_read_period(stated),
    )


def _read_id(document: Document) -> bytes:
    return octets(_check_names(document, ("keyId",)), "keyId", _MAX_ID)


def _read_key(document: Document, details: str) -> PublicKey:
    try:
        key = PublicKey(octets(document, "rawBytes", _MAX_KEY))
    except InvalidArgument as error:
        raise InvalidArgument(f"{document.what}: {error.message}") from None
    if key.algorithm != _ALGORITHMS[details][0]:
        raise InvalidArgument(f"{document.what} is not a key for {details}")
    return key


def _read_authority(document: Document) -> Authority:
    _check_names(document, ("subject", "uri", "certChain", "validFor", "operator"))
    chain = _check_names(required(document, "certChain"), ("certificates",))
    certificates = chain.each("certificates", _read_certificate)
    if not 0 < len(certificates) <= MAX_CERTIFICATES:
        raise InvalidArgument(
            f"{chain.what} has {len(certificates)} certificates; 1 to {MAX_CERTIFICATES} are "
            "allowed"
        )
    return Authority(document.text("uri"), certificates, _read_period(document))


def _read_certificate(document: Document) -> bytes:
    return octets(_check_names(document, ("rawBytes",)), "rawBytes", MAX_CERTIFICATE)


def _read_period(document: Document) -> Period:
    """Return the period in ``validFor``. A period without a start is malformed, not unlimited."""
    stated = _check_names(required(document, "validFor"), ("start", "end"))
    start, end = moment(stated, "start"), moment(stated, "end")
    if start is None:
        raise InvalidArgument(f"{stated.what} has no start")
    if end is not None and end < start:
        raise InvalidArgument(f"{stated.what} ends before it starts")
    return Period(start, end)
