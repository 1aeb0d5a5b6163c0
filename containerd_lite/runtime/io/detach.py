"""The key sequence that detaches a terminal from a process, which continues to run."""

from __future__ import annotations

from ...errors import InvalidArgument

#: Keys that make a control character with Ctrl. A key's position is the character's code (moby's
#: pkg/term).
_CTRL_KEYS = "@abcdefghijklmnopqrstuvwxyz[\\]^_"


class DetachKeys:
    r"""A search for a key sequence in the bytes that a user types.

    Bytes that may begin the sequence are held back until later bytes decide.

    Args:
        keys: The keys as Docker writes them, with commas between them (``"ctrl-p,ctrl-q"``). A
            key is a character, or ``ctrl-`` with a letter or one of ``@[\]^_``. ``""`` is never
            found.

    Attributes:
        found: Whether the whole sequence has been typed.

    Raises:
        InvalidArgument: A key is not valid.
    """

    def __init__(self, keys: str) -> None:
        self._keys = bytes(map(_key_code, keys.split(","))) if keys else b""
        self._held = b""
        self.found = False

    def feed(self, data: bytes) -> bytes:
        """Return the bytes that the process gets: bytes held back earlier, and bytes of ``data``.

        The result does not contain the key sequence, nor the bytes after it.
        """
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
        """Return the bytes that are held back, at the end of the input."""
        held, self._held = self._held, b""
        return held


def _key_code(key: str) -> int:
    name = key.lower().removeprefix("ctrl-")
    if len(key) == 1 and key.isascii():
        return ord(key)
    if len(key) > len(name) == 1 and name in _CTRL_KEYS:
        return _CTRL_KEYS.index(name)
    raise InvalidArgument(f"invalid detach key {key!r}", remedy="Write keys as in ctrl-p,ctrl-q")
