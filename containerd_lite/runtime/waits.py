"""Waits for the end of several containers at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, InvalidStateError, wait
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, TypeVar

from ..deadline import Deadline
from ..errors import DeadlineExceeded, InvalidArgument
from ..operation import waiting
from ..printable import duration
from ..services.tasks import Exit
from ..workers import Workers, result_when_done
from .task import Task

if TYPE_CHECKING:
    from ..operation import CancelToken
    from .container import Container

_C = TypeVar("_C", bound="Container")

#: Seconds between two attempts to end the waits of other threads.
_PAUSE = 0.05


def wait_any(
    containers: Iterable[_C], timeout: float | None, cancel: CancelToken | None
) -> tuple[_C, Exit]:
    """Wait until one container has ended; see ``Client.wait_any``."""
    deadline = Deadline(timeout)
    with waiting("wait for containers", timeout, cancel), _waiting_for(containers) as tasks:
        for container, task in tasks.items():
            if (ended := task.poll()) is not None:
                return container, ended
        try:
            return _first_to_end(tasks, deadline)
        except DeadlineExceeded:
            raise _too_late(f"none of the containers {_ids(tasks)} has", timeout) from None


def wait_all(
    containers: Iterable[_C], timeout: float | None, cancel: CancelToken | None
) -> dict[_C, Exit]:
    """Wait until all containers have ended; see ``Client.wait_all``."""
    ended: dict[_C, Exit] = {}
    deadline = Deadline(timeout)
    with waiting("wait for containers", timeout, cancel), _waiting_for(containers) as tasks:
        try:
            for container, task in tasks.items():
                ended[container] = task.wait(deadline.remaining())
        except DeadlineExceeded:
            running = [container for container, task in tasks.items() if task.poll() is None]
            raise _too_late(f"not all of the containers {_ids(running)} have", timeout) from None
    return ended


def _ids(containers: Iterable[Container]) -> str:
    return ", ".join(container.id for container in containers)


def _too_late(who: str, timeout: float | None) -> DeadlineExceeded:
    return DeadlineExceeded(f"{who} ended after {duration(timeout)}", remedy="Raise timeout=")


@contextmanager
def _waiting_for(containers: Iterable[_C]) -> Iterator[dict[_C, Task]]:
    """Yield the tasks of containers. The wait for each of them begins before the block.

    So the exit code of a task is known even if another client deletes the task.
    """
    tasks: dict[_C, Task] = {}
    with ExitStack() as stack:
        for container in dict.fromkeys(containers):
            tasks[container] = task = container.task()
            stack.callback(task.stop_waiting)
            task.poll()
        if not tasks:
            raise InvalidArgument("there is no container to wait for")
        yield tasks


def _first_to_end(tasks: dict[_C, Task], deadline: Deadline) -> tuple[_C, Exit]:
    """Wait in a thread for each task; return the first that ends."""
    ended: Future[tuple[_C, Exit]] = Future()

    def wait_for(container: _C, task: Task) -> None:
        with suppress(InvalidStateError):  # another task has ended before
            try:
                result = container, task.wait(deadline.remaining())
            except BaseException as error:
                ended.set_exception(error)
            else:
                ended.set_result(result)

    with Workers(len(tasks), "containerd-lite-wait") as pool:
        waits = [pool.submit(wait_for, *pair) for pair in tasks.items()]
        try:
            return result_when_done(ended)
        finally:
            # A thread may only begin to wait after the loop has cancelled the waits. So it repeats.
            while not all(each.done() for each in waits):
                for task in tasks.values():
                    task.cancel_wait()
                wait(waits, _PAUSE)
