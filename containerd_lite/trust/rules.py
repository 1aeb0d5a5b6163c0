"""The rules of policies: which signatures an image must have."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from ipaddress import ip_address
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from .. import limits
from ..errors import InvalidArgument
from ..oci.reference import Reference
from ..printable import quoted
from ..records import field, record
from .keys import load_key

if TYPE_CHECKING:
    from .certificates import CertificateIdentity
    from .keys import KeySource
    from .trust_root import TrustRoot

#: A text that must be equal, case included, or a pattern that must match the whole text.
TextOrPattern: TypeAlias = str | re.Pattern[str]
#: A function that is called with the predicate of an attestation. The attestation counts if the
#: function returns true.
PredicateCheck: TypeAlias = Callable[[Mapping[str, object]], bool]
#: Which name a signature must state: ``"any"``: none, or any name. ``"repository"``: the
#: repository of the pulled image. ``"exact"``: the pulled name with its tag; if the pulled name has
#: a digest, the repository with any tag or digest. ``"verbatim"``: the pulled name with its tag or
#: its digest. If the pulled name has a tag and a digest, the tag does not count.
NameRule = Literal["any", "repository", "exact", "verbatim"]

#: Which form signatures must have; see ``Rule``.
Form = Literal["any", "tag"]
#: Which manifests of an image with an index must be signed; see ``Rule``.
SignedManifests = Literal["index", "platforms", "both"]

#: The maximum number of keys and identities of a rule.
_MAX_SIGNERS = 256


@record(frozen=True)
class Identity:
    """Who must have signed with a key that was certified for one signature ("keyless").

    Attributes:
        issuer: The OpenID provider that identified the signer
            (``"https://token.actions.githubusercontent.com"``).
        subject: The signer: an e-mail address, or the URI of a workflow.
        claims: Further properties of the certificate, by the names that ``CertificateIdentity``
            lists (``{"source_repository": "https://github.com/team/app"}``).
    """

    issuer: TextOrPattern
    subject: TextOrPattern
    claims: Mapping[str, TextOrPattern] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.issuer or not self.subject:
            raise InvalidArgument(
                "an identity needs an issuer and a subject",
                remedy="To accept all, use the pattern .*",
            )

    def mismatch(self, found: CertificateIdentity) -> str:
        """Return why a certificate is not for this identity; ``""`` if it is."""
        if not _matches(self.issuer, found.issuer):
            return f"its issuer is {quoted(found.issuer)}"
        if not _matches(self.subject, found.subject):
            return f"its subject is {quoted(found.subject)}"
        for name, wanted in self.claims.items():
            if name not in found.claims or not _matches(wanted, found.claims[name]):
                return f"its {name} is {quoted(found.claims.get(name))}"
        return ""


@record(frozen=True)
class CertifiedName:
    """Who must have signed with a certificate, as policies of skopeo state it.

    Attributes:
        email: An e-mail address that the certificate must have.
        host: A DNS name or an IP address that the certificate must be for. Its certificate can have
            a wildcard for the first label.
        issuer: The OpenID provider that identified the signer. Default: any or none.

    Raises:
        InvalidArgument: ``email`` and ``host`` are both empty.
    """

    email: str = ""
    host: str = ""
    issuer: str = ""

    def __post_init__(self) -> None:
        if not self.email and not self.host:
            raise InvalidArgument("a certified name needs an e-mail address or a host")

    def mismatch(self, found: CertificateIdentity) -> str:
        """Return why a certificate is not for this name; ``""`` if it is."""
        if self.issuer and self.issuer != found.issuer:
            return f"its issuer is {quoted(found.issuer)}"
        if self.email and self.email not in found.emails:
            return f"it is for {quoted(', '.join(found.emails))}, not for {quoted(self.email)}"
        if self.host and not any(_is_for(name, self.host) for name in found.hosts):
            return f"it is for {quoted(', '.join(found.hosts))}, not for {quoted(self.host)}"
        return ""


@record(frozen=True)
class RequiredAttestation:
    """An attestation that an image must have.

    Attributes:
        predicate_type: The type of the attestation's predicate (``"https://slsa.dev/provenance/v1"``).
        check: A function that decides whether a predicate is acceptable. Default: all are.
    """

    predicate_type: str
    check: PredicateCheck | None = None


@record(frozen=True)
class Remap:
    """Says that images were signed under another name, for example before they were mirrored.

    Attributes:
        prefix: The prefix of the pulled image's name (``"mirror.example/team"``).
        signed_prefix: What replaces the prefix (``"registry.example/team"``). The result must be
            the name that the signature states.
        exact: Whether the tag matters, as for the name rule ``"exact"``. Default: the repository is
            compared, as for ``"repository"``.
    """

    prefix: str
    signed_prefix: str
    exact: bool = False


@record(frozen=True)
class StatedName:
    """Says which name signatures must state, whatever the pulled image is called.

    Attributes:
        name: The name: a reference with a tag or a digest, which must be equal, or a repository
            (``"registry.example/team/app"``).

    Raises:
        InvalidArgument: ``name`` is not a reference.
    """

    name: str

    def __post_init__(self) -> None:
        Reference.parse(self.name)


@record(frozen=True)
class Rule:
    """The signatures and attestations that an image must have.

    Attributes:
        keys: The keys of the signers. Paths are read when the rule is made.
        identities: The identities of signers without keys of their own. They need a ``trust_root``.
        trust_root: The authorities and transparency logs that certificates, log entries and
            timestamps must come from.
        threshold: How many of ``keys`` and ``identities`` must have signed the image.
        log: Whether signatures must have an entry in a transparency log. Default: signatures of
            ``identities`` must have one, and signatures by ``keys`` need none.
        timestamp: Whether signatures must have a timestamp of a timestamp authority.
        annotations: Annotations that signatures must have.
        attestations: Attestations that the image must have, signed by one of the signers.
        max_age: The greatest age of a signature, as proven by a log or a timestamp; seconds or a
            ``timedelta``. Default: no limit.
        signed: Which manifests of an image with an index must be signed. ``"index"``: the index,
            whose signature covers what it lists. ``"platforms"``: each manifest that is used.
            ``"both"``: all of them. A signature of a manifest never covers its index.
        name: Which name a signature must state. A bundle states no name. Default: ``"any"``.
        form: Which form signatures must have. ``"tag"``: cosign's tag, as skopeo and podman read
            it. ``"any"``: a tag, or a referrer.
        certified_names: Signers with a certificate of an authority with ``is_own``, as policies of
            skopeo state them. They need a ``trust_root``.
        accept: Whether images are accepted without a signature. Keys and identities are then empty.
        reject: Whether all images are refused. Keys and identities are then empty.

    Raises:
        InvalidArgument: The attributes contradict each other, or a key is invalid.
        NotFound: The file of a key does not exist.
    """

    keys: Sequence[KeySource] = ()
    identities: Sequence[Identity] = ()
    trust_root: TrustRoot | None = None
    threshold: int = 1
    log: bool | None = None
    timestamp: bool = False
    annotations: Mapping[str, str] = field(default_factory=dict)
    attestations: Sequence[RequiredAttestation] = ()
    max_age: float | timedelta | None = None
    signed: SignedManifests = "index"
    name: NameRule | Remap | StatedName = "any"
    form: Form = "any"
    certified_names: Sequence[CertifiedName] = ()
    accept: bool = False
    reject: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.keys, str | bytes | os.PathLike):
            raise InvalidArgument("keys is not a list", remedy="Pass a list of keys")
        for name, value in (
            ("keys", tuple(map(_loaded, self.keys))),
            ("identities", tuple(self.identities)),
            ("certified_names", tuple(self.certified_names)),
            ("attestations", tuple(self.attestations)),
        ):
            object.__setattr__(self, name, value)
        certified = (*self.identities, *self.certified_names)
        signers = len(self.keys) + len(certified)
        if self.accept or self.reject:
            if signers or self.attestations or (self.accept and self.reject):
                raise InvalidArgument(
                    "a rule accepts all images, rejects all images or requires signatures",
                    remedy="Set only one of accept, reject, and keys or identities",
                )
            return
        limits.count("threshold", self.threshold)
        if not self.threshold <= signers <= _MAX_SIGNERS:
            raise InvalidArgument(
                f"{signers} keys and identities cannot meet the threshold {self.threshold}",
                remedy="Give keys or identities, or set accept to accept unsigned images",
            )
        if self.trust_root is None and (certified or self.log or self.timestamp):
            raise InvalidArgument(
                "identities, log and timestamp need a trust root",
                remedy="Set trust_root to a trusted root, such as the file trusted_root.json",
            )
        if self.trust_root is None and self.max_age is not None:
            raise InvalidArgument("max_age needs a trust root, because it needs proven times")
        if not isinstance(self.name, Remap | StatedName) and self.name not in get_args(NameRule):
            raise InvalidArgument(
                f'name={self.name!r} is not "any", "repository", "exact" or "verbatim"'
            )
        if self.form not in get_args(Form):
            raise InvalidArgument(f'form={self.form!r} is not "any" or "tag"')
        if self.signed not in get_args(SignedManifests):
            raise InvalidArgument(f'signed={self.signed!r} is not "index", "platforms" or "both"')
        limits.seconds("max_age", self.max_age_seconds)

    @property
    def max_age_seconds(self) -> float | None:
        """The greatest age of a signature in seconds; ``None`` for no limit."""
        age = self.max_age
        return age.total_seconds() if isinstance(age, timedelta) else age


def is_repository(text: str) -> bool:
    """Return whether a reference has neither a tag nor a digest."""
    return not {":", "@"} & set(text.rpartition("/")[2])


def _is_for(name: str, host: str) -> bool:
    """Return whether a name in a certificate is that of a host (RFC 6125, section 6.4)."""
    with suppress(ValueError):
        address = ip_address(host.removeprefix("[").removesuffix("]"))
        return name == f"[{address}]"
    pattern, labels = name.lower().split("."), host.lower().removesuffix(".").split(".")
    wildcard = pattern[0] == "*" and len(pattern) > 1
    return len(pattern) == len(labels) and pattern[wildcard:] == labels[wildcard:]


def _loaded(source: KeySource) -> KeySource:
    """Return the key in a file. A function stays, because it is called for each verification."""
    return source if callable(source) else load_key(source)


def _matches(wanted: TextOrPattern, found: str) -> bool:
    if isinstance(wanted, str):
        return wanted == found
    return wanted.fullmatch(found) is not None
