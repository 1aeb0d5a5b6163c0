"""What is typed to a terminal and what comes back, seen from the keyboard's end of a pty."""

from __future__ import annotations

import os
import select

_PATIENCE = 20.0


class Screen:
    """Reads what a terminal shows, in its order: what is not asked for stays to be found later."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._shown = b""

    def type(self, text: bytes) -> None:
        """Press these keys."""
        os.write(self._descriptor, text)

    def expect(self, text: bytes) -> bytes:
        """Return all that is shown up to a text, that included; `AssertionError` if it is not."""
        while text not in self._shown:
            if not select.select([self._descriptor], [], [], _PATIENCE)[0]:
                raise AssertionError(f"{text!r} does not come, only {self._shown!r}")
            self._shown += os.read(self._descriptor, 4096)
        found, _, self._shown = self._shown.partition(text)
        return found + text
