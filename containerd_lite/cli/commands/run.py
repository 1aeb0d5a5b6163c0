"""``containerd-lite run`` and ``exec``: a command in a new or in a running container."""

from __future__ import annotations

import argparse

from ...errors import InvalidArgument
from ...printable import printable
from ...runtime import io
from ..attached import add_options, run_attached, streams
from ..container_options import add_container, add_process, of_container, of_process
from ..output import client_of
from ..signals import Relay


def add_run(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``run``."""
    add_options(parser)
    parser.add_argument(
        "-d",
        "--detach",
        action="store_true",
        help="print the container's id, and leave the container running",
    )
    parser.add_argument(
        "--name", dest="id", metavar="ID", help="the container's id (default: random)"
    )
    parser.add_argument(
        "--keep", action="store_true", help="do not remove the container at the end"
    )
    parser.add_argument("--log", metavar="PATH", help="file for the output; requires --detach")
    add_process(parser)
    add_container(parser)
    parser.add_argument("ref", metavar="REF", help="name of a pulled image")
    parser.add_argument(
        "args", metavar="ARGS", nargs=argparse.REMAINDER, help="the command and its arguments"
    )


def add_exec(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``exec``."""
    add_options(parser)
    add_process(parser)
    parser.add_argument("container", metavar="ID", help="id of a running container")
    parser.add_argument(
        "args", metavar="ARGS", nargs=argparse.REMAINDER, help="the command and its arguments"
    )


def do_run(options: argparse.Namespace) -> int:
    """Run a command in a new container, and return its exit code."""
    if options.log and not options.detach:
        raise InvalidArgument(
            "--log requires --detach", remedy="Add --detach, or redirect stdout and stderr"
        )
    chosen = of_container(options)
    with client_of(options) as client, Relay(options.stop_timeout) as relay:
        if options.detach:
            log = io.LogFile(options.log) if options.log else None
            container = client.run(
                options.ref,
                options.args or None,
                detach=True,
                id=options.id,
                streams=log,
                **chosen,
            )
            print(printable(container.id))
            return 0
        running = client.popen(
            options.ref,
            options.args or None,
            streams=streams(options),
            id=options.id,
            remove=not options.keep,
            start=False,
            **chosen,
        )
        return run_attached(running, options, relay)


def do_exec(options: argparse.Namespace) -> int:
    """Run a command in a running container, and return its exit code."""
    if not options.args:
        raise InvalidArgument(
            "exec has no command", remedy="Write the command after the container's ID"
        )
    chosen = of_process(options)
    with client_of(options) as client, Relay(options.stop_timeout) as relay:
        container = client.load_container(options.container)
        given = streams(options)
        running = container.popen(options.args, streams=given, start=False, **chosen)
        return run_attached(running, options, relay)
