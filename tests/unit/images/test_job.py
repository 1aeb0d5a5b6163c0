"""What the parts of an operation share: who is told, how fast it goes, and what went wrong."""

from __future__ import annotations

import time

import pytest

from containerd_lite import ProgressEvent
from containerd_lite.errors import Cancelled
from containerd_lite.images.job import Job


def test_rates_are_since_the_bytes_began_to_move(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([10.0, 12.0, 14.0, 20.0, 21.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(times))
    told: list[ProgressEvent] = []
    job = Job(told.append)
    for offset in (100, 300, 900):  # resumed at 100
        job.report("downloading", "a", offset, 1000)
    job.report("downloaded", "a", 1000, 1000)
    for offset in (0, 50):  # begun again
        job.report("downloading", "a", offset, 1000)
    assert [event.rate for event in told] == [0.0, 100.0, 200.0, 0.0, 0.0, 50.0]
    assert told[1] == ProgressEvent("downloading", "a", 300, 1000)  # what a rate is, clocks know


def test_the_first_failure_counts_and_cancellations_do_not() -> None:
    job = Job()
    job.check()
    job.fail(Cancelled("because of another"))
    with pytest.raises(Cancelled):
        job.check()
    first, second = LookupError(1), LookupError(2)
    job.fail(first)
    job.fail(second)
    job.blame(first)
    with pytest.raises(LookupError) as caught:
        job.blame(second)
    assert caught.value is first


def test_the_failure_keeps_its_own_reasons() -> None:
    job, cause, context = Job(), OSError(1), OSError(2)
    for failure in (LookupError(1), LookupError(2), LookupError(3)):
        job.failure = failure
        failure.__cause__ = cause if failure.args == (1,) else None
        failure.__context__ = context if failure.args == (2,) else None
        before = failure.__cause__, failure.__context__
        with pytest.raises(LookupError):
            blame(job)
        assert (failure.__cause__, failure.__context__) == before


def blame(job: Job) -> None:
    """As one part does that gave up because of another."""
    try:
        raise Cancelled("because of another")
    except Cancelled as error:
        job.blame(error)
