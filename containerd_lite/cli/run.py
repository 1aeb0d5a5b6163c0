"""``containerd-lite run``: one command in a new container."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, TextIO

from ..errors import InvalidArgument
from .output import add_command, client_of, seconds

if TYPE_CHECKING:
    from ..runtime.io import Sink
    from .output import Commands


def add(commands: Commands, common: argparse.ArgumentParser) -> None:
    """Add the command's parser."""
    parser = add_command(
        commands,
        common,
        "run",
        run,
        "Run a command in a new container, show its output, remove the container, and end with "
        "its exit code.",
    )
    parser.add_argument("-e", "--env", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--cwd", help="working directory in the container")
    parser.add_argument("--user", help="uid or uid:gid")
    parser.add_argument("--snapshotter", help="(the namespace's default)")
    parser.add_argument(
        "--stop-after", type=seconds, metavar="SECONDS", help="kill it then, and end with 125"
    )
    parser.add_argument("ref", metavar="REF", help="an image that was pulled")
    parser.add_argument("args", metavar="ARGS", nargs=argparse.REMAINDER, help="what to run")


def run(options: argparse.Namespace) -> int:
    """Run to the end; the container's streams are this program's."""
    with client_of(options) as client:
        done = client.run(
            options.ref,
            options.args or None,
            stdout=_unbuffered(sys.stdout),
            stderr=_unbuffered(sys.stderr),
            timeout=options.stop_after,
            snapshotter=options.snapshotter,
            env=dict(map(_pair, options.env)),
            cwd=options.cwd,
            user=options.user,
        )
    return done.exit_code


def _unbuffered(stream: TextIO) -> Sink:
    """What comes is shown at once, not when a buffer is full."""

    def write(data: bytes) -> None:
        stream.buffer.write(data)
        stream.buffer.flush()

    return write


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise InvalidArgument(f"--env {text!r} has no value", remedy="Write NAME=VALUE")
    return name, value
