"""Paired measurements: each round runs every contender once, in turn; ratios are of medians.

What lives here: rounds, medians, CPU time, the table and the TSV.  What may not: what is measured.
"""

from __future__ import annotations

import resource
import statistics
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple


class Result(NamedTuple):
    """What a run took that measured itself: units of work, seconds, CPU seconds."""

    units: int
    wall: float
    cpu: float


#: One run of a contender; returns how many units of work it did (calls, bytes), or all of it.
Run = Callable[[], "int | Result"]


@dataclass
class Sample:
    """What one contender's rounds gave: seconds and CPU seconds for a unit of work."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def add(self, result: Result) -> None:
        self.wall.append(result.wall / result.units)
        self.cpu.append(result.cpu / result.units)

    @property
    def median(self) -> float:
        return statistics.median(self.wall)

    @property
    def median_cpu(self) -> float:
        return statistics.median(self.cpu)


def cpu_seconds() -> float:
    """This process's CPU time and that of its children that have ended."""
    both = (resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


def timed(run: Run) -> Result:
    """Run once."""
    cpu, wall = cpu_seconds(), time.perf_counter()
    units = run()
    if isinstance(units, Result):
        return units
    return Result(units, time.perf_counter() - wall, cpu_seconds() - cpu)


def measure(contenders: Mapping[str, Run], rounds: int) -> dict[str, Sample]:
    """Run them all in turn, ``rounds`` times, after one round that does not count.

    Each round begins with another one: what runs behind a contender may suffer from it.
    """
    samples = {name: Sample() for name in contenders}
    names = deque(contenders)
    for number in range(rounds + 1):
        for name in names:
            result = timed(contenders[name])
            if number:
                samples[name].add(result)
        names.rotate(-1)
    return samples


def report(title: str, samples: Mapping[str, Sample], unit: str, scale: float) -> None:
    """Print medians and our ratio to each peer; the first contender is ours."""
    ours, *_ = samples
    print(f"\n{title} (median of {len(samples[ours].wall)} paired rounds)")
    print(f"{'':26}{unit:>14}{'CPU ' + unit:>16}{'ours/peer':>12}{'CPU':>8}")
    for name, sample in samples.items():
        wall = samples[ours].median / sample.median
        cpu = samples[ours].median_cpu / sample.median_cpu if sample.median_cpu else float("nan")
        print(
            f"{name:26}{sample.median * scale:14.3f}{sample.median_cpu * scale:16.3f}"
            f"{wall:12.2f}{cpu:8.2f}"
        )
        row = (title, name, sample.median, sample.median_cpu, wall, cpu)
        print(*row, sep="\t", file=sys.stderr)


def say_goal(name: str, ratio: float, peer: str, most: float) -> None:
    """Print whether a contender took at most so many times as long as its peer."""
    verdict = "met" if ratio <= most else "MISSED"
    print(f"goal: {name}: {ratio:.2f} of {peer}, {most} at most: {verdict}")
