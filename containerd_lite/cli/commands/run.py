"""``containerd-lite run`` and ``exec``: a command in a new container, or in one that runs."""

from __future__ import annotations

import argparse

from ...errors import InvalidArgument
from ...runtime import io
from ..attached import add_options, attend, streams
from ..container_options import add_container, add_process, of_container, of_process
from ..output import client_of
from ..signals import Relay


def add_run(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``run``."""
    add_options(parser)
    parser.add_argument("-d", "--detach", action="store_true", help="print its id and leave it")
    parser.add_argument("--name", dest="id", metavar="ID", help="the container's id (made up)")
    parser.add_argument("--keep", action="store_true", help="do not remove the container")
    parser.add_argument("--log", metavar="PATH", help="with --detach: its output, in a file")
    add_process(parser)
    add_container(parser)
    parser.add_argument("ref", metavar="REF", help="an image that was pulled")
    parser.add_argument("args", metavar="ARGS", nargs=argparse.REMAINDER, help="what to run")


def add_exec(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``exec``."""
    add_options(parser)
    add_process(parser)
    parser.add_argument("container", metavar="ID", help="a container that runs")
    parser.add_argument("args", metavar="ARGS", nargs=argparse.REMAINDER, help="what to run")


def do_run(options: argparse.Namespace) -> int:
    """Run to the end; the container's streams are this program's."""
    if options.log and not options.detach:
        raise InvalidArgument("--log is for --detach", remedy="Else the output is shown")
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
            print(container.id)
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
        return attend(running, options, relay)


def do_exec(options: argparse.Namespace) -> int:
    """Run to the end; the process's streams are this program's."""
    if not options.args:
        raise InvalidArgument("there is nothing to run", remedy="Write a command behind the ID")
    chosen = of_process(options)
    with client_of(options) as client, Relay(options.stop_timeout) as relay:
        container = client.load_container(options.container)
        given = streams(options)
        running = container.popen(options.args, streams=given, start=False, **chosen)
        return attend(running, options, relay)
