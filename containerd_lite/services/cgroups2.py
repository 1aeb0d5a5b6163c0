"""Records of the metrics of cgroups v2, with the names and fields of io.containerd.cgroups.v2.

Times are in microseconds and sizes in bytes. A missing limit is 2**64 - 1. A value that the daemon
did not count is 0. ``metrics`` makes these records. They are tested only with encoded messages,
not yet on a machine with cgroups v2.
"""

from __future__ import annotations

from ..records import record


@record(frozen=True)
class PidsStat:
    """The number of processes and threads, and its limit."""

    current: int = 0
    limit: int = 0


@record(frozen=True)
class PSIData:
    """The share of time that tasks lost by waiting.

    ``avg10``, ``avg60`` and ``avg300`` are percentages of the last 10, 60 and 300 seconds.
    ``total`` is in microseconds.
    """

    avg10: float = 0.0
    avg60: float = 0.0
    avg300: float = 0.0
    total: int = 0


@record(frozen=True)
class PSIStats:
    """Pressure: the time in which some tasks, or all tasks (``full``), had to wait."""

    some: PSIData | None = None
    full: PSIData | None = None


@record(frozen=True)
class CPUStat:
    """CPU time and throttling in microseconds. ``psi`` exists since 2.0, bursts since 2.2."""

    usage_usec: int = 0
    user_usec: int = 0
    system_usec: int = 0
    nr_periods: int = 0
    nr_throttled: int = 0
    throttled_usec: int = 0
    psi: PSIStats | None = None
    nr_bursts: int = 0
    burst_usec: int = 0


@record(frozen=True)
class MemoryStat:
    """The values of ``memory.stat``, and the usage and limits of memory and swap.

    All values are bytes, except the counts of pages and of faults. ``max_usage``,
    ``swap_max_usage`` and ``psi`` exist since 2.0.
    """

    anon: int = 0
    file: int = 0
    kernel_stack: int = 0
    slab: int = 0
    sock: int = 0
    shmem: int = 0
    file_mapped: int = 0
    file_dirty: int = 0
    file_writeback: int = 0
    anon_thp: int = 0
    inactive_anon: int = 0
    active_anon: int = 0
    inactive_file: int = 0
    active_file: int = 0
    unevictable: int = 0
    slab_reclaimable: int = 0
    slab_unreclaimable: int = 0
    pgfault: int = 0
    pgmajfault: int = 0
    workingset_refault: int = 0
    workingset_activate: int = 0
    workingset_nodereclaim: int = 0
    pgrefill: int = 0
    pgscan: int = 0
    pgsteal: int = 0
    pgactivate: int = 0
    pgdeactivate: int = 0
    pglazyfree: int = 0
    pglazyfreed: int = 0
    thp_fault_alloc: int = 0
    thp_collapse_alloc: int = 0
    usage: int = 0
    usage_limit: int = 0
    swap_usage: int = 0
    swap_limit: int = 0
    max_usage: int = 0
    swap_max_usage: int = 0
    psi: PSIStats | None = None


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
class IOEntry:
    """Bytes and operations of one block device, read and written."""

    major: int = 0
    minor: int = 0
    rbytes: int = 0
    wbytes: int = 0
    rios: int = 0
    wios: int = 0


@record(frozen=True)
class IOStat:
    """The use of block devices. ``psi`` exists since 2.0."""

    usage: tuple[IOEntry, ...] = ()
    psi: PSIStats | None = None


@record(frozen=True)
class HugeTlbStat:
    """Huge pages of one size.

    Attributes:
        current: Bytes in use.
        max: The limit in bytes.
        pagesize: The size of a page, such as ``2MB``.
        failcnt: How often an allocation was refused. Since 2.2.
    """

    current: int = 0
    max: int = 0
    pagesize: str = ""
    failcnt: int = 0


@record(frozen=True)
class MemoryEvents:
    """How often each limit of memory was reached. ``oom_group_kill`` exists since 2.3."""

    low: int = 0
    high: int = 0
    max: int = 0
    oom: int = 0
    oom_kill: int = 0
    oom_group_kill: int = 0


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
class Metrics:
    """All metrics of a cgroup. ``None`` or ``()`` means that the daemon did not measure it.

    ``network`` exists since 2.2.
    """

    pids: PidsStat | None = None
    cpu: CPUStat | None = None
    memory: MemoryStat | None = None
    rdma: RdmaStat | None = None
    io: IOStat | None = None
    hugetlb: tuple[HugeTlbStat, ...] = ()
    memory_events: MemoryEvents | None = None
    network: tuple[NetworkStat, ...] = ()
