"""One writer of a blob at a time within this process.

What lives here: taking turns.  What may not: writing.

containerd 1.6 and 1.7 wait for the lock of a contended ref inside a transaction of their database,
where they hold up everybody, the lock's holder too: six pulls of one image at once took 9 s without
taking turns, and 0.5 s with.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager

#: How often a waiting thread looks whether it is to give up (seconds).
_LOOK = 0.1

_guard = threading.Lock()
#: What is being written, and by how many it is wanted.
_turns: dict[Hashable, tuple[threading.Lock, int]] = {}


@contextmanager
def turn(key: Hashable, check: Callable[[], object]) -> Iterator[None]:
    """Run the block when nobody else in this process runs one with ``key``.

    ``check`` is called now and then while waiting, and raises to give up.
    """
    with _guard:
        lock, wanted = _turns.get(key, (threading.Lock(), 0))
        _turns[key] = (lock, wanted + 1)
    try:
        while not lock.acquire(timeout=_LOOK):
            check()
        try:
            yield
        finally:
            lock.release()
    finally:
        with _guard:
            lock, wanted = _turns.pop(key)
            if wanted > 1:
                _turns[key] = (lock, wanted - 1)
