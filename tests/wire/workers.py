"""A test's own threads: their results, waits that are bounded, and what they leave open."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

PATIENCE = 5.0


def eventually(condition: Callable[[], bool]) -> None:
    """Poll a condition until it holds, for `PATIENCE` seconds at most."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it does not come true"
        time.sleep(0.001)


def descriptors() -> int:
    """How many descriptors this process has open."""
    return len(os.listdir("/proc/self/fd"))


class Worker(threading.Thread):
    """A thread that keeps what its function returned or raised; `result()` waits for that."""

    def __init__(self, function: Callable[..., object], *args: object) -> None:
        super().__init__(daemon=True)
        self._function = function
        self._args = args
        self._value: object = None
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self._value = self._function(*self._args)
        except BaseException as error:
            self._error = error

    def result(self) -> object:
        self.join(4 * PATIENCE)
        assert not self.is_alive(), "a thread hangs"
        if self._error is not None:
            raise self._error
        return self._value
