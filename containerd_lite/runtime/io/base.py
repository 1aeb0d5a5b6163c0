"""What all kinds of streams have in common.

What lives here: the protocol between streams and those who run processes.  What may not: any kind.

    with streams:
        task = container.new_task(streams.stdio)
        task.start()
        streams.start(task)
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
    """What streams ask of the process that they belong to."""

    def poll(self) -> object | None:
        """Something once the process has ended; does not wait."""

    def close_io(self) -> None:
        """Tell the shim that no more input comes."""

    def resize(self, columns: int, rows: int) -> None:
        """Tell the process how large its terminal is now."""


class ProcessStreams(Protocol):
    """The streams of one process; a context manager that leaves nothing behind."""

    #: Called at once, in the serving thread, when ``failure`` is set.
    on_failure: Callable[[], object]

    @property
    def stdio(self) -> Stdio:
        """What the daemon is told."""

    @property
    def failure(self) -> BaseException | None:
        """What went wrong with a source or a sink: output that comes after it is thrown away."""

    def start(self, process: StreamedProcess) -> None:
        """Serve the streams; called once, when the process has been started."""

    def wait(self, idle: float | None) -> bool:
        """Wait until all output is where it belongs; true if it is.

        That is when the process and its children have closed their streams.  Gives up where
        nothing comes for ``idle`` seconds; ``None`` never does.
        """

    def drain(self) -> None:
        """Throw away what is still to come and nobody reads; before a process is deleted.

        The shim wants to get rid of all output first, and may wait for that for ten seconds.
        """

    def close(self) -> None:
        """Stop serving and let go of everything; may be called twice, and without a start."""

    def __enter__(self) -> ProcessStreams: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


def closing_on_failure(streams: ProcessStreams | None) -> Undo:
    """Closes ``streams``, if there are any, where the block fails."""
    return Undo() if streams is None else Undo(streams.close)
