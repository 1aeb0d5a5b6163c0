"""Interrupts an operation from another thread: its requests and waits end at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar

from .errors import Cancelled


class Interrupt(threading.Event):
    """An event that ends the requests and the waits of an operation when the event is set.

    The interrupt also applies to threads that run in a copy of the operation's context
    (``copy_context``). A set interrupt is never cleared.
    """

    def __init__(self) -> None:
        super().__init__()
        # The lock is reentrant, because the garbage collector can close a reader while this thread
        # has the lock. When a reader is closed, the reader's interrupt is set.
        self._lock = threading.RLock()
        self._callbacks: set[Callable[[], object]] = set()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Apply this interrupt to the block, in addition to the interrupt of an enclosing block.

        Raises:
            Cancelled: This interrupt or the interrupt of the enclosing block is already set.
        """
        outer = _current.get()
        is_inner = outer is not None and outer is not self
        token = _current.set(self)
        try:
            if outer is not None and is_inner:
                outer.add(self.set)
                outer.check()
            self.check()
            yield
        finally:
            _current.reset(token)
            if outer is not None and is_inner:
                outer.drop(self.set)

    def add(self, callback: Callable[[], object]) -> None:
        """Call ``callback`` when the interrupt is set, in the thread that sets it."""
        with self._lock:
            self._callbacks.add(callback)

    def drop(self, callback: Callable[[], object]) -> None:
        """Remove a callback, so that it is not called when the interrupt is set."""
        with self._lock:
            self._callbacks.discard(callback)

    def set(self) -> None:
        """End the requests and the waits of the operation."""
        super().set()
        with self._lock:
            for callback in tuple(self._callbacks):
                callback()

    def check(self) -> None:
        """Raise ``Cancelled`` if the interrupt is set."""
        if self.is_set():
            raise Cancelled("an interrupt stopped the operation")


_current: ContextVar[Interrupt | None] = ContextVar("interrupt", default=None)


def current_interrupt() -> Interrupt | None:
    """Return the interrupt of this thread's operation, or ``None``."""
    return _current.get()


def check() -> None:
    """Raise ``Cancelled`` if this thread's operation was interrupted."""
    if (interrupt := _current.get()) is not None:
        interrupt.check()


def pause(seconds: float) -> None:
    """Sleep, and raise ``Cancelled`` as soon as this thread's operation is interrupted."""
    interrupt = _current.get()
    if interrupt is None:
        time.sleep(seconds)
    elif interrupt.wait(seconds):
        interrupt.check()


@contextmanager
def delayed(seconds: float) -> Iterator[None]:
    """Let the block run for up to ``seconds`` after an interrupt.

    During these seconds, the block can still receive a response that says what the caller must
    clean up. If the interrupt is already set before the block, ``Cancelled`` is raised, and the
    block does not run.
    """
    outer = _current.get()
    if outer is None:
        yield
        return
    outer.check()
    inner = Interrupt()
    timer = threading.Timer(seconds, inner.set)
    timer.daemon = True

    def begin() -> None:
        with suppress(RuntimeError):  # the timer was already started
            timer.start()

    outer.add(begin)
    token = _current.set(inner)
    try:
        yield
    finally:
        _current.reset(token)
        outer.drop(begin)
        timer.cancel()
    outer.check()


@contextmanager
def shielded() -> Iterator[None]:
    """Run the block, and ignore interrupts during the block. This is for clean-up."""
    token = _current.set(None)
    try:
        yield
    finally:
        _current.reset(token)
