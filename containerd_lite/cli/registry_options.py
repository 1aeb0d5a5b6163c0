"""Defines the options of the commands that reach a registry."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from .. import images

if TYPE_CHECKING:
    from ..images.resolver import RegistryResolver
    from ..progress import ProgressCallback


def add_ref(parser: argparse.ArgumentParser) -> None:
    """Add the reference of an image."""
    parser.add_argument("ref", metavar="REF", help="busybox, quay.io/org/image:tag, ...@sha256:...")


def add_registry(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how a registry is reached."""
    parser.add_argument("--plain-http", action="store_true", help="use HTTP instead of HTTPS")
    parser.add_argument(
        "--realm-host",
        dest="realm_hosts",
        metavar="HOST",
        action="append",
        default=[],
        help="host of a further token server that gets the credentials; can be given several times",
    )


def add_policy(parser: argparse.ArgumentParser) -> None:
    """Add the policy that a pulled image must meet."""
    parser.add_argument(
        "--policy",
        metavar="FILE",
        help="policy file that the signatures must meet (TOML, or the policy.json of skopeo)",
    )


def resolver_of(options: argparse.Namespace, progress: ProgressCallback | None) -> RegistryResolver:
    """Return a resolver with the options of ``add_registry``.

    Args:
        options: The options.
        progress: A function that is called with an event for each repeated request.
    """
    return images.RegistryResolver(
        plain_http=True if options.plain_http else None,
        realm_hosts=options.realm_hosts,
        progress=progress,
    )
