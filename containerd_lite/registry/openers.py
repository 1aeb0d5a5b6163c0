"""What is uploaded: bytes from wherever the caller keeps them, at any offset.

What lives here: the forms of content, and what goes wrong at this end while it is sent.  What may
not: requests.
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
    """The one form of content that uploads work with."""
    if isinstance(content, bytes):
        return lambda offset: io.BytesIO(memoryview(content)[offset:])
    if callable(content):
        return content
    path = Path(content)

    def at(offset: int) -> BinaryIO:
        file = path.open("rb")
        file.seek(offset)
        return file

    return at


class OwnFault(Exception):
    """Carries a fault of this end out of the midst of a request.

    As it is, it could look like one of the network, or of the registry.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


@contextmanager
def own() -> Iterator[None]:
    """Raises OwnFault with whatever the block raises."""
    try:
        yield
    except Exception as error:
        raise OwnFault(error) from error


@contextmanager
def _reading(digest: str) -> Iterator[None]:
    try:
        yield
    except ContainerdError:  # of where a copy comes from, which may be as far away
        raise
    except OSError as error:
        with own():
            why = error.strerror or type(error).__name__
            raise InvalidArgument(f"the content of {digest} cannot be read ({why})") from error
    except Exception as error:
        raise OwnFault(error) from error


def opened(open_at: Opener, start: int, digest: str) -> BinaryIO:
    with _reading(digest):
        return open_at(start)


def fill(file: BinaryIO, view: memoryview, digest: str) -> int:
    with _reading(digest):
        count: int = file.readinto(view)  # type: ignore[attr-defined]
        return count
