"""Files of a folder that others use, too: read with a bound, replaced whole.

What lives here: that, and telling what fails.  What may not: what is in them.
"""

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
    """Within the block what the system says of the folder's files is said in this package's words.

    Raises ``ResourceExhausted``, ``PermissionDenied``, ``NotFound``, ``InvalidArgument``,
    ``DataLoss``; ``FailedPrecondition`` for what is rare.
    """
    try:
        yield
    except ContainerdError:  # some of which are OSErrors
        raise
    except OSError as error:
        raise of_system(error, place=folder) from error


def read(path: Path, limit: int) -> bytes:
    """A file whole.  Raises ``SizeMismatch`` if it has more than ``limit`` bytes."""
    with path.open("rb") as file:
        # Not more than there is: Python makes room for what it is asked for.
        body = file.read(min(limit, os.fstat(file.fileno()).st_size) + 1)
    if len(body) > limit:
        raise SizeMismatch(f"{path} is larger than the {limit} bytes allowed")
    return body


def replace(path: Path, body: bytes) -> None:
    """Replace a file whole: a reader sees the old one or the new one."""
    scratch = path.with_name(f"{scratch_of(path.name)}{os.urandom(4).hex()}")
    with Undo(lambda: scratch.unlink(missing_ok=True)):
        scratch.write_bytes(body)
        scratch.replace(path)


def scratch_of(name: str) -> str:
    """How the names of files begin that are to replace the one called ``name``."""
    return f".{name}.new-"
