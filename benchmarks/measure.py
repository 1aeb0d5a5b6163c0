"""Paired measurements: each round runs every contender once, and the tables compare medians.

A table has a row for each contender, with medians over the rounds: the wall time and the CPU time
of a unit of work, and two ratios. ``ours/peer`` is the wall time of the first row divided by that
of this row: below 1 the first row is faster. The last column is the same ratio of CPU times.
Each row also goes to stderr as TSV: title, contender, seconds, CPU seconds, and the two ratios.
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
    """The cost of a run: units of work, wall seconds and CPU seconds."""

    units: int
    wall: float
    cpu: float


#: One run of a contender. Returns its units of work (calls, bytes), or a ``Result`` if it times
#: itself.
Run = Callable[[], "int | Result"]


@dataclass
class Sample:
    """The rounds of one contender: wall seconds and CPU seconds per unit of work."""

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
    """Return the CPU seconds of this process and of its children that have exited."""
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


def timed(run: Run) -> Result:
    """Run once; return the cost."""
    cpu, wall = cpu_seconds(), time.perf_counter()
    units = run()
    if isinstance(units, Result):
        return units
    return Result(units, time.perf_counter() - wall, cpu_seconds() - cpu)


def measure(contenders: Mapping[str, Run], rounds: int) -> dict[str, Sample]:
    """Run all contenders in turn, ``rounds`` times, after a warm-up round that does not count.

    Each round begins with another contender, because a contender may slow down the next one.
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
    """Print the medians, and the ratio of the first contender to each contender."""
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


def say_goal(name: str, ratio: float, peer: str, limit: float) -> None:
    """Print whether the ratio of a contender to its peer is at most ``limit``."""
    verdict = "met" if ratio <= limit else "MISSED"
    print(f"goal: {name} / {peer} is {ratio:.2f}, at most {limit} allowed: {verdict}")
