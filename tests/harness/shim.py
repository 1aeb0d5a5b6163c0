"""The other end of a process's FIFOs, as runc's shim has it."""

from __future__ import annotations

import os

from containerd_lite.services.tasks import Stdio


class Shim:
    """Opens what the streams say, and is told of what a process is told of."""

    def __init__(self, stdio: Stdio) -> None:
        """Open each output to write and to read, and stdin to read and to write, as shims do."""
        self.stdin = self._keeper = -1
        outputs = {path: self._open(path) for path in {stdio.stdout, stdio.stderr} if path}
        self.stdout, self._reader = outputs.get(stdio.stdout, (-1, -1))
        self.stderr, self._other = outputs.get(stdio.stderr, (-1, -1))
        self.sizes: list[tuple[int, int]] = []
        self.stdin_closed = False
        if stdio.stdin:
            self.stdin = os.open(stdio.stdin, os.O_RDONLY | os.O_NONBLOCK)
            self._keeper = os.open(stdio.stdin, os.O_WRONLY)
            os.set_blocking(self.stdin, True)

    @staticmethod
    def _open(path: str) -> tuple[int, int]:
        """The reader keeps what is written when no client is there."""
        return os.open(path, os.O_WRONLY), os.open(path, os.O_RDONLY | os.O_NONBLOCK)

    def close_io(self) -> None:
        """As the task service's CloseIO."""
        self.stdin_closed = True
        keeper, self._keeper = self._keeper, -1
        if keeper >= 0:
            os.close(keeper)

    def poll(self) -> object | None:
        """Nothing here ends by itself."""
        return None

    def resize(self, columns: int, rows: int) -> None:
        """As the task service's ResizePty."""
        self.sizes.append((columns, rows))

    def read_input(self) -> bytes:
        """Read stdin to its end."""
        parts = []
        while data := os.read(self.stdin, 65536):
            parts.append(data)
        return b"".join(parts)

    def close(self) -> None:
        """The process and its children have ended."""
        found = {self.stdin, self._keeper, self.stdout, self._reader, self.stderr, self._other}
        for descriptor in found - {-1}:
            os.close(descriptor)
        self.stdin = self._keeper = self.stdout = self._reader = self.stderr = self._other = -1
