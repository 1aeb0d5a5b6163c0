"""The word to stop, as requests and the waits between them hear it.

What lives here: the word, and how it goes down to whom it concerns.  What may not: requests,
sockets; whoever gives the word, and why.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar

from .errors import Cancelled


class Interrupt(threading.Event):
    """An event that, once it is set, ends what is asked for and waited for under it.

    It goes with the context (``copy_context``), so that whoever starts threads need not hand it
    to them.  It is set once and for all.
    """

    def __init__(self) -> None:
        super().__init__()
        # One that knows its thread: the collector may close a reader, which sets its word.
        self._turn = threading.RLock()
        self._ends: set[Callable[[], object]] = set()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Lets what is asked for in the block be ended, by this word or the one around it.

        Raises Cancelled for a word that has been given.
        """
        around = _current.get()
        is_inner = around is not None and around is not self
        token = _current.set(self)
        try:
            if around is not None and is_inner:
                around.add(self.set)
                around.check()
            self.check()
            yield
        finally:
            _current.reset(token)
            if around is not None and is_inner:
                around.drop(self.set)

    def add(self, end: Callable[[], object]) -> None:
        """Has ``end`` called when the word is given, in the thread that gives it."""
        with self._turn:
            self._ends.add(end)

    def drop(self, end: Callable[[], object]) -> None:
        """From now on ``end`` is not called."""
        with self._turn:
            self._ends.discard(end)

    def set(self) -> None:
        super().set()
        with self._turn:
            for end in tuple(self._ends):
                end()

    def check(self) -> None:
        """Raises Cancelled once the word has been given."""
        if self.is_set():
            raise Cancelled("given up, for the whole was stopped")


_current: ContextVar[Interrupt | None] = ContextVar("interrupt", default=None)


def current_word() -> Interrupt | None:
    """The word that this thread listens to."""
    return _current.get()


def check() -> None:
    """Raises Cancelled where this thread is to stop."""
    if (word := _current.get()) is not None:
        word.check()


def pause(seconds: float) -> None:
    """Waits.  Raises Cancelled where this thread is to stop."""
    word = _current.get()
    if word is None:
        time.sleep(seconds)
    elif word.wait(seconds):
        word.check()


@contextmanager
def heard_late(seconds: float) -> Iterator[None]:
    """Lets the block take so much longer once the word has been given: an answer that was asked
    for may name what has to be cleaned up.  Raises Cancelled for a word that was given before."""
    around = _current.get()
    if around is None:
        yield
        return
    around.check()
    word = Interrupt()
    timer = threading.Timer(seconds, word.set)
    timer.daemon = True

    def begin() -> None:
        with suppress(RuntimeError):  # it has begun
            timer.start()

    around.add(begin)
    token = _current.set(word)
    try:
        yield
    finally:
        _current.reset(token)
        around.drop(begin)
        timer.cancel()
    around.check()


@contextmanager
def unheard() -> Iterator[None]:
    """Lets the block clean up, whatever has been said."""
    token = _current.set(None)
    try:
        yield
    finally:
        _current.reset(token)
