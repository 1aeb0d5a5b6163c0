"""Interrupting an operation from another thread: its requests and waits end at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar

from .errors import Cancelled


class Interrupt(threading.Event):
    """An event that ends the requests and the waits of an operation once it is set.

    Threads that run in a copy of the context (``copy_context``) obey it, too. It is never cleared.
    """

    def __init__(self) -> None:
        super().__init__()
        # Reentrant: the garbage collector may close a reader, whose interrupt is then set, while
        # this thread has the lock.
        self._lock = threading.RLock()
        self._callbacks: set[Callable[[], object]] = set()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Let this interrupt, and that of an enclosing block, end requests and waits in the block.

        Raises:
            Cancelled: One of the two is set already.
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
        """Stop calling ``callback``."""
        with self._lock:
            self._callbacks.discard(callback)

    def set(self) -> None:
        """End the operation's requests and waits."""
        super().set()
        with self._lock:
            for callback in tuple(self._callbacks):
                callback()

    def check(self) -> None:
        """Raise ``Cancelled`` if the interrupt is set."""
        if self.is_set():
            raise Cancelled("the operation that this is part of was stopped")


_current: ContextVar[Interrupt | None] = ContextVar("interrupt", default=None)


def current_interrupt() -> Interrupt | None:
    """Return the interrupt of the operation that this thread works for."""
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
    """Let the block run for ``seconds`` more after an interrupt.

    A response that is under way may name what must be cleaned up. The block does not start if the
    interrupt is set already: then this raises ``Cancelled``.
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
        with suppress(RuntimeError):  # it was started already
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
    """Run the block regardless of interrupts, for clean-up."""
    token = _current.set(None)
    try:
        yield
    finally:
        _current.reset(token)
