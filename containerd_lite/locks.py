"""Acquires locks with a deadline, so that an interrupt never leaves a lock locked.

A signal handler can raise an exception (KeyboardInterrupt) at any point in the main thread. If a
handler raises after ``lock.acquire(timeout=…)`` has acquired the lock, but before the caller gets
the result, the lock stays locked. Because a lock stayed locked, 5 of 800 command lines that were
interrupted at their start hung forever. ``with lock:`` always releases the lock, but cannot have a
deadline.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

from .deadline import Deadline

#: Number of seconds between two calls of ``check`` while a thread waits for a lock.
_CHECK_INTERVAL = 0.1
NEVER = Deadline()
_T = TypeVar("_T")


class PerProcess(Generic[_T]):
    """A value, such as a lock, that each process makes for itself.

    If a thread forks while another thread has a lock, the lock stays locked in the child, because
    the other thread does not exist there. So a forked child must not use the locks of its parent.
    An unpickled object has no value yet.

    Args:
        make: A function that makes the value when a process needs the value for the first time.
    """

    def __init__(self, make: Callable[[], _T]) -> None:
        self._make = make
        self._values: dict[int, _T] = {}

    def get(self) -> _T:
        """Return the value of this process."""
        pid = os.getpid()
        value = self._values.get(pid)
        # Several threads can run this line at the same time. All threads get the same value.
        return self._values.setdefault(pid, self._make()) if value is None else value

    def made(self) -> _T | None:
        """Return the value of this process, or ``None`` if the process has not needed it yet."""
        return self._values.get(os.getpid())

    def inherited(self) -> list[_T]:
        """Return the values that this process has inherited from its parents."""
        pid = os.getpid()
        return [value for owner, value in tuple(self._values.items()) if owner != pid]

    def __reduce__(self) -> tuple[object, ...]:
        return PerProcess, (self._make,)


@contextmanager
def holding(
    lock: threading.RLock, deadline: Deadline = NEVER, check: Callable[[], object] | None = None
) -> Iterator[bool]:
    """Acquire ``lock`` for the block.

    Args:
        lock: The lock. The lock must be reentrant, because only a reentrant lock knows which thread
            owns it.
        deadline: The time at which the wait for the lock ends. If the thread does not get the lock
            before the deadline, the block runs without the lock. Default: no limit.
        check: A function that is called every 0.1 seconds during the wait. ``check`` can raise an
            exception to end the wait.

    Yields:
        Whether this thread has acquired the lock.
    """
    try:
        yield _acquire(lock, deadline, check)
    finally:
        try:  # noqa: SIM105  an interrupt could hit the call of suppress()
            lock.release()
        except RuntimeError:  # this thread has not acquired the lock
            pass


def _acquire(lock: threading.RLock, deadline: Deadline, check: Callable[[], object] | None) -> bool:
    while True:
        remaining = (deadline if check is None else deadline.sooner(_CHECK_INTERVAL)).remaining()
        timeout = -1 if remaining is None else min(remaining, threading.TIMEOUT_MAX)
        if lock.acquire(timeout=timeout):
            return True
        if deadline.expired:
            return False
        if check is not None:
            check()
