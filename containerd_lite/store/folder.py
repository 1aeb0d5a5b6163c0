"""Bounded reads and atomic writes of files in a folder that other processes can also change."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import ContainerdError, SizeMismatch
from ..system import of_system
from ..undo import Undo


@contextmanager
def explained(folder: Path) -> Iterator[None]:
    """Turn each ``OSError`` of the block into a ``ContainerdError`` that names the path.

    Args:
        folder: The path that the message names if the ``OSError`` has no path.

    Raises:
        ResourceExhausted: The disk or a quota is full, or too many files are open.
        PermissionDenied: The user is not allowed to access the file.
        NotFound: The file does not exist.
        InvalidArgument: The path is not valid for this use. For example, the path leads to a
            folder, but a file is needed.
        DataLoss: The disk cannot be read or written.
        FailedPrecondition: Any other error of the operating system.
    """
    try:
        yield
    # Some subclasses of ContainerdError are also subclasses of OSError.
    except ContainerdError:
        raise
    except OSError as error:
        raise of_system(error, place=folder) from error


def read(path: Path, limit: int) -> bytes:
    """Return the content of a file. Raise ``SizeMismatch`` if it has more than ``limit`` bytes."""
    with path.open("rb") as file:
        # Request the file's size and one more byte: Python allocates a buffer of the requested
        # size, so a request for "limit" bytes would allocate far too much.
        body = file.read(min(limit, os.fstat(file.fileno()).st_size) + 1)
    if len(body) > limit:
        raise SizeMismatch(f"{path} is larger than the {limit} bytes allowed")
    return body


def replace(path: Path, body: bytes) -> None:
    """Replace the content of a file atomically: readers see the old or the new content."""
    scratch = path.with_name(f"{scratch_of(path.name)}{os.urandom(4).hex()}")
    with Undo(lambda: scratch.unlink(missing_ok=True)):
        scratch.write_bytes(body)
        scratch.replace(path)


def scratch_of(name: str) -> str:
    """Return the prefix of the names of temporary files that ``replace`` renames to ``name``."""
    return f".{name}.new-"
