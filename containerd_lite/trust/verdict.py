"""The result of the verification of an image."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from ..records import record

if TYPE_CHECKING:
    from .certificates import CertificateIdentity


@record(frozen=True)
class Rejection:
    """A signature or attestation that does not count.

    Attributes:
        where: Where it was found.
        reason: Why it does not count.
    """

    where: str
    reason: str


@record(frozen=True)
class VerifiedSignature:
    """A signature that counts.

    Attributes:
        where: Where it was found: a tag, or the digest of a referrer.
        digest: The digest of the signed manifest or index.
        key: The fingerprint of the key (``"sha256:…"``).
        identity: Who signed, if the key was certified for one signature ("keyless"). ``None`` for a
            key that the policy names.
        times: The times, proven by transparency logs or by timestamps, at which the signature
            existed. Earliest first.
        log_indexes: The indexes of the verified entries of transparency logs.
        reference: The name of the image that the signer stated, or ``""``.
        annotations: The annotations that the signer added.
    """

    where: str
    digest: str
    key: str
    identity: CertificateIdentity | None = None
    times: tuple[datetime, ...] = ()
    log_indexes: tuple[int, ...] = ()
    reference: str = ""
    annotations: Mapping[str, str] | None = None


@record(frozen=True)
class VerifiedAttestation:
    """An attestation that counts.

    Attributes:
        signature: The signature of the attestation.
        predicate_type: The type of ``predicate``, a URI.
        predicate: What the attestation says.
    """

    signature: VerifiedSignature
    predicate_type: str
    predicate: Mapping[str, object]


@record(frozen=True)
class Verdict:
    """Why a policy accepts an image.

    Attributes:
        digest: The digest of the image's manifest or index.
        rule: The pattern of the policy's rule. If several policies apply, their patterns.
        signatures: The signatures that count. Empty if the rule accepts unsigned images. The search
            ends as soon as the rule is met, so the image can have more signatures.
        attestations: The attestations that the rule requires.
        time: The time of the verification.
    """

    digest: str
    rule: str
    signatures: tuple[VerifiedSignature, ...]
    attestations: tuple[VerifiedAttestation, ...]
    time: datetime

    def __str__(self) -> str:
        return (
            f"{self.digest} meets the rule for {self.rule} "
            f"(signatures: {len(self.signatures)}, attestations: {len(self.attestations)})"
        )


def distinct(signatures: Iterable[VerifiedSignature]) -> tuple[VerifiedSignature, ...]:
    """Return the signatures without those that occur twice, in the same order."""
    return tuple({(each.where, each.digest, each.key): each for each in signatures}.values())
