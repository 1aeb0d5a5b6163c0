"""The cache folder for programs, which is kept between test runs.

It is `$CONTAINERD_LITE_CACHE`, else `$XDG_CACHE_HOME/containerd-lite`, else
`~/.cache/containerd-lite`.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from . import Unavailable

VARIABLE = "CONTAINERD_LITE_CACHE"

_LOCK_SECONDS = 900.0


def folder() -> Path:
    """Return the cache folder, which may not exist yet."""
    if chosen := os.environ.get(VARIABLE):
        return Path(chosen).absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache").absolute() / "containerd-lite"


@contextlib.contextmanager
def locked(name: str = "lock") -> Iterator[None]:
    """Make the cache folder, and hold the lock `name` of it: one process at a time has it.

    Raises `Unavailable` if the folder cannot be written, or another process keeps the lock.
    """
    try:
        folder().mkdir(parents=True, exist_ok=True)
        handle = (folder() / name).open("ab")
    except OSError as error:
        raise Unavailable(f"the cache folder {folder()} cannot be written: {error}") from error
    with handle:
        deadline = time.monotonic() + _LOCK_SECONDS
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise Unavailable(f"{folder()} stays locked by another process") from None
                time.sleep(0.1)
        yield
