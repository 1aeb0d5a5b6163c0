"""What the streams that this process serves have in common.

What lives here: FIFOs and a pump, from start to end.  What may not: which bytes go where.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from ...errors import ContainerdError
from ...services.tasks import Stdio
from .base import StreamedProcess
from .ends import NewEnds
from .fifos import open_output
from .pump import Output, Pump
from .sinks import SinkWriter


class Served:
    """FIFOs, and a thread that serves them from ``start`` to ``close``."""

    def __init__(self, ends: NewEnds | None, pump: Pump) -> None:
        self.failure: BaseException | None = None
        self.on_failure: Callable[[], object] = nothing
        self.detached = False
        self._ends = ends or NewEnds()
        self._pump = pump
        #: Those that no flow closes yet, by the stream.
        self._writers: dict[str, SinkWriter] = {}

    @property
    def stdio(self) -> Stdio:
        """What the daemon is told."""
        return self._ends.stdio

    def start(self, process: StreamedProcess) -> None:
        """Serve the streams of a process that has been started."""
        self._pump.start(look_first=self._ends.is_attached)

    def wait(self, idle: float | None) -> bool:
        """Wait until the process and its children have closed their streams.

        Gives up, and returns false, where ``idle`` seconds pass without a byte; a sink may take
        its time.
        """
        return self._pump.wait(idle)

    def drain(self) -> None:
        """Nothing to do: the pump reads on, whatever becomes of its sinks."""

    def close(self) -> None:
        """Stop serving, and remove the FIFOs, unless others made them or go on with them."""
        self._pump.stop()
        for name in list(self._writers):
            self._writers.pop(name).close()
        self._ends.close(keep=self.detached or self._ends.is_attached)

    def _add_output(self, name: str, path: str) -> None:
        descriptor = open_output(path)
        self._pump.add(Output(descriptor, self._writers.pop(name), self._fail))

    def _fail(self, error: BaseException) -> None:
        if self.failure is None:
            self.failure = error
            self.on_failure()

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.stdio.stdout}>"


def quietly(close_io: Callable[[], object]) -> Callable[[], None]:
    """A process that has ended, or a daemon that is gone, needs no end of input."""

    def run() -> None:
        with suppress(ContainerdError):
            close_io()

    return run


def nothing() -> None:
    """Nobody is to be told."""
