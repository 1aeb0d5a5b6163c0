"""Interrupts for the calls of a test: by a signal, or at one line of the code."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from linecache import getline
from types import FrameType
from typing import Any

import pytest

from containerd_lite import CancelToken
from containerd_lite.errors import Cancelled

#: Seconds after which a wait fails.
_PATIENCE = 5.0
#: Seconds in which a cancelled call must end. The best of the tries counts, because a busy machine
#: delays threads.
LIMIT, TRIES = 0.5, 3
#: Seconds after which a call certainly waits for its peer.
BLOCKED = 0.3


class Interrupt(BaseException):
    """An exception that, as KeyboardInterrupt, may be raised anywhere and is not an error."""


class Alarm:
    """Raises `Interrupt` in the main thread after some seconds."""

    def __init__(self, seconds: float) -> None:
        main = threading.get_ident()
        self._timer = threading.Timer(seconds, signal.pthread_kill, (main, signal.SIGUSR1))

    def __enter__(self) -> None:
        self._before = signal.signal(signal.SIGUSR1, self._interrupt)
        self._timer.start()

    def __exit__(self, *_: object) -> None:
        self._timer.join()
        signal.signal(signal.SIGUSR1, self._before)

    def _interrupt(self, number: int, where: FrameType | None) -> None:
        raise Interrupt


class InterruptedStart:
    """Starts the next thread with a given name, and then interrupts the code that started it."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, name: str, seen: Callable[[], object]
    ) -> None:
        """`name` is the start of the thread's name. `seen` is called before the interrupt."""
        self.thread: threading.Thread | None = None
        #: The thread waits for this event before it does anything.
        self.may_begin = threading.Event()
        original = threading.Thread.start

        def start(thread: Any) -> None:
            if self.thread is not None or not thread.name.startswith(name):
                return original(thread)
            self.thread, run = thread, thread.run
            thread.run = lambda: self.may_begin.wait(_PATIENCE) and run()
            original(thread)
            seen()
            raise Interrupt

        monkeypatch.setattr(threading.Thread, "start", start)

    def join(self) -> None:
        assert self.thread is not None
        self.thread.join(_PATIENCE)
        assert not self.thread.is_alive()


class Tracer:
    """Raises `Interrupt` at the line number `at` that runs in a part of the package.

        with suppress(Interrupt), Tracer("transport", 7) as tracer:
            ...

    `hit` says whether that line was reached. Two kinds of lines do not count: a `with`, whose
    line comes again just before it releases a lock, and a `try:` right after a `with`. Python
    makes no call there, so no signal handler can run.
    """

    def __init__(self, part: str, at: int) -> None:
        """`part` is the name of a module or a folder; `at` counts executed lines from 0."""
        self._part = f"{os.sep}containerd_lite{os.sep}{part}"
        self._was_with = False
        self.left = at
        self.hit = False

    def __enter__(self) -> Tracer:
        self._previous = sys.gettrace()
        sys.settrace(self)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(self._previous)

    def __call__(self, where: FrameType, event: str, arg: object) -> Tracer | None:
        if self._part not in where.f_code.co_filename:
            return None
        if event == "line" and not self.hit and self._counts(where):
            self.left -= 1
            if self.left < 0:
                self.hit = True
                raise Interrupt
        return self

    def _counts(self, where: FrameType) -> bool:
        word = getline(where.f_code.co_filename, where.f_lineno).split()[0]
        was_with, self._was_with = self._was_with, word == "with"
        return word != "with" and not (was_with and word == "try:")


def check_cancelled(call: Callable[[CancelToken], object]) -> None:
    """Make a call that waits for ever, and cancel its token; the call must end in time."""
    assert min(_seconds_to_end(call) for _ in range(TRIES)) <= LIMIT


def _seconds_to_end(call: Callable[[CancelToken], object]) -> float:
    token = CancelToken()
    cancelled: list[float] = []

    def cancel() -> None:
        time.sleep(BLOCKED)
        cancelled.append(time.monotonic())
        token.cancel()

    canceller = threading.Thread(target=cancel)
    canceller.start()
    try:
        with pytest.raises(Cancelled, match="by its token"):
            call(token)
        return time.monotonic() - cancelled[0]
    finally:
        canceller.join()
