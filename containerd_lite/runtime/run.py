"""One process from start to end: the ``subprocess.run`` of containers.

What lives here: create, start, serve the streams, wait, and clean up whatever happens.  What may
not: making the container.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO

from ..errors import ContainerdError, DeadlineExceeded
from ..services.tasks import Exit
from .container import Container
from .io import Capture, ProcessIO, Sink, sink_of
from .task import Task, delete_quietly

#: How long streams may stay open, without a byte, after the process has ended (seconds): a child
#: that outlives it may hold them for ever.
_DRAIN = 2.0


@dataclass(frozen=True)
class CompletedContainer:
    """How a run ended; ``exit_code`` is 128 + signal for a process that one killed.

    ``stdout`` and ``stderr`` are what was captured of its output.
    """

    exit_code: int
    stdout: bytes
    stderr: bytes


def run_container(
    container: Container,
    input: bytes | None,
    stdout: BinaryIO | Sink | None,
    stderr: BinaryIO | Sink | None,
    max_output: int,
    timeout: float | None,
) -> CompletedContainer:
    """As ``Client.run``, for a container that was made for it; removes it."""
    captures = Capture(max_output), Capture(max_output)
    sinks = [
        capture if given is None else sink_of(given)
        for capture, given in zip(captures, (stdout, stderr), strict=True)
    ]
    try:
        with ProcessIO(input, *sinks) as streams:
            exit_code = _run_process(container, streams, timeout)
    except BaseException:
        with suppress(ContainerdError):
            container.delete()
        raise
    container.delete()
    return CompletedContainer(exit_code, *(capture.data for capture in captures))


def _run_process(container: Container, streams: ProcessIO, timeout: float | None) -> int:
    """Run a container's process to its end and delete the task; returns the exit code.

    Raises ``DeadlineExceeded`` after ``timeout`` seconds, or what a sink raised; the process is
    killed then.
    """
    task = container.new_task(streams.stdio)

    def kill() -> None:
        with suppress(ContainerdError):
            task.kill("SIGKILL", all=True)

    streams.on_failure = kill
    streams.on_input_done = task.close_stdin
    try:
        task.start()
        streams.start()
        ended = _wait(task, timeout)
        streams.wait(_DRAIN)
    except BaseException:
        delete_quietly(task)
        raise
    task.delete()
    if streams.failure is not None:
        raise streams.failure
    return ended.exit_status


def _wait(task: Task, timeout: float | None) -> Exit:
    try:
        return task.wait(timeout)
    except DeadlineExceeded as error:
        raise DeadlineExceeded(
            f"container {task.container_id} still ran after {timeout} s and was killed",
            remedy="Raise timeout=",
        ) from error
