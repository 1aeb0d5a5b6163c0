"""The keys that end an interactive session while the process goes on.

What lives here: reading how they are written, and finding them in what is typed.  What may not:
terminals.
"""

from __future__ import annotations

from ...errors import InvalidArgument

#: Ctrl and one of these is a control character (moby's pkg/term).
_WITH_CTRL = "@abcdefghijklmnopqrstuvwxyz[\\]^_"


class DetachKeys:
    """Finds a sequence of keys; what may be the beginning of one is held back until it is not.

    ``keys`` is as docker writes them: single characters and ``ctrl-`` with a letter or one of
    ``@[\\]^_``, with commas between (``"ctrl-p,ctrl-q"``); ``""`` is never found.  Raises
    ``InvalidArgument``.
    """

    def __init__(self, keys: str) -> None:
        self._keys = bytes(map(_code, keys.split(","))) if keys else b""
        self._held = b""
        self.found = False

    def feed(self, data: bytes) -> bytes:
        """What of it, and of what was held back, is for the process."""
        if not self._keys:
            return data
        passed = bytearray()
        for index in range(len(data)):
            self._held += data[index : index + 1]
            while not self._keys.startswith(self._held):
                passed.append(self._held[0])
                self._held = self._held[1:]
            if self._held == self._keys:
                self.found = True
                break
        return bytes(passed)

    def rest(self) -> bytes:
        """What was held back, at the end of the input."""
        held, self._held = self._held, b""
        return held


def _code(key: str) -> int:
    name = key.lower().removeprefix("ctrl-")
    if len(key) == 1 and key.isascii():
        return ord(key)
    if len(key) > len(name) == 1 and name in _WITH_CTRL:
        return _WITH_CTRL.index(name)
    raise InvalidArgument(f"{key!r} is no key to detach with", remedy="Write ctrl-p,ctrl-q")
