"""A terminal's input and output, at the user's end of a pty."""

from __future__ import annotations

import os
import select

_PATIENCE = 20.0


class Screen:
    """Reads a terminal's output in order. Output after an expected text stays for later calls."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._shown = b""

    def type(self, text: bytes) -> None:
        """Write these keys to the terminal."""
        os.write(self._descriptor, text)

    def expect(self, text: bytes) -> bytes:
        """Return the output up to and including a text; raise `AssertionError` without it."""
        while text not in self._shown:
            if not select.select([self._descriptor], [], [], _PATIENCE)[0]:
                raise AssertionError(f"the terminal shows {self._shown!r}, without {text!r}")
            self._shown += os.read(self._descriptor, 4096)
        output, _, self._shown = self._shown.partition(text)
        return output + text
