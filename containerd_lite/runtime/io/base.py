"""The protocols by which a process and its streams call each other.

This example shows how the streams of a task are used::

    streams = Streams(None, sys.stdout.buffer, sys.stderr.buffer)
    with container.new_task(streams) as task:  # the daemon gets streams.stdio
        task.start()  # this calls streams.start(task)
        task.wait()
        streams.wait(2.0)  # the end of the block deletes the task, which closes the streams
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Protocol

from ...arguments import check_types
from ...services.tasks import Stdio
from ...undo import Undo


class StreamedProcess(Protocol):
    """The methods of a process that its streams call."""

    def poll(self) -> object | None:
        """Return ``None`` if the process still runs, and another value if it has ended.

        Do not wait.
        """

    def close_io(self) -> None:
        """Ask the shim to close the process's stdin at the end of the input."""

    def resize(self, columns: int, rows: int) -> None:
        """Set the size of the process's terminal."""


class ProcessStreams(Protocol):
    """The streams of one process.

    An object of this protocol is a context manager, which closes the streams at the end of the
    ``with`` block.
    """

    #: A function that is called as soon as ``failure`` is set, in the thread that serves the
    #: streams.
    on_failure: Callable[[], object]

    @property
    def stdio(self) -> Stdio:
        """The paths or URIs of the streams, for the daemon."""

    @property
    def failure(self) -> BaseException | None:
        """The first error of a source or a sink, or ``None`` without an error.

        When a sink has failed, the further output for this sink is discarded.
        """

    def start(self, process: StreamedProcess) -> None:
        """Begin to serve the streams. Call this method once, after the start of the process.

        Args:
            process: The process that the streams belong to.
        """

    def wait(self, idle: float | None) -> bool:
        """Wait until all output has reached its targets.

        The output ends when the process and its children have closed their streams.

        Args:
            idle: Seconds without output after which to stop waiting. ``None`` means no limit.

        Returns:
            Whether all output has reached its targets.
        """

    def drain(self) -> None:
        """Read and discard the output that nothing else reads.

        Call this method before the process is deleted. Before the deletion, the shim writes the
        remaining output. Without a reader, the shim waits up to ten seconds.
        """

    def close(self) -> None:
        """Stop serving the streams, and free all resources.

        It is not an error to call this method twice, or to call it without ``start``.
        """

    def __enter__(self) -> ProcessStreams: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None: ...


def closing_on_failure(streams: ProcessStreams | None) -> Undo:
    """Return a context manager that closes the streams if the ``with`` block raises an error.

    Raises:
        InvalidArgument: ``streams`` has another type.
    """
    check_types({"streams": streams})
    return Undo() if streams is None else Undo(streams.close)
