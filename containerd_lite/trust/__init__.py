"""Judges signatures of images: policies, keys, certificates, transparency logs and timestamps.

This room decides about bytes. It neither fetches nor stores anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import lazy_names

if TYPE_CHECKING:
    from .certificates import CertificateIdentity as CertificateIdentity
    from .containers.containers_policy import ContainersPolicy as ContainersPolicy
    from .enforcement import enforce as enforce
    from .enforcement import reference_of as reference_of
    from .key_pairs import KeyFiles as KeyFiles
    from .key_pairs import generate_key as generate_key
    from .key_pairs import import_key as import_key
    from .keys import KeySource as KeySource
    from .keys import PublicKey as PublicKey
    from .pki.requests import CertificateRequest as CertificateRequest
    from .pki.requests import timestamp_request as timestamp_request
    from .policy import Policy as Policy
    from .proofs import Proofs as Proofs
    from .proofs import SignatureKey as SignatureKey
    from .proofs import check_logged as check_logged
    from .proofs import log_request as log_request
    from .proofs import read_log_answer as read_log_answer
    from .rules import Identity as Identity
    from .rules import NameRule as NameRule
    from .rules import Remap as Remap
    from .rules import RequiredAttestation as RequiredAttestation
    from .rules import Rule as Rule
    from .rules import SignedManifests as SignedManifests
    from .rules import StatedName as StatedName
    from .search import MAX_READS as MAX_READS
    from .search import Repository as Repository
    from .search import is_signature_layer as is_signature_layer
    from .search import manifests_of as manifests_of
    from .search import signature_tag as signature_tag
    from .search import signature_tags as signature_tags
    from .signers import Signer as Signer
    from .signing import PREDICATE_TYPES as PREDICATE_TYPES
    from .signing import Blob as Blob
    from .signing import SignatureManifest as SignatureManifest
    from .signing import SignedPayload as SignedPayload
    from .signing import SignedStatement as SignedStatement
    from .signing import TagManifest as TagManifest
    from .signing import sign_payload as sign_payload
    from .signing import sign_statement as sign_statement
    from .trust_root import TrustRoot as TrustRoot
    from .verdict import Rejection as Rejection
    from .verdict import Verdict as Verdict
    from .verdict import VerifiedAttestation as VerifiedAttestation
    from .verdict import VerifiedSignature as VerifiedSignature

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "certificates": ["CertificateIdentity"],
        "containers.containers_policy": ["ContainersPolicy"],
        "enforcement": ["enforce", "reference_of"],
        "key_pairs": ["KeyFiles", "generate_key", "import_key"],
        "keys": ["KeySource", "PublicKey"],
        "policy": ["Policy"],
        "pki.requests": ["CertificateRequest", "timestamp_request"],
        "proofs": ["Proofs", "SignatureKey", "check_logged", "log_request", "read_log_answer"],
        "rules": [
            "Identity",
            "NameRule",
            "Remap",
            "RequiredAttestation",
            "Rule",
            "SignedManifests",
            "StatedName",
        ],
        "search": [
            "MAX_READS",
            "Repository",
            "is_signature_layer",
            "manifests_of",
            "signature_tag",
            "signature_tags",
        ],
        "signers": ["Signer"],
        "signing": [
            "PREDICATE_TYPES",
            "Blob",
            "SignatureManifest",
            "SignedPayload",
            "SignedStatement",
            "TagManifest",
            "sign_payload",
            "sign_statement",
        ],
        "trust_root": ["TrustRoot"],
        "verdict": ["Rejection", "Verdict", "VerifiedAttestation", "VerifiedSignature"],
    },
)
