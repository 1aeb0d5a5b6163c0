"""``containerd-lite verify``: verifies the signatures of an image."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from ... import images, trust
from ...errors import InvalidArgument
from ...images import signatures
from ..output import Row, add_format, print_rows

if TYPE_CHECKING:
    from ...trust.policy import Policy
    from ...trust.verdict import Verdict, VerifiedAttestation, VerifiedSignature


def add_verify(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``verify``."""
    parser.add_argument("ref", metavar="REF", help="busybox, quay.io/org/image:tag, ...@sha256:...")
    parser.add_argument(
        "--policy", metavar="FILE", help="policy file (TOML, or the policy.json of skopeo)"
    )
    parser.add_argument(
        "--key",
        metavar="FILE",
        action="append",
        default=[],
        help="public key of a signer, instead of a policy; with several, one of them suffices",
    )
    parser.add_argument("--identity", metavar="SUBJECT", help="signer without a key: e-mail or URI")
    parser.add_argument("--issuer", metavar="URL", help="OpenID provider of --identity")
    parser.add_argument(
        "--trust-root", metavar="FILE", help="trusted_root.json, needed by --identity"
    )
    parser.add_argument(
        "--platform", action="append", help="platform to verify, if the policy wants each signed"
    )
    parser.add_argument("--plain-http", action="store_true", help="use HTTP instead of HTTPS")
    add_format(parser)


def do_verify(options: argparse.Namespace) -> int:
    """Verify an image, and print by whom it is signed."""
    policy = signatures.load_policy(options.policy) if options.policy else _policy(options)
    with images.RegistryResolver(plain_http=True if options.plain_http else None) as resolver:
        verdict = signatures.verify_by_resolver(
            resolver, options.ref, policy, platform=options.platform
        )
    if options.format == "table":
        print(f"{verdict.digest} meets the rule for {verdict.rule}", file=sys.stderr)
    columns = ("kind", "signer", "time", "where")
    print_rows(_rows(verdict), columns, options.format)
    return 0


def _policy(options: argparse.Namespace) -> Policy:
    """Return a policy for all images from the options ``--key`` and ``--identity``."""
    if not options.key and not options.identity:
        raise InvalidArgument("no signer is given", remedy="Pass --policy, --key or --identity")
    if options.identity and not (options.issuer and options.trust_root):
        raise InvalidArgument("--identity needs --issuer and --trust-root")
    root = trust.TrustRoot.load(options.trust_root) if options.trust_root else None
    identities = []
    if options.identity:
        identities.append(trust.Identity(options.issuer, options.identity))
    rule = trust.Rule(keys=options.key, identities=identities, trust_root=root)
    return trust.Policy({"**": rule})


def _rows(verdict: Verdict) -> list[Row]:
    return [
        *(_row("signature", each) for each in verdict.signatures),
        *(_attestation_row(each) for each in verdict.attestations),
    ]


def _row(kind: str, signature: VerifiedSignature) -> dict[str, object]:
    identity = signature.identity
    return {
        "kind": kind,
        "signer": identity.subject if identity else signature.key,
        "issuer": identity.issuer if identity else "",
        "key": signature.key,
        "digest": signature.digest,
        "time": signature.times[0].isoformat(timespec="seconds") if signature.times else "",
        "log_indexes": list(signature.log_indexes),
        "reference": signature.reference,
        "annotations": dict(signature.annotations or {}),
        "where": signature.where,
    }


def _attestation_row(attestation: VerifiedAttestation) -> dict[str, object]:
    return {
        **_row(attestation.predicate_type, attestation.signature),
        "predicate_type": attestation.predicate_type,
        "predicate": attestation.predicate,
    }
