"""A container: its record, its root filesystem, its task.

What lives here: making and removing them together.  What may not: what runs in it.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass

from ..errors import FailedPrecondition, InvalidArgument, NotFound
from ..services.containers import ContainerRecord, ContainerService
from ..services.snapshots import FindSnapshots
from ..services.tasks import Stdio, TaskService
from .task import Task

#: containerd's pkg/identifiers.
_ID = re.compile(r"[A-Za-z0-9]+(?:[._-][A-Za-z0-9]+)*")
_MAX_ID = 76


@dataclass(frozen=True)
class Services:
    """The services that a container needs, all of one namespace."""

    containers: ContainerService
    snapshots: FindSnapshots
    tasks: TaskService


def check_id(id: str) -> str:
    """Returns ``id`` if containerd takes it.  Raises ``InvalidArgument``."""
    if len(id) > _MAX_ID or not _ID.fullmatch(id):
        raise InvalidArgument(
            f"{id[:100]!r} cannot be an id",
            remedy=f"Use up to {_MAX_ID} letters and digits, with single . _ - between them",
        )
    return id


class Container:
    """A container as the daemon has it; ``info`` is its record when this object was made."""

    def __init__(self, services: Services, info: ContainerRecord) -> None:
        self._services = services
        self.info = info

    @property
    def id(self) -> str:
        return self.info.id

    @property
    def labels(self) -> dict[str, str]:
        return self.info.labels

    def new_task(self, stdio: Stdio | None = None) -> Task:
        """Make the first process, not yet running.  Raises ``AlreadyExists``."""
        tasks = self._services.tasks
        mounts = self._services.snapshots(self.info.snapshotter).mounts(self.info.snapshot_key)
        return Task(tasks, self.id, tasks.create(self.id, mounts, stdio))

    def task(self) -> Task:
        """The task that there is.  Raises ``NotFound``."""
        return Task(self._services.tasks, self.id, self._services.tasks.get(self.id).pid)

    def delete(self) -> None:
        """Remove the root filesystem and the record.

        Raises ``FailedPrecondition`` while there is a task, ``NotFound``.
        """
        with suppress(NotFound):
            status = self._services.tasks.get(self.id)
            raise FailedPrecondition(
                f"container {self.id} has a task, which is {status.state}",
                remedy="Delete the task first, with force=True if it runs",
            )
        with suppress(NotFound):
            self._services.snapshots(self.info.snapshotter).remove(self.info.snapshot_key)
        self._services.containers.delete(self.id)

    def __repr__(self) -> str:
        return f"<Container {self.id}>"
