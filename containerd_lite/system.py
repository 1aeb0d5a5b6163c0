"""What this machine refuses, as errors of ours.

What lives here: which error an ``OSError`` is, and its remedy.  What may not: who meets it.
"""

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
_REFUSED: _Kind = (PermissionDenied, "Run as a user who may, or name another place")
_NO_PLACE: _Kind = (InvalidArgument, "Name another place")
_NOT_THERE: _Kind = (NotFound, "Name another place")
_FULL: _Kind = (ResourceExhausted, "Make room, or name another place")
_TOO_MANY: _Kind = (ResourceExhausted, "Raise the limit of open files (ulimit -n)")
_KINDS: dict[int | None, _Kind] = {
    errno.EACCES: _REFUSED,
    errno.EPERM: _REFUSED,
    errno.EROFS: _REFUSED,
    errno.EEXIST: _NO_PLACE,
    errno.EISDIR: _NO_PLACE,
    errno.ELOOP: _NO_PLACE,
    errno.ENAMETOOLONG: _NO_PLACE,
    errno.ENOENT: _NOT_THERE,
    errno.ENOTDIR: _NO_PLACE,
    errno.EDQUOT: _FULL,
    errno.ENOSPC: _FULL,
    errno.EMFILE: _TOO_MANY,
    errno.ENFILE: _TOO_MANY,
    errno.EFBIG: _FULL,
    errno.EIO: (DataLoss, "Look after the disk"),
}


def of_system(error: OSError, operation: str = "", place: object = None) -> ContainerdError:
    """What kept ``operation`` from its end on this machine; ``place`` is where, unless it says.

    ``FailedPrecondition`` for what is rare.
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
    """A file to read; of a FIFO it does not wait for somebody to write into it.

    ``flags`` are added to those of ``os.open``.  Raises ``OSError``.
    """

    def opener(path: str, usual: int) -> int:
        return os.open(path, usual | os.O_NONBLOCK | flags)

    return open(path, "rb", opener=opener)


def is_regular(file: BinaryIO) -> bool:
    """Whether it is a plain file: no folder, FIFO or device."""
    return stat.S_ISREG(os.fstat(file.fileno()).st_mode)
