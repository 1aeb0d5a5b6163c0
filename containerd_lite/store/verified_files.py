"""Remembers the files that this process has written or hashed, and their digests.

Another user can have made the folder of a layout, so a file can have other content than its name
says. This process therefore hashes a file before it sends the file's content to a registry, but
only once.
"""

from __future__ import annotations

import os

#: The maximum number of files to remember. They take 45 MB of memory.
_MAX_FILES = 100_000

_State = tuple[str, int, int, int]
_known: dict[tuple[int, int], _State] = {}


def remember(descriptor: int, digest: str) -> None:
    """Remember that an open file has this digest."""
    if len(_known) >= _MAX_FILES:
        _known.clear()
    place, state = _state(descriptor, digest)
    _known[place] = state


def is_known(descriptor: int, digest: str) -> bool:
    """Return whether the file had this digest, and has not changed since then."""
    place, state = _state(descriptor, digest)
    return _known.get(place) == state


def _state(descriptor: int, digest: str) -> tuple[tuple[int, int], _State]:
    found = os.fstat(descriptor)
    place = (found.st_dev, found.st_ino)
    return place, (digest, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
