"""Measures containers against ctr, on a private daemon. Needs root.

Usage:

    TMPDIR=/dev/shm python -m benchmarks.runtime [--daemon 1.6] [--rounds 15] [WORKLOAD…]

Prints tables with goals, and rows of TSV on stderr. In a table, ``ours/peer`` below 1 means that
the library is faster than this row.

``run`` creates, runs and deletes a container. ``exec`` runs one more process in a running
container. ``crowd`` runs eight containers at once. ``detach`` starts a container whose log is kept,
and one whose output is discarded. containerd_lite takes part twice: as a library
in a process that runs already, as in a program that imports it, and as our command line in a new
process each time. The peer is the program ctr. All of them print or return the container's output.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from benchmarks.child import Child
from benchmarks.images_bench import COMPILED, FRESH, OURS, Bench
from benchmarks.measure import Result, Run, Sample, cpu_seconds, measure, report, say_goal
from containerd_lite import Client, NullIO
from tests.harness import images
from tests.harness.daemon import Daemon
from tests.harness.generations import GENERATIONS
from tests.harness.registry import Registry

_AT_ONCE = 8
_COMMAND = ("echo", "hello")
#: The largest ratios to ctr's wall time, of the library and of our command line (see
#: ``benchmarks.start``).
_GOALS = {
    "run": {OURS: 0.7, FRESH: 1.6},
    "exec": {OURS: 0.7, FRESH: 2.3},
    "crowd": {OURS: 0.9},
    "detach": {OURS: 1.2},
}


@dataclass(frozen=True)
class Place:
    """A daemon with a runnable image."""

    bench: Bench
    ref: str
    numbers: Iterator[int]

    def ours(self, work: str, *arguments: str) -> Child:
        place = (self.bench.daemon.address, self.bench.client.namespace)
        return Child(f"benchmarks.runtime_ours:{work}", *place, *arguments)

    def ctr(self, *arguments: str) -> list[str]:
        """Return a command line of ctr."""
        daemon, namespace = self.bench.daemon, self.bench.client.namespace
        return [*daemon.programs.ctr.argv, "-a", str(daemon.socket), "-n", namespace, *arguments]

    def ctr_run(self) -> list[str]:
        return self.ctr("run", "--rm", self.ref, f"theirs-{next(self.numbers)}", *_COMMAND)


def run_checked(command: list[str]) -> None:
    """Run a command, and check its output."""
    _check_output(subprocess.Popen(command, env=COMPILED, stdout=subprocess.PIPE))


def _check_output(process: subprocess.Popen[bytes]) -> None:
    output, _ = process.communicate(timeout=60)
    if process.returncode or output != b"hello\n":
        raise RuntimeError(f"{process.args!r} exited with {process.returncode}: {output!r}")


def once(command: Callable[[], list[str]]) -> Run:
    """Return a run of a command. ``command`` returns its arguments for each run."""

    def run() -> int:
        run_checked(command())
        return 1

    return run


def _run(place: Place) -> dict[str, Run]:
    """Create, run and delete a container."""
    return {
        OURS: place.ours("run", place.ref),
        FRESH: once(lambda: place.bench.command("run", place.ref, *_COMMAND)),
        "ctr run --rm": once(place.ctr_run),
    }


def _exec(place: Place) -> dict[str, Run]:
    """Run one more process in a running container."""
    id = f"busy-{next(place.numbers)}"
    sleep = ["sleep", "100000"]
    place.bench.client.run(place.ref, sleep, detach=True, id=id, streams=NullIO())

    def theirs() -> list[str]:
        exec_id = f"theirs-{next(place.numbers)}"
        return place.ctr("tasks", "exec", "--exec-id", exec_id, id, *_COMMAND)

    return {
        OURS: place.ours("exec", id),
        FRESH: once(lambda: place.bench.command("exec", id, *_COMMAND)),
        "ctr task exec": once(theirs),
    }


def _crowd(place: Place) -> dict[str, Run]:
    """Run eight containers at once."""

    def theirs() -> int:
        processes = [
            subprocess.Popen(place.ctr_run(), stdout=subprocess.PIPE) for _ in range(_AT_ONCE)
        ]
        for process in processes:
            _check_output(process)
        return _AT_ONCE

    ours = place.ours("run_many", place.ref, str(_AT_ONCE))
    return {OURS: ours, f"{_AT_ONCE} x ctr run --rm": theirs}


def _detach(place: Place) -> dict[str, Run]:
    """Start a detached container."""
    numbers = place.numbers

    def theirs() -> Result:
        id = f"theirs-{next(numbers)}"
        begin, cpu = time.perf_counter(), cpu_seconds()
        argv = place.ctr("run", "-d", "--null-io", place.ref, id, "sleep", "1000")
        subprocess.run(argv, check=True, capture_output=True)
        found = Result(1, time.perf_counter() - begin, cpu_seconds() - cpu)
        place.bench.client.load_container(id).delete(force=True)
        return found

    return {
        OURS: place.ours("detach", place.ref, "a log"),
        "without a log": place.ours("detach", place.ref, ""),
        "ctr run -d --null-io": theirs,
    }


WORKLOADS = {"run": _run, "exec": _exec, "crowd": _crowd, "detach": _detach}


@contextmanager
def place(generation: str, python: str, *, prefer_path: bool = False) -> Iterator[Place]:
    """Start a daemon and a registry, and pull the image."""
    with (
        Daemon(generation, prefer_path=prefer_path) as daemon,
        Registry() as registry,
        Client(daemon.address, namespace=daemon.namespace) as client,
        tempfile.TemporaryDirectory() as folder,
    ):
        ref = images.push(images.busybox(), registry.host, "runtime", "1")
        client.pull(ref)
        bench = Bench(daemon, client, registry, Path(folder), ref, 0, python)
        yield Place(bench, ref, count())


def _judge(samples: dict[str, Sample], goals: dict[str, float]) -> None:
    *_, peer = samples
    for name, limit in goals.items():
        if name in samples:
            say_goal(name, samples[name].median / samples[peer].median, peer, limit)


def main() -> None:
    """Run the workloads named on the command line, or all."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--daemon", choices=GENERATIONS, action="append", help="repeatable (1.6 and 2.4)"
    )
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument(
        "--python", default=sys.executable, help="to run our command line (this one)"
    )
    parser.add_argument("workload", nargs="*", help=f"{', '.join(WORKLOADS)} (all)")
    options = parser.parse_args()
    for generation in options.daemon or ("1.6", "2.4"):
        with place(generation, options.python) as where:
            for workload in options.workload or WORKLOADS:
                runs = WORKLOADS[workload](where)
                samples = measure(runs, options.rounds)
                report(f"{workload}, {where.bench.daemon.version}", samples, "ms", 1e3)
                _judge(samples, _GOALS[workload])
                for run in runs.values():
                    if isinstance(run, Child):
                        run.__exit__(None, None, None)


if __name__ == "__main__":
    main()
