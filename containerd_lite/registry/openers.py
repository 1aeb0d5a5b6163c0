"""Opens and reads the content that an upload sends.

Errors of the caller's own content or callbacks are kept apart from errors of the registry.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ..errors import ContainerdError, InvalidArgument

#: The bytes, a file's path, or a function that opens them as a binary file at an offset.
Content = bytes | str | os.PathLike[str] | Callable[[int], BinaryIO]
#: Opens content at an offset.
Opener = Callable[[int], BinaryIO]


def opener(content: Content) -> Opener:
    """Return a function that opens ``content`` at an offset in bytes."""
    if isinstance(content, bytes):
        return lambda offset: io.BytesIO(memoryview(content)[offset:])
    if callable(content):
        return content
    path = Path(content)

    def open_at(offset: int) -> BinaryIO:
        file = path.open("rb")
        file.seek(offset)
        return file

    return open_at


class LocalFault(Exception):
    """Carries an error of the caller's content or callback out of a request.

    Without this wrapper, it could look like an error of the network or of the registry.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


@contextmanager
def local_faults() -> Iterator[None]:
    """Wrap every exception of the block in LocalFault."""
    try:
        yield
    except Exception as error:
        raise LocalFault(error) from error


@contextmanager
def _reading(digest: str) -> Iterator[None]:
    """Wrap the exceptions of a block that opens or reads content in LocalFault.

    An OSError becomes InvalidArgument first. A ContainerdError is raised unchanged.
    """
    try:
        yield
    except ContainerdError:  # from the source of a copy, which may be a registry, too
        raise
    except OSError as error:
        with local_faults():
            reason = error.strerror or type(error).__name__
            raise InvalidArgument(f"the content of {digest} cannot be read ({reason})") from error
    except Exception as error:
        raise LocalFault(error) from error


def open_content(open_at: Opener, start: int, digest: str) -> BinaryIO:
    """Open the content from ``start`` (bytes). Raises as ``_reading`` says."""
    with _reading(digest):
        return open_at(start)


def read_content(file: BinaryIO, view: memoryview, digest: str) -> int:
    """Read content into ``view`` and return the number of bytes. Raises as ``_reading`` says."""
    with _reading(digest):
        count: int = file.readinto(view)  # type: ignore[attr-defined]
        return count
