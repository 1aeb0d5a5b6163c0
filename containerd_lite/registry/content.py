"""What is uploaded: bytes from wherever the caller keeps them, at any offset.

What lives here: the forms of content, and faults of reading it.  What may not: requests.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from ..errors import InvalidArgument

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


def opened(open_at: Opener, start: int, digest: str) -> BinaryIO:
    try:
        return open_at(start)
    except OSError as error:  # a fault of this end, which must not look like one of the network
        raise _unreadable(digest, error) from error


def fill(file: BinaryIO, view: memoryview, digest: str) -> int:
    try:
        count: int = file.readinto(view)  # type: ignore[attr-defined]
    except OSError as error:
        raise _unreadable(digest, error) from error
    return count


def _unreadable(digest: str, error: OSError) -> InvalidArgument:
    return InvalidArgument(f"the content of {digest} cannot be read ({error.strerror})")
