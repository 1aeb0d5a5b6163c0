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
        status, info = response.status, response.tst_info
        imprint, time = info.message_imprint, info.gen_time
        signers = len(response.signed_data.signer_infos)
    if status != _GRANTED:
        raise SignatureError(f"the timestamp authority answered with the status {status}")
    hash_name = _HASHES.get(imprint.hash_algorithm.dotted_string)
    if hash_name is None:
        raise InvalidArgument("the timestamp has an unknown hash")
    if imprint.message != hashlib.new(hash_name, stamped).digest():
        raise SignatureError("the timestamp is of another signature")
    if signers != 1:
        raise InvalidArgument(f"the timestamp has {signers} signatures instead of one")
    reason = "it lists none"
    for authority in authorities:
        try:
            _check_by_authority(response, stamped, authority)
        except VerificationError:  # its text lists the errors of OpenSSL
            reason = f"it is not by {authority.uri}, or the certificate was not valid at its time"
            continue
        if authority.period.covers(time):
            return time
        reason = f"{authority.uri} was not in use at the time of the timestamp"
    raise SignatureError(f"no authority of the trusted root issued the timestamp ({reason})")


def _check_by_authority(response: TimeStampResponse, stamped: bytes, authority: Authority) -> None:
    """Raise VerificationError if the authority did not issue the timestamp.

    The trusted root need not list the certificate that signs timestamps. It then is in the
    timestamp. OpenSSL checks that it is for timestamps alone, and valid at the stated time.
    """
    chain = [load_certificate(each, "the trusted root") for each in authority.certificates]
    first = 0 if _is_issuer(chain[0]) else 1
    builder = VerifierBuilder(
        tsa_certificate=chain[0] if first else None,
        intermediates=chain[first:-1],
        roots=chain[-1:],
    )
    with malformed("the timestamp"):
        builder.build().verify_message(response, stamped)


def _is_issuer(certificate: x509.Certificate) -> bool:
    with suppress(x509.ExtensionNotFound):
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    return False
