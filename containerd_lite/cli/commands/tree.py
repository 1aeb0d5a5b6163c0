"""``containerd-lite tree``: lists what refers to an image in its registry."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from ...images import signatures
from ...oci import media_types
from ...printable import printable
from ..output import Row, add_format, print_rows
from ..progress_display import ProgressLines
from ..registry_options import add_ref, add_registry, resolver_of

if TYPE_CHECKING:
    from ...images.signatures.referring import ReferringManifest

_COLUMNS = ("refers_to", "kind", "types", "predicate_types", "digest")


def add_tree(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``tree``."""
    add_ref(parser)
    parser.add_argument("--no-trunc", action="store_true", help="do not shorten digests")
    add_registry(parser)
    add_format(parser)


def do_tree(options: argparse.Namespace) -> int:
    """List the referrers of an image and of its platforms, and cosign's tags for them."""
    with resolver_of(options, ProgressLines()) as resolver:
        found = signatures.find_referring(resolver, options.ref)
    for each in found:
        if each.problem:
            _say(f"{each.reference}: {each.problem}")
    if not found:
        _say(f"nothing refers to {options.ref} in its registry")
    if options.format == "table":
        print_rows([_cells(each, options.no_trunc) for each in found], _COLUMNS, options.format)
    else:
        print_rows([_row(each) for each in found], (), options.format)
    return 0


def _say(text: str) -> None:
    print(f"containerd-lite: {printable(text)}", file=sys.stderr)


def _row(found: ReferringManifest) -> Row:
    descriptor, platform = found.descriptor, found.subject.platform
    return {
        "refers_to": found.subject.digest,
        "platform": str(platform) if platform else "",
        "kind": found.kind,
        "types": found.types,
        "predicate_types": found.predicate_types,
        "digest": descriptor.digest,
        "media_type": descriptor.media_type,
        "size": descriptor.size,
        "reference": found.reference,
        "problem": found.problem,
    }


def _cells(found: ReferringManifest, is_whole: bool) -> Row:
    """Return the cells of a table's row. Several types in one cell have commas between them."""
    subject, digest = found.subject, found.descriptor.digest
    is_index = media_types.is_index(subject.media_type)
    return {
        "refers_to": str(subject.platform or ("index" if is_index else "manifest")),
        "kind": found.kind,
        "types": ", ".join(found.types),
        "predicate_types": ", ".join(found.predicate_types),
        "digest": digest if is_whole else digest[:19],
    }
