"""Records of the metrics of cgroups v1, with the names and fields of io.containerd.cgroups.v1.

Times are in nanoseconds and sizes in bytes. A value that the daemon did not count is 0.
``metrics`` makes these records.
"""

from __future__ import annotations

from ..records import record


@record(frozen=True)
class HugetlbStat:
    """Huge pages of one size.

    Attributes:
        usage: Bytes in use.
        max: The highest usage so far, in bytes.
        failcnt: How often an allocation was refused.
        pagesize: The size of a page, such as ``2MB``.
    """

    usage: int = 0
    max: int = 0
    failcnt: int = 0
    pagesize: str = ""


@record(frozen=True)
class PidsStat:
    """The number of processes and threads, and its limit. A limit of 0 means no limit."""

    current: int = 0
    limit: int = 0


@record(frozen=True)
class CPUUsage:
    """CPU time in nanoseconds; ``per_cpu`` has a value for each CPU of the machine."""

    total: int = 0
    kernel: int = 0
    user: int = 0
    per_cpu: tuple[int, ...] = ()


@record(frozen=True)
class Throttle:
    """Throttling by the CPU quota.

    Attributes:
        periods: The number of periods of the quota.
        throttled_periods: The number of periods in which the quota was used up.
        throttled_time: Nanoseconds of throttling.
    """

    periods: int = 0
    throttled_periods: int = 0
    throttled_time: int = 0


@record(frozen=True)
class CPUStat:
    """CPU time and throttling."""

    usage: CPUUsage | None = None
    throttling: Throttle | None = None


@record(frozen=True)
class MemoryEntry:
    """The usage of one kind of memory.

    Attributes:
        limit: The limit in bytes.
        usage: Bytes in use.
        max: The highest usage so far, in bytes.
        failcnt: How often an allocation was refused.
    """

    limit: int = 0
    usage: int = 0
    max: int = 0
    failcnt: int = 0


@record(frozen=True)
class MemoryStat:
    """The values of ``memory.stat``, and the usage of memory.

    All values are bytes, except the counts of pages (``pg_pg_in``, ``pg_pg_out``) and of faults.
    ``total_…`` includes the cgroups below this one. ``usage`` is the usage of memory, and
    ``swap`` that of memory and swap together. ``kernel`` and ``kernel_tcp`` are that of kernel
    memory and of TCP buffers.
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
    """A number of one block device, for one kind of operation.

    Attributes:
        op: The kind of operation, such as ``Read`` or ``Total``.
        device: The path of the device.
        major: The major number of the device.
        minor: The minor number of the device.
        value: The number; its meaning depends on the field of ``BlkIOStat``.
    """

    op: str = ""
    device: str = ""
    major: int = 0
    minor: int = 0
    value: int = 0


@record(frozen=True)
class BlkIOStat:
    """Bytes, operations, nanoseconds and sectors of block devices, with the cgroups below."""

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
    """Handles and objects of one RDMA device, either in use or allowed."""

    device: str = ""
    hca_handles: int = 0
    hca_objects: int = 0


@record(frozen=True)
class RdmaStat:
    """The use of RDMA devices, and its limits."""

    current: tuple[RdmaEntry, ...] = ()
    limit: tuple[RdmaEntry, ...] = ()


@record(frozen=True)
class NetworkStat:
    """Bytes, packets and errors of one network interface, from its own point of view."""

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
    """The number of tasks in each state. The kernel counts them if delay accounting is on."""

    nr_sleeping: int = 0
    nr_running: int = 0
    nr_stopped: int = 0
    nr_uninterruptible: int = 0
    nr_io_wait: int = 0


@record(frozen=True)
class MemoryOomControl:
    """The values of ``memory.oom_control``.

    ``oom_kill_disable`` and ``under_oom`` are flags, 0 or 1. ``oom_kill`` is the number of
    processes that the OOM killer has killed.
    """

    oom_kill_disable: int = 0
    under_oom: int = 0
    oom_kill: int = 0


@record(frozen=True)
class Metrics:
    """All metrics of a cgroup. ``None`` or ``()`` means that the daemon did not measure it."""

    hugetlb: tuple[HugetlbStat, ...] = ()
    pids: PidsStat | None = None
    cpu: CPUStat | None = None
    memory: MemoryStat | None = None
    blkio: BlkIOStat | None = None
    rdma: RdmaStat | None = None
    network: tuple[NetworkStat, ...] = ()
    cgroup_stats: CgroupStats | None = None
    memory_oom_control: MemoryOomControl | None = None
