"""Opens and reads the content that an upload sends.

``LocalFault`` marks an error that comes from the caller's content or callback, not from the
registry.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ..arguments import is_path
from ..errors import ContainerdError, InvalidArgument
from ..limits import refused
from ..system import open_regular

#: The content itself, the path of its file, or an ``Opener`` of the content.
Content = bytes | str | os.PathLike[str] | Callable[[int], BinaryIO]
#: A function that gets an offset in bytes, and returns a binary file that begins at this offset.
Opener = Callable[[int], BinaryIO]


def opener(content: Content) -> Opener:
    """Return a function that opens ``content`` at an offset in bytes."""
    if isinstance(content, bytes):
        return lambda offset: io.BytesIO(memoryview(content)[offset:])
    if callable(content):
        return content
    if not is_path(content):
        raise refused("content", content, "bytes, a path or a function that opens a binary file")
    path = Path(content)

    def open_at(offset: int) -> BinaryIO:
        file = open_regular(path)
        file.seek(offset)
        return file

    return open_at


class LocalFault(Exception):
    """Carries an error of the caller's content or callback out of a request.

    Without this wrapper, the error could look like an error of the network or of the registry.
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
    """Raise a LocalFault for each exception of the block, which opens or reads content.

    An OSError is first replaced by an InvalidArgument. A ContainerdError is not wrapped.
    """
    try:
        yield
    # During a copy, the content comes from another registry, so a read can raise a ContainerdError.
    except ContainerdError:
        raise
    except OSError as error:
        with local_faults():
            reason = error.strerror or type(error).__name__
            raise InvalidArgument(f"the content of {digest} cannot be read ({reason})") from error
    except Exception as error:
        raise LocalFault(error) from error


def open_content(open_at: Opener, start: int, digest: str) -> BinaryIO:
    """Open the content at the offset ``start`` (bytes). Raises LocalFault or a ContainerdError."""
    with _reading(digest):
        return open_at(start)


def read_content(file: BinaryIO, view: memoryview, digest: str) -> int:
    """Read content into ``view`` and return the number of bytes.

    Raises LocalFault or a ContainerdError.
    """
    with _reading(digest):
        count: int = file.readinto(view)  # type: ignore[attr-defined]
        return count
