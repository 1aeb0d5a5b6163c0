"""``containerd-lite key``: makes, imports and shows keys that sign images."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from ... import trust
from ...errors import InvalidArgument, PermissionDenied
from ...printable import printable
from ...undo import Undo
from ..argument_files import check_new, write_new
from ..output import add_debug
from ..private_keys import (
    add_password,
    ask_password,
    is_encrypted,
    load_signer,
    read_key,
    read_password,
    read_password_file,
)

if TYPE_CHECKING:
    from ...trust.key_pairs import KeyFiles

_NEW_PASSWORD = "Password of the new key"
_PREFIX_EXISTS = "Pass another --output-prefix"
#: The permissions of the files of the private and of the public key.
_PRIVATE_MODE, _PUBLIC_MODE = 0o600, 0o644


def add_key(parser: argparse.ArgumentParser) -> None:
    """Add the actions of ``key``, with their options."""
    actions = parser.add_subparsers(
        prog=parser.prog,
        required=True,
        metavar="ACTION",
        parser_class=argparse.ArgumentParser,
    )
    for name, (summary, add, run) in _ACTIONS.items():
        action = actions.add_parser(
            name,
            help=summary[0].lower() + summary[1:].rstrip("."),
            description=summary,
            formatter_class=parser.formatter_class,
        )
        add_debug(action, argparse.SUPPRESS)
        add(action)
        add_password(action)
        action.set_defaults(action=run)


def do_key(options: argparse.Namespace) -> int:
    """Run an action of ``key``."""
    action: Callable[[argparse.Namespace], None] = options.action
    action(options)
    return 0


def _add_generate(parser: argparse.ArgumentParser) -> None:
    _add_prefix(parser, "cosign")


def _add_import(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="private key (PEM), with or without password")
    parser.add_argument(
        "--old-password-file",
        metavar="FILE",
        help="read the password of FILE from a file (default: ask on the terminal)",
    )
    _add_prefix(parser, "import-cosign")


def _add_public(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="private key (PEM)")


def _add_prefix(parser: argparse.ArgumentParser, default: str) -> None:
    parser.add_argument(
        "--output-prefix",
        metavar="PREFIX",
        default=default,
        help=f"write PREFIX.key and PREFIX.pub (default: {default})",
    )


def _generate(options: argparse.Namespace) -> None:
    """Make a key pair, and print the paths of the files."""
    generate_key = trust.generate_key  # says which package is missing, before a password is asked
    _check_new(options.output_prefix)
    _write(options.output_prefix, generate_key(read_password(options, _NEW_PASSWORD, is_new=True)))


def _import(options: argparse.Namespace) -> None:
    """Encrypt an existing key, and print the paths of the files."""
    import_key = trust.import_key
    _check_new(options.output_prefix)
    pem, old = read_key(options.file), None
    if is_encrypted(pem):
        if options.old_password_file is not None:
            old = read_password_file(options.old_password_file)
        else:
            old = ask_password(f"Password of {options.file}", "Pass --old-password-file")
    new = read_password(options, _NEW_PASSWORD, is_new=True)
    try:
        files = import_key(pem, new, old_password=old)
    except (InvalidArgument, PermissionDenied) as error:
        raise type(error)(f"{options.file}: {error.message}", remedy=error.remedy) from None
    _write(options.output_prefix, files)


def _show_public(options: argparse.Namespace) -> None:
    """Print the public key of a private key."""
    print(load_signer(options.file, options).public.to_pem(), end="")


def _check_new(prefix: str) -> None:
    """Raise AlreadyExists if one of the files exists, before the user types a password."""
    for path in _paths(prefix):
        check_new(path, _PREFIX_EXISTS)


def _write(prefix: str, files: KeyFiles) -> None:
    """Write both files or none, and print their paths."""
    private, public = _paths(prefix)
    write_new(private, files.private, _PRIVATE_MODE, _PREFIX_EXISTS)
    with Undo(lambda: os.unlink(private)):
        write_new(public, files.public, _PUBLIC_MODE, _PREFIX_EXISTS)
    print(printable(private))
    print(printable(public))


def _paths(prefix: str) -> tuple[str, str]:
    return f"{prefix}.key", f"{prefix}.pub"


_Add = Callable[[argparse.ArgumentParser], None]
_Run = Callable[[argparse.Namespace], None]
#: The actions: what they do, and the functions that add their options and run them.
_ACTIONS: dict[str, tuple[str, _Add, _Run]] = {
    "generate": (
        "Make an ECDSA key (P-256) in cosign's files, and print their paths.",
        _add_generate,
        _generate,
    ),
    "import": (
        "Encrypt an existing private key in cosign's files, and print their paths.",
        _add_import,
        _import,
    ),
    "public": ("Print the public key of a private key.", _add_public, _show_public),
}
