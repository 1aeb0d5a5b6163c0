"""The base class of the streams that this Python process serves."""

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
    """The FIFOs of a process, and a thread that serves them from ``start`` to ``close``.

    Args:
        ends: The FIFOs. ``None`` means that a subclass sets the FIFOs later.
        pump: The thread.

    Attributes:
        failure: The first error of a source or a sink, or ``None`` without an error.
        on_failure: A function that the thread calls as soon as ``failure`` is set.
        detached: Whether the user has detached from the process.
    """

    def __init__(self, ends: NewEnds | None, pump: Pump) -> None:
        self.failure: BaseException | None = None
        self.on_failure: Callable[[], object] = nothing
        self.detached = False
        self._ends = ends or NewEnds()
        self._pump = pump
        #: The writers that are not part of a flow yet, by the name of the stream. ``close`` must
        #: close these writers.
        self._writers: dict[str, SinkWriter] = {}

    @property
    def stdio(self) -> Stdio:
        """The paths of the FIFOs, for the daemon."""
        return self._ends.stdio

    def start(self, process: StreamedProcess) -> None:
        """Begin to serve the streams. Call this method once, after the start of the process.

        Args:
            process: The process that the streams belong to.
        """
        self._pump.start(read_first=self._ends.is_attached)

    def wait(self, idle: float | None) -> bool:
        """Wait until the process and its children have closed their outputs.

        Args:
            idle: Seconds without output after which to stop waiting. ``None`` means no limit. The
                time during which bytes wait for a sink does not count.

        Returns:
            Whether all output has reached its targets.
        """
        return self._pump.wait(idle)

    def stop_waiting(self) -> None:
        """Discard the output for which a pipe or a socket has no room, now and from now on.

        If nobody needs the output of a process, call this method before you delete the process.
        Otherwise the shim could wait up to ten seconds for room.
        """
        self._pump.stop_waiting()

    def drain(self) -> None:
        """Do nothing, because the thread reads all output even if a sink has failed."""

    def close(self) -> None:
        """Stop serving the streams, and remove the FIFOs.

        The FIFOs stay if another program has made them. If the user has detached from the process,
        or if this client has attached to the process, the FIFOs also stay while a shim uses them.
        """
        self._pump.stop()
        for name in list(self._writers):
            self._writers.pop(name).close()
        self._ends.close(keep=self.detached or self._ends.is_attached)

    def _add_output(self, name: str, path: str) -> None:
        descriptor = open_output(path)
        self._pump.add(Output(descriptor, self._writers.pop(name), self._set_failure))

    def _set_failure(self, error: BaseException) -> None:
        if self.failure is None:
            self.failure = error
            self.on_failure()

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.stdio.stdout}>"


def quietly(close_io: Callable[[], object]) -> Callable[[], None]:
    """Return a function that calls ``close_io`` and ignores a ``ContainerdError``.

    ``close_io`` raises a ``ContainerdError`` if the process has ended, or if the daemon is
    unreachable.
    """

    def run() -> None:
        with suppress(ContainerdError):
            close_io()

    return run


def nothing() -> None:
    """Do nothing."""
