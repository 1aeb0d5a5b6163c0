"""Reads keys, policies and trust roots from files."""

from __future__ import annotations

import os

from ..arguments import is_path
from ..errors import InvalidArgument, NotFound, PermissionDenied
from ..limits import refused
from ..system import open_regular


def read_file(path: str | os.PathLike[str], what: str, limit: int) -> bytes:
    """Return the content of a regular file.

    Args:
        path: The path of the file.
        what: What the file contains, for error messages (``"the key"``).
        limit: The maximum size of the file in bytes.

    Raises:
        NotFound: The file does not exist.
        PermissionDenied: The user may not read the file.
        InvalidArgument: The path is not a regular file, or the file is too large.
    """
    if not is_path(path):
        raise refused("path", path, f"the path of {what}")
    try:
        with open_regular(path) as file:
            body = file.read(limit + 1)
    except FileNotFoundError:
        raise NotFound(f"{what} {os.fspath(path)} does not exist") from None
    except PermissionError:
        raise PermissionDenied(
            f"{what} {os.fspath(path)} cannot be read", remedy="Make the file readable for the user"
        ) from None
    except (OSError, ValueError) as error:  # ValueError: the path contains a NUL
        reason = error.strerror if isinstance(error, OSError) else "it is not a valid path"
        raise InvalidArgument(f"{what} {os.fspath(path)} cannot be read ({reason})") from None
    if len(body) > limit:
        raise InvalidArgument(f"{what} {os.fspath(path)} has more than the {limit} bytes allowed")
    return body
