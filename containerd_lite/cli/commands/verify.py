"""``containerd-lite verify``: verifies the signatures of an image."""

from __future__ import annotations

import argparse
import re
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from ... import trust
from ...errors import InvalidArgument
from ...images import signatures
from ...printable import printable
from ..output import Row, add_format, print_object, print_rows
from ..progress_display import ProgressLines
from ..registry_options import add_ref, add_registry, resolver_of

if TYPE_CHECKING:
    from ...trust.policy import Policy
    from ...trust.rules import SignedManifests, TextOrPattern
    from ...trust.verdict import Verdict, VerifiedSignature

#: The options that say who must have signed, instead of a policy.
_SIGNER_OPTIONS = ("key", "identity", "identity_regexp", "issuer", "trust_root", "manifests")


def add_verify(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``verify``."""
    add_ref(parser)
    parser.add_argument(
        "--policy", metavar="FILE", help="policy file (TOML, or the policy.json of skopeo)"
    )
    group = parser.add_argument_group(
        "signers", "Instead of a policy. If several signers are given, one of them suffices."
    )
    group.add_argument(
        "--key",
        metavar="FILE",
        action="append",
        help="public key (PEM or JSON Web Key); can be given several times",
    )
    identity = group.add_mutually_exclusive_group()
    identity.add_argument(
        "--identity",
        metavar="SUBJECT",
        help="signer without a key: the e-mail address or the URI in the certificate",
    )
    identity.add_argument(
        "--identity-regexp",
        metavar="PATTERN",
        help="regular expression that matches the whole e-mail address or URI",
    )
    group.add_argument("--issuer", metavar="URL", help="OpenID provider of the identity")
    group.add_argument(
        "--trust-root", metavar="FILE", help="trusted_root.json with the identity's authorities"
    )
    group.add_argument(
        "--manifests",
        choices=("index", "platforms", "both"),
        help="what must be signed of an image with an index (default: index)",
    )
    parser.add_argument(
        "--platform",
        action="append",
        help="platform to verify if platforms must be signed (default: all); can be given several "
        "times",
    )
    add_registry(parser)
    add_format(parser)


def do_verify(options: argparse.Namespace) -> int:
    """Verify an image, and print by whom it is signed."""
    policy = _policy(options)
    with resolver_of(options, ProgressLines()) as resolver:
        verdict = signatures.verify_by_resolver(
            resolver, options.ref, policy, platform=options.platform
        )
    if options.format == "table":
        print(printable(str(verdict)), file=sys.stderr)
        print_rows(_rows(verdict), ("kind", "signer", "issuer", "time", "where"), options.format)
    else:
        print_object(asdict(verdict), options.format)
    return 0


def _policy(options: argparse.Namespace) -> Policy:
    """Return the policy in the file, or a policy for all images from the options for signers.

    An option that would have no effect is refused, because the user relies on it.
    """
    given = [name for name in _SIGNER_OPTIONS if getattr(options, name) is not None]
    if options.policy is not None:
        if given:
            raise InvalidArgument(
                f"--policy and --{given[0].replace('_', '-')} exclude each other",
                remedy="Write all requirements into the policy",
            )
        return signatures.load_policy(options.policy)
    if not {"key", "identity", "identity_regexp"}.intersection(given):
        raise InvalidArgument("no signer is given", remedy="Pass --policy, --key or --identity")
    manifests: SignedManifests = options.manifests or "index"
    if options.platform and manifests == "index":
        raise InvalidArgument(
            "--platform has no effect, because a signature of the index suffices",
            remedy="Pass --manifests platforms or --manifests both, too",
        )
    rule = trust.Rule(
        keys=options.key or (),
        identities=_identities(options),
        trust_root=None if options.trust_root is None else trust.TrustRoot.load(options.trust_root),
        signed=manifests,
    )
    return trust.Policy({"**": rule})


def _identities(options: argparse.Namespace) -> list[trust.Identity]:
    subject: TextOrPattern | None = options.identity
    if options.identity_regexp is not None:
        try:
            subject = re.compile(options.identity_regexp)
        except re.error as error:
            raise InvalidArgument(
                f"--identity-regexp is not a regular expression ({error})"
            ) from None
    parts = (subject, options.issuer, options.trust_root)
    if all(part is None for part in parts):
        return []
    if subject is None or options.issuer is None or options.trust_root is None:
        raise InvalidArgument("--identity, --issuer and --trust-root need each other")
    return [trust.Identity(options.issuer, subject)]


def _rows(verdict: Verdict) -> list[Row]:
    return [
        *(_row("signature", each) for each in verdict.signatures),
        *(_row(each.predicate_type, each.signature) for each in verdict.attestations),
    ]


def _row(kind: str, signature: VerifiedSignature) -> Row:
    identity = signature.identity
    return {
        "kind": kind,
        "signer": identity.subject if identity else signature.key,
        "issuer": identity.issuer if identity else "",
        "time": signature.times[0].isoformat(timespec="seconds") if signature.times else "",
        "where": signature.where,
    }
