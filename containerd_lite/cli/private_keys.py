"""Private keys of signers, and their passwords.

A password comes from a file, from stdin, from the environment or from the terminal. It is never an
argument, because other users of the machine can see the arguments of a process.
"""

from __future__ import annotations

import argparse
import getpass
import os
import warnings
from typing import TYPE_CHECKING

from .. import trust
from ..errors import InvalidArgument, PermissionDenied
from .argument_files import read_file

if TYPE_CHECKING:
    from ..trust.signers import Signer

#: cosign reads the password from this environment variable, too.
VARIABLE = "COSIGN_PASSWORD"
#: The maximum sizes of a password and of the file of a key in bytes.
_MAX_PASSWORD, _MAX_KEY = 4 << 10, 64 << 10
_REMEDY = f"Set ${VARIABLE}, or pass --password-file or --password-stdin"


def add_password(parser: argparse.ArgumentParser) -> None:
    """Add the options for the password of a private key."""
    group = parser.add_argument_group(
        "password", f"By default, the password is ${VARIABLE}, or is asked for on the terminal."
    ).add_mutually_exclusive_group()
    group.add_argument("--password-file", metavar="FILE", help="read the password from a file")
    group.add_argument(
        "--password-stdin", action="store_true", help="read the password from standard input"
    )


def read_key(path: str) -> bytes:
    """Return the content of the file of a private key."""
    return read_file(path, "the private key", _MAX_KEY)


def is_encrypted(pem: bytes) -> bool:
    """Return whether a private key in PEM needs a password.

    The word occurs in the labels of PKCS #8 and of cosign, and in the header of older keys.
    """
    return b"ENCRYPTED" in pem


def load_signer(path: str, options: argparse.Namespace) -> Signer:
    """Return the signer with the private key in a file.

    Args:
        path: The path of the file.
        options: The options of ``add_password``. They matter only for encrypted keys.

    Raises:
        InvalidArgument: The file is not a private key, or its password is missing.
        PermissionDenied: The password is wrong.
    """
    read = trust.Signer.from_pem  # says which package is missing, before a password is asked for
    pem = read_key(path)
    password = read_password(options, f"Password of {path}") if is_encrypted(pem) else None
    try:
        return read(pem, password)
    except (InvalidArgument, PermissionDenied) as error:
        raise type(error)(f"{path}: {error.message}", remedy=error.remedy) from None


def read_password(options: argparse.Namespace, prompt: str, *, is_new: bool = False) -> bytes:
    """Return the password that the options, the environment or the user gives.

    Args:
        options: The options of ``add_password``.
        prompt: The prompt on the terminal.
        is_new: Whether the user chooses a new password, and so types it twice.

    Raises:
        InvalidArgument: The password is missing or too long.
    """
    if options.password_file is not None:
        return read_password_file(options.password_file)
    if options.password_stdin:
        return read_password_file("-")
    found = os.environb.get(VARIABLE.encode())
    if found is not None:
        return found
    password = ask_password(prompt)
    if is_new and ask_password(f"{prompt} again") != password:
        raise InvalidArgument("the two passwords differ", remedy="Type the same password twice")
    return password


def read_password_file(path: str) -> bytes:
    """Return the password in a file, without the newline at its end."""
    password = read_file(path, "the password", _MAX_PASSWORD)
    return password.removesuffix(b"\n").removesuffix(b"\r")


def ask_password(prompt: str, remedy: str = _REMEDY) -> bytes:
    """Ask for a password on the terminal, without echo.

    Raises:
        InvalidArgument: The process has no terminal, or the input ends.
    """
    try:
        with warnings.catch_warnings():
            # Without a terminal, getpass would warn, and read from stdin with echo.
            warnings.simplefilter("error", getpass.GetPassWarning)
            return os.fsencode(getpass.getpass(f"{prompt}: "))
    except getpass.GetPassWarning:
        raise InvalidArgument(
            "a password is needed, and there is no terminal to ask for it", remedy=remedy
        ) from None
    except (EOFError, UnicodeError):
        raise InvalidArgument("no password was typed", remedy=remedy) from None
