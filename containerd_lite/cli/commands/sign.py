"""``containerd-lite sign`` and ``attest``: attach signatures and attestations to images."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from ...images import signatures
from ...oci.document import Document
from ..argument_files import read_file
from ..output import add_format, pair, print_rows
from ..private_keys import add_password, load_signer
from ..progress_display import ProgressLines
from ..registry_options import add_ref, add_registry, resolver_of

if TYPE_CHECKING:
    from ...images.signatures.sign import AttachedSignature, SignRequest

#: The maximum size of a predicate in bytes. Statements of more than 4 MiB cannot be verified.
_MAX_PREDICATE = 4 << 20


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
    parser.add_argument("--key", metavar="FILE", required=True, help="private key that signs (PEM)")
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
    predicate = Document.parse(body, f"the predicate in {options.predicate}").fields
    request = _request(options)
    with resolver_of(options, ProgressLines()) as resolver:
        attached = signatures.attest_by_resolver(
            resolver, options.ref, options.type, predicate, request
        )
    return _print(attached, options)


def _request(options: argparse.Namespace, **chosen: str) -> SignRequest:
    annotations = dict(pair("--annotation", text) for text in options.annotation)
    signer = load_signer(options.key, options)
    return signatures.SignRequest(
        signer=signer,
        form=options.form,
        annotations=annotations,
        **chosen,  # type: ignore[arg-type]  # argparse has checked the values
    )


def _print(attached: Sequence[AttachedSignature], options: argparse.Namespace) -> int:
    print_rows([asdict(each) for each in attached], ("digest", "reference"), options.format)
    return 0
