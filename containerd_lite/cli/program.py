"""The program ``containerd-lite``: its parser, its exit codes, and where errors end.

Data goes to stdout, all else to stderr.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from typing import Any

from .. import debug
from ..errors import ContainerdError
from ..system import of_system
from ..version import VERSION
from . import commands
from .exit_codes import AUTH, FAILED, NOT_FOUND, OK, TIMEOUT, UNREACHABLE, USAGE, exit_code
from .output import seconds
from .own_streams import standard_streams
from .signals import Interrupted, handled

#: The commands, whose options and work are in ``commands``, and what they are for.
_COMMANDS = {
    "version": "Show the versions of client and daemon.",
    "pull": "Fetch an image; unpack it unless it goes into a folder. Prints its name and digest.",
    "images": "List images.",
    "run": "Run a command in a new container, show its output, remove the container, and end with "
    "its exit code.",
    "exec": "Run a further command in a container that runs, show its output, and end with its "
    "exit code.",
    "doctor": "Look at the daemon and say what is missing, and what to do about it. "
    "Ends with 1 if something needed is missing.",
}
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
            # A reader that closes the pipe is no failure: say nothing.
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
    debug.read_environment()
    if options.debug:
        debug.switch_on()
    try:
        code = options.command(options)
    finally:
        if options.debug:
            debug.switch_off()
    sys.stdout.flush()
    return int(code)


def _say(failure: BaseException) -> None:
    print(f"containerd-lite: {failure}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="containerd-lite",
        description="A containerd client without native code.",
        epilog=_EPILOG,
        formatter_class=_Formatter,
    )
    parser.add_argument("--version", action="version", version=f"containerd-lite {VERSION}")
    common = argparse.ArgumentParser(add_help=False, formatter_class=_Formatter)
    _add_common(parser, is_default=True)
    _add_common(common, is_default=False)
    parsers = parser.add_subparsers(
        prog=parser.prog,  # else a formatter is made for it, which loads shutil
        dest="name",
        required=True,
        metavar="COMMAND",
        parser_class=_CommandParser,
    )
    for name, description in _COMMANDS.items():
        summary = description.partition(".")[0].partition(";")[0]
        parsers.add_parser(
            name,
            parents=[common],  # type: ignore[list-item]  # which need not be of its own kind
            help=summary[0].lower() + summary[1:],
            description=description,
            formatter_class=_Formatter,
        ).command = name
    return parser


class _Formatter(argparse.HelpFormatter):
    """Finds the terminal's width without shutil, which is slow to load: each option asks for it."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=_width() - 2)


@cache
def _width() -> int:
    """As ``shutil.get_terminal_size``."""
    with suppress(KeyError, ValueError):
        return int(os.environ["COLUMNS"]) or 80
    with suppress(OSError, ValueError, AttributeError):
        return os.get_terminal_size(sys.__stdout__.fileno()).columns or 80  # type: ignore[union-attr]
    return 80


class _CommandParser(argparse.ArgumentParser):
    """The parser of one command, whose own options are added once it is the one asked for."""

    command = ""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        getattr(commands, f"add_{self.command}")(self)
        self.set_defaults(command=getattr(commands, f"do_{self.command}"))
        return super().parse_known_args(args, namespace)


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
        "--debug",
        action="store_true",
        default=default(False),
        help="show debug output, and tracebacks ($CONTAINERD_LITE_DEBUG=1, or some of "
        f"{','.join(debug.NAMES)}: the output alone)",
    )
