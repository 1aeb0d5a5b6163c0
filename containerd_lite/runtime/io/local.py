"""The raw mode and the size of the terminal in which this program runs."""

from __future__ import annotations

import os
import signal
import termios
import threading
import tty
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from ...pipes import duplicate


class LocalTerminal:
    """This program's terminal, while a process in a container uses the terminal.

    Args:
        input: Descriptor of the terminal's input. If the descriptor is not a terminal, ``make_raw``
            has no effect.
        output: Descriptor of the terminal's output. If neither ``input`` nor ``output`` is a
            terminal, ``size`` returns ``None``.
    """

    def __init__(self, input: int, output: int) -> None:
        self._input = duplicate(input)
        self._output = output
        self._lock = threading.Lock()
        self._saved_mode: list[Any] | None = None
        self._is_watching = False
        self._saved_handler: Any = None

    def size(self) -> tuple[int, int] | None:
        """Return the number of columns and the number of rows, or ``None`` if they are unknown."""
        for descriptor in (self._output, self._input):
            with suppress(OSError):
                size = os.get_terminal_size(descriptor)
                if size.columns and size.lines:
                    return size.columns, size.lines
        return None

    def make_raw(self) -> None:
        """Switch the terminal to raw mode: each key is passed on, and no key is echoed."""
        with suppress(termios.error), self._lock:
            self._saved_mode = termios.tcgetattr(self._input)
            # TCSANOW keeps the bytes that were already typed, and does not wait for output.
            tty.setraw(self._input, termios.TCSANOW)

    def restore(self) -> None:
        """Restore the mode that the terminal had before ``make_raw``.

        Any thread can call this method.
        """
        with self._lock:
            mode, self._saved_mode = self._saved_mode, None
            if mode is not None:
                with suppress(termios.error):  # the terminal does not exist any more
                    termios.tcsetattr(self._input, termios.TCSANOW, mode)

    def watch(self, resized: Callable[[], object]) -> None:
        """Call ``resized`` when the size changes. Outside the main thread, do nothing."""
        if threading.current_thread() is threading.main_thread() and self.size() is not None:
            self._saved_handler = signal.signal(signal.SIGWINCH, lambda number, frame: resized())
            self._is_watching = True

    def close(self) -> None:
        """Restore the terminal's mode and the signal handler for changes of the terminal's size."""
        if self._is_watching and threading.current_thread() is threading.main_thread():
            self._is_watching = False
            # A handler that was not set from Python was saved as None, and cannot be restored.
            signal.signal(signal.SIGWINCH, self._saved_handler or signal.SIG_DFL)
        self.restore()
        if self._input >= 0:
            os.close(self._input)
            self._input = -1
