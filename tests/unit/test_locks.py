"""Locks with a deadline: who waits, who gives up, and what an interrupt leaves."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from types import FrameType
from typing import cast

import pytest

from containerd_lite.deadline import Deadline
from containerd_lite.locks import holding
from tests.harness.interrupts import Interrupt

pytestmark = pytest.mark.interpreter


@contextmanager
def taken_elsewhere(lock: threading.RLock) -> Iterator[threading.Event]:
    """Within the block another thread has the lock, until the event is set or the block ends."""
    has_it, over = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            has_it.set()
            over.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    assert has_it.wait(10)
    try:
        yield over
    finally:
        over.set()
        thread.join(10)


def is_free(lock: threading.RLock) -> bool:
    """Whether another thread can have it."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(_try, lock).result()


def _try(lock: threading.RLock) -> bool:
    is_ours = lock.acquire(blocking=False)
    if is_ours:
        lock.release()
    return is_ours


def test_one_at_a_time() -> None:
    lock = threading.RLock()
    with holding(lock) as is_ours:
        assert is_ours
        assert not is_free(lock)
    assert is_free(lock)


@pytest.mark.parametrize("seconds", [0, 0.05])
def test_the_deadline(seconds: float) -> None:
    lock = threading.RLock()
    with taken_elsewhere(lock):
        begun = time.monotonic()
        with holding(lock, Deadline(seconds)) as is_ours:
            assert not is_ours
        assert seconds <= time.monotonic() - begun < 5
    assert is_free(lock)


def test_who_waits_gets_it() -> None:
    lock = threading.RLock()
    with taken_elsewhere(lock) as over:
        threading.Timer(0.05, over.set).start()
        with holding(lock, Deadline(1e12)) as is_ours:  # more than a lock takes
            assert is_ours


def test_the_check_gives_up() -> None:
    lock, looks = threading.RLock(), []

    def check() -> None:
        looks.append(time.monotonic())
        if len(looks) > 1:
            raise KeyError

    with taken_elsewhere(lock), pytest.raises(KeyError), holding(lock, check=check):
        raise AssertionError("both have it")
    assert is_free(lock)


def test_an_error_inside_is_passed_on() -> None:
    lock = threading.RLock()
    with pytest.raises(KeyError), holding(lock):
        raise KeyError
    assert is_free(lock)


class Interrupted:
    """A lock that is taken in the moment in which an interrupt comes."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.release = self.lock.release

    def acquire(self, timeout: float) -> bool:
        self.lock.acquire(timeout=timeout)
        raise Interrupt


def test_an_interrupt_right_behind_taking_it() -> None:
    interrupted = Interrupted()
    with pytest.raises(Interrupt), holding(cast(threading.RLock, interrupted)):
        raise AssertionError("it was not interrupted")
    assert is_free(interrupted.lock)


#: So many interrupts within the block are enough.
HITS = 500


def test_interrupts_at_any_moment() -> None:
    """Signals of a clock, through all that the interpreter does."""

    def ring(number: int, where: FrameType | None) -> None:
        raise Interrupt

    lock, hits, end = threading.RLock(), 0, Deadline(30.0)
    before = signal.signal(signal.SIGALRM, ring)
    try:
        while hits <= HITS and not end.expired:
            with suppress(Interrupt):
                try:
                    signal.setitimer(signal.ITIMER_REAL, 30e-6)
                    for _ in range(20):
                        with holding(lock, Deadline(5)):
                            pass
                except Interrupt:
                    hits += 1
                    raise
                finally:
                    signal.setitimer(signal.ITIMER_REAL, 0)
            assert is_free(lock)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert hits > HITS
