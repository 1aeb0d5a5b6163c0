"""``containerd-lite version``: this client and the daemon."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ..version import VERSION
from .output import add_command, add_format, client_of, print_rows

if TYPE_CHECKING:
    from .output import Commands


def add(commands: Commands, common: argparse.ArgumentParser) -> None:
    """Add the command's parser."""
    parser = add_command(
        commands, common, "version", version, "Show the versions of client and daemon."
    )
    add_format(parser)


def version(options: argparse.Namespace) -> int:
    """Ask the daemon, and show both."""
    with client_of(options) as client:
        daemon = client.version()
    rows = [
        {"what": "client", "version": VERSION, "revision": ""},
        {"what": "daemon", "version": daemon.version, "revision": daemon.revision},
    ]
    print_rows(rows, ("what", "version", "revision"), options.format)
    return 0
