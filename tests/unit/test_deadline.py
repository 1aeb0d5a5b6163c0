"""Points in time, on a clock that the test turns."""

from __future__ import annotations

from itertools import islice
from typing import Any

import pytest

from containerd_lite.deadline import Deadline, backoff
from containerd_lite.errors import InvalidArgument


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr("containerd_lite.deadline.time.monotonic", lambda: now[0])
    return now


def test_a_deadline(clock: list[float]) -> None:
    one = Deadline(2.0)
    assert (one.remaining(), one.expired) == (2.0, False)
    clock[0] += 1.5
    assert (one.remaining(), one.expired) == (0.5, False)
    assert "0.500" in repr(one)
    clock[0] += 0.5
    assert (one.remaining(), one.expired) == (0.0, True)
    clock[0] += 9
    assert (one.remaining(), one.expired) == (0.0, True)


def test_never(clock: list[float]) -> None:
    never = Deadline()
    clock[0] += 1e12
    assert (never.remaining(), never.expired) == (None, False)
    assert "never" in repr(never)


@pytest.mark.parametrize("seconds", [0, 0.0])
def test_at_once(clock: list[float], seconds: float) -> None:
    assert Deadline(seconds).expired
    assert Deadline(seconds).remaining() == 0.0


@pytest.mark.parametrize("seconds", [-5, -0.001, float("nan"), float("-inf"), True, "5"])
def test_what_is_no_time(seconds: Any) -> None:
    with pytest.raises(InvalidArgument, match="timeout cannot be"):
        Deadline(seconds)
    with pytest.raises(InvalidArgument, match="timeout cannot be"):
        Deadline(5).sooner(seconds)


@pytest.mark.parametrize("seconds", [float("inf"), 1e300, 10**400])
def test_a_time_beyond_all_is_no_limit(seconds: float) -> None:
    assert Deadline(seconds).remaining() is None
    assert not Deadline(seconds).expired
    assert Deadline(seconds).sooner(5).remaining() is not None


@pytest.mark.parametrize(
    ("own", "other", "expected"),
    [(None, None, None), (None, 3, 3), (3, None, 3), (3, 5, 3), (5, 3, 3), (0, 3, 0)],
)
def test_sooner(
    clock: list[float], own: float | None, other: float | None, expected: float | None
) -> None:
    assert Deadline(own).sooner(other).remaining() == expected


def test_backoff() -> None:
    waits = list(islice(backoff(0.05, 1.0), 12))
    bounds = [0.05 * 2**n if 0.05 * 2**n < 1 else 1.0 for n in range(12)]
    assert all(bound / 2 <= wait <= bound for wait, bound in zip(waits, bounds, strict=True))
    assert list(islice(backoff(0.05, 1.0), 12)) != waits  # two clients do not keep step
