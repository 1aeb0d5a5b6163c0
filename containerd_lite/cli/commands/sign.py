"""``containerd-lite sign`` and ``attest``: attach signatures and attestations to images."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from ...errors import InvalidArgument
from ...images import signatures
from ...oci.document import Document
from ..argument_files import read_file
from ..output import add_format, pair, print_rows
from ..private_keys import add_password, load_signer
from ..progress_display import ProgressLines
from ..registry_options import add_ref, add_registry, resolver_of

if TYPE_CHECKING:
    from ...images.signatures.services import SigningServices
    from ...images.signatures.sign import AttachedSignature, SignRequest
    from ...trust.signers import Signer

#: The maximum size of a predicate in bytes. Larger statements cannot be verified.
_MAX_PREDICATE = 16 << 20
#: The maximum size of an identity token in bytes.
_MAX_TOKEN = 32 << 10


def add_sign(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``sign``."""
    _add_common(parser, default_form="both")
    parser.add_argument(
        "--manifests",
        choices=("index", "platforms", "both"),
        default="both",
        help="what to sign of an image with an index: the index, which cosign verifies, the "
        "manifests of the platforms, which skopeo verifies, or both (default)",
    )


def add_attest(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``attest``."""
    parser.add_argument(
        "--predicate",
        metavar="FILE",
        required=True,
        help="what is stated about the image, such as an SBOM (JSON; - is standard input)",
    )
    parser.add_argument(
        "--type",
        metavar="TYPE",
        required=True,
        help="type of the predicate: a URI, or a word that cosign knows, such as spdxjson",
    )
    _add_common(parser, default_form="referrer")


def _add_common(parser: argparse.ArgumentParser, default_form: str) -> None:
    add_ref(parser)
    parser.add_argument("--key", metavar="FILE", help="private key that signs (PEM)")
    parser.add_argument(
        "--fulcio",
        metavar="URL",
        help="instead of --key: sign with a new key that Fulcio certifies for --identity-token",
    )
    parser.add_argument(
        "--identity-token", metavar="FILE", help="token of an OpenID provider (JWT), for --fulcio"
    )
    parser.add_argument("--rekor", metavar="URL", help="add the signatures to a transparency log")
    parser.add_argument(
        "--rekor-version",
        type=int,
        choices=(1, 2),
        default=2,
        help="version of --rekor (default: 2, whose entries fit only into --form referrer)",
    )
    parser.add_argument(
        "--timestamps", metavar="URL", help="get timestamps of a timestamp authority (RFC 3161)"
    )
    parser.add_argument(
        "--form",
        choices=("tag", "referrer", "both"),
        default=default_form,
        help="store under cosign's tag, which cosign 2 and skopeo read, in a referrer of the "
        f"image, which cosign 3 reads, or in both (default: {default_form})",
    )
    parser.add_argument(
        "-a",
        "--annotation",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="add an annotation to what is signed; can be given several times",
    )
    add_registry(parser)
    add_format(parser)
    add_password(parser)


def do_sign(options: argparse.Namespace) -> int:
    """Sign an image, and print where the signatures are."""
    request = _request(options, manifests=options.manifests)
    with resolver_of(options, ProgressLines()) as resolver:
        attached = signatures.sign_by_resolver(resolver, options.ref, request)
    return _print(attached, options)


def do_attest(options: argparse.Namespace) -> int:
    """Attach an attestation to an image, and print where it is."""
    body = read_file(options.predicate, "the predicate", _MAX_PREDICATE)
    what = f"the predicate in {options.predicate}"
    predicate = Document.parse(body, what, limit=_MAX_PREDICATE).fields
    request = _request(options)
    with resolver_of(options, ProgressLines()) as resolver:
        attached = signatures.attest_by_resolver(
            resolver, options.ref, options.type, predicate, request
        )
    return _print(attached, options)


def _request(options: argparse.Namespace, **chosen: str) -> SignRequest:
    annotations = dict(pair("--annotation", text) for text in options.annotation)
    services = None
    if options.rekor or options.timestamps or options.fulcio:
        services = signatures.SigningServices(
            rekor=options.rekor or "",
            rekor_version=options.rekor_version,
            timestamps=options.timestamps or "",
        )
    return signatures.SignRequest(
        signer=_signer(options, services),
        services=services,
        form=options.form,
        annotations=annotations,
        **chosen,  # type: ignore[arg-type]  # argparse has checked the values
    )


def _signer(options: argparse.Namespace, services: SigningServices | None) -> Signer:
    """Return the key of ``--key``, or a new key that Fulcio certifies."""
    if bool(options.key) == bool(options.fulcio) or bool(options.fulcio) != bool(
        options.identity_token
    ):
        raise InvalidArgument(
            "the signer is not clear", remedy="Pass --key, or --fulcio and --identity-token"
        )
    if services is None or not options.fulcio:
        return load_signer(options.key, options)
    token = read_file(options.identity_token, "the identity token", _MAX_TOKEN)
    return services.certify(options.fulcio, token.decode("ascii", "replace").strip())


def _print(attached: Sequence[AttachedSignature], options: argparse.Namespace) -> int:
    print_rows([asdict(each) for each in attached], ("digest", "reference"), options.format)
    return 0
