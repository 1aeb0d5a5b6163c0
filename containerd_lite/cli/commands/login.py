"""``containerd-lite login`` and ``logout``: store and remove credentials for registries."""

from __future__ import annotations

import argparse
import sys

from ...errors import InvalidArgument
from ...printable import printable
from ...registry import logins
from ..argument_files import read_file
from ..private_keys import ask_password
from ..registry_options import add_registry

#: The maximum size of a password in bytes. Access tokens of cloud providers have a few kilobytes.
_MAX_PASSWORD = 64 << 10


def add_login(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``login``."""
    _add_host(parser)
    parser.add_argument(
        "-u", "--username", metavar="USER", help="the user name (default: ask on the terminal)"
    )
    parser.add_argument(
        "--password-stdin",
        action="store_true",
        help="read the password from standard input (default: ask on the terminal)",
    )
    add_registry(parser)


def do_login(options: argparse.Namespace) -> int:
    """Ask for what is missing, log in, and print the name of the registry."""
    username = options.username
    if username is None:
        username = _ask_username(options.password_stdin)
    logins.login(
        options.host,
        username,
        _read_password(options.password_stdin),
        plain_http=True if options.plain_http else None,
        realm_hosts=options.realm_hosts,
    )
    print(printable(f"logged in to {options.host}"))
    return 0


def add_logout(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``logout``."""
    _add_host(parser)


def do_logout(options: argparse.Namespace) -> int:
    """Log out, and print the name of the registry."""
    if logins.logout(options.host):
        print(printable(f"logged out of {options.host}"))
    else:
        text = f"containerd-lite: there are no stored credentials for {options.host}"
        print(printable(text), file=sys.stderr)
    return 0


def _add_host(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("host", metavar="HOST", help="docker.io, registry.example:5000")


def _ask_username(is_stdin_used: bool) -> str:
    """Ask for the user name on the terminal. The prompt goes to stderr, as that of the password."""
    if is_stdin_used or not sys.stdin.isatty():
        raise InvalidArgument("a user name is needed", remedy="Pass --username")
    print("User name: ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip()


def _read_password(is_from_stdin: bool) -> str:
    if is_from_stdin:
        body = read_file("-", "the password", _MAX_PASSWORD)
        body = body.removesuffix(b"\n").removesuffix(b"\r")
    else:
        body = ask_password("Password", "Pass --password-stdin")
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidArgument("the password is not UTF-8", remedy="Pass another one") from None
