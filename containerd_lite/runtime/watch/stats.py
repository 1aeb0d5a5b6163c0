"""A summary of a container's resource usage, with the same fields for cgroups v1 and v2."""

from __future__ import annotations

from datetime import datetime

from ...errors import Unimplemented
from ...records import field, record
from ...services import cgroups1, cgroups2
from ...services.metrics import Metric
from .traffic import Traffic

#: The smallest reported limit that means "no limit". The kernel reports "no limit" as a very large
#: number in both versions of cgroups.
_NO_LIMIT = 1 << 60


@record(frozen=True)
class Stats:
    """A summary of a container's resource usage at one time.

    Attributes:
        id: The container's id.
        timestamp: The time of the measurement.
        cpu: The average number of CPUs that the container has used since an earlier summary.
            ``None`` without an earlier summary.
        cpu_time: CPU time since the start of the container, in nanoseconds.
        memory: Used memory in bytes, without the file cache that the kernel can free at once.
            ``docker stats`` and ``nerdctl stats`` show the same number.
        memory_limit: The memory limit in bytes. ``None`` means no limit.
        pids: The number of processes and threads.
        pids_limit: The maximum number of processes and threads. ``None`` means no limit.
        block_read: Bytes read from block devices.
        block_written: Bytes written to block devices.
        interfaces: The traffic of each network interface of the container but ``lo``, by name.
            ``None`` if it is not known: the task does not run on this machine, or the container has
            the machine's network.
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
    interfaces: dict[str, Traffic] | None = field(default=None, hash=False)

    @property
    def network(self) -> Traffic | None:
        """The traffic of all interfaces together, ``None`` if it is not known."""
        return None if self.interfaces is None else Traffic.sum(self.interfaces.values())

    @classmethod
    def of(
        cls,
        metric: Metric,
        before: Stats | None = None,
        interfaces: dict[str, Traffic] | None = None,
    ) -> Stats:
        """Return the summary of a container's metrics.

        Args:
            metric: The metrics of the container.
            before: An earlier summary. ``cpu`` is the CPU usage since this earlier summary.
                Default: ``cpu`` is ``None``.
            interfaces: The traffic of the container's interfaces. Default: it is not known.

        Raises:
            Unimplemented: The metrics have a type that this package does not know.
        """
        data = metric.data
        if isinstance(data, cgroups1.Metrics):
            cpu_time, memory, limit, read, written = _of_v1(data)
        elif isinstance(data, cgroups2.Metrics):
            cpu_time, memory, limit, read, written = _of_v2(data)
        else:
            raise Unimplemented(f"the metrics of container {metric.id} have an unknown type")
        pids = (data.pids.current, data.pids.limit) if data.pids else (0, 0)
        return cls(
            metric.id,
            metric.timestamp,
            _cpu_share(before, metric.timestamp, cpu_time),
            cpu_time=cpu_time,
            memory=memory,
            memory_limit=_limit(limit),
            pids=pids[0],
            pids_limit=_limit(pids[1]) or None,
            block_read=read,
            block_written=written,
            interfaces=interfaces,
        )


_Numbers = tuple[int, int, int, int, int]


def _of_v1(data: cgroups1.Metrics) -> _Numbers:
    usage = data.cpu.usage if data.cpu else None
    memory, entry = data.memory, data.memory.usage if data.memory else None
    inactive = memory.total_inactive_file if memory else 0
    blocks = data.blkio.io_service_bytes_recursive if data.blkio else ()
    return (
        usage.total if usage else 0,
        max(0, entry.usage - inactive) if entry else 0,
        entry.limit if entry else _NO_LIMIT,
        sum(block.value for block in blocks if block.op.lower() == "read"),
        sum(block.value for block in blocks if block.op.lower() == "write"),
    )


def _of_v2(data: cgroups2.Metrics) -> _Numbers:
    memory = data.memory
    devices = data.io.usage if data.io else ()
    return (
        data.cpu.usage_usec * 1000 if data.cpu else 0,
        max(0, memory.usage - memory.inactive_file) if memory else 0,
        memory.usage_limit if memory else _NO_LIMIT,
        sum(device.rbytes for device in devices),
        sum(device.wbytes for device in devices),
    )


def _limit(number: int) -> int | None:
    return number if number < _NO_LIMIT else None


def _cpu_share(before: Stats | None, now: datetime, cpu_time: int) -> float | None:
    if before is None:
        return None
    seconds = (now - before.timestamp).total_seconds()
    return max(0, cpu_time - before.cpu_time) / 1e9 / seconds if seconds > 0 else before.cpu
