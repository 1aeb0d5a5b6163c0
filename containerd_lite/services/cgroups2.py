"""What containerd measures in cgroups of version 2: io.containerd.cgroups.v2.

What lives here: records with the names and fields of that package's messages, in its units.  What
may not: reading them, which ``metrics`` does.

Times are microseconds, sizes bytes; where there is no limit it is 2**64 - 1, and what nothing was
counted of is 0.  Tested on payloads alone, against the names and numbers of the messages: not yet
on a machine that has cgroups of version 2.
"""

from __future__ import annotations

from ..records import record


@record(frozen=True)
class PidsStat:
    """Processes and threads: how many, and how many may be."""

    current: int = 0
    limit: int = 0


@record(frozen=True)
class PSIData:
    """Percent of time lost, over the last 10, 60 and 300 seconds; ``total`` in microseconds."""

    avg10: float = 0.0
    avg60: float = 0.0
    avg300: float = 0.0
    total: int = 0


@record(frozen=True)
class PSIStats:
    """Pressure: time in which some, or all, had to wait."""

    some: PSIData | None = None
    full: PSIData | None = None


@record(frozen=True)
class CPUStat:
    """CPU time and throttling in microseconds; ``psi`` since 2.0, bursts since 2.2."""

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
    """memory.stat, and memory and swap as a whole: bytes, but for counts of pages and faults.

    ``max_usage swap_max_usage psi`` since 2.0.
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
class IOEntry:
    """One block device: bytes and operations, read and written."""

    major: int = 0
    minor: int = 0
    rbytes: int = 0
    wbytes: int = 0
    rios: int = 0
    wios: int = 0


@record(frozen=True)
class IOStat:
    """Block devices; ``psi`` since 2.0."""

    usage: tuple[IOEntry, ...] = ()
    psi: PSIStats | None = None


@record(frozen=True)
class HugeTlbStat:
    """Huge pages of one size (``pagesize``, "2MB"): bytes now, at most; refusals since 2.2."""

    current: int = 0
    max: int = 0
    pagesize: str = ""
    failcnt: int = 0


@record(frozen=True)
class MemoryEvents:
    """How often a limit of memory was met; ``oom_group_kill`` since 2.3."""

    low: int = 0
    high: int = 0
    max: int = 0
    oom: int = 0
    oom_kill: int = 0
    oom_group_kill: int = 0


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
class Metrics:
    """All of it; ``None`` or ``()`` is what the daemon did not measure.  ``network`` since 2.2."""

    pids: PidsStat | None = None
    cpu: CPUStat | None = None
    memory: MemoryStat | None = None
    rdma: RdmaStat | None = None
    io: IOStat | None = None
    hugetlb: tuple[HugeTlbStat, ...] = ()
    memory_events: MemoryEvents | None = None
    network: tuple[NetworkStat, ...] = ()
