"""The requirements in policies of skopeo and podman, read as strictly as skopeo reads them.

Source: containers-policy.json(5), and https://github.com/containers/image (signature/
policy_config.go, policy_config_sigstore.go).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone

from ...errors import InvalidArgument, SignatureError
from ...oci.document import Document
from ...oci.reference import Reference, is_host
from ...printable import quoted
from ...records import record, replace
from .. import pki
from ..encoding import to_base64
from ..files import read_file
from ..keys import MAX_KEY_FILE, Algorithm, PublicKey
from ..proto_json import check_fields, octets, one_of, required
from ..rules import CertifiedName, NameRule, Remap, Rule, StatedName, is_repository
from ..trust_root import MEDIA_TYPES, Authority, Period, TrustRoot

#: The maximum size of a key in bytes.
_MAX_KEY = 64 << 10
#: The maximum size of the certificates of authorities in bytes. Those of a system have 300 KiB.
_MAX_CERTIFICATES = 1 << 20
_BEGIN = b"-----BEGIN "
_KEYS = ("keyPath", "keyPaths", "keyData", "keyDatas")
_LOG_KEYS = (
    "rekorPublicKeyPath",
    "rekorPublicKeyPaths",
    "rekorPublicKeyData",
    "rekorPublicKeyDatas",
)
_KEY_TYPES = ("GPGKeys", "signedByGPGKeys", "X509Certificates", "signedByX509CAs")
#: The name of a log's key in trusted roots. Rekor v1 signs with SHA-256 always.
_LOG_KEY_DETAILS: Mapping[Algorithm, str] = {
    "ecdsa-p256": "PKIX_ECDSA_P256_SHA_256",
    "ecdsa-p384": "PKIX_ECDSA_P384_SHA_256",
    "ecdsa-p521": "PKIX_ECDSA_P521_SHA_256",
}


@record(frozen=True)
class CertificateRequirement:
    """Who must have signed, with a certificate of which authority.

    Attributes:
        signer: Who must have signed.
        roots: The authorities: the path of a file with certificates in PEM, or its content.
        intermediates: Certificates between those of the authorities and those of signers.
    """

    signer: CertifiedName
    roots: str | bytes
    intermediates: str | bytes = b""

    def load(self) -> Sequence[Authority]:
        """Read the certificates."""
        others = _load_certificates(self.intermediates) if self.intermediates else ()
        always = Period(datetime.min.replace(tzinfo=timezone.utc))
        return [
            Authority("the policy's authority", (*others, root), always, is_own=True)
            for root in _load_certificates(self.roots)
        ]


@record(frozen=True)
class Requirement:
    """One requirement of a policy.

    Attributes:
        keys: The keys of which one must have signed: paths, or keys in PEM.
        log_keys: The keys of transparency logs of which one must have an entry.
        authority: The authority that must have certified the signer; ``None`` for ``keys``.
        name: Which name the signatures must state.
        accept: Whether the requirement is always met.
        unsupported: The type of the requirement, if this package does not verify it.
    """

    keys: Sequence[str | bytes] = ()
    log_keys: Sequence[str | bytes] = ()
    authority: CertificateRequirement | None = None
    name: NameRule | Remap | StatedName = "exact"
    accept: bool = False
    unsupported: str = ""

    @property
    def needs_signature(self) -> bool:
        """Whether an image must be signed to meet the requirement."""
        return bool(self.keys or self.authority)

    def rule(self) -> Rule:
        """Return the rule; read the keys and certificates."""
        if self.unsupported:
            raise SignatureError(f"this package does not verify requirements of {self.unsupported}")
        if not self.needs_signature:
            return Rule(accept=self.accept, reject=not self.accept)
        authorities = self.authority.load() if self.authority else ()
        logs = list(map(_load_key, self.log_keys))
        return Rule(
            keys=list(map(_load_key, self.keys)),
            certified_names=[self.authority.signer] if self.authority else [],
            log=bool(logs),
            trust_root=_trust_root(logs, authorities) if logs or authorities else None,
            signed="platforms",
            name=self.name,
            form="tag",
        )


def _load_key(source: str | bytes) -> PublicKey:
    if isinstance(source, bytes):
        return PublicKey.from_pem(_first_block(source))
    try:
        return PublicKey.from_pem(_first_block(read_file(source, "the key", MAX_KEY_FILE)))
    except InvalidArgument as error:
        raise InvalidArgument(f"{source}: {error.message}") from None


def _first_block(pem: bytes) -> bytes:
    """Return the first key of a file, as skopeo does; further keys do not count."""
    found = pem.find(_BEGIN)
    return pem[: pem.find(_BEGIN, found + 1)] if pem.count(_BEGIN) > 1 else pem


def _load_certificates(source: str | bytes) -> Sequence[bytes]:
    if isinstance(source, bytes):
        return pki.load_pem(source, "the certificates")
    return pki.load_pem(read_file(source, "the certificates", _MAX_CERTIFICATES), source)


def _trust_root(keys: Sequence[PublicKey], authorities: Sequence[Authority]) -> TrustRoot:
    """Return a trusted root with logs that have been in use since ever, and with authorities."""
    logs = []
    for key in keys:
        if key.algorithm not in _LOG_KEY_DETAILS:
            raise InvalidArgument(f"the key {key.fingerprint} of a log is not an ECDSA key")
        public = {
            "rawBytes": to_base64(key.der),
            "keyDetails": _LOG_KEY_DETAILS[key.algorithm],
            "validFor": {"start": "1970-01-01T00:00:00Z"},
        }
        logs.append({"baseUrl": "rekor", "publicKey": public, "logId": {"keyId": key.hint}})
    root = TrustRoot.parse(json.dumps({"mediaType": MEDIA_TYPES[0], "tlogs": logs}).encode())
    return replace(root, authorities=tuple(authorities))


def check(document: Document, names: Sequence[str]) -> Document:
    """Refuse unknown fields, and fields with ``null``, which Go would take for other values."""
    check_fields(document, names)
    for name, value in document.fields.items():
        if value is None:
            raise InvalidArgument(f"{document.what}: {quoted(name)} is null")
    return document


def read_requirements(document: Document, name: str) -> tuple[Requirement, ...]:
    """Return the requirements in a field, which must all be met.

    Raises:
        InvalidArgument: The list is empty, or one is malformed or of an unknown type.
    """
    found = document.each(name, _read_requirement)
    if not found:
        raise InvalidArgument(f"{document.what}: {quoted(name)} has no requirement")
    return found


def _read_requirement(document: Document) -> Requirement:
    kind = document.text("type", None)
    if kind not in _TYPES:
        raise InvalidArgument(f"{document.what} has the unknown type {quoted(kind)}")
    return _TYPES[kind](document)


def _read_accept(document: Document) -> Requirement:
    check(document, ("type",))
    return Requirement(accept=True)


def _read_reject(document: Document) -> Requirement:
    check(document, ("type",))
    return Requirement()


def _read_signed_by(document: Document) -> Requirement:
    check(document, ("type", "keyType", *_KEYS[:3], "signedIdentity"))
    if document.text("keyType", None) not in _KEY_TYPES:
        raise InvalidArgument(f"{document.what} has an unknown keyType")
    _read_sources(document, _KEYS[:3])
    _read_identity(document)
    return Requirement(unsupported="the type signedBy (GPG)")


def _read_base_layer(document: Document) -> Requirement:
    check(document, ("type", "baseLayerIdentity"))
    _read_match(required(document, "baseLayerIdentity"))
    return Requirement(unsupported="the type signedBaseLayer")


def _read_sigstore(document: Document) -> Requirement:
    check(document, ("type", *_KEYS, "fulcio", "pki", *_LOG_KEYS, "signedIdentity"))
    name = _read_identity(document)
    found = one_of(document, (*_KEYS, "fulcio", "pki"))
    has_logs = any(map(document.has, _LOG_KEYS))
    log_keys = _read_sources(document, _LOG_KEYS) if has_logs else ()
    if found == "fulcio":
        if not has_logs:
            raise InvalidArgument(f"{document.what} has fulcio, but no key of Rekor")
        authority = _read_fulcio(required(document, found))
    elif found == "pki":
        if has_logs:
            raise InvalidArgument(f"{document.what} has pki and a key of Rekor")
        authority = _read_pki(required(document, found))
    else:
        return Requirement(_read_sources(document, _KEYS), log_keys, name=name)
    return Requirement((), log_keys, authority, name=name)


def _read_fulcio(document: Document) -> CertificateRequirement:
    check(document, ("caPath", "caData", "oidcIssuer", "subjectEmail"))
    (roots,) = _read_sources(document, ("caPath", "caData"), _MAX_CERTIFICATES)
    issuer, email = document.text("oidcIssuer", None), document.text("subjectEmail", None)
    return CertificateRequirement(CertifiedName(email, issuer=issuer), roots)


def _read_pki(document: Document) -> CertificateRequirement:
    roots, others = ("caRootsPath", "caRootsData"), ("caIntermediatesPath", "caIntermediatesData")
    subjects = ("subjectEmail", "subjectHostname")
    check(document, (*roots, *others, *subjects))
    (anchors,) = _read_sources(document, roots, _MAX_CERTIFICATES)
    intermediates: str | bytes = b""
    if any(map(document.has, others)):
        (intermediates,) = _read_sources(document, others, _MAX_CERTIFICATES)
    email, host = map(document.text, subjects)
    if not email and not host:
        raise InvalidArgument(f"{document.what} has no subject")
    return CertificateRequirement(CertifiedName(email, host), anchors, intermediates)


def _read_sources(
    document: Document, names: Sequence[str], limit: int = _MAX_KEY
) -> tuple[str | bytes, ...]:
    """Return the paths or the decoded data in one of the fields."""
    name = one_of(document, names)
    if name.endswith("Path"):
        return (document.text(name, None),)
    if name.endswith("Data"):
        return (octets(document, name, limit),)
    texts = document.texts(name)
    if not texts or not all(texts):
        raise InvalidArgument(f"{document.what}: {quoted(name)} is empty")
    if name.endswith("Paths"):
        return texts
    return tuple(octets(Document({name: text}, document.what), name, limit) for text in texts)


def _read_identity(document: Document) -> NameRule | Remap | StatedName:
    found = document.document("signedIdentity")
    return "exact" if found is None else _read_match(found)


def _read_match(document: Document) -> NameRule | Remap | StatedName:
    """Return which name signatures must state."""
    kind = document.text("type", None)
    names = _MATCHES.get(kind)
    if names is None:
        raise InvalidArgument(f"{document.what} has the unknown type {quoted(kind)}")
    check(document, ("type", *names))
    texts = [document.text(name, None) for name in names]
    if kind == "exactReference" and is_repository(texts[0]):
        raise InvalidArgument(f"{document.what}: {quoted(texts[0])} has neither tag nor digest")
    if kind == "exactRepository":
        return StatedName(Reference.parse(texts[0]).name)
    if kind == "remapIdentity":
        for text in texts:
            _check_prefix(text, document.what)
        return Remap(texts[0], texts[1], exact=True)
    return StatedName(texts[0]) if names else _NAME_RULES[kind]


def _check_prefix(text: str, what: str) -> None:
    host, slash, _ = text.partition("/")
    if not is_host(host) or (slash and not is_repository(text)):
        raise InvalidArgument(f"{what}: {quoted(text)} is not a host, or a part of a repository")
    if slash:
        Reference.parse(text)


_TYPES: Mapping[str, Callable[[Document], Requirement]] = {
    "insecureAcceptAnything": _read_accept,
    "reject": _read_reject,
    "signedBy": _read_signed_by,
    "signedBaseLayer": _read_base_layer,
    "sigstoreSigned": _read_sigstore,
}
#: The fields of each type of identity besides ``type``.
_MATCHES: Mapping[str, tuple[str, ...]] = {
    "matchExact": (),
    "matchRepoDigestOrExact": (),
    "matchRepository": (),
    "exactReference": ("dockerReference",),
    "exactRepository": ("dockerRepository",),
    "remapIdentity": ("prefix", "signedPrefix"),
}
_NAME_RULES: Mapping[str, NameRule] = {
    "matchExact": "verbatim",
    "matchRepoDigestOrExact": "exact",
    "matchRepository": "repository",
}
