"""``containerd-lite pull`` and ``images``."""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

from ...printable import printable
from ..output import add_format, client_of, print_names, print_rows
from ..progress_display import show_progress
from ..registry_options import add_policy, add_ref, add_registry, resolver_of

if TYPE_CHECKING:
    from ...client import Client
    from ...images.image import Image

_KUBERNETES = "k8s.io"


def add_pull(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``pull``."""
    add_ref(parser)
    parser.add_argument(
        "--to", metavar="FOLDER", help="write the image to an OCI image layout, without a daemon"
    )
    parser.add_argument(
        "--platform",
        action="append",
        help="platform, such as linux/arm64 (default: this machine's); can be given several times",
    )
    parser.add_argument(
        "--all-platforms", action="store_true", help="pull all platforms of an index"
    )
    parser.add_argument(
        "--all-metadata",
        action="store_true",
        help="pull the manifests and configs of the other platforms, too",
    )
    parser.add_argument(
        "--resume", action="store_true", help="continue where an earlier pull with --resume failed"
    )
    parser.add_argument(
        "--snapshotter", help="snapshotter to unpack into (default: the namespace's)"
    )
    unpack = parser.add_mutually_exclusive_group()
    unpack.add_argument("--no-unpack", action="store_true", help="do not unpack the image")
    unpack.add_argument(
        "--discard-layers",
        action="store_true",
        help="let the daemon delete each layer once it is unpacked",
    )
    add_registry(parser)
    add_policy(parser)
    parser.add_argument("-q", "--quiet", action="store_true", help="do not show progress")


def add_images(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``images``."""
    parser.add_argument(
        "filters", metavar="FILTER", nargs="*", help="containerd filters, such as name==x"
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="print only names")
    parser.add_argument("--no-trunc", action="store_true", help="do not shorten digests")
    add_format(parser)


def do_pull(options: argparse.Namespace) -> int:
    """Fetch one image, and print its name and digest."""
    from ...layout import Layout  # imported here, because the command ``images`` does not need it

    with ExitStack() as stack:
        progress = stack.enter_context(show_progress(options.quiet))
        resolver = stack.enter_context(resolver_of(options, progress))
        client = stack.enter_context(client_of(options)) if options.to is None else None
        found = (client or Layout(options.to)).pull(
            options.ref,
            platform=options.platform,
            all_platforms=options.all_platforms,
            all_metadata=options.all_metadata,
            unpack=not options.no_unpack,
            discard_layers=options.discard_layers,
            snapshotter=options.snapshotter,
            resolver=resolver,
            progress=progress,
            resume=options.resume,
            policy=options.policy,
        )
    name = found.name if "@" in found.name else f"{found.name}@{found.target.digest}"
    print(printable(name))
    return 0


def do_images(options: argparse.Namespace) -> int:
    """List the images of the namespace with one call, and without reading content."""
    with client_of(options) as client:
        found = client.list_images(*options.filters)
        if not found and not options.filters:
            _hint(client)
    if options.quiet:
        print_names([image.name for image in found], options.format)
        return 0
    rows = [_row(image, options.no_trunc or options.format != "table") for image in found]
    print_rows(rows, ("name", "digest", "media_type", "updated_at"), options.format)
    return 0


def _row(image: Image, is_whole: bool) -> dict[str, object]:
    digest = image.target.digest
    updated = image.info.updated_at
    return {
        "name": image.name,
        "digest": digest if is_whole else digest[:19],
        "media_type": image.target.media_type,
        "updated_at": updated.isoformat(timespec="seconds") if updated else "",
        "labels": image.labels,
    }


def _hint(client: Client) -> None:
    """If the namespace of Kubernetes has images, print how to list these images."""
    if client.namespace != _KUBERNETES and client.in_namespace(_KUBERNETES).list_images():
        print(
            f"containerd-lite: namespace {client.namespace} has no images, but {_KUBERNETES} has "
            f"images: try -n {_KUBERNETES}",
            file=sys.stderr,
        )
