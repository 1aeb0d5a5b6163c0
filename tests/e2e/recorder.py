"""A channel that keeps the names of the methods that a client calls."""

from __future__ import annotations

from typing import Any

from containerd_lite.transport.channel import Channel
from containerd_lite.transport.stream import Stream


class Recorder(Channel):
    """A channel that keeps the names of the called methods, such as ``Images/List``.

    The full names, with the package, are added to ``methods``.
    """

    def __init__(self, address: str, methods: set[str] | None = None) -> None:
        super().__init__(address)
        self.called: list[str] = []
        self._methods: set[str] = set() if methods is None else methods

    def _note(self, path: str) -> None:
        self.called.append(path.rpartition(".")[2])
        self._methods.add(path[1:])

    def unary(self, path: str, *message: bytes | memoryview, **options: Any) -> bytes | bytearray:
        self._note(path)
        return super().unary(path, *message, **options)

    def stream(self, path: str, *message: bytes | memoryview, **options: Any) -> Stream:
        self._note(path)
        return super().stream(path, *message, **options)
