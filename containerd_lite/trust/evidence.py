"""Verifies the evidence of one signature: its certificate, log entries, timestamps, and itself."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from ..errors import InvalidArgument, SignatureError
from . import pki
from .certificates import CertificateIdentity
from .checked import CheckedEvidence as CheckedEvidence
from .entry_bodies import LoggedSigner
from .keys import PublicKey
from .log_entries import check_about, check_included, promised_time
from .signed_content import SignedContent as SignedContent

if TYPE_CHECKING:
    from .bundles import Material
    from .trust_root import TrustRoot


def check_evidence(
    material: Material,
    signed: SignedContent,
    root: TrustRoot | None,
    *,
    key: PublicKey | None = None,
    now: datetime | None = None,
) -> CheckedEvidence:
    """Verify a signature and all that comes with it.

    Each log entry and each timestamp must be valid. Otherwise, an attacker could take away the
    evidence that speaks against the signature by breaking it. The caller decides how many entries
    and timestamps a signature needs. Entries are ignored if the trusted root lists no transparency
    log, and timestamps if it lists no timestamp authority.

    Args:
        material: The certificate, the log entries and the timestamps.
        signed: The signature, and what it is over.
        root: The trusted root. ``None`` for a signature by ``key`` whose log entries and timestamps
            do not matter; they are then ignored.
        key: The key that must have signed. Certificates are then ignored. Default: the key of the
            certificate.
        now: The time of the verification, for authorities with ``is_own``.

    Raises:
        InvalidArgument: A part is malformed, or ``root`` and ``key`` are both missing.
        SignatureError: A part is not valid, or does not belong to the signature.
        FailedPrecondition: A part needs a package that is not installed.
    """
    if key is not None:
        signed.check_signature(key)
    logs = root.logs if root else ()
    entries = material.entries if logs else ()
    promised = [promised_time(entry, logs) for entry in entries]
    stamped = signed.signature if signed.stamped is None else signed.stamped
    authorities = root.timestamp_authorities if root else ()
    stamps = material.timestamps if authorities else ()
    timestamps = tuple(pki.check_timestamp(each, stamped, authorities) for each in stamps)
    times = sorted({*timestamps, *(time for time in promised if time)})
    identity, signer = None, None
    if key is None:
        key, identity = _check_certificate(material, root, times, now)
        signer = LoggedSigner(material.certificates[0], is_certificate=True)
    else:
        signer = LoggedSigner(key.der, is_certificate=False)
    checked = tuple(check_included(entry, logs, times) for entry in entries)
    if identity is not None:
        signed.check_signature(key)
    for entry in entries:
        check_about(entry, signed, signer)
    return CheckedEvidence(key, identity, tuple(times), checked, timestamps)


def _check_certificate(
    material: Material, root: TrustRoot | None, times: list[datetime], now: datetime | None
) -> tuple[PublicKey, CertificateIdentity]:
    if root is None:
        raise InvalidArgument("a signature with a certificate needs a trusted root")
    if not material.certificates:
        raise SignatureError("the signature has no certificate")
    if not times and now and all(each.is_own for each in root.authorities):
        times = [now]
    if not times:
        raise SignatureError("no log and no timestamp proves when the signature was made")
    found = pki.check_certificate(material.certificates, root, times, chain=material.chain)
    return found.key, found.identity
