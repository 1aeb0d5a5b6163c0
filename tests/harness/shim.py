"""The shim's end of a process's FIFOs, as in runc's shim."""

from __future__ import annotations

import os

from containerd_lite.services.tasks import Stdio


class Shim:
    """Opens the FIFOs of the streams, and records the calls to a process."""

    def __init__(self, stdio: Stdio) -> None:
        """Open each FIFO for reading and for writing, as shims do."""
        self.stdin = self._writer = -1
        outputs = {path: self._open(path) for path in {stdio.stdout, stdio.stderr} if path}
        self.stdout, self._reader = outputs.get(stdio.stdout, (-1, -1))
        self.stderr, self._err_reader = outputs.get(stdio.stderr, (-1, -1))
        self.sizes: list[tuple[int, int]] = []
        self.stdin_closed = False
        if stdio.stdin:
            self.stdin = os.open(stdio.stdin, os.O_RDONLY | os.O_NONBLOCK)
            self._writer = os.open(stdio.stdin, os.O_WRONLY)
            os.set_blocking(self.stdin, True)

    @staticmethod
    def _open(path: str) -> tuple[int, int]:
        """Open a FIFO for writing and reading. The reader keeps the data without a client."""
        return os.open(path, os.O_WRONLY), os.open(path, os.O_RDONLY | os.O_NONBLOCK)

    def close_io(self) -> None:
        """Close stdin, as the task service's CloseIO does."""
        self.stdin_closed = True
        writer, self._writer = self._writer, -1
        if writer >= 0:
            os.close(writer)

    def poll(self) -> object | None:
        """Return None, as for a running process. This one never ends by itself."""
        return None

    def resize(self, columns: int, rows: int) -> None:
        """Record a size, as for the task service's ResizePty."""
        self.sizes.append((columns, rows))

    def read_input(self) -> bytes:
        """Read stdin to its end."""
        parts = []
        while data := os.read(self.stdin, 65536):
            parts.append(data)
        return b"".join(parts)

    def close(self) -> None:
        """Close the FIFOs, as when the process and its children have ended."""
        opened = {
            self.stdin,
            self._writer,
            self.stdout,
            self._reader,
            self.stderr,
            self._err_reader,
        }
        for descriptor in opened - {-1}:
            os.close(descriptor)
        self.stdin = self._writer = self.stdout = self._reader = self.stderr = self._err_reader = -1
