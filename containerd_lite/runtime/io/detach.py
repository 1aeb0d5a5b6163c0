"""The key sequence that detaches a terminal from a process. The process continues to run."""

from __future__ import annotations

from ...errors import InvalidArgument

#: The keys that produce a control character together with Ctrl. The position of a key in this
#: string is the code of the control character (moby's pkg/term).
_CTRL_KEYS = "@abcdefghijklmnopqrstuvwxyz[\\]^_"


class DetachKeys:
    r"""A search for a key sequence in the bytes that a user types.

    If the typed bytes are the beginning of the sequence, they are held back until later bytes show
    whether the user types the whole sequence.

    Args:
        keys: The keys in Docker's notation, with commas between the keys (``"ctrl-p,ctrl-q"``). A
            key is a character, or ``ctrl-`` followed by a letter or by one of ``@[\]^_``. ``""``
            disables the search.

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
        """Return the next bytes for the process.

        The result has the bytes that were held back before, and the bytes of ``data``. The result
        omits the key sequence and all bytes after the sequence. If the end of ``data`` can be the
        beginning of the sequence, these last bytes are held back.
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
        """Return the bytes that are held back. Call this method at the end of the input."""
        held, self._held = self._held, b""
        return held


def _key_code(key: str) -> int:
    name = key.lower().removeprefix("ctrl-")
    if len(key) == 1 and key.isascii():
        return ord(key)
    if len(key) > len(name) == 1 and name in _CTRL_KEYS:
        return _CTRL_KEYS.index(name)
    raise InvalidArgument(f"invalid detach key {key!r}", remedy="Use keys such as ctrl-p,ctrl-q")
