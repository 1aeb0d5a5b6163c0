"""Records of cgroups v2 metrics. The names and fields are those of io.containerd.cgroups.v2.

Times are in microseconds, and sizes are in bytes. A limit of 2**64 - 1 means no limit. A number
that the daemon did not measure is 0. The module ``metrics`` makes these records. The tests
decode prepared messages: no test has run on a machine with cgroups v2 yet.
"""

from __future__ import annotations

from ..records import record


@record(frozen=True)
class PidsStat:
    """The number of processes and threads, and the limit of this number."""

    current: int = 0
    limit: int = 0


@record(frozen=True)
class PSIData:
    """How much time threads spent waiting for a resource.

    ``avg10``, ``avg60`` and ``avg300`` are percentages of the last 10, 60 and 300 seconds.
    ``total`` is the total waiting time in microseconds.
    """

    avg10: float = 0.0
    avg60: float = 0.0
    avg300: float = 0.0
    total: int = 0


@record(frozen=True)
class PSIStats:
    """Pressure stall information: the time that threads spent waiting for a resource.

    ``some`` is the time in which at least one thread waited. ``full`` is the time in which all
    threads waited.
    """

    some: PSIData | None = None
    full: PSIData | None = None


@record(frozen=True)
class CPUStat:
    """CPU time and throttling. The fields ``…_usec`` are in microseconds.

    ``psi`` exists since 2.0. ``nr_bursts`` and ``burst_usec`` exist since 2.2.
    """

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

    All values are in bytes, except the numbers of pages and of page faults. ``max_usage``,
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
class IOEntry:
    """The number of bytes and the number of operations of one block device.

    The fields ``r…`` count reads, and the fields ``w…`` count writes.
    """

    major: int = 0
    minor: int = 0
    rbytes: int = 0
    wbytes: int = 0
    rios: int = 0
    wios: int = 0


@record(frozen=True)
class IOStat:
    """The usage of block devices. ``psi`` exists since 2.0."""

    usage: tuple[IOEntry, ...] = ()
    psi: PSIStats | None = None


@record(frozen=True)
class HugeTlbStat:
    """The usage of huge pages of one size.

    Attributes:
        current: Bytes in use.
        max: The limit in bytes.
        pagesize: The size of a page, such as ``2MB``.
        failcnt: How often the kernel refused an allocation. Since 2.2.
    """

    current: int = 0
    max: int = 0
    pagesize: str = ""
    failcnt: int = 0


@record(frozen=True)
class MemoryEvents:
    """How often each event of ``memory.events`` happened. ``oom_group_kill`` exists since 2.3."""

    low: int = 0
    high: int = 0
    max: int = 0
    oom: int = 0
    oom_kill: int = 0
    oom_group_kill: int = 0


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
class Metrics:
    """All metrics of a cgroup. A field that the daemon did not measure is ``None`` or ``()``.

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
