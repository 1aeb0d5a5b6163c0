"""Reads and writes the files that arguments name."""

from __future__ import annotations

import os
from contextlib import suppress

from ..errors import AlreadyExists, InvalidArgument

_STDIN = 0


def read_file(path: str, what: str, limit: int) -> bytes:
    """Return the content of a file. It can be a pipe, such as ``<(command)`` in a shell.

    Args:
        path: The path of the file; ``-`` is standard input.
        what: What the file contains, for the error message (``"the password"``).
        limit: The maximum size in bytes.

    Raises:
        InvalidArgument: The file has more than ``limit`` bytes.
        OSError: The file cannot be read.
    """
    try:
        with open(_STDIN, "rb", closefd=False) if path == "-" else open(path, "rb") as file:
            body = file.read(limit + 1)
    except ValueError:
        raise InvalidArgument(f"{path!r} is not a valid path") from None
    if len(body) > limit:
        raise InvalidArgument(f"{what} in {path} has more than the {limit} bytes allowed")
    return body


def check_new(path: str, remedy: str) -> None:
    """Raise AlreadyExists if there is a file, a folder or a link at a path."""
    if os.path.lexists(path):
        raise AlreadyExists(f"{path} exists, and is not overwritten", remedy=remedy)


def write_new(path: str, body: bytes, mode: int, remedy: str) -> None:
    """Write a new file atomically: it has its whole content and its mode as soon as it exists.

    Args:
        path: The path of the file.
        body: The content.
        mode: The permissions. The umask of the process applies to them.
        remedy: The remedy if the file exists.

    Raises:
        AlreadyExists: There is a file, a folder or a link at ``path``. It stays as it is.
        OSError: The file cannot be written.
    """
    folder, name = os.path.split(path)
    scratch = os.path.join(folder, f".{name}.{os.urandom(4).hex()}")
    try:
        with open(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        os.link(scratch, path)  # os.rename would overwrite another file
    except FileExistsError:
        check_new(path, remedy)
        raise
    except OSError as error:
        error.filename, error.filename2 = path, None
        raise
    finally:
        with suppress(FileNotFoundError):
            os.unlink(scratch)
