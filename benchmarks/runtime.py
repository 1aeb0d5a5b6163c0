"""Containers beside ctr, on a private daemon, in the same run.

    TMPDIR=/dev/shm python -m benchmarks.runtime [--suite bookworm] [--rounds 15] [WORK…]

wants root; prints tables with goals, and rows of TSV on stderr.

``run`` is one container from nothing to nothing, ``exec`` one more process in one that runs,
``crowd`` eight containers at once.  Ours is a library in a process that is there, as it is to who
imports it, and our command line, started anew each time; ctr is a program.  All of them show, or
give back, what the container says.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from benchmarks.child import Child
from benchmarks.images_bench import COMPILED, FRESH, OURS, Bench
from benchmarks.measure import Run, Sample, measure, report, say_goal
from containerd_lite import Client
from tests.harness import images
from tests.harness.daemon import SUITES, Daemon
from tests.harness.registry import Registry

_AT_ONCE = 8
_SAYS = ("echo", "hello")
#: Of ctr's wall time, at most: the library's, and our command line's (see ``benchmarks.start``).
_GOALS = {
    "run": {OURS: 0.7, FRESH: 1.6},
    "exec": {OURS: 0.7, FRESH: 2.3},
    "crowd": {OURS: 0.9},
}


@dataclass(frozen=True)
class Place:
    """A daemon with an image that can run."""

    bench: Bench
    ref: str
    numbers: Iterator[int]

    def ours(self, work: str, *arguments: str) -> Child:
        where = (self.bench.daemon.address, self.bench.client.namespace)
        return Child(f"benchmarks.runtime_ours:{work}", *where, *arguments)

    def ctr(self, *arguments: str) -> list[str]:
        """A command line of ctr's."""
        daemon, namespace = self.bench.daemon, self.bench.client.namespace
        return [*daemon.programs.ctr.argv, "-a", str(daemon.socket), "-n", namespace, *arguments]

    def ctr_run(self) -> list[str]:
        return self.ctr("run", "--rm", self.ref, f"theirs-{next(self.numbers)}", *_SAYS)


def said(command: list[str]) -> None:
    """Run it; it must say what is expected."""
    _expect(subprocess.Popen(command, env=COMPILED, stdout=subprocess.PIPE))


def _expect(process: subprocess.Popen[bytes]) -> None:
    output, _ = process.communicate(timeout=60)
    if process.returncode or output != b"hello\n":
        raise RuntimeError(f"{process.args!r} ended with {process.returncode}: {output!r}")


def once(command: Callable[[], list[str]]) -> Run:
    def run() -> int:
        said(command())
        return 1

    return run


def _run(place: Place) -> dict[str, Run]:
    """One container from nothing to nothing."""
    return {
        OURS: place.ours("run", place.ref),
        FRESH: once(lambda: place.bench.command("run", place.ref, *_SAYS)),
        "ctr run --rm": once(place.ctr_run),
    }


def _exec(place: Place) -> dict[str, Run]:
    """One more process in a container that runs."""
    id = f"busy-{next(place.numbers)}"
    place.bench.client.run(place.ref, ["sleep", "100000"], detach=True, id=id)

    def theirs() -> list[str]:
        exec_id = f"theirs-{next(place.numbers)}"
        return place.ctr("tasks", "exec", "--exec-id", exec_id, id, *_SAYS)

    return {
        OURS: place.ours("exec", id),
        FRESH: once(lambda: place.bench.command("exec", id, *_SAYS)),
        "ctr task exec": once(theirs),
    }


def _crowd(place: Place) -> dict[str, Run]:
    """Eight of them at once."""

    def theirs() -> int:
        processes = [
            subprocess.Popen(place.ctr_run(), stdout=subprocess.PIPE) for _ in range(_AT_ONCE)
        ]
        for process in processes:
            _expect(process)
        return _AT_ONCE

    ours = place.ours("run_many", place.ref, str(_AT_ONCE))
    return {OURS: ours, f"{_AT_ONCE} of ctr run --rm": theirs}


WORKS = {"run": _run, "exec": _exec, "crowd": _crowd}


@contextmanager
def place(suite: str, python: str, *, prefer_path: bool = False) -> Iterator[Place]:
    with (
        Daemon(suite, prefer_path=prefer_path) as daemon,
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
    for name, most in goals.items():
        if name in samples:
            say_goal(name, samples[name].median / samples[peer].median, peer, most)


def main() -> None:
    """Run all, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--suite", choices=SUITES, action="append", help="(bookworm and sid)")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--python", default=sys.executable, help="runs our command line (this one)")
    parser.add_argument("work", nargs="*", help=f"{', '.join(WORKS)} (all)")
    options = parser.parse_args()
    for suite in options.suite or ("bookworm", "sid"):
        with place(suite, options.python) as where:
            for work in options.work or WORKS:
                runs = WORKS[work](where)
                samples = measure(runs, options.rounds)
                report(f"{work}, {where.bench.daemon.version}", samples, "ms", 1e3)
                _judge(samples, _GOALS[work])
                for one in runs.values():
                    if isinstance(one, Child):
                        one.__exit__(None, None, None)


if __name__ == "__main__":
    main()
