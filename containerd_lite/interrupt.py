"""Interrupts an operation from another thread: its requests and waits end at once.

A call of the daemon that is in progress gets a short time to end, so that the caller learns what
the call has changed. After an interrupt, ``shielded`` lets clean-up make further calls for a
limited time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar

from .errors import Cancelled

#: Seconds that a unary call of the daemon may take after an interrupt.
CALL_GRACE = 0.3
#: Seconds that clean-up may take after an interrupt of an operation.
CLEANUP_TIMEOUT = 10.0


class Interrupt(threading.Event):
    """An event that ends the requests and the waits of an operation when the event is set.

    The interrupt also applies to threads that run in a copy of the operation's context
    (``copy_context``). A set interrupt is never cleared.
    """

    def __init__(self) -> None:
        super().__init__()
        self._set_at = 0.0
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

    @contextmanager
    def calling(self, callback: Callable[[], object]) -> Iterator[None]:
        """Call ``callback`` when the interrupt is set during the block."""
        self.add(callback)
        try:
            yield
        finally:
            self.drop(callback)

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
        if not self.is_set():
            self._set_at = time.monotonic()
        super().set()
        with self._lock:
            for callback in tuple(self._callbacks):
                callback()

    def check(self) -> None:
        """Raise ``Cancelled`` if the interrupt is set."""
        if self.is_set():
            raise Cancelled("an interrupt stopped the operation")

    def patience(self, seconds: float) -> float | None:
        """Return the rest of the ``seconds`` after the interrupt, or ``None`` if it is not set."""
        return max(0.0, self._set_at + seconds - time.monotonic()) if self.is_set() else None


_current: ContextVar[Interrupt | None] = ContextVar("interrupt", default=None)
#: The interrupt of the operation that this thread works for, also during its clean-up.
_operation: ContextVar[Interrupt | None] = ContextVar("operation", default=None)


def current_interrupt() -> Interrupt | None:
    """Return the interrupt of this thread's operation, or ``None``."""
    return _current.get()


def call_limit(grace: float = 0.0) -> tuple[Interrupt | None, float]:
    """Return the interrupt that ends this thread's calls of the daemon.

    Args:
        grace: Seconds that a call may continue after the interrupt.

    Returns:
        The interrupt, and the seconds that a call may continue after it. During clean-up, these
        are the seconds that clean-up may take.
    """
    interrupt = _current.get()
    return (_operation.get(), CLEANUP_TIMEOUT) if interrupt is None else (interrupt, grace)


def check_call() -> None:
    """Raise ``Cancelled`` if this thread must not call the daemon, because of an interrupt."""
    interrupt, patience = call_limit()
    if interrupt is not None and interrupt.patience(patience) == 0:
        interrupt.check()


@contextmanager
def operating(interrupt: Interrupt) -> Iterator[None]:
    """Run the block as an operation that ``interrupt`` ends, including its clean-up.

    Raises:
        Cancelled: The interrupt, or the interrupt of an enclosing operation, is already set.
    """
    token = _operation.set(interrupt)
    try:
        with interrupt.watching():
            yield
    finally:
        _operation.reset(token)


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
    timer.name, timer.daemon = "containerd-lite-grace", True

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
        if timer.ident is not None:
            timer.join()
    outer.check()


@contextmanager
def shielded() -> Iterator[None]:
    """Run the block, and ignore interrupts during the block. This is for clean-up.

    After an interrupt of an operation, calls of the daemon fail when the time for clean-up is over.
    """
    token = _current.set(None)
    try:
        yield
    finally:
        _current.reset(token)
