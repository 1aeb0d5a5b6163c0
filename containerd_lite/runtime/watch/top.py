"""The processes of a container, as ``/proc`` shows them (proc(5))."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

from ...errors import FailedPrecondition
from ...records import record
from ...services.tasks import ProcessInfo

#: Maximum number of bytes to read from a file in ``/proc``.
_MAX_READ = 64 << 10
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@record(frozen=True)
class TopProcess:
    """A process of a container. All ids are ids on the machine, not ids in the container.

    Attributes:
        pid: The process's pid.
        parent: The pid of the parent process.
        uid: The user id.
        state: The state, as a letter of proc(5).
        cpu_time: CPU time in seconds.
        elapsed: Seconds since the start of the process.
        rss: Resident memory in bytes.
        command: The command line. If the command line is empty: the process's name in square
            brackets.
        exec_id: The exec id, if the process was added to the container and the runtime reports the
            id. Otherwise ``""``.
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
    """Return the processes that still exist; see ``Task.top``.

    Args:
        processes: The container's processes, as the daemon lists them.
        first: The pid of the container's first process.

    Raises:
        FailedPrecondition: The container's first process does not appear in ``/proc``.
    """
    found = []
    for process in processes:
        try:
            found.append(_read_process(process))
        except (FileNotFoundError, ProcessLookupError):
            continue
    if not any(process.pid == first for process in found) and processes:
        raise FailedPrecondition(
            f"process {first} does not appear in /proc",
            remedy="Run this program on the daemon's machine, in the daemon's pid namespace, or "
            "run ps in the container",
        )
    return found


def _read_process(process: ProcessInfo) -> TopProcess:
    folder = Path("/proc", str(process.pid))
    name, fields = _parse_stat(_read(folder / "stat"))
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


def _parse_stat(body: bytes) -> tuple[str, list[str]]:
    """Return the process's name, and a list of the fields that follow the name.

    The name can contain any characters, even spaces and parentheses. The first field in the list
    is the state.
    """
    head, _, tail = body.decode("utf-8", "replace").rpartition(")")
    return head.partition("(")[2], tail.split()


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_MAX_READ)
