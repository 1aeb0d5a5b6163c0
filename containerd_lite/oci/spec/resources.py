"""What a container may use: the ``resources`` of a spec (runtime-spec config-linux.md).

What lives here: processor, memory, processes, block devices, huge pages.  What may not: devices.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from ...errors import InvalidArgument
from .fields import Spec, mapping, refuse, section, text, whole

_MAX = (1 << 63) - 1
#: The scheduler's period unless told otherwise, and its shortest quota (microseconds).
_PERIOD, _MIN_QUOTA = 100_000, 1000
#: Option → object, field, least, most.  -1 is no limit.
_NUMBERS = {
    "cpu_shares": ("cpu", "shares", 2, 262144),
    "cpu_quota": ("cpu", "quota", -1, _MAX),
    "cpu_period": ("cpu", "period", 1, 1_000_000),
    "memory": ("memory", "limit", 1, _MAX),
    "memory_swap": ("memory", "swap", -1, _MAX),
    "memory_reservation": ("memory", "reservation", 1, _MAX),
    "memory_swappiness": ("memory", "swappiness", 0, 100),
    "pids_limit": ("pids", "limit", -1, _MAX),
    "blkio_weight": ("blockIO", "weight", 10, 1000),
}
_TEXTS = {"cpuset_cpus": "cpus", "cpuset_mems": "mems"}


def set_resources(resources: Spec, options: Mapping[str, object]) -> None:
    """Set the limits that ``options`` has, bytes and microseconds; ``cpus`` is a number of cores.

    Raises ``InvalidArgument``.
    """
    for option, (name, field, low, high) in _NUMBERS.items():
        if option in options:
            section(resources, name)[field] = whole(option, options[option], low, high)
    for option, field in _TEXTS.items():
        if option in options:
            section(resources, "cpu")[field] = text(option, options[option])
    if "cpus" in options:
        _set_cpus(section(resources, "cpu"), options)
    if "hugepage_limits" in options:
        resources["hugepageLimits"] = [
            {
                "pageSize": text("hugepage_limits", size),
                "limit": whole("hugepage_limits", most, 0, _MAX),
            }
            for size, most in mapping("hugepage_limits", options["hugepage_limits"]).items()
        ]


def _set_cpus(cpu: Spec, options: Mapping[str, object]) -> None:
    cpus = options["cpus"]
    if "cpu_quota" in options or "cpu_period" in options:
        raise InvalidArgument(
            "cpus says the same as cpu_quota and cpu_period", remedy="Give either"
        )
    number = isinstance(cpus, (int, float)) and not isinstance(cpus, bool) and math.isfinite(cpus)
    if not number or not _MIN_QUOTA <= float(cpus) * _PERIOD <= _MAX:  # type: ignore[arg-type]
        refuse("cpus", cpus, "a number of cores, at least 0.01")
    cpu.update(quota=int(float(cpus) * _PERIOD), period=_PERIOD)  # type: ignore[arg-type]
