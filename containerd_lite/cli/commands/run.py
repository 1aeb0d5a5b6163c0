"""``containerd-lite run`` and ``exec``: a command in a new or in a running container."""

from __future__ import annotations

import argparse
from contextlib import suppress
from typing import TYPE_CHECKING

from ...errors import InvalidArgument, NotFound
from ...printable import printable
from ...runtime import io
from ..attached import add_options, run_attached, streams
from ..container_options import add_container, add_process, of_container, of_process
from ..container_options import explain as explain
from ..output import client_of
from ..progress_display import show_progress
from ..registry_options import add_policy, add_registry, resolver_of
from ..signals import Relay

if TYPE_CHECKING:
    from ...client import Client
    from ...images.image import Image


def add_run(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``run``."""
    add_options(parser)
    parser.add_argument(
        "-d",
        "--detach",
        action="store_true",
        help="print the container's id, and leave the container running; logs shows its output",
    )
    parser.add_argument(
        "--name", dest="id", metavar="ID", help="the container's id (default: random)"
    )
    parser.add_argument(
        "--keep", action="store_true", help="do not remove the container at the end"
    )
    parser.add_argument(
        "--log",
        metavar="PATH",
        help="plain file for the output; requires --detach (default: the log of the container)",
    )
    add_process(parser)
    add_container(parser)
    parser.add_argument(
        "--pull",
        choices=("never", "missing", "always"),
        default="missing",
        help="when to pull the image (default: missing, if no image has the name)",
    )
    add_registry(parser)
    add_policy(parser)
    parser.add_argument(
        "-q", "--quiet", action="store_true", help="do not show the progress of the pull"
    )
    parser.add_argument("ref", metavar="REF", help="name of the image")
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
    _check(options)
    with client_of(options) as client:
        image = _find_or_pull(client, options)
        with Relay(options.stop_timeout) as relay:
            return _run_image(client, image, options, relay)


def _check(options: argparse.Namespace) -> None:
    """Refuse options that contradict each other, before anything is pulled."""
    if options.log and not options.detach:
        raise InvalidArgument(
            "--log requires --detach", remedy="Add --detach, or redirect stdout and stderr"
        )
    if options.restart and not (options.detach or options.keep):
        raise InvalidArgument(
            "--restart requires --detach, because run removes the container at its end",
            remedy="Add --detach, or --keep to keep the container",
        )
    attached = {"-i": options.interactive, "-t": options.tty, "--stop-after": options.stop_after}
    given = [name for name, value in attached.items() if value]
    if options.detach and given:
        raise InvalidArgument(
            f"--detach does not wait for the command, so it excludes {' and '.join(given)}",
            remedy=f"Leave out either --detach or {' and '.join(given)}",
        )
    if options.policy and options.pull == "never":
        raise InvalidArgument(
            "--policy requires a pull, because only pulls verify signatures",
            remedy="Add --pull always",
        )


def _run_image(
    client: Client, image: Image | str, options: argparse.Namespace, relay: Relay
) -> int:
    chosen = of_container(options)
    if options.detach:
        log = io.LogFile(options.log) if options.log else None
        container = client.run(
            image, options.args or None, detach=True, id=options.id, streams=log, **chosen
        )
        print(printable(container.id))
        return 0
    running = client.popen(
        image,
        options.args or None,
        streams=streams(options),
        id=options.id,
        remove=not options.keep,
        start=False,
        **chosen,
    )
    return run_attached(running, options, relay)


def _find_or_pull(client: Client, options: argparse.Namespace) -> Image | str:
    """Return the image; pull it if the options say so."""
    ref: str = options.ref
    if options.pull == "never":
        return ref
    if options.pull == "missing":
        with suppress(NotFound):
            return client.get_image(ref)
    with show_progress(options.quiet) as progress, resolver_of(options, progress) as resolver:
        return client.pull(
            ref,
            snapshotter=options.snapshotter,
            resolver=resolver,
            progress=progress,
            policy=options.policy,
        )


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
