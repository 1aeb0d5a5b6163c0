"""Reads and follows the log file of a container (``runtime.io.LogFile``)."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import BinaryIO
from urllib.parse import unquote_to_bytes, urlsplit

from ...deadline import Deadline
from ...errors import FailedPrecondition, NotFound, PermissionDenied
from ...services.tasks import NULL_DEVICE
from ...system import of_system, open_regular

#: Bytes to read at a time.
CHUNK = 64 << 10
#: Seconds between reads while following a log.
POLL_INTERVAL = 0.1
_NEWLINE = b"\n"


def log_path(uri: str) -> bytes:
    """Return the path in the URI of a log file.

    Args:
        uri: The URI to which the task's output goes, such as ``file:///var/log/task``.

    Raises:
        FailedPrecondition: The scheme of the URI is not ``file``.
    """
    parts = urlsplit(uri)
    if parts.scheme != "file":
        is_discarded = uri in ("", NULL_DEVICE)
        goes_elsewhere = f"the output goes to {uri!r}, not to a log file"
        raise FailedPrecondition(
            "the container has no log" if is_discarded else goes_elsewhere,
            remedy="Start the container with run(detach=True), or its task with "
            "streams=LogFile(path); or read the output of its own logger",
        )
    return unquote_to_bytes(parts.path)


def read_log(
    path: bytes, *, tail: int | None, follow: Callable[[], bool] | None, timeout: float | None
) -> Iterator[bytes]:
    """Yield the content of a log file, in pieces of up to 64 KiB.

    Args:
        path: The path of the file.
        tail: How many lines at the end of the existing file to yield. ``None`` means the whole
            file.
        follow: A function that returns whether the task can still write to the file. While the
            function returns true, wait for more output. ``None`` means: do not wait.
        timeout: Seconds after which the wait for more output ends. ``None`` means no limit.

    Raises:
        NotFound: The file does not exist on this machine.
        PermissionDenied: The file cannot be read.
        FailedPrecondition: The file is not a regular file.
    """
    deadline = Deadline(timeout)
    with open_log(path) as file:
        if tail is not None:
            file.seek(_tail_offset(file, tail))
        while True:
            # Call ``follow`` before each read: the file is read once more after the task's end.
            may_grow = follow is not None and follow()
            while data := file.read(CHUNK):
                yield data
            if not may_grow or deadline.expired:
                return
            remaining = deadline.remaining()
            time.sleep(POLL_INTERVAL if remaining is None else min(POLL_INTERVAL, remaining))


def open_log(path: bytes, flags: int = 0) -> BinaryIO:
    """Open a log file; ``flags`` are additional flags for ``os.open``.

    Raises:
        NotFound: The file does not exist on this machine.
        PermissionDenied: The file cannot be read.
        FailedPrecondition: The file is not a regular file.
    """
    name = os.fsdecode(path)
    try:
        return open_regular(path, flags)
    except FileNotFoundError as error:
        raise NotFound(
            f"log file {name} does not exist",
            remedy="Run this program on the daemon's machine",
        ) from error
    except PermissionError as error:
        raise PermissionDenied(f"no permission to read {name}") from error
    except OSError as error:
        raise of_system(error, "Container.logs") from error


def _tail_offset(file: BinaryIO, lines: int) -> int:
    """Return the offset at which the last ``lines`` lines begin.

    A last line without a newline counts as a line.
    """
    offset = file.seek(0, os.SEEK_END)
    if lines <= 0:
        return offset
    remaining, is_last = lines, True
    while offset > 0:
        size = min(CHUNK, offset)
        offset -= size
        file.seek(offset)
        data = file.read(size)
        end = len(data) - (is_last and data.endswith(_NEWLINE))
        is_last = False
        while (found := data.rfind(_NEWLINE, 0, end)) >= 0:
            remaining -= 1
            if not remaining:
                return offset + found + 1
            end = found
    return 0
