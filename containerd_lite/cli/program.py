"""The program ``containerd-lite``: its parser and its error reports.

The program writes results to stdout, and everything else to stderr.
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
from ..printable import printable
from ..system import of_system
from ..version import VERSION
from . import commands
from .exit_codes import (
    AUTH,
    FAILED,
    NOT_FOUND,
    OK,
    REFUSED,
    TIMEOUT,
    UNREACHABLE,
    USAGE,
    exit_code,
)
from .output import add_debug, seconds
from .own_streams import standard_streams
from .remedies import for_command_line, message_for_command_line
from .signals import Interrupted, handling_signals

#: The commands and their help texts. The package ``commands`` has the options and the functions of
#: the commands.
_COMMANDS = {
    "version": "Show the versions of client and daemon.",
    "pull": "Fetch and unpack an image, and print its name and digest.",
    "images": "List images.",
    "login": "Store a user name and a password for a registry, if the registry accepts them: in "
    "Docker's credential helper if one is configured, otherwise unencrypted in Docker's config "
    "file, or in $REGISTRY_AUTH_FILE.",
    "logout": "Remove the stored credentials for a registry.",
    "verify": "Verify the signatures of an image in a registry, and show who signed it.",
    "sign": "Sign an image in a registry.",
    "attest": "Attach a signed attestation to an image in a registry.",
    "tree": "List what refers to an image in its registry: signatures, attestations and other "
    "artifacts. This command does not verify them, and anyone who can push to the repository can "
    "add some. To verify signatures, use the command verify.",
    "key": "Make, import or show keys that sign images.",
    "run": "Run a command in a new container. Removes the container at the end, and exits with the "
    "command's exit code.",
    "exec": "Run a command in a running container. Exits with the command's exit code.",
    "logs": "Show the log of a container that run --detach has started.",
    "stats": "Show the CPU, memory, network and disk usage of running containers.",
    "doctor": "Check the daemon, and show what is missing and how to fix it. "
    "Exits with 1 if something necessary is missing.",
}
#: The commands that use no daemon, and so have no options for one.
_WITHOUT_DAEMON = ("login", "logout", "verify", "sign", "attest", "tree", "key")
#: The commands that have options of processes.
_WITH_PROCESS = ("run", "exec")
_EPILOG = f"""exit codes: {OK} success, {FAILED} failure, {USAGE} wrong usage, {NOT_FOUND} not
found, {AUTH} not permitted, {UNREACHABLE} daemon or registry unreachable, {TIMEOUT} timeout, 128+N
ended by signal N, {REFUSED} a policy refuses the image. run and exec exit with the exit code of the
command that they run. If run or exec
fails, the exit code is 126 if the command cannot be executed, 127 if the command does not exist,
and 125 for any other failure."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command, and return the exit code.

    Without ``argv``, this function runs the command of this process, and then ends the process with
    the exit code: zipapp calls an entry point, and ignores what it returns.

    Args:
        argv: The arguments. Default: the arguments of this process.
    """
    code = _main(argv)
    if argv is None:
        raise SystemExit(code)
    return code


def _main(argv: Sequence[str] | None) -> int:
    """Run one command, report its error, and return the exit code."""
    with standard_streams():
        options = argparse.Namespace(name="", debug=False)
        try:
            with handling_signals():
                return _run(argv, options)
        except ContainerdError as error:
            if options.debug:
                raise
            error.message = message_for_command_line(error, options.parser)
            error.remedy = for_command_line(error.remedy, options.parser)
            _report(error)
            return exit_code(error, options.name)
        except Interrupted as interrupt:
            _report(interrupt)
            return interrupt.exit_code
        except OSError as error:
            failure = of_system(error, options.name)
            # Print no error if a reader, such as head, closes the pipe early.
            if not isinstance(error, BrokenPipeError):
                if options.debug:
                    raise
                _report(failure)
            return exit_code(failure, options.name)


def _run(argv: Sequence[str] | None, options: argparse.Namespace) -> int:
    """Parse the arguments into ``options``, run the command, and flush the output."""
    parser = _parser()
    try:
        parser.parse_args(argv, options)
        if not options.name:
            parser.error(f"COMMAND is missing: write one of {', '.join(_COMMANDS)}")
    except SystemExit:  # argparse raises it after --help and for usage errors
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


def _report(failure: BaseException) -> None:
    print(f"containerd-lite: {printable(str(failure))}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="containerd-lite",
        description="A containerd client in pure Python.",
        epilog=_EPILOG,
        formatter_class=_Formatter,
    )
    parser.add_argument("--version", action="version", version=f"containerd-lite {VERSION}")
    _add_common(parser, is_default=True)
    parsers = parser.add_subparsers(
        prog=parser.prog,  # without prog, argparse creates a formatter, which loads shutil
        dest="name",
        # With required=True, argparse reports a missing command in place of an unknown option.
        required=False,
        metavar="COMMAND",
        parser_class=_CommandParser,
    )
    for name, description in _COMMANDS.items():
        summary = description.partition(".")[0].partition(";")[0]
        parsers.add_parser(
            name,
            help=summary[0].lower() + summary[1:],
            description=description,
            formatter_class=_Formatter,
        ).command = name
    return parser


class _Formatter(argparse.HelpFormatter):
    """A formatter that finds the terminal's width without shutil, which is slow to load."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=_width() - 2)


@cache
def _width() -> int:
    """Return the terminal's width, like ``shutil.get_terminal_size``."""
    with suppress(KeyError, ValueError):
        return int(os.environ["COLUMNS"]) or 80
    with suppress(OSError, ValueError, AttributeError):
        return os.get_terminal_size(sys.__stdout__.fileno()).columns or 80  # type: ignore[union-attr]
    return 80


class _CommandParser(argparse.ArgumentParser):
    """The parser of one command. It gets its options when it parses, so other commands get none."""

    command = ""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Add the common options and those of the command, then parse the arguments."""
        if self.command in _WITHOUT_DAEMON:
            add_debug(self, argparse.SUPPRESS)
        else:
            _add_common(self, is_default=False)
        getattr(commands, f"add_{self.command}")(self)
        self.set_defaults(command=getattr(commands, f"do_{self.command}"), parser=self)
        return super().parse_known_args(args, namespace)

    def format_help(self) -> str:
        """Return the help. The options that the library has, too, get their help texts here."""
        if self.command in _WITH_PROCESS:
            commands.explain(self)
        return super().format_help()


def _add_common(parser: argparse.ArgumentParser, *, is_default: bool) -> None:
    """Add the common options, which users can write before or after the command."""

    def default(value: object) -> object:
        return value if is_default else argparse.SUPPRESS

    group = parser.add_argument_group("daemon")
    group.add_argument(
        "-a",
        "--address",
        default=default(None),
        help="the daemon's socket (default: $CONTAINERD_ADDRESS)",
    )
    group.add_argument(
        "-n",
        "--namespace",
        default=default(None),
        help="the namespace (default: $CONTAINERD_NAMESPACE, or the namespace 'default')",
    )
    group.add_argument(
        "--timeout",
        type=seconds,
        metavar="SECONDS",
        default=default(60.0),
        help="timeout of calls that only read or change metadata (default: 60)",
    )
    group.add_argument(
        "--connect-timeout",
        type=seconds,
        metavar="SECONDS",
        default=default(10.0),
        help="timeout of connecting to the daemon (default: 10)",
    )
    add_debug(group, default(False))
