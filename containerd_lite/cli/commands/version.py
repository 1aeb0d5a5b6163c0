"""``containerd-lite version``: the versions of the client and the daemon."""

from __future__ import annotations

import argparse

from ...version import VERSION
from ..output import add_format, client_of, print_rows


def add_version(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add_format(parser)


def do_version(options: argparse.Namespace) -> int:
    """Print the versions of the client and the daemon."""
    with client_of(options) as client:
        daemon = client.version()
    rows = [
        {"what": "client", "version": VERSION, "revision": ""},
        {"what": "daemon", "version": daemon.version, "revision": daemon.revision},
    ]
    print_rows(rows, ("what", "version", "revision"), options.format)
    return 0
