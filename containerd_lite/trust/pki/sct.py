"""Signed certificate timestamps: a certificate log's promise to list a certificate.

Source: RFC 6962, section 3.2.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from ...errors import SignatureError
from ..extras import needing

with needing("cryptography>=45", "checking a certificate"):
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
    from cryptography.x509.certificate_transparency import SignedCertificateTimestamp

if TYPE_CHECKING:
    from ..trust_root import TransparencyLog

#: The maximum number of timestamps of a certificate.
MAX_TIMESTAMPS = 32
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def check_sct(
    certificate: x509.Certificate, issuer: x509.Certificate, logs: Sequence[TransparencyLog]
) -> None:
    """Verify that a log of the trusted root promised to list a certificate.

    Args:
        certificate: The certificate, which contains the log's signature.
        issuer: The certificate that issued it.
        logs: The certificate logs of the trusted root.

    Raises:
        SignatureError: The certificate has no valid signature of a log.
    """
    try:
        stamps = list(
            certificate.extensions.get_extension_for_class(
                x509.PrecertificateSignedCertificateTimestamps
            ).value
        )
    except x509.ExtensionNotFound:
        stamps = []
    if len(stamps) > MAX_TIMESTAMPS:
        raise SignatureError(f"the certificate has more than {MAX_TIMESTAMPS} SCTs")
    key = issuer.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    reason = "it has no SCT"
    for stamp in stamps:
        time = stamp.timestamp.replace(tzinfo=timezone.utc)
        own = [log for log in logs if log.id == stamp.log_id]
        in_use = [log for log in own if log.period.covers(time)]
        message = _signed_bytes(stamp, certificate.tbs_precertificate_bytes, key, time)
        if any(log.verifies(stamp.signature, message) for log in in_use):
            return
        if not own:
            reason = f"the trusted root does not have the log {stamp.log_id.hex()}"
        elif not in_use:
            reason = f"the log {own[0].base_url} was not in use"
        else:
            reason = f"its SCT is not by the log {own[0].base_url}"
    raise SignatureError(f"no certificate log promised to list the certificate ({reason})")


def _signed_bytes(
    stamp: SignedCertificateTimestamp, tbs: bytes, issuer_key: bytes, time: datetime
) -> bytes:
    """Return what the log signed: the time, the issuer's key, the certificate, extensions."""
    extensions = stamp.extension_bytes
    return b"".join(
        (
            b"\x00\x00",  # version 1, and a signature of a certificate's timestamp
            ((time - _EPOCH) // timedelta(milliseconds=1)).to_bytes(8, "big"),
            b"\x00\x01",  # the entry is a precertificate
            hashlib.sha256(issuer_key).digest(),
            len(tbs).to_bytes(3, "big"),
            tbs,
            len(extensions).to_bytes(2, "big"),
            extensions,
        )
    )
