"""Lists containers with what their tasks do, in two requests."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timezone

from ..errors import InvalidArgument
from ..oci.document import Document
from ..records import field, record
from ..services.containers import ContainerRecord
from ..services.tasks import ProcessStatus
from .record import MAX_SPEC
from .runtime_backend import RuntimeBackend
from .watch.started import ContainerState, started_at, state_of

_RUNNING = ("running", "pausing", "paused")
_EARLIEST = datetime.min.replace(tzinfo=timezone.utc)


@record(frozen=True)
class ContainerSummary:
    """A container, and what its task does.

    Attributes:
        id: The id of the container.
        image: The name of the image that the container was created from; ``""`` without an image.
        command: The command line of the first process.
        status: What the container does; see ``Container.status``.
        pid: The pid of the first process on the daemon's machine; 0 without a task.
        exit_code: The exit code of a stopped task, otherwise ``None``.
        started_at: When the task started, if that is known; see ``Container.started_at``.
        exited_at: When the task ended; ``None`` unless it is stopped.
        created_at: When the container was created.
        labels: The labels of the container.
    """

    id: str
    image: str
    command: tuple[str, ...]
    status: ContainerState
    pid: int = 0
    exit_code: int | None = None
    started_at: datetime | None = None
    exited_at: datetime | None = None
    created_at: datetime | None = field(default=None, repr=False)
    labels: dict[str, str] = field(default_factory=dict, hash=False, repr=False)


def list_summaries(
    backend: RuntimeBackend, *filters: str, all: bool = False
) -> list[ContainerSummary]:
    """Return the containers, newest first; see ``Client.ps``."""
    records = backend.containers.list(*filters)
    statuses = {status.container_id: status for status in backend.tasks.list()} if records else {}
    is_remote = backend.is_remote
    found = [_summary(each, statuses.get(each.id), is_remote=is_remote) for each in records]
    wanted = [each for each in found if all or each.status in _RUNNING]
    return sorted(wanted, key=lambda each: each.created_at or _EARLIEST, reverse=True)


def _summary(
    info: ContainerRecord, status: ProcessStatus | None, *, is_remote: bool
) -> ContainerSummary:
    is_stopped = status is not None and status.state == "stopped"
    return ContainerSummary(
        id=info.id,
        image=info.image,
        command=_command(info),
        status=state_of(status),
        pid=status.pid if status else 0,
        exit_code=status.exit_status if status and is_stopped else None,
        started_at=started_at(info, status, is_remote=is_remote) if status else None,
        exited_at=status.exited_at if status and is_stopped else None,
        created_at=info.created_at,
        labels=info.labels,
    )


def _command(info: ContainerRecord) -> tuple[str, ...]:
    """Return the command line in a spec; none if the spec of another client cannot be read."""
    with suppress(InvalidArgument):
        if info.spec is not None:
            spec = Document.parse(info.spec.value, "the spec", limit=MAX_SPEC)
            process = spec.document("process")
            return process.texts("args") if process else ()
    return ()
