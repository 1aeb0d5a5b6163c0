"""The protocol between a process and its streams.

The streams of a task are used like this::

    with streams:
        task = container.new_task(streams)  # the daemon gets streams.stdio
        task.start()  # this calls streams.start(task)
        task.wait()
        streams.wait(2.0)
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Protocol

from ...services.tasks import Stdio
from ...undo import Undo


class StreamedProcess(Protocol):
    """The methods of a process that its streams call."""

    def poll(self) -> object | None:
        """Return ``None`` while the process runs, another value afterwards. Do not wait."""

    def close_io(self) -> None:
        """Tell the shim that the input has ended."""

    def resize(self, columns: int, rows: int) -> None:
        """Set the size of the process's terminal."""


class ProcessStreams(Protocol):
    """The streams of one process.

    This is a context manager. At its end, it closes the streams.
    """

    #: Called in the serving thread as soon as ``failure`` is set.
    on_failure: Callable[[], object]

    @property
    def stdio(self) -> Stdio:
        """The paths or URIs of the streams, for the daemon."""

    @property
    def failure(self) -> BaseException | None:
        """The first error of a source or a sink, else ``None``.

        Output for a sink that has failed is discarded.
        """

    def start(self, process: StreamedProcess) -> None:
        """Serve the streams. Call this once, after the start of the process.

        Args:
            process: The process that the streams belong to.
        """

    def wait(self, idle: float | None) -> bool:
        """Wait until all output has reached its targets.

        The output ends when the process and its children have closed their streams.

        Args:
            idle: Seconds without output after which to stop waiting; ``None`` means no limit.

        Returns:
            Whether all output has reached its targets.
        """

    def drain(self) -> None:
        """Discard the output that nothing reads. Call this before the process is deleted.

        At the deletion, the shim writes the remaining output first. It may wait ten seconds for
        a reader.
        """

    def close(self) -> None:
        """Stop serving and free all resources.

        This may be called twice, and without a start.
        """

    def __enter__(self) -> ProcessStreams: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


def closing_on_failure(streams: ProcessStreams | None) -> Undo:
    """Return a context manager that closes ``streams``, if any, when its block raises."""
    return Undo() if streams is None else Undo(streams.close)
