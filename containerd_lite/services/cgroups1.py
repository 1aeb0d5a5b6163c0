"""What containerd measures in cgroups of version 1: io.containerd.cgroups.v1.

What lives here: records with the names and fields of that package's messages, in its units.  What
may not: reading them, which ``metrics`` does.

Times are nanoseconds, sizes bytes, and what nothing was counted of is 0.
"""

from __future__ import annotations

from ..records import record


@record(frozen=True)
class HugetlbStat:
    """Huge pages of one size (``pagesize``, "2MB"): bytes now and at most, refusals."""

    usage: int = 0
    max: int = 0
    failcnt: int = 0
    pagesize: str = ""


@record(frozen=True)
class PidsStat:
    """Processes and threads: how many, and how many may be (0: any number)."""

    current: int = 0
    limit: int = 0


@record(frozen=True)
class CPUUsage:
    """CPU time in nanoseconds, ``per_cpu`` for each CPU of the machine."""

    total: int = 0
    kernel: int = 0
    user: int = 0
    per_cpu: tuple[int, ...] = ()


@record(frozen=True)
class Throttle:
    """How often, and for how many nanoseconds, the CPU quota was used up."""

    periods: int = 0
    throttled_periods: int = 0
    throttled_time: int = 0


@record(frozen=True)
class CPUStat:
    """CPU time, and what was held back."""

    usage: CPUUsage | None = None
    throttling: Throttle | None = None


@record(frozen=True)
class MemoryEntry:
    """One account of memory in bytes: ``max`` is the most it was, ``failcnt`` counts refusals."""

    limit: int = 0
    usage: int = 0
    max: int = 0
    failcnt: int = 0


@record(frozen=True)
class MemoryStat:
    """memory.stat: bytes, but for counts of pages (``pg_pg_in``) and of faults.

    ``total_…`` is with the groups below this one; ``usage swap kernel kernel_tcp`` are accounts of
    their own, ``swap`` with memory in it.
    """

    cache: int = 0
    rss: int = 0
    rss_huge: int = 0
    mapped_file: int = 0
    dirty: int = 0
    writeback: int = 0
    pg_pg_in: int = 0
    pg_pg_out: int = 0
    pg_fault: int = 0
    pg_maj_fault: int = 0
    inactive_anon: int = 0
    active_anon: int = 0
    inactive_file: int = 0
    active_file: int = 0
    unevictable: int = 0
    hierarchical_memory_limit: int = 0
    hierarchical_swap_limit: int = 0
    total_cache: int = 0
    total_rss: int = 0
    total_rss_huge: int = 0
    total_mapped_file: int = 0
    total_dirty: int = 0
    total_writeback: int = 0
    total_pg_pg_in: int = 0
    total_pg_pg_out: int = 0
    total_pg_fault: int = 0
    total_pg_maj_fault: int = 0
    total_inactive_anon: int = 0
    total_active_anon: int = 0
    total_inactive_file: int = 0
    total_active_file: int = 0
    total_unevictable: int = 0
    usage: MemoryEntry | None = None
    swap: MemoryEntry | None = None
    kernel: MemoryEntry | None = None
    kernel_tcp: MemoryEntry | None = None


@record(frozen=True)
class BlkIOEntry:
    """A number of one block device, for one kind of operation (``Read``, ``Total``, …)."""

    op: str = ""
    device: str = ""
    major: int = 0
    minor: int = 0
    value: int = 0


@record(frozen=True)
class BlkIOStat:
    """Block devices: bytes, operations, times in nanoseconds, sectors; groups below counted."""

    io_service_bytes_recursive: tuple[BlkIOEntry, ...] = ()
    io_serviced_recursive: tuple[BlkIOEntry, ...] = ()
    io_queued_recursive: tuple[BlkIOEntry, ...] = ()
    io_service_time_recursive: tuple[BlkIOEntry, ...] = ()
    io_wait_time_recursive: tuple[BlkIOEntry, ...] = ()
    io_merged_recursive: tuple[BlkIOEntry, ...] = ()
    io_time_recursive: tuple[BlkIOEntry, ...] = ()
    sectors_recursive: tuple[BlkIOEntry, ...] = ()


@record(frozen=True)
class RdmaEntry:
    """One RDMA device: handles of its adapter and objects of it, used or allowed."""

    device: str = ""
    hca_handles: int = 0
    hca_objects: int = 0


@record(frozen=True)
class RdmaStat:
    """RDMA devices: what is used, and how much may be."""

    current: tuple[RdmaEntry, ...] = ()
    limit: tuple[RdmaEntry, ...] = ()


@record(frozen=True)
class NetworkStat:
    """One network interface, as it sees its traffic: bytes, packets, errors."""

    name: str = ""
    rx_bytes: int = 0
    rx_packets: int = 0
    rx_errors: int = 0
    rx_dropped: int = 0
    tx_bytes: int = 0
    tx_packets: int = 0
    tx_errors: int = 0
    tx_dropped: int = 0


@record(frozen=True)
class CgroupStats:
    """How many tasks are in which state; the kernel must keep account of delays."""

    nr_sleeping: int = 0
    nr_running: int = 0
    nr_stopped: int = 0
    nr_uninterruptible: int = 0
    nr_io_wait: int = 0


@record(frozen=True)
class MemoryOomControl:
    """memory.oom_control: flags of 0 and 1, and how many were killed for want of memory."""

    oom_kill_disable: int = 0
    under_oom: int = 0
    oom_kill: int = 0


@record(frozen=True)
class Metrics:
    """All of it; ``None`` or ``()`` is what the daemon did not measure."""

    hugetlb: tuple[HugetlbStat, ...] = ()
    pids: PidsStat | None = None
    cpu: CPUStat | None = None
    memory: MemoryStat | None = None
    blkio: BlkIOStat | None = None
    rdma: RdmaStat | None = None
    network: tuple[NetworkStat, ...] = ()
    cgroup_stats: CgroupStats | None = None
    memory_oom_control: MemoryOomControl | None = None
