"""The terminal that this program runs in.

What lives here: raw mode, its size, and being told when that changes.  What may not: streams.
"""

from __future__ import annotations

import os
import signal
import termios
import threading
import tty
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from .sinks import duplicate


class LocalTerminal:
    """A terminal of ours, as a process in a container is to have it.

    Neither ``input`` nor ``output``, descriptors, need be one: then there is nothing to set.
    """

    def __init__(self, input: int, output: int) -> None:
        self._input = duplicate(input)
        self._output = output
        self._lock = threading.Lock()
        self._mode: list[Any] | None = None
        self._watches = False
        self._former: Any = None

    def size(self) -> tuple[int, int] | None:
        """Columns and rows, if there is a terminal that has some."""
        for descriptor in (self._output, self._input):
            with suppress(OSError):
                size = os.get_terminal_size(descriptor)
                if size.columns and size.lines:
                    return size.columns, size.lines
        return None

    def make_raw(self) -> None:
        """Every key is for the process, and nothing is shown but what it writes."""
        with suppress(termios.error), self._lock:
            self._mode = termios.tcgetattr(self._input)
            # Now: what was typed already counts, and output that is held up does not matter.
            tty.setraw(self._input, termios.TCSANOW)

    def restore(self) -> None:
        """As it was before ``make_raw``; may be called at any time, and in any thread."""
        with self._lock:
            mode, self._mode = self._mode, None
            if mode is not None:
                with suppress(termios.error):  # the terminal is gone
                    termios.tcsetattr(self._input, termios.TCSANOW, mode)

    def watch(self, resized: Callable[[], object]) -> None:
        """Have ``resized`` called when the size changes; only the main thread can ask for it."""
        if threading.current_thread() is threading.main_thread() and self.size() is not None:
            self._former = signal.signal(signal.SIGWINCH, lambda number, frame: resized())
            self._watches = True

    def close(self) -> None:
        """Restore the terminal, and the handler of its signal."""
        if self._watches and threading.current_thread() is threading.main_thread():
            self._watches = False
            # One that was not set from Python (None) cannot be set from it either.
            signal.signal(signal.SIGWINCH, self._former or signal.SIG_DFL)
        self.restore()
        if self._input >= 0:
            os.close(self._input)
            self._input = -1
