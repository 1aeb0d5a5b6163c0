"""The resource limits of a spec: the ``resources`` object, without devices.

The runtime-spec describes this object in config-linux.md.
"""

from __future__ import annotations

from collections.abc import Mapping

from ...errors import InvalidArgument
from .fields import Spec, integer, mapping, refuse, section, size, text

_MAX = (1 << 63) - 1
#: The scheduler's default period and its smallest quota, in microseconds.
_PERIOD, _MIN_QUOTA = 100_000, 1000
#: Option → object, field, smallest value, largest value. -1 means unlimited.
_NUMBERS = {
    "cpu_shares": ("cpu", "shares", 2, 262144),
    "cpu_quota": ("cpu", "quota", -1, _MAX),
    "cpu_period": ("cpu", "period", 1, 1_000_000),
    "cpu_burst": ("cpu", "burst", 0, _MAX),
    "cpu_rt_period": ("cpu", "realtimePeriod", 1, _MAX),
    "cpu_rt_runtime": ("cpu", "realtimeRuntime", 0, _MAX),
    "memory": ("memory", "limit", 1, _MAX),
    "memory_swap": ("memory", "swap", -1, _MAX),
    "memory_reservation": ("memory", "reservation", 1, _MAX),
    "memory_swappiness": ("memory", "swappiness", 0, 100),
    "pids_limit": ("pids", "limit", -1, _MAX),
    "blkio_weight": ("blockIO", "weight", 10, 1000),
}
_SIZES = ("memory", "memory_swap", "memory_reservation")
#: Option, its field, and the option and the field that it cannot exceed.
_BELOW = (
    ("cpu_burst", "burst", "cpu_quota", "quota"),
    ("cpu_rt_runtime", "realtimeRuntime", "cpu_rt_period", "realtimePeriod"),
)
#: Option → field of the ``cpu`` object.
_TEXTS = {"cpuset_cpus": "cpus", "cpuset_mems": "mems"}


def set_resources(resources: Spec, options: Mapping[str, object]) -> None:
    """Set the resource limits in ``options``, which maps the names of limits to their values.

    Sizes are in bytes, or texts such as ``"64m"``. Times are in microseconds. ``cpus`` is a number
    of cores.

    Raises:
        InvalidArgument: A value has the wrong type or is out of range, or ``cpus`` is combined
            with ``cpu_quota`` or ``cpu_period``.
    """
    for option, (name, field, low, high) in _NUMBERS.items():
        if option in options:
            read = size if option in _SIZES else integer
            section(resources, name)[field] = read(option, options[option], low, high)
    for option, field in _TEXTS.items():
        if option in options:
            section(resources, "cpu")[field] = text(option, options[option])
    if "cpus" in options:
        _set_cpus(section(resources, "cpu"), options)
    _check_times(resources)
    if "hugepage_limits" in options:
        resources["hugepageLimits"] = [
            {
                "pageSize": text("hugepage_limits", page),
                "limit": size("hugepage_limits", limit, 0, _MAX),
            }
            for page, limit in mapping("hugepage_limits", options["hugepage_limits"]).items()
        ]


def _set_cpus(cpu: Spec, options: Mapping[str, object]) -> None:
    cpus = options["cpus"]
    if "cpu_quota" in options or "cpu_period" in options:
        raise InvalidArgument(
            "cpus= excludes cpu_quota= and cpu_period=",
            remedy="Give either cpus=, or cpu_quota= and cpu_period=",
        )
    is_number = isinstance(cpus, (int, float)) and not isinstance(cpus, bool) and 0 < cpus <= _MAX
    if not is_number or not _MIN_QUOTA <= float(cpus) * _PERIOD <= _MAX:  # type: ignore[arg-type]
        refuse("cpus", cpus, "a number of cores, at least 0.01")
    cpu.update(quota=int(float(cpus) * _PERIOD), period=_PERIOD)  # type: ignore[arg-type]


def _check_times(resources: Spec) -> None:
    """Raise ``InvalidArgument`` for times that the kernel refuses together."""
    cpu = section(resources, "cpu") if "cpu" in resources else {}
    for option, field, limit_option, limit_field in _BELOW:
        value, limit = cpu.get(field), cpu.get(limit_field)
        if isinstance(value, int) and isinstance(limit, int) and value > limit >= 0:
            raise InvalidArgument(
                f"{option}={value} is larger than {limit_option}={limit}",
                remedy=f"Give a smaller {option}=, or a larger {limit_option}=",
            )
