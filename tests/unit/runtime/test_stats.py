"""Few numbers of many, for both versions of cgroups; version 2 from payloads."""

from __future__ import annotations

import os
from datetime import datetime, timedelta, timezone

import pytest

from containerd_lite.errors import Unimplemented
from containerd_lite.runtime.watch.stats import Stats
from containerd_lite.runtime.watch.traffic import Traffic, parse_traffic, read_traffic
from containerd_lite.services import cgroups1, cgroups2
from containerd_lite.services._types import AnyValue
from containerd_lite.services.metrics import Metric

_NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
_NONE = (1 << 63) - 4096  # how version 1 writes a limit of memory that is none

V1 = cgroups1.Metrics(
    pids=cgroups1.PidsStat(3, 0),
    cpu=cgroups1.CPUStat(cgroups1.CPUUsage(total=2_000_000_000)),
    memory=cgroups1.MemoryStat(
        total_inactive_file=300, usage=cgroups1.MemoryEntry(limit=_NONE, usage=1000)
    ),
    blkio=cgroups1.BlkIOStat(
        io_service_bytes_recursive=(
            cgroups1.BlkIOEntry("Read", value=5),
            cgroups1.BlkIOEntry("Write", value=7),
            cgroups1.BlkIOEntry("Total", value=12),
            cgroups1.BlkIOEntry("read", value=1),
        )
    ),
)
V2 = cgroups2.Metrics(
    pids=cgroups2.PidsStat(3, (1 << 64) - 1),
    cpu=cgroups2.CPUStat(usage_usec=2_000_000),
    memory=cgroups2.MemoryStat(inactive_file=300, usage=1000, usage_limit=(1 << 64) - 1),
    io=cgroups2.IOStat((cgroups2.IOEntry(rbytes=5, wbytes=7), cgroups2.IOEntry(rbytes=1))),
)


@pytest.mark.parametrize("data", [V1, V2])
def test_both_versions_say_the_same(data: cgroups1.Metrics | cgroups2.Metrics) -> None:
    found = Stats.of(Metric("c", _NOW, data))
    assert found == Stats("c", _NOW, None, 2_000_000_000, 700, None, 3, None, 6, 7)


def test_the_share_of_a_cpu_is_between_two_looks() -> None:
    first = Stats.of(Metric("c", _NOW, V2))
    later = cgroups2.Metrics(cpu=cgroups2.CPUStat(usage_usec=5_000_000))
    assert Stats.of(Metric("c", _NOW + timedelta(seconds=2), later), first).cpu == 1.5
    # A container that was made anew under its name counts from 0.
    again = cgroups2.Metrics(cpu=cgroups2.CPUStat(usage_usec=0))
    assert Stats.of(Metric("c", _NOW + timedelta(seconds=2), again), first).cpu == 0


@pytest.mark.parametrize("data", [cgroups1.Metrics(), cgroups2.Metrics()])
def test_what_was_not_measured(data: cgroups1.Metrics | cgroups2.Metrics) -> None:
    found = Stats.of(Metric("c", _NOW, data))
    assert found == Stats("c", _NOW, None, 0, 0, None, 0, None, 0, 0)


def test_limits_that_are_some() -> None:
    data = cgroups1.Metrics(
        pids=cgroups1.PidsStat(1, 77),
        memory=cgroups1.MemoryStat(usage=cgroups1.MemoryEntry(limit=64 << 20)),
    )
    found = Stats.of(Metric("c", _NOW, data))
    assert (found.pids_limit, found.memory_limit) == (77, 64 << 20)


@pytest.mark.parametrize("data", [None, AnyValue("a.B", b"")])
def test_of_another_kind(data: AnyValue | None) -> None:
    with pytest.raises(Unimplemented, match="unknown type"):
        Stats.of(Metric("c", _NOW, data))


_DEV = """\
Inter-|   Receive                              |  Transmit
 face |bytes packets errs drop fifo frame compr |bytes packets errs drop fifo colls carrier
    lo:   200    2    0    0    0   0   0   0      200    2    0    0    0   0   0   0
  eth0:12345678901 30 1    2    0   0   0   0     4000   40    3    4    0   0   0   0
  eth1:     1    1    1    1    0   0   0   0        1    1    1    1    0   0   0   0
"""


def test_traffic_by_interface_and_together() -> None:
    found = Stats.of(Metric("c", _NOW, V2), interfaces=parse_traffic(_DEV))
    assert found.interfaces == {
        "eth0": Traffic(12345678901, 30, 1, 2, 4000, 40, 3, 4),
        "eth1": Traffic(*[1] * 8),
    }
    assert found.network == Traffic(12345678902, 31, 2, 3, 4001, 41, 4, 5)
    assert Stats.of(Metric("c", _NOW, V2), interfaces={}).network == Traffic(*[0] * 8)


def test_traffic_that_is_not_known_is_absent() -> None:
    assert Stats.of(Metric("c", _NOW, V2)).network is None
    assert read_traffic(1 << 30, [""]) is None  # no such process
    assert read_traffic(os.getpid(), ["no cgroup"]) is None  # another process
    assert read_traffic(os.getpid(), [""]) is None  # the network of this program
