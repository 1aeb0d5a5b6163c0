"""What a container has written to a log file (``runtime.io.LogFile``).

What lives here: finding the file, reading its end, following it.  What may not: loggers, which
keep what they get in a way of their own.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import BinaryIO
from urllib.parse import unquote_to_bytes, urlsplit

from ...deadline import Deadline
from ...errors import FailedPrecondition, NotFound, PermissionDenied
from ...system import open_file

_PIECE = 64 << 10
#: How often to look for more (seconds).
_LOOK = 0.1
_NEWLINE = b"\n"


def log_path(uri: str) -> bytes:
    """The file that a ``file://`` URI names.  Raises ``FailedPrecondition`` for another."""
    parts = urlsplit(uri)
    if parts.scheme != "file":
        raise FailedPrecondition(
            f"the output goes to {uri!r}, which is no log file" if uri else "there is no log",
            remedy="Start it with streams=LogFile(path), or read what its logger keeps",
        )
    return unquote_to_bytes(parts.path)


def read_log(
    path: bytes, *, tail: int | None, follow: Callable[[], bool] | None, timeout: float | None
) -> Iterator[bytes]:
    """The pieces of a log as they are there, the last ``tail`` lines if that is given.

    ``follow`` says whether more may come; without it the log ends where it does now.  Ends after
    ``timeout`` seconds.  Raises ``NotFound``, ``PermissionDenied``.
    """
    deadline = Deadline(timeout)
    with _opened(path) as file:
        if tail is not None:
            file.seek(_tail_offset(file, tail))
        while True:
            goes_on = follow is not None and follow()  # before the last look, lest that miss some
            while data := file.read(_PIECE):
                yield data
            if not goes_on or deadline.expired:
                return
            left = deadline.remaining()
            time.sleep(_LOOK if left is None else min(_LOOK, left))


def _opened(path: bytes) -> BinaryIO:
    try:
        return open_file(path)
    except FileNotFoundError as error:
        raise NotFound(
            f"there is no log {os.fsdecode(path)}", remedy="Logs are on the daemon's machine"
        ) from error
    except PermissionError as error:
        raise PermissionDenied(f"{os.fsdecode(path)} may not be read") from error


def _tail_offset(file: BinaryIO, lines: int) -> int:
    """Where the last ``lines`` lines begin; what follows the last newline is one, too."""
    place = file.seek(0, os.SEEK_END)
    if lines <= 0:
        return place
    wanted, is_last = lines, True
    while place > 0:
        size = min(_PIECE, place)
        place -= size
        file.seek(place)
        data = file.read(size)
        end = len(data) - (is_last and data.endswith(_NEWLINE))
        is_last = False
        while (found := data.rfind(_NEWLINE, 0, end)) >= 0:
            wanted -= 1
            if not wanted:
                return place + found + 1
            end = found
    return 0
