"""When the task of a container started, which the daemon does not know, and what the task does."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Literal

from ...services.containers import ContainerRecord
from ...services.tasks import ProcessStatus

#: What a container does. ``"created"``: it has no task, or its task has not started.
ContainerState = Literal["created", "running", "pausing", "paused", "stopped", "unknown"]

#: A label of containers: the pid of a task, and the time when it started.
_STARTED = "containerd-lite.started"
_PROC = Path("/proc")
#: The place of a process's start time in ``/proc/PID/stat`` behind the name (proc(5)).
_START_TIME = 19
_MAX_FILE = 64 << 10


def state_of(status: ProcessStatus | None) -> ContainerState:
    """Return what a container with this task does; ``None`` for a container without a task."""
    return "created" if status is None else status.state


def started_label(pid: int) -> dict[str, str]:
    """Return the label that says when a task started: now."""
    return {_STARTED: f"{pid} {datetime.now(timezone.utc).isoformat()}"}


def started_at(
    record: ContainerRecord, status: ProcessStatus, *, is_remote: bool
) -> datetime | None:
    """Return when a task started; ``None`` if the time is not known.

    Args:
        record: The record of the container.
        status: The status of its task.
        is_remote: Whether the daemon can run on another machine.
    """
    if status.state == "created":
        return None
    pid, _, start = record.labels.get(_STARTED, "").partition(" ")
    if pid == str(status.pid):
        with suppress(ValueError):
            found = datetime.fromisoformat(start)
            return found if found.tzinfo else None
    return None if is_remote else _started_here(status.pid, record.id)


def _started_here(pid: int, id: str) -> datetime | None:
    """Return the start time of a process of this machine, if it is in the container's cgroup."""
    with suppress(OSError, ValueError, IndexError):
        if id not in _read(_PROC / str(pid) / "cgroup"):
            return None  # another process, or a process of another machine
        ticks = int(_read(_PROC / str(pid) / "stat").rpartition(")")[2].split()[_START_TIME])
        # /proc/stat has the time of the boot, too, but in whole seconds.
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
        return datetime.now(timezone.utc) - timedelta(seconds=age)
    return None


def _read(path: Path) -> str:
    with path.open(encoding="utf-8", errors="replace") as file:
        return file.read(_MAX_FILE)
