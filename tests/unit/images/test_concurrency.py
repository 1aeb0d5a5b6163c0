"""How many blobs move at a time, in which order, and when that changes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from containerd_lite.errors import Cancelled
from containerd_lite.images import concurrency as gate
from containerd_lite.images.concurrency import LARGE, USUAL_LARGE, Gate
from containerd_lite.images.job import Job
from containerd_lite.oci import media_types
from containerd_lite.oci.descriptor import Descriptor

LATE = 10.0


def layer(place: int, size: int = LARGE + 1) -> Descriptor:
    return Descriptor(media_types.OCI_LAYER_GZIP, f"sha256:{place:064}", size)


class Watched(Job):
    """It knows which threads wait: they look whether they are to give up."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: set[threading.Thread] = set()

    def check(self) -> None:
        self.waiting.add(threading.current_thread())
        super().check()


class Line:
    """Layers that come to a gate one after the other, and pass until they are told to go."""

    def __init__(self, given: int | None, unpacks: bool) -> None:
        self.job = Watched()
        self.gate = Gate(self.job, given, unpacks=unpacks)
        self.moving: list[int] = []
        self.threads: list[threading.Thread] = []
        self.told = [threading.Event() for _ in range(10)]

    def come(self, *places: int) -> None:
        for place in places:
            thread = threading.Thread(target=self._pass, args=(place,))
            self.threads.append(thread)
            thread.start()
            while thread not in self.job.waiting and place not in self.moving:
                time.sleep(0.001)

    def _pass(self, place: int) -> None:
        with self.gate.passing(layer(place)):
            self.moving.append(place)
            assert self.told[place].wait(LATE)

    def go(self, *places: int) -> None:
        for place in places:
            self.told[place].set()

    def expect(self, *places: int) -> None:
        """These have been let through, in this order, and soon no other will be."""
        end = time.monotonic() + LATE
        while len(self.moving) < len(places) and time.monotonic() < end:
            time.sleep(0.001)
        time.sleep(0.05)
        assert self.moving == list(places)


@contextmanager
def standing(given: int | None = None, *, unpacks: bool = False) -> Iterator[Line]:
    line = Line(given, unpacks)
    try:
        yield line
    finally:
        line.go(*range(len(line.told)))
        for thread in line.threads:
            thread.join(LATE)


@pytest.mark.parametrize(
    ("given", "unpacks", "most"),
    [(None, False, USUAL_LARGE), (None, True, 2), (1, False, 1), (1, True, 1), (6, True, 6)],
)
def test_so_many_at_a_time(
    monkeypatch: pytest.MonkeyPatch, given: int | None, unpacks: bool, most: int
) -> None:
    monkeypatch.setattr(gate, "_MIN_SLOW_TIME", LATE)
    with standing(given, unpacks=unpacks) as line:
        line.come(*range(most + 2))
        with line.gate.passing(layer(9, LARGE)):
            line.expect(*range(most))  # small ones need no place
        line.go(most - 1)
        line.expect(*range(most + 1))


def test_what_an_unpacker_needs_next_has_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "_MIN_SLOW_TIME", LATE)
    with standing(unpacks=True) as line, line.gate.unpacking():
        line.come(0, 1, 2, 3)
        line.expect(0)
        with line.gate.awaiting(layer(0)):
            line.expect(0, 1)  # not to leave the machine idle
            line.go(0)
            line.expect(0, 1)  # it has come, and there is something to do
        line.go(1)
        line.expect(0, 1, 2)
        with line.gate.awaiting(layer(2)):
            line.expect(0, 1, 2, 3)


def test_when_it_has_ended_there_are_two_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "_MIN_SLOW_TIME", LATE)
    with standing(unpacks=True) as line:
        with line.gate.unpacking():
            line.come(0, 1, 2)
            line.expect(0)
        line.expect(0, 1)


def test_slow_lines_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "_MIN_SLOW_TIME", 0.3)
    with standing(unpacks=True) as line, line.gate.unpacking():
        began = time.monotonic()
        line.come(*range(USUAL_LARGE + 4))
        line.expect(*range(USUAL_LARGE))
        assert time.monotonic() - began > 0.3
        line.go(*range(USUAL_LARGE))  # they were slow: so may the next be
        line.expect(*range(USUAL_LARGE + 4))


def test_lines_are_as_quick_as_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "_MIN_SLOW_TIME", 0.02)
    with standing(unpacks=True) as line, line.gate.unpacking():
        line.come(0)
        line.expect(0)
        line.go(0)
        line.threads[0].join(LATE)
        monkeypatch.setattr(gate, "_MIN_SLOW_TIME", LATE)
        line.come(1, 2, 3)
        line.expect(0, 1, 2, 3)
        line.go(1)
        line.threads[1].join(LATE)
        line.come(4, 5)
        line.expect(0, 1, 2, 3)


def test_what_is_larger_may_take_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "_FAST_RATE", LARGE / LATE)
    with standing(unpacks=True) as line, line.gate.unpacking():
        line.come(0, 1)
        time.sleep(0.7)
        line.expect(0)


def test_who_waits_gives_up_with_the_others() -> None:
    job = Job()
    narrow = Gate(job, 1)
    with narrow.passing(layer(0)):
        job.fail(LookupError())
        with pytest.raises(Cancelled), narrow.passing(layer(1)):
            pytest.fail("it came through")
    with narrow.passing(layer(1)):
        pass  # who gave up stands in nobody's way
