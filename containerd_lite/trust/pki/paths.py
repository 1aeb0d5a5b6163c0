"""Certification paths from a signer's certificate to an authority of the trusted root (RFC 5280).

``cryptography`` builds and checks the paths.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from ...errors import SignatureError
from ..extras import needing
from .parsing import load_certificate

with needing("cryptography>=45", "checking a certificate"):
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID
    from cryptography.x509.verification import (
        Criticality,
        ExtensionPolicy,
        Policy,
        PolicyBuilder,
        Store,
        VerificationError,
    )

if TYPE_CHECKING:
    from ..trust_root import Authority


def check_path(
    leaf: x509.Certificate,
    authorities: Sequence[Authority],
    times: Sequence[datetime],
    *,
    intermediates: Sequence[x509.Certificate] = (),
) -> tuple[x509.Certificate, Authority]:
    """Verify that an authority issued a certificate, and that the path is valid at all times.

    Today's time does not matter. All certificates of the path are of the trusted root, except for
    an authority with ``is_own``.

    Args:
        leaf: The certificate of the signer.
        authorities: The authorities of the trusted root.
        times: The times at which the signature existed.
        intermediates: Certificates that came with the signature, for authorities with ``is_own``.

    Returns:
        The certificate that issued ``leaf``, and the authority.

    Raises:
        SignatureError: No authority has a path that is valid at all times.
        InvalidArgument: A certificate of the trusted root is malformed.
    """
    reason = "it lists none"
    for authority in authorities:
        if not all(authority.period.covers(time) for time in times):
            reason = f"{authority.uri} was not in use at the time of the signature"
            continue
        chain = [load_certificate(each, "the trusted root") for each in authority.certificates]
        others = intermediates if authority.is_own else ()
        try:
            for time in times:
                path = _build(leaf, [*others, *chain], time)
        except (VerificationError, ValueError, x509.UnsupportedGeneralNameType) as error:
            reason = str(error).partition(" (encountered")[0]  # without a dump of the certificate
            continue
        if len(path) > 1:
            return path[1], authority
    raise SignatureError(
        "no authority of the trusted root certified the key for the time of the signature "
        f"({reason})"
    )


def _build(
    leaf: x509.Certificate, chain: Sequence[x509.Certificate], time: datetime
) -> Sequence[x509.Certificate]:
    """Return the path at a time, leaf first. Raises VerificationError for an invalid path."""
    verifier = (
        PolicyBuilder()
        .store(Store([chain[-1]]))
        .time(time)
        .extension_policies(
            ca_policy=ExtensionPolicy.webpki_defaults_ca().may_be_present(
                x509.ExtendedKeyUsage, Criticality.AGNOSTIC, _check_usage
            ),
            ee_policy=ExtensionPolicy.webpki_defaults_ee().require_present(
                x509.ExtendedKeyUsage, Criticality.AGNOSTIC, _check_usage
            ),
        )
        .build_client_verifier()
    )
    return verifier.verify(leaf, list(chain[:-1])).chain


def _check_usage(
    policy: Policy, certificate: x509.Certificate, usage: x509.ExtendedKeyUsage | None
) -> None:
    if usage is not None and ExtendedKeyUsageOID.CODE_SIGNING not in usage:
        raise ValueError("a certificate is not for signing code")
