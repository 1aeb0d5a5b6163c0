"""What a container uses, in the few numbers that people look at.

What lives here: those of both versions of cgroups as one record, and shares of CPU time between
two looks.  What may not: asking the daemon, which ``Task`` does.
"""

from __future__ import annotations

from datetime import datetime

from ...errors import Unimplemented
from ...records import record
from ...services import cgroups1, cgroups2
from ...services.metrics import Metric

#: Both versions write a limit that is none as a number near the largest there is.
_NO_LIMIT = 1 << 60


@record(frozen=True)
class Stats:
    """One look at a container: bytes, and CPU time in nanoseconds.

    ``memory`` is what is used without the cache that the kernel can give up at once (as ``docker
    stats`` and ``nerdctl stats`` count).  A limit of ``None`` is none.  ``cpu`` is the share of one
    CPU since the look before, 1.0 for all of it; ``None`` at the first.
    """

    id: str
    timestamp: datetime
    cpu: float | None
    cpu_time: int
    memory: int
    memory_limit: int | None
    pids: int
    pids_limit: int | None
    block_read: int
    block_written: int

    @classmethod
    def of(cls, metric: Metric, before: Stats | None = None) -> Stats:
        """Raises ``Unimplemented`` for metrics of an unknown kind."""
        data = metric.data
        if isinstance(data, cgroups1.Metrics):
            cpu_time, memory, limit, read, written = _of_v1(data)
        elif isinstance(data, cgroups2.Metrics):
            cpu_time, memory, limit, read, written = _of_v2(data)
        else:
            raise Unimplemented(f"the metrics of {metric.id} are of no known kind")
        pids = (data.pids.current, data.pids.limit) if data.pids else (0, 0)
        return cls(
            metric.id,
            metric.timestamp,
            _share(before, metric.timestamp, cpu_time),
            cpu_time=cpu_time,
            memory=memory,
            memory_limit=_limit(limit),
            pids=pids[0],
            pids_limit=_limit(pids[1]) or None,
            block_read=read,
            block_written=written,
        )


_Numbers = tuple[int, int, int, int, int]


def _of_v1(data: cgroups1.Metrics) -> _Numbers:
    usage = data.cpu.usage if data.cpu else None
    memory, entry = data.memory, data.memory.usage if data.memory else None
    idle = memory.total_inactive_file if memory else 0
    blocks = data.blkio.io_service_bytes_recursive if data.blkio else ()
    return (
        usage.total if usage else 0,
        max(0, entry.usage - idle) if entry else 0,
        entry.limit if entry else _NO_LIMIT,
        sum(one.value for one in blocks if one.op.lower() == "read"),
        sum(one.value for one in blocks if one.op.lower() == "write"),
    )


def _of_v2(data: cgroups2.Metrics) -> _Numbers:
    memory = data.memory
    devices = data.io.usage if data.io else ()
    return (
        data.cpu.usage_usec * 1000 if data.cpu else 0,
        max(0, memory.usage - memory.inactive_file) if memory else 0,
        memory.usage_limit if memory else _NO_LIMIT,
        sum(one.rbytes for one in devices),
        sum(one.wbytes for one in devices),
    )


def _limit(number: int) -> int | None:
    return number if number < _NO_LIMIT else None


def _share(before: Stats | None, now: datetime, cpu_time: int) -> float | None:
    if before is None:
        return None
    seconds = (now - before.timestamp).total_seconds()
    return max(0, cpu_time - before.cpu_time) / 1e9 / seconds if seconds > 0 else before.cpu
