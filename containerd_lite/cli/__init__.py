"""The command line: ``containerd-lite``.

What lives here: the parser, exit codes, and where errors end.  What may not: the commands.
Data goes to stdout, all else to stderr.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from ..errors import (
    ContainerdError,
    DeadlineExceeded,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Unauthenticated,
    Unavailable,
)
from ..system import of_system
from ..version import VERSION
from . import doctor, images, run, version
from .output import seconds
from .own_streams import standard_streams
from .signals import Interrupted, handled

OK, FAILED, USAGE, NOT_FOUND, AUTH, UNREACHABLE, TIMEOUT = 0, 1, 2, 3, 4, 5, 6
#: Commands that end with a container's code.
_OF_CONTAINERS = ("run", "exec")

_CODES: tuple[tuple[type[ContainerdError], int], ...] = (
    (NotFound, NOT_FOUND),
    (Unauthenticated, AUTH),
    (PermissionDenied, AUTH),
    (DeadlineExceeded, TIMEOUT),
    (Unavailable, UNREACHABLE),
    (InvalidArgument, USAGE),
)
_EPILOG = f"""exit codes: {OK} done, {FAILED} failed, {USAGE} wrong usage, {NOT_FOUND} not found,
{AUTH} not permitted, {UNREACHABLE} unreachable, {TIMEOUT} timed out, 128+N ended by signal N;
run and exec: the container's; 125 where the failure is ours, 126 where the command cannot be run,
127 where it is not there"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    with standard_streams():
        options = argparse.Namespace(name="", debug=False)
        try:
            with handled():
                return _run(argv, options)
        except ContainerdError as error:
            if options.debug:
                raise
            _say(error)
            return exit_code(error, options.name)
        except Interrupted as interrupt:
            _say(interrupt)
            return interrupt.exit_code
        except OSError as error:
            failure = of_system(error, options.name)
            # Whoever read our output has gone: that is no failure, and not worth a word.
            if not isinstance(error, BrokenPipeError):
                if options.debug:
                    raise
                _say(failure)
            return exit_code(failure, options.name)


def _run(argv: Sequence[str] | None, options: argparse.Namespace) -> int:
    """The exit code, once all of the output is written; ``options`` are filled in."""
    try:
        _parser().parse_args(argv, options)
    except SystemExit:  # with help, too
        sys.stdout.flush()
        raise
    code = options.command(options)
    sys.stdout.flush()
    return int(code)


def _say(failure: BaseException) -> None:
    print(f"containerd-lite: {failure}", file=sys.stderr)


def exit_code(error: ContainerdError, command: str) -> int:
    if command in _OF_CONTAINERS:
        from . import attached

        return attached.exit_code(error)
    return next((code for kind, code in _CODES if isinstance(error, kind)), FAILED)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="containerd-lite",
        description="A containerd client without native code.",
        epilog=_EPILOG,
    )
    parser.add_argument("--version", action="version", version=f"containerd-lite {VERSION}")
    common = argparse.ArgumentParser(add_help=False)
    _add_common(parser, is_default=True)
    _add_common(common, is_default=False)
    commands = parser.add_subparsers(dest="name", required=True, metavar="COMMAND")
    for module in (version, images, run, doctor):
        module.add(commands, common)
    return parser


def _add_common(parser: argparse.ArgumentParser, *, is_default: bool) -> None:
    """The options of every command, which may stand before its name or behind it."""

    def default(value: object) -> object:
        return value if is_default else argparse.SUPPRESS

    group = parser.add_argument_group("daemon")
    group.add_argument(
        "-a", "--address", default=default(None), help="the daemon's socket ($CONTAINERD_ADDRESS)"
    )
    group.add_argument(
        "-n", "--namespace", default=default(None), help="($CONTAINERD_NAMESPACE, else default)"
    )
    group.add_argument(
        "--timeout",
        type=seconds,
        metavar="SECONDS",
        default=default(60.0),
        help="for calls that only touch metadata (60)",
    )
    group.add_argument(
        "--connect-timeout",
        type=seconds,
        metavar="SECONDS",
        default=default(10.0),
        help="for connecting (10)",
    )
    group.add_argument(
        "--debug", action="store_true", default=default(False), help="show tracebacks"
    )
