"""Checks the numbers that callers pass: time limits, rates, sizes and counts."""

from __future__ import annotations

from typing import overload

from .errors import InvalidArgument
from .printable import quoted

#: The longest time limit in seconds: 31 years. A longer time limit means no limit. The waits of
#: Python accept at most ``threading.TIMEOUT_MAX``, which is 292 years.
LONGEST = 1e9
#: The highest rate in bytes per second. A higher rate means no limit.
_HIGHEST_RATE = 1e18
#: The largest count. A larger count means this count.
_LARGEST = (1 << 63) - 1
#: The largest number of things to do at a time. Each of them takes a thread.
_MOST_PARALLEL = 1000
#: The maximum number of characters of a value in an error message.
_MAX_QUOTED = 40


def seconds(name: str, value: float | None, *, may_be_zero: bool = False) -> float | None:
    """Return a time limit in seconds, or ``None`` for no limit.

    Args:
        name: The name of the argument.
        value: The value of the argument. Infinity and ``None`` mean no limit.
        may_be_zero: Whether 0 is valid, and means that the caller does not want to wait.

    Raises:
        InvalidArgument: The value is not a number, is NaN or negative, or is an invalid 0.
    """
    if value is None:
        return None
    kind = "a number of seconds from 0" if may_be_zero else "a number of seconds above 0"
    if not _is_number(value) or not (value > 0 or (may_be_zero and value == 0)):
        raise refused(name, value, f"{kind}, or None for no limit")
    return float(value) if value <= LONGEST else None


def rate(name: str, value: float | None, least: float) -> float | None:
    """Return a rate in bytes per second, or ``None`` for no limit.

    Args:
        name: The name of the argument.
        value: The value of the argument. Infinity and ``None`` mean no limit.
        least: The lowest valid rate.

    Raises:
        InvalidArgument: The value is not a number, is NaN, or is lower than ``least``.
    """
    if value is None:
        return None
    if not _is_number(value) or not value >= least:
        raise refused(name, value, f"a number of bytes per second from {least:g}")
    return float(value) if value <= _HIGHEST_RATE else None


@overload
def count(name: str, value: int, least: int = ...) -> int: ...
@overload
def count(name: str, value: int | None, least: int = ...) -> int | None: ...
def count(name: str, value: int | None, least: int = 1) -> int | None:
    """Return a whole number, at most 2⁶³-1. ``None`` stays ``None``.

    Args:
        name: The name of the argument.
        value: The value of the argument.
        least: The smallest valid value.

    Raises:
        InvalidArgument: The value is not a whole number, or is smaller than ``least``.
    """
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise refused(name, value, f"a whole number from {least}")
    return min(int(value), _LARGEST)


@overload
def parallel(name: str, value: int) -> int: ...
@overload
def parallel(name: str, value: int | None) -> int | None: ...
def parallel(name: str, value: int | None) -> int | None:
    """Return how many things to do at a time, at most 1000. ``None`` stays ``None``.

    Raises:
        InvalidArgument: The value is not a whole number above 0.
    """
    checked = count(name, value)
    return None if checked is None else min(checked, _MOST_PARALLEL)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def refused(name: str, value: object, wanted: str) -> InvalidArgument:
    """Return the error for an argument that has an invalid value.

    Args:
        name: The name of the argument.
        value: The invalid value.
        wanted: What the argument accepts.
    """
    return InvalidArgument(
        f"{name} cannot be {quoted(value, _MAX_QUOTED)}", remedy=f"Pass {wanted}"
    )
