"""Converts an ``OSError`` to a ``ContainerdError``, opens files safely, and detects changes."""

from __future__ import annotations

import errno
import os
import stat
from typing import BinaryIO

from .errors import (
    ContainerdError,
    DataLoss,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
)

_Kind = tuple[type[ContainerdError], str]
_REFUSED: _Kind = (PermissionDenied, "Run as a user with the permission, or use another path")
_BAD_PATH: _Kind = (InvalidArgument, "Use another path")
_MISSING: _Kind = (NotFound, "Use another path")
_FULL: _Kind = (ResourceExhausted, "Free disk space, or use another path")
_TOO_MANY: _Kind = (ResourceExhausted, "Raise the limit of open files (ulimit -n)")
_KINDS: dict[int | None, _Kind] = {
    errno.EACCES: _REFUSED,
    errno.EPERM: _REFUSED,
    errno.EROFS: _REFUSED,
    errno.EEXIST: _BAD_PATH,
    errno.EISDIR: _BAD_PATH,
    errno.ELOOP: _BAD_PATH,
    errno.ENAMETOOLONG: _BAD_PATH,
    errno.ENOENT: _MISSING,
    errno.ENOTDIR: _BAD_PATH,
    errno.EDQUOT: _FULL,
    errno.ENOSPC: _FULL,
    errno.EMFILE: _TOO_MANY,
    errno.ENFILE: _TOO_MANY,
    errno.EFBIG: _FULL,
    errno.EIO: (DataLoss, "Check the disk"),
}


def of_system(error: OSError, operation: str = "", place: object = None) -> ContainerdError:
    """Return the ``ContainerdError`` for an ``OSError``.

    Args:
        error: The error. If the error number is not in ``_KINDS``, the result is a
            ``FailedPrecondition``.
        operation: The operation that failed.
        place: The path on which the operation failed, if ``error`` does not contain the path.
    """
    kind, remedy = _KINDS.get(error.errno, (FailedPrecondition, ""))
    message = error.strerror or str(error) or type(error).__name__
    if error.filename is not None:
        place = error.filename
    if place is not None:
        message = f"{_name(place)}: {message}"
    return kind(message, operation=operation, remedy=remedy)


def _name(filename: object) -> str:
    return os.fsdecode(filename) if isinstance(filename, bytes) else str(filename)


def open_file(path: str | bytes | os.PathLike[str], flags: int = 0) -> BinaryIO:
    """Open a file for reading. If the file is a FIFO, do not wait for a writer.

    Args:
        path: The path of the file.
        flags: Additional flags for ``os.open``.

    Raises:
        OSError: The file cannot be opened.
    """

    def opener(path: str, usual: int) -> int:
        return os.open(path, usual | os.O_NONBLOCK | flags)

    return open(path, "rb", opener=opener)


def open_regular(path: str | bytes | os.PathLike[str], flags: int = 0) -> BinaryIO:
    """Open a regular file for reading, without waiting.

    Args:
        path: The path of the file.
        flags: Additional flags for ``os.open``.

    Raises:
        OSError: The file cannot be opened, or is not a regular file.
    """
    file = open_file(path, flags)
    if not is_regular(file):
        file.close()
        raise OSError(errno.EINVAL, "it is not a regular file", os.fspath(path))
    return file


def is_regular(file: BinaryIO) -> bool:
    """Return whether an open file is a regular file, not a folder, a FIFO or a device."""
    return stat.S_ISREG(os.fstat(file.fileno()).st_mode)


def file_version(path: str | os.PathLike[str]) -> tuple[int, ...]:
    """Return a value that changes if a file is changed or replaced, ``()`` for a missing file.

    For a folder, the value changes if the folder gets or loses an entry.
    """
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return ()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
