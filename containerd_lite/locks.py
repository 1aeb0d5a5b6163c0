"""Locks that are waited for with a deadline, and that no interrupt leaves taken.

What lives here: ``holding``.  What may not: what a lock is good for.

An exception may come up anywhere in the main thread (a signal handler's, KeyboardInterrupt), also
right behind ``lock.acquire(timeout=…)``, where whoever called it does not know yet that it has the
lock: of command lines that were interrupted as they began, 5 of 800 hung for ever.  A ``with
lock:`` has no such gap, and no deadline either.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .deadline import Deadline

#: How often a waiting thread looks whether it is to give up (seconds).
_LOOK = 0.1
NEVER = Deadline()


@contextmanager
def holding(
    lock: threading.RLock, deadline: Deadline = NEVER, check: Callable[[], object] | None = None
) -> Iterator[bool]:
    """Run the block with ``lock``; told false, without it, if it was not free in time.

    ``check`` is called now and then while waiting, and raises to give up.  The lock is one that
    knows its thread, and so whether there is anything to release.
    """
    try:
        yield _taken(lock, deadline, check)
    finally:
        try:  # noqa: SIM105  suppress() is a call, in which an interrupt may come up
            lock.release()
        except RuntimeError:  # it is not ours
            pass


def _taken(lock: threading.RLock, deadline: Deadline, check: Callable[[], object] | None) -> bool:
    while True:
        remaining = (deadline if check is None else deadline.sooner(_LOOK)).remaining()
        patience = -1 if remaining is None else min(remaining, threading.TIMEOUT_MAX)
        if lock.acquire(timeout=patience):
            return True
        if deadline.expired:
            return False
        if check is not None:
            check()
