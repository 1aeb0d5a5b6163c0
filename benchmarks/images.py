"""The pipeline beside ctr and skopeo: a private daemon and a local registry, in the same run.

    TMPDIR=/dev/shm python -m benchmarks.images [--suite bookworm] [--image large] [WORK…]
    TMPDIR=/dev/shm python -m benchmarks.images --line 40 [WORK…]
    TMPDIR=/dev/shm python -m benchmarks.images --memory [--mib 100 --mib 1024] [WORK…]

wants root; prints tables with goals, and rows of TSV on stderr.  All that is read and written,
the daemon's root and the registry's storage too, lies in TMPDIR; without one in memory the disk
takes part, and makes the rounds differ more.

Two images: ``large`` is four layers of 96 MiB, ``small`` sixty of small files (``images_made``).
Ours is a library in a process that is there, as it is to who imports it, unless the row says
otherwise; the peers are programs, and their start is in their figures.  CPU is the client's.
Beside pulls stands a loop of urllib3 and grpcio, likewise a library in a process that is there,
that does the least (``images_bare``): what a client of well-known parts could reach; and what
unpacking alone takes, with all content there.  Beside a new process stands one that imports our
dependencies, and ends.

On the loopback the line is quicker than the daemon.  With ``--line`` each connection to the
registry gives so many MB a second; the goals are for the loopback.

Each run begins with a store that is empty, or holds the image where it is to be there.  Between
runs all images are deleted, garbage is collected, and the daemon's folder is looked into: content
that is there is not written again, be it another namespace's.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path

from benchmarks import images_made
from benchmarks.images_bench import Bench, Comparison
from benchmarks.images_work import NEED_2, PULLS, WORKS
from benchmarks.measure import Result, Run, Sample, measure, report, say_goal, timed
from benchmarks.registry_ours import MIB, TAG, upload
from benchmarks.slow_line import slow_line
from containerd_lite import Client
from tests.harness.daemon import SUITES, Daemon
from tests.harness.registry import Registry

_IMAGES = ("large", "small")
_LARGE = [96 * MIB] * 4
#: What the client may hold at most, in MiB, however large the image is.
_MOST_MEMORY = 64.0


@contextmanager
def _benches(
    suite: str, images: Mapping[str, list[int]], python: str = sys.executable, line: float = 0
) -> Iterator[dict[str, Bench]]:
    """A bench for each image, of one daemon and one registry; no sizes: the small one."""
    with (
        Daemon(suite) as daemon,
        Registry() as registry,
        Client(daemon.address, namespace=daemon.namespace) as client,
        tempfile.TemporaryDirectory() as name,
        slow_line(registry.host, line * 1e6) if line else nullcontext(registry.host) as host,
    ):
        where = f"{line:g} MB/s a connection" if line else "the loopback"
        print(f"containerd {daemon.version}, {where}, all in {tempfile.gettempdir()}")
        folder, found = Path(name), {}
        for image, sizes in images.items():
            layout = folder / image
            made = images_made.large(layout, sizes) if sizes else images_made.small(layout)
            size = sum(path.stat().st_size for path in made.glob("blobs/sha256/*"))
            upload(registry.host, image, str(made), "2")()
            ref = f"{host}/{image}-0:{TAG}"
            found[image] = Bench(daemon, client, registry, folder, ref, size, python)
        yield found


def _names(bench: Bench, chosen: list[str], line: float = 0) -> list[str]:
    names = chosen or list(PULLS if line else WORKS)
    return [name for name in names if bench.daemon.version_info >= (2,) or name not in NEED_2]


def _compare(work: str, image: str, bench: Bench, rounds: int, has_goals: bool) -> None:
    with WORKS[work](bench) as comparison:
        served: dict[str, list[float]] = {name: [] for name in comparison.runs}
        runs = {
            name: _restoring(run, comparison.after, bench.cpu_seconds, served[name])
            for name, run in comparison.runs.items()
        }
        title = f"{work}, {image}, {bench.daemon.version}"
        samples = measure(runs, rounds)
        report(title, samples, "ms", 1e3)
        _report_served(title, samples, served)
        if has_goals:
            _judge(comparison, samples)
        print(f"peak memory of the library's process: {comparison.ours.peak / 1024:.1f} MiB")


def _restoring(
    run: Run, after: Callable[[], object], cpu: Callable[[], float], served: list[float]
) -> Run:
    """The run alone is timed; what the daemon spent on it is noted beside."""

    def once() -> Result:
        before = cpu()
        result = timed(run)
        served.append(cpu() - before)
        after()
        return result

    return once


def _report_served(
    title: str, samples: Mapping[str, Sample], served: Mapping[str, list[float]]
) -> None:
    """What client and daemon spent: on a machine with other work to do it differs less."""
    medians = {name: statistics.median(spent[1:]) for name, spent in served.items()}
    if not any(medians.values()):
        return
    spent = {name: sample.median_cpu + medians[name] for name, sample in samples.items()}
    ours, *_ = spent.values()
    for name, both in spent.items():
        print(f"{name:26}{medians[name] * 1e3:14.0f} ms CPU of the daemon{ours / both:17.2f} both")
        print(title, f"{name}: CPU of both", both, ours / both, sep="\t", file=sys.stderr)


def _judge(comparison: Comparison, samples: Mapping[str, Sample]) -> None:
    ours = samples[comparison.contender].median
    for peer, most in comparison.goals.items():
        say_goal(comparison.contender, ours / samples[peer].median, peer, most)


def _memory(suite: str, sizes: list[int], chosen: list[str]) -> None:
    """What a process held at most that did the work once, for images of growing size."""
    images = {f"{mib}mib": [mib * MIB // 4] * 4 for mib in sizes}
    with _benches(suite, images) as benches:
        print(f"{'VmHWM, MiB':20}{'idle':>10}" + "".join(f"{name:>12}" for name in images))
        for work in _names(next(iter(benches.values())), chosen):
            idle, peaks = 0.0, []
            for bench in benches.values():
                with WORKS[work](bench) as comparison:
                    comparison.ours()
                    comparison.after()
                    idle = comparison.ours.idle / 1024
                    peaks.append(comparison.ours.peak / 1024)
            verdict = "met" if max(peaks) <= _MOST_MEMORY else "MISSED"
            print(f"{work:20}{idle:10.1f}", *(f"{peak:11.1f}" for peak in peaks), verdict)
            print("memory", work, idle, *peaks, sep="\t", file=sys.stderr)


def main() -> None:
    """Run all, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--suite", choices=SUITES, action="append", help="(bookworm and sid)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--image", choices=_IMAGES, action="append", help="(both)")
    parser.add_argument("--line", type=float, default=0, help="MB/s a connection (no limit)")
    parser.add_argument("--memory", action="store_true", help="measure that, of ours, and no time")
    parser.add_argument("--mib", type=int, action="append", help="with --memory (100 and 1024)")
    parser.add_argument("--python", default=sys.executable, help="runs our command line (this one)")
    parser.add_argument("work", nargs="*", help=f"{', '.join(WORKS)} (all)")
    options = parser.parse_args()
    for suite in options.suite or ("bookworm", "sid"):
        if options.memory:
            _memory(suite, options.mib or [100, 1024], options.work)
            continue
        images = {name: _LARGE if name == "large" else [] for name in options.image or _IMAGES}
        with _benches(suite, images, options.python, options.line) as benches:
            for image, bench in benches.items():
                for work in _names(bench, options.work, options.line):
                    _compare(work, image, bench, options.rounds, not options.line)


if __name__ == "__main__":
    main()
