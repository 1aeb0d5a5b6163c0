"""Timestamps of timestamp authorities (RFC 3161).

``rfc3161-client`` parses the timestamps and checks their signatures.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING

from ...errors import InvalidArgument, SignatureError
from ..extras import needing
from .parsing import load_certificate, malformed

with needing("rfc3161-client>=1.0.6", "checking a timestamp"):
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID
    from rfc3161_client import (
        TimeStampResponse,
        VerificationError,
        VerifierBuilder,
        decode_timestamp_response,
    )

if TYPE_CHECKING:
    from ..trust_root import Authority

#: The status of a response that grants the request as it was made.
_GRANTED = 0
_HASHES = {
    "2.16.840.1.101.3.4.2.1": "sha256",
    "2.16.840.1.101.3.4.2.2": "sha384",
    "2.16.840.1.101.3.4.2.3": "sha512",
}


def check_timestamp(token: bytes, stamped: bytes, authorities: Sequence[Authority]) -> datetime:
    """Verify a timestamp, and return its time.

    The certificates in the timestamp are not trusted. Today's time does not matter.

    Args:
        token: The response of a timestamp authority in DER.
        stamped: The bytes that must have been stamped.
        authorities: The timestamp authorities of the trusted root.

    Raises:
        InvalidArgument: The timestamp, or a certificate of the trusted root, is malformed.
        SignatureError: The timestamp is of other bytes, or no authority of the trusted root issued
            it while the authority was in use.
    """
    with malformed("the timestamp"):
        response = decode_timestamp_response(token)
        info, data = response.tst_info, response.signed_data
        imprint, time = info.message_imprint, info.gen_time
        status, signers = response.status, list(data.signer_infos)
    if status != _GRANTED:
        raise SignatureError(f"the timestamp authority answered with the status {status}")
    hash_name = _HASHES.get(imprint.hash_algorithm.dotted_string)
    if hash_name is None:
        raise InvalidArgument("the timestamp has an unknown hash")
    if imprint.message != hashlib.new(hash_name, stamped).digest():
        raise SignatureError("the timestamp is of another signature")
    if len(signers) != 1:
        raise InvalidArgument(f"the timestamp has {len(signers)} signatures instead of one")
    reason = "it lists none"
    for authority in authorities:
        try:
            _check_by_authority(response, stamped, authority)
        except VerificationError:  # its text lists the errors of OpenSSL
            reason = f"it is not by {authority.uri}, or the certificate was not valid at its time"
            continue
        except SignatureError as error:
            reason = error.message
            continue
        if authority.period.covers(time):
            return time
        reason = f"{authority.uri} was not in use at the time of the timestamp"
    raise SignatureError(f"no authority of the trusted root issued the timestamp ({reason})")


def _check_by_authority(response: TimeStampResponse, stamped: bytes, authority: Authority) -> None:
    """Raise VerificationError or SignatureError if the authority did not issue the timestamp."""
    certificates = [load_certificate(each, "the trusted root") for each in authority.certificates]
    first = 0 if _is_issuer(certificates[0]) else 1
    builder = VerifierBuilder(
        tsa_certificate=certificates[0] if first else None,
        intermediates=certificates[first:-1],
        roots=certificates[-1:],
    )
    with malformed("the timestamp"):
        builder.build().verify_message(response, stamped)
        embedded = [load_certificate(each) for each in response.signed_data.certificates]
        (signer,) = response.signed_data.signer_infos
        name = signer.issuer, signer.serial_number
        for certificate in certificates[:1] if first else embedded:
            if (certificate.issuer, certificate.serial_number) == name:
                return _check_usage(certificate)
    raise SignatureError(f"it is not signed by the certificate of {authority.uri}")


def _is_issuer(certificate: x509.Certificate) -> bool:
    with suppress(x509.ExtensionNotFound):
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    return False


def _check_usage(certificate: x509.Certificate) -> None:
    """Raise SignatureError if a certificate is not for timestamps alone (RFC 3161, 2.3)."""
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    except x509.ExtensionNotFound:
        raise SignatureError("its certificate is not for timestamps") from None
    if not usage.critical or list(usage.value) != [ExtendedKeyUsageOID.TIME_STAMPING]:
        raise SignatureError("its certificate is not for timestamps alone")
