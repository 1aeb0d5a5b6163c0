"""Files in a folder that other processes use, too: bounded reads, atomic writes, and errors."""

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
        folder: The path to name if the error names none.

    Raises:
        ResourceExhausted: The disk or a quota is full, or too many files are open.
        PermissionDenied: The user may not access the file.
        NotFound: The file does not exist.
        InvalidArgument: The path leads to something else, such as a folder instead of a file.
        DataLoss: The disk cannot be read or written.
        FailedPrecondition: Another error, which is rare.
    """
    try:
        yield
    except ContainerdError:  # some of these are also an OSError
        raise
    except OSError as error:
        raise of_system(error, place=folder) from error


def read(path: Path, limit: int) -> bytes:
    """Return the content of a file. Raise ``SizeMismatch`` if it has more than ``limit`` bytes."""
    with path.open("rb") as file:
        # Ask only for what the file has, because Python allocates as much as it is asked for.
        body = file.read(min(limit, os.fstat(file.fileno()).st_size) + 1)
    if len(body) > limit:
        raise SizeMismatch(f"{path} is larger than the {limit} bytes allowed")
    return body


def replace(path: Path, body: bytes) -> None:
    """Replace a file atomically: readers see the old content or the new content."""
    scratch = path.with_name(f"{scratch_of(path.name)}{os.urandom(4).hex()}")
    with Undo(lambda: scratch.unlink(missing_ok=True)):
        scratch.write_bytes(body)
        scratch.replace(path)


def scratch_of(name: str) -> str:
    """Return the prefix of the temporary files from which ``replace`` makes the file ``name``."""
    return f".{name}.new-"
