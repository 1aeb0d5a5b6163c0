"""A channel that keeps the names of the methods that a client calls."""

from __future__ import annotations

from typing import Any

from containerd_lite.transport.channel import Channel
from containerd_lite.transport.stream import Stream


class Recorder(Channel):
    """A channel that keeps the names of the called methods, such as ``Images/List``."""

    def __init__(self, address: str) -> None:
        super().__init__(address)
        self.called: list[str] = []

    def unary(self, path: str, *message: bytes | memoryview, **options: Any) -> bytes | bytearray:
        self.called.append(path.rpartition(".")[2])
        return super().unary(path, *message, **options)

    def stream(self, path: str, *message: bytes | memoryview, **options: Any) -> Stream:
        self.called.append(path.rpartition(".")[2])
        return super().stream(path, *message, **options)
