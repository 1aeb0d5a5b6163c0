"""What runs in a container, as ``/proc`` tells of it (proc(5)).

What lives here: reading ``/proc``.  What may not: which processes are the container's, which the
daemon says.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

from ...errors import FailedPrecondition
from ...records import record
from ...services.tasks import ProcessInfo

#: Of a process's command line, and of its status (bytes).
_MAX_READ = 64 << 10
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@record(frozen=True)
class TopProcess:
    """A process as the machine sees it: ids are the machine's, not the container's.

    ``state`` is a letter of proc(5); ``cpu_time`` and ``elapsed`` are seconds, ``rss`` bytes.
    ``command`` is its command line, or in brackets the name of one that has none.  ``exec_id`` is
    of one that was executed, as far as the runtime says.
    """

    pid: int
    parent: int
    uid: int
    state: str
    cpu_time: float
    elapsed: float
    rss: int
    command: str
    exec_id: str = ""


def list_processes(processes: Sequence[ProcessInfo], first: int) -> list[TopProcess]:
    """As ``Task.top``; ``first`` is the pid of the container's first process."""
    found = []
    for process in processes:
        try:
            found.append(_look(process))
        except (FileNotFoundError, ProcessLookupError):
            continue
    if not any(one.pid == first for one in found) and processes:
        raise FailedPrecondition(
            f"process {first} is not to be seen in /proc",
            remedy="Run on the daemon's machine, in its pid namespace, or execute ps in it",
        )
    return found


def _look(process: ProcessInfo) -> TopProcess:
    folder = Path("/proc", str(process.pid))
    name, fields = _stat(_read(folder / "stat"))
    command = _read(folder / "cmdline").decode("utf-8", "replace").rstrip("\0")
    uptime = time.clock_gettime(time.CLOCK_BOOTTIME)
    return TopProcess(
        pid=process.pid,
        parent=int(fields[1]),
        uid=folder.stat().st_uid,
        state=fields[0],
        cpu_time=(int(fields[11]) + int(fields[12])) / _TICKS,
        elapsed=max(0.0, uptime - int(fields[19]) / _TICKS),
        rss=int(fields[21]) * _PAGE,
        command=command.replace("\0", " ") or f"[{name}]",
        exec_id=process.exec_id,
    )


def _stat(body: bytes) -> tuple[str, list[str]]:
    """The name, which may hold anything, and the fields behind it, the state first."""
    head, _, tail = body.decode("utf-8", "replace").rpartition(")")
    return head.partition("(")[2], tail.split()


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_MAX_READ)
