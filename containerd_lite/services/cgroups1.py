"""Records of cgroups v1 metrics. The names and fields are those of io.containerd.cgroups.v1.

Times are in nanoseconds, and sizes are in bytes. A number that the daemon did not measure is 0.
The module ``metrics`` makes these records.
"""

from __future__ import annotations

from ..records import record


@record(frozen=True)
class HugetlbStat:
    """The usage of huge pages of one size.

    Attributes:
        usage: Bytes in use.
        max: The highest usage so far, in bytes.
        failcnt: How often the kernel refused an allocation.
        pagesize: The size of a page, such as ``2MB``.
    """

    usage: int = 0
    max: int = 0
    failcnt: int = 0
    pagesize: str = ""


@record(frozen=True)
class PidsStat:
    """The number of processes and threads, and the limit of this number.

    A limit of 0 means no limit.
    """

    current: int = 0
    limit: int = 0


@record(frozen=True)
class CPUUsage:
    """CPU time in nanoseconds. ``per_cpu`` has one value for each CPU of the machine."""

    total: int = 0
    kernel: int = 0
    user: int = 0
    per_cpu: tuple[int, ...] = ()


@record(frozen=True)
class Throttle:
    """Throttling by the CPU quota.

    Attributes:
        periods: The number of quota periods so far.
        throttled_periods: The number of quota periods in which the quota was used up.
        throttled_time: How long the cgroup was throttled, in nanoseconds.
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
        failcnt: How often the kernel refused an allocation.
    """

    limit: int = 0
    usage: int = 0
    max: int = 0
    failcnt: int = 0


@record(frozen=True)
class MemoryStat:
    """The values of ``memory.stat``, and the usage of each kind of memory.

    All values are in bytes, except the numbers of pages (``pg_pg_in``, ``pg_pg_out``) and of page
    faults (``pg_fault``, ``pg_maj_fault``). The ``total_…`` fields include all child cgroups.
    ``usage`` is the usage of memory, and ``swap`` is the usage of memory plus swap. ``kernel`` is
    the usage of kernel memory, and ``kernel_tcp`` is the usage of TCP buffers.
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
    """A value of one block device, for one kind of operation.

    Attributes:
        op: The kind of operation, such as ``Read`` or ``Total``.
        device: The path of the device.
        major: The major number of the device.
        minor: The minor number of the device.
        value: The value, in the unit of the field of ``BlkIOStat`` that contains this entry.
    """

    op: str = ""
    device: str = ""
    major: int = 0
    minor: int = 0
    value: int = 0


@record(frozen=True)
class BlkIOStat:
    """The usage of block devices by a cgroup and its child cgroups.

    Each field has its own unit: bytes, operations, nanoseconds or sectors.
    """

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
    """The number of handles and the number of objects of one RDMA device.

    ``RdmaStat.current`` contains entries with the usage, and ``RdmaStat.limit`` contains entries
    with the limits.
    """

    device: str = ""
    hca_handles: int = 0
    hca_objects: int = 0


@record(frozen=True)
class RdmaStat:
    """The usage of RDMA devices, and the limits of the usage."""

    current: tuple[RdmaEntry, ...] = ()
    limit: tuple[RdmaEntry, ...] = ()


@record(frozen=True)
class NetworkStat:
    """The traffic of one network interface.

    ``rx_…`` fields count received traffic, and ``tx_…`` fields count sent traffic.
    """

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
    """The number of threads in each state.

    Some kernels count ``nr_io_wait`` only if delay accounting is on.
    """

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
    """All metrics of a cgroup. A field that the daemon did not measure is ``None`` or ``()``."""

    hugetlb: tuple[HugetlbStat, ...] = ()
    pids: PidsStat | None = None
    cpu: CPUStat | None = None
    memory: MemoryStat | None = None
    blkio: BlkIOStat | None = None
    rdma: RdmaStat | None = None
    network: tuple[NetworkStat, ...] = ()
    cgroup_stats: CgroupStats | None = None
    memory_oom_control: MemoryOomControl | None = None
