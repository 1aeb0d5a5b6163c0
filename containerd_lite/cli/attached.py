"""Runs a container's process in the foreground, with the streams of this program."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, cast

from ..errors import Cancelled
from ..printable import printable
from ..runtime import io
from .exit_codes import FAILED_HERE
from .output import seconds

if TYPE_CHECKING:
    from ..runtime.container import Container
    from ..runtime.io import ProcessStreams, Terminal
    from ..runtime.popen import Running
    from .signals import Relay

_KILLED = 128 + 9
DETACH_KEYS = "ctrl-p,ctrl-q"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that ``run`` and ``exec`` have in common."""
    parser.add_argument(
        "-i", "--interactive", action="store_true", help="connect the process to stdin"
    )
    parser.add_argument("-t", "--tty", action="store_true", help="give the process a terminal")
    parser.add_argument(
        "--detach-keys",
        default=DETACH_KEYS,
        metavar="KEYS",
        help=f"key sequence that detaches from the container (default: {DETACH_KEYS})",
    )
    parser.add_argument(
        "--stop-after",
        type=seconds,
        metavar="SECONDS",
        help="kill the process after this time, and exit with 125",
    )
    parser.add_argument(
        "--stop-timeout",
        type=seconds,
        default=10.0,
        metavar="SECONDS",
        help="time from the first signal until the process is killed (default: 10); "
        "a second signal kills the process at once, and a third signal ends containerd-lite",
    )


def streams(options: argparse.Namespace) -> ProcessStreams:
    """Return the streams for a process with these options."""
    if options.tty and options.interactive:
        return io.Terminal(detach_keys=options.detach_keys)
    stdin = io.INHERIT if options.interactive else None
    if options.tty:
        return io.Streams(stdin, io.INHERIT, terminal=True)
    return io.Streams(stdin, io.INHERIT, io.INHERIT)


def run_attached(running: Running[Container], options: argparse.Namespace, relay: Relay) -> int:
    """Start a process, wait until it ends, and return the exit code.

    During the wait, ``relay`` forwards signals to the process. If the user detaches, the process
    continues to run, and the exit code is 0.
    """
    terminal = None
    if options.tty and options.interactive:
        terminal = cast("Terminal", running.process.streams)
        terminal.on_detach = running.process.cancel_wait
    with running:
        try:
            running.process.start()
            relay.serve(running.process)
            ended = running.finish(options.stop_after)
        except Cancelled:
            if terminal is None or not terminal.detached:
                raise
            running.leave()
            print(
                f"\r\ncontainerd-lite: detached from {printable(running.id)}, which keeps running",
                file=sys.stderr,
            )
            return 0
    if ended.exit_status in (None, _KILLED):
        relay.check()
    if ended.exit_status is None:
        id = printable(running.id)
        print(f"containerd-lite: the exit code of {id} is unknown", file=sys.stderr)
        return FAILED_HERE
    return ended.exit_status
