"""A process's streams: FIFOs between the shim and us, and one thread that serves them.

What lives here: making, serving and removing FIFOs.  What may not: RPCs.

One thread serves all streams of a process.  FIFOs are opened before the shim knows of them and
without blocking, so nothing waits for a shim that never comes.
"""

from __future__ import annotations

import os
import select
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from ..deadline import Deadline
from ..errors import ContainerdError, ResourceExhausted
from ..services.tasks import Stdio

#: Where containerd's own clients make them; the daemon must see the same folder.
FIFO_FOLDER = Path("/run/containerd/fifo")
_CHUNK = 64 << 10

#: Takes the bytes of a stream as they come, in the serving thread.
Sink = Callable[[bytes], object]


class Capture:
    """A sink that keeps what it gets, up to ``limit`` bytes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._parts: list[bytes] = []
        self._size = 0

    def __call__(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > self._limit:
            raise ResourceExhausted(
                f"the process wrote more than the {self._limit} bytes that are kept",
                remedy="Raise max_output=, or give stdout= and stderr= something to write to",
            )
        self._parts.append(data)

    @property
    def data(self) -> bytes:
        return b"".join(self._parts)


def sink_of(target: BinaryIO | Sink) -> Sink:
    """A sink for a binary file or a function."""
    return target if callable(target) else target.write


class ProcessIO:
    """The streams of one process; a context manager that leaves nothing behind.

    ``input`` is written to stdin, which is then closed; ``None`` gives it none.  ``failure`` is
    what went wrong in a sink, if something did: what comes then is thrown away, and
    ``on_failure`` is called at once.  ``on_input_done`` is called when all input is written.
    Both run in the serving thread.
    """

    def __init__(self, input: bytes | None, stdout: Sink, stderr: Sink) -> None:
        self.failure: BaseException | None = None
        self.on_failure: Callable[[], object] = lambda: None
        self.on_input_done: Callable[[], object] = lambda: None
        self._input = None if input is None else memoryview(input)
        self._sinks = {"stdout": stdout, "stderr": stderr}
        self._readers: dict[int, Sink] = {}
        self._stdin = -1
        self._folder: Path | None = None
        self._names: list[str] = []
        self._thread: threading.Thread | None = None
        self._wake_out, self._wake_in = -1, -1
        self._ended = threading.Event()
        self._progressed = False
        try:
            self._make()
        except BaseException:
            self._remove()
            raise

    def _make(self) -> None:
        FIFO_FOLDER.mkdir(parents=True, exist_ok=True, mode=0o711)
        self._folder = Path(tempfile.mkdtemp(prefix="lite-", dir=FIFO_FOLDER))
        for name, sink in self._sinks.items():
            self._readers[self._open(name, os.O_RDONLY)] = sink
        if self._input is not None:
            # Read and write: a FIFO without a reader cannot be opened for writing alone.
            self._stdin = self._open("stdin", os.O_RDWR)
        self._wake_in, self._wake_out = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def _open(self, name: str, mode: int) -> int:
        path = self._path(name)
        os.mkfifo(path, 0o600)
        self._names.append(name)
        return os.open(path, mode | os.O_NONBLOCK | os.O_CLOEXEC)

    def _path(self, name: str) -> str:
        return str(self._folder / name) if self._folder else ""

    @property
    def stdio(self) -> Stdio:
        """What the daemon is told."""
        stdin = self._path("stdin") if self._input is not None else ""
        return Stdio(stdin, self._path("stdout"), self._path("stderr"))

    def start(self) -> None:
        """Serve the streams from now on."""
        self._thread = threading.Thread(target=self._serve, name="containerd-lite-io", daemon=True)
        self._thread.start()

    def wait(self, idle: float) -> bool:
        """Wait until the process and its children have closed their streams.

        Gives up, and returns false, where ``idle`` seconds pass without a byte.
        """
        patience = Deadline(idle)
        while not self._ended.wait(patience.remaining()):
            if self._progressed:
                self._progressed = False
                patience = Deadline(idle)
            elif patience.expired:
                return False
        return True

    # ---- the serving thread ----------------------------------------------------------------

    def _serve(self) -> None:
        try:
            poller = select.poll()
            poller.register(self._wake_in, select.POLLIN)
            for descriptor in self._readers:
                poller.register(descriptor, select.POLLIN)
            if self._stdin >= 0:
                poller.register(self._stdin, select.POLLOUT)
            while self._readers:
                for descriptor, _ in poller.poll():
                    if descriptor == self._wake_in:
                        return
                    if self._serve_one(descriptor):
                        poller.unregister(descriptor)
                        self._close_stream(descriptor)
        finally:
            self._ended.set()

    def _serve_one(self, descriptor: int) -> bool:
        """Move what can be moved; true where the stream is over."""
        self._progressed = True
        if descriptor == self._stdin:
            return self._feed()
        try:
            data = os.read(descriptor, _CHUNK)
        except BlockingIOError:
            return False
        if data and self.failure is None:
            self._deliver(descriptor, data)
        return not data

    def _deliver(self, descriptor: int, data: bytes) -> None:
        try:
            self._readers[descriptor](data)
        except BaseException as error:
            # Reading goes on: a shim that cannot write would hold up the end of the process.
            self.failure = error
            self.on_failure()

    def _feed(self) -> bool:
        if self._input:
            with suppress(BlockingIOError):
                self._input = self._input[os.write(self._stdin, self._input[:_CHUNK]) :]
        return not self._input

    def _close_stream(self, descriptor: int) -> None:
        if descriptor == self._stdin:
            # The shim holds a writer of its own, so the end of input must be said.
            with suppress(ContainerdError):
                self.on_input_done()
            self._stdin = -1
        else:
            del self._readers[descriptor]
        os.close(descriptor)

    # ---- the end ---------------------------------------------------------------------------

    def close(self) -> None:
        """Stop serving, and remove the FIFOs."""
        if self._thread is not None:
            os.write(self._wake_out, b"!")
            self._thread.join()
            self._thread = None
        self._remove()

    def _remove(self) -> None:
        for descriptor in (*self._readers, self._stdin, self._wake_in, self._wake_out):
            if descriptor >= 0:
                os.close(descriptor)
        self._readers = {}
        self._stdin = self._wake_in = self._wake_out = -1
        folder, self._folder = self._folder, None
        if folder is not None:
            for name in self._names:
                (folder / name).unlink(missing_ok=True)
            with suppress(FileNotFoundError):
                folder.rmdir()

    def __enter__(self) -> ProcessIO:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
