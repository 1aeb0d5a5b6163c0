"""Decides whether the signatures of an image meet a rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, TypeAlias

from ..errors import ContainerdError, SignatureError, Unsigned, Untrusted
from ..oci.descriptor import Descriptor
from ..oci.reference import Reference
from ..records import record, replace
from .bundles import SIGNATURE, Bundle, Material, material_of_annotations
from .checked import CheckedEvidence
from .dsse import Envelope
from .encoding import from_base64
from .keys import HashRule, PublicKey, load_key
from .rules import CertifiedName, Identity, NameRule, Remap, Rule, StatedName, is_repository
from .search import SIMPLE_SIGNING, Candidate, Repository, find_candidates
from .signed_content import SignedContent
from .simple_signing import SimpleSigning
from .statements import COSIGN_SIGN, Statement
from .verdict import Rejection, Verdict, VerifiedAttestation, VerifiedSignature, distinct

if TYPE_CHECKING:
    from .trust_root import TrustRoot

_Signer: TypeAlias = PublicKey | Identity | CertifiedName
#: The maximum number of rejected signatures that the message of an error lists.
_MOST_SHOWN = 5


@record(frozen=True)
class JudgedImage:
    """The image to judge.

    Attributes:
        reference: The name under which the image is used.
        target: Its manifest or index.
    """

    reference: Reference
    target: Descriptor

    @property
    def digest(self) -> str:
        """The digest of the manifest or index."""
        return self.target.digest


def judge_image(
    rules: Sequence[Rule],
    subject: JudgedImage,
    repository: Repository,
    now: datetime,
    *,
    pattern: str,
) -> Verdict:
    """Return the verdict of all rules on an image.

    Args:
        rules: The rules, which must all be met.
        subject: The image.
        repository: The repository that has the signatures of the image.
        now: The time of the verification.
        pattern: The pattern of the rules in the policy.

    Raises:
        Unsigned: The image has no signature that was looked at.
        Untrusted: The signatures of the image do not meet a rule.
        SignatureError: A rule rejects the image.
        ContainerdError: The repository could not be read.
    """
    if any(rule.reject for rule in rules):
        raise SignatureError(
            f"the policy rejects all images of {pattern}, and so {subject.reference}"
        )
    cases = [_Case(rule, subject, now) for rule in rules if not rule.accept]
    rejected: list[Rejection] = []
    wants = any(case.rule.attestations for case in cases)
    referrers = any(case.rule.form == "any" for case in cases)
    if cases:
        for found in find_candidates(
            repository, subject.target, attestations=wants, referrers=referrers
        ):
            if isinstance(found, Rejection):
                rejected.append(found)
                continue
            rejected += (
                Rejection(found.where, why) for case in cases for why in case.look_at(found)
            )
            if not any(case.missing for case in cases):
                break
    for case in cases:
        if case.missing:
            raise _refusal(subject, case, rejected)
    return Verdict(
        subject.digest,
        pattern,
        distinct(each for case in cases for each in case.signatures),
        tuple(each for case in cases for each in case.attestations),
        now,
    )


def _refusal(subject: JudgedImage, case: _Case, rejected: Sequence[Rejection]) -> SignatureError:
    name = f"{subject.reference} ({subject.digest})"
    pairs = tuple((each.where, each.reason) for each in rejected)
    if not rejected and not case.signatures:
        return Unsigned(f"{name} has no signature", rejected=pairs)
    reasons = "; ".join(f"{where}: {why}" for where, why in pairs[:_MOST_SHOWN])
    more = f"; and {len(pairs) - _MOST_SHOWN} more" if len(pairs) > _MOST_SHOWN else ""
    return Untrusted(
        f"{name} lacks {case.missing}" + (f". {reasons}{more}" if reasons else ""), rejected=pairs
    )


@record(frozen=True)
class _Claim:
    """The content of a candidate, before it is verified.

    Attributes:
        signed: The signature, and the bytes that it is over.
        material: The certificates, log entries and timestamps of the signature.
        reference: The name that the signer stated, or ``""``.
        annotations: The annotations that the signer added.
        statement: The attestation; ``None`` for a signature.
    """

    signed: SignedContent
    material: Material
    reference: str
    annotations: Mapping[str, str]
    statement: Statement | None


class _Case:
    """The signatures and attestations that were found for one rule.

    Args:
        rule: The rule.
        subject: The image.
        now: The time of the verification.
    """

    def __init__(self, rule: Rule, subject: JudgedImage, now: datetime) -> None:
        self.rule = rule
        self.signatures: list[VerifiedSignature] = []
        self.attestations: list[VerifiedAttestation] = []
        self._subject = subject
        self._now = now
        self._possible: list[_Signer] = [
            *(load_key(source) for source in rule.keys),
            *rule.identities,
            *rule.certified_names,
        ]
        self._signers: set[int] = set()
        self._open = list(rule.attestations)
        self._wants_evidence = bool(rule.log or rule.timestamp or rule.max_age is not None)

    @property
    def missing(self) -> str:
        """What the image still needs; ``""`` if the rule is met."""
        lacking = self.rule.threshold - len(self._signers)
        parts = [f"{lacking} of the required signatures"] if lacking > 0 else []
        parts += (f"an attestation of {each.predicate_type}" for each in self._open)
        return " and ".join(parts)

    def look_at(self, candidate: Candidate) -> list[str]:
        """Add a candidate to what was found; return why it does not count, one reason a signer."""
        if self.rule.form == "tag" and (candidate.is_bundle or not candidate.is_in_tag):
            return []
        try:
            claims = _read(candidate, self._subject.digest, as_skopeo=self.rule.form == "tag")
        except ContainerdError as error:
            return [error.message]
        return [why for claim in claims for why in self._look_at_claim(candidate, claim)]

    def _look_at_claim(self, candidate: Candidate, claim: _Claim) -> list[str]:
        if not self._is_wanted(claim):
            return []
        try:
            if claim.statement is None:  # attestations state neither a name nor annotations
                self._check_name(claim)
                self._check_annotations(claim)
        except ContainerdError as error:
            return [error.message]
        reasons, certified = [], None
        for signer in self._possible:
            try:
                if isinstance(signer, PublicKey):
                    checked = self._check_evidence(claim, signer)
                else:
                    checked = certified = certified or self._check_evidence(claim, None)
                self._check_demands(checked, signer)
            except ContainerdError as error:
                reasons.append(error.message)
                if not isinstance(signer, PublicKey) and certified is None:
                    break  # the certificate is not valid; the other signers are identities, too
                continue
            return self._accept(candidate, claim, checked, signer)
        return list(dict.fromkeys(reasons))

    def _is_wanted(self, claim: _Claim) -> bool:
        """Return whether a claim can help to meet the rule."""
        if claim.statement is None:
            return True
        kind = claim.statement.predicate_type
        return any(each.predicate_type == kind for each in self._open)

    def _check_evidence(self, claim: _Claim, key: PublicKey | None) -> CheckedEvidence:
        """Verify a claim by a key, or by its certificate."""
        # A key's log entries can be from a log that the rule does not know. They only matter if the
        # rule asks for them.
        root = None if key and not self._wants_evidence else self.rule.trust_root
        return _check_evidence(claim, root, key, self._now)

    def _check_demands(self, checked: CheckedEvidence, signer: _Signer) -> None:
        """Raise SignatureError if a verified claim is not by the signer, or lacks a proof."""
        if not isinstance(signer, PublicKey):
            if checked.identity is None:
                raise SignatureError("it has no certificate")
            if mismatch := signer.mismatch(checked.identity):
                raise SignatureError(mismatch)
        needs_log = self.rule.log
        if needs_log is None:
            needs_log = not isinstance(signer, PublicKey)
        if needs_log and not checked.log_indexes:
            raise SignatureError("it has no entry in a transparency log")
        if self.rule.timestamp and not checked.timestamps:
            raise SignatureError("it has no timestamp")
        age = self.rule.max_age_seconds
        if age is not None:
            self._check_age(checked, age)

    def _check_age(self, checked: CheckedEvidence, limit: float) -> None:
        if not checked.times:
            raise SignatureError("its age is not proven")
        # ``timedelta`` has no infinity.
        if (self._now - min(checked.times)).total_seconds() > limit:
            raise SignatureError(
                f"it is from {min(checked.times):%Y-%m-%d %H:%M:%S}, which is too old"
            )

    def _check_name(self, claim: _Claim) -> None:
        """Raise SignatureError if the claim does not state the name that the rule wants."""
        wanted, own = self.rule.name, self._subject.reference
        if wanted == "any":
            return
        if not claim.reference:
            raise SignatureError("it does not say for which name it is")
        if own.digest:
            own = replace(own, tag="")
        if isinstance(wanted, Remap):
            own, wanted = _remapped(own, wanted), "exact" if wanted.exact else "repository"
        elif isinstance(wanted, StatedName):
            own = Reference.parse(wanted.name)
            wanted = "repository" if is_repository(wanted.name) else "verbatim"
        if not _states(claim.reference, own, wanted):
            raise SignatureError(f"it is for {claim.reference}, not for {own}")

    def _check_annotations(self, claim: _Claim) -> None:
        for name, value in self.rule.annotations.items():
            if claim.annotations.get(name) != value:
                raise SignatureError(f"its annotation {name} is not {value!r}")

    def _accept(
        self,
        candidate: Candidate,
        claim: _Claim,
        checked: CheckedEvidence,
        signer: _Signer,
    ) -> list[str]:
        signature = VerifiedSignature(
            candidate.where,
            self._subject.digest,
            checked.key.fingerprint,
            identity=checked.identity,
            times=tuple(sorted(checked.times)),
            log_indexes=checked.log_indexes,
            reference=claim.reference,
            annotations=claim.annotations,
        )
        if claim.statement is None:
            self.signatures.append(signature)
            self._signers.add(self._possible.index(signer))
            return []
        predicate = claim.statement.predicate
        for wanted in self._open:
            if wanted.predicate_type != claim.statement.predicate_type:
                continue
            if wanted.check is not None and not wanted.check(predicate):
                return [f"the policy does not accept its predicate ({wanted.predicate_type})"]
            self._open.remove(wanted)
            self.attestations.append(
                VerifiedAttestation(signature, claim.statement.predicate_type, predicate)
            )
            break
        return []


def _check_evidence(
    claim: _Claim, root: TrustRoot | None, key: PublicKey | None, now: datetime
) -> CheckedEvidence:
    """Verify the signature of a claim, and its certificate, log entries and timestamps."""
    if root is None and key is not None:
        claim.signed.check_signature(key)
        return CheckedEvidence(key)
    from .evidence import check_evidence  # takes 5 ms, which signatures by key need not take

    return check_evidence(claim.material, claim.signed, root, key=key, now=now)


def _remapped(own: Reference, remap: Remap) -> Reference:
    """Return the name that an image had when it was signed."""
    prefix = remap.prefix.rstrip("/")
    if own.name != prefix and not own.name.startswith(f"{prefix}/"):
        return own
    name = remap.signed_prefix.rstrip("/") + own.name[len(prefix) :]
    remapped = replace(Reference.parse(name), tag=own.tag, digest=own.digest)
    if remapped.name != name:  # short names would become names of Docker Hub
        raise SignatureError(f"{name} is not a full name, so no signature can state it")
    return remapped


def _states(text: str, own: Reference, wanted: NameRule) -> bool:
    """Return whether the name that a signature states is the wanted one.

    Args:
        text: The name that the signature states.
        own: The name of the image, with a tag or a digest.
        wanted: Which name the rule wants.
    """
    stated = Reference.parse(text)
    if wanted == "repository":
        return stated.name == own.name
    if is_repository(text):
        return False
    return stated == own or (wanted == "exact" and bool(own.digest) and stated.name == own.name)


def _read(candidate: Candidate, digest: str, *, as_skopeo: bool) -> list[_Claim]:
    """Return what a candidate says, one claim for each of its signatures.

    Raises:
        InvalidArgument: The candidate is malformed.
        SignatureError: The candidate is about another image.
    """
    if candidate.is_bundle:
        bundle = Bundle.parse(candidate.body, "the bundle")
        if bundle.envelope is not None:
            return _claims_of_envelope(bundle.envelope, bundle.material, digest, "by key")
        assert bundle.message_signature is not None  # a bundle has one of the two
        signed = SignedContent.of_digest(bundle.message_signature, digest)
        return [_Claim(signed, bundle.material, "", {}, None)]
    material = material_of_annotations(candidate.annotations)
    if candidate.media_type != SIMPLE_SIGNING:
        envelope = Envelope.parse(candidate.body, "the envelope")
        # cosign's timestamps in this form are of the whole envelope.
        return _claims_of_envelope(envelope, material, digest, "sha256", stamped=candidate.body)
    signature = from_base64(candidate.annotations.get(SIGNATURE), "its signature")
    payload = SimpleSigning.parse(candidate.body, as_skopeo=as_skopeo)
    if payload.digest != digest:
        raise SignatureError(f"it signs {payload.digest}")
    signed = SignedContent(signature, candidate.body, "sha256")
    return [_Claim(signed, material, payload.reference, payload.annotations, None)]


def _claims_of_envelope(
    envelope: Envelope,
    material: Material,
    digest: str,
    rule: HashRule,
    *,
    stamped: bytes | None = None,
) -> list[_Claim]:
    """Return a claim for each signature of an envelope; ``stamped`` is as in ``SignedContent``."""
    statement = Statement.of(envelope)
    subject = statement.subject_of(digest)
    if subject is None:
        raise SignatureError("its statement is about other artifacts")
    is_signature = statement.predicate_type == COSIGN_SIGN
    return [
        _Claim(
            SignedContent(signature, envelope.signed_bytes, rule, envelope, stamped=stamped),
            material,
            subject.name if is_signature else "",
            subject.annotations or {},
            None if is_signature else statement,
        )
        for signature in envelope.signatures
    ]
