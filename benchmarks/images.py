"""Measures pull, push, import and export against ctr and skopeo. Needs root.

Usage:

    TMPDIR=/dev/shm python -m benchmarks.images [--daemon 1.6] [--image large] [WORKLOAD…]
    TMPDIR=/dev/shm python -m benchmarks.images --line 40 [WORKLOAD…]
    TMPDIR=/dev/shm python -m benchmarks.images --memory [--mib 100 --mib 1024] [WORKLOAD…]

It starts a private daemon and a local registry. It prints tables with goals, and rows of TSV on
stderr. In a table, ``ours/peer`` below 1 means that the first row is faster than this row. All
files are in TMPDIR, the daemon's root and the registry's storage included. If TMPDIR is not in
memory, the disk makes the rounds differ more.

The workload ``layout`` pulls into an OCI layout, and ``pull-by-daemon`` lets the daemon pull.
``push-layout`` pushes from a layout. Its row ``hashed before`` shows the cost of the hashing:
there, the process has hashed the files of the layout in an earlier run.
``again`` and ``fetch-again`` pull an image that is there already.

There are two images: ``large`` has four layers of 96 MiB, ``small`` has 60 layers of small files
(``images_made``). Unless a row says otherwise, containerd_lite is a library in a process that
runs already, as in a program that imports it. The peers are programs, and their start is part of
their figures. The CPU time is the client's. Four rows need an explanation:

- ``our command line``: containerd_lite as a program, in a new process each time.
- ``urllib3 and grpcio``: a pull that does the minimum with these libraries (``images_bare``), in
  a process that runs already. It shows the speed that a client of well-known parts can reach.
- ``unpacking alone``: the unpacking when all content is there.
- ``importing dependencies``: a process that imports our dependencies and exits, for comparison
  with our command line.

The connection to a registry on the loopback is faster than the daemon. ``--line`` limits each
connection to that many MB per second. The goals hold for the loopback.

Each run starts with an empty store, or with the image in it if the workload needs it. Between
runs, the benchmark deletes all images, collects garbage, and checks that the daemon's folder has
no content left. The daemon does not write content again that any namespace still has.
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
from benchmarks.images_work import NEED_2, PULLS, WORKLOADS
from benchmarks.measure import Result, Run, Sample, measure, report, say_goal, timed
from benchmarks.registry_ours import MIB, TAG, upload
from benchmarks.slow_line import slow_line
from containerd_lite import Client
from tests.harness.daemon import Daemon
from tests.harness.generations import GENERATIONS
from tests.harness.registry import Registry

IMAGES = ("large", "small")
LARGE = [96 * MIB] * 4
#: The most memory that the client may hold for an image of any size, in MiB.
_MEMORY_GOAL = 64.0


@contextmanager
def benches(
    generation: str,
    images: Mapping[str, list[int]],
    python: str = sys.executable,
    line: float = 0,
    extra: str = "",
) -> Iterator[dict[str, Bench]]:
    """Yield a bench for each image; an empty list of sizes means the small image.

    ``extra`` is added to the daemon's configuration.
    """
    with (
        Daemon(generation, extra=extra) as daemon,
        Registry() as registry,
        Client(daemon.address, namespace=daemon.namespace) as client,
        tempfile.TemporaryDirectory() as name,
        slow_line(registry.host, line * 1e6) if line else nullcontext(registry.host) as host,
    ):
        speed = f"{line:g} MB/s per connection" if line else "loopback"
        print(f"containerd {daemon.version}, {speed}, files in {tempfile.gettempdir()}")
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
    names = chosen or list(PULLS if line else WORKLOADS)
    return [name for name in names if bench.daemon.version_info >= (2,) or name not in NEED_2]


def _compare(workload: str, image: str, bench: Bench, rounds: int, has_goals: bool) -> None:
    with WORKLOADS[workload](bench) as comparison:
        daemon_cpu: dict[str, list[float]] = {name: [] for name in comparison.runs}
        runs = {
            name: _restoring(run, comparison.after, bench.cpu_seconds, daemon_cpu[name])
            for name, run in comparison.runs.items()
        }
        title = f"{workload}, {image}, {bench.daemon.version}"
        samples = measure(runs, rounds)
        report(title, samples, "ms", 1e3)
        _report_both_cpu(title, samples, daemon_cpu)
        if has_goals:
            _judge(comparison, samples)
        print(f"peak memory of the library's process: {comparison.ours.peak / 1024:.1f} MiB")


def _restoring(
    run: Run, after: Callable[[], object], cpu: Callable[[], float], daemon_cpu: list[float]
) -> Run:
    """Time the run without ``after``, and record the daemon's CPU time during the run."""

    def run_and_restore() -> Result:
        before = cpu()
        result = timed(run)
        daemon_cpu.append(cpu() - before)
        after()
        return result

    return run_and_restore


def _report_both_cpu(
    title: str, samples: Mapping[str, Sample], daemon_cpu: Mapping[str, list[float]]
) -> None:
    """Print the CPU time of client and daemon together, which varies less on a busy machine."""
    medians = {name: statistics.median(seconds[1:]) for name, seconds in daemon_cpu.items()}
    if not any(medians.values()):
        return
    sums = {name: sample.median_cpu + medians[name] for name, sample in samples.items()}
    ours, *_ = sums.values()
    for name, both in sums.items():
        print(
            f"{name:26}{medians[name] * 1e3:14.0f} ms CPU of the daemon, "
            f"ours/peer of client and daemon {ours / both:.2f}"
        )
        print(title, f"{name}: CPU of both", both, ours / both, sep="\t", file=sys.stderr)


def _judge(comparison: Comparison, samples: Mapping[str, Sample]) -> None:
    ours = samples[comparison.contender].median
    for peer, limit in comparison.goals.items():
        say_goal(comparison.contender, ours / samples[peer].median, peer, limit)


def _memory(generation: str, sizes: list[int], chosen: list[str]) -> None:
    """Print the peak memory of a process that does a workload once, for each size of image."""
    images = {f"{mib}mib": [mib * MIB // 4] * 4 for mib in sizes}
    with benches(generation, images) as found:
        print(f"{'peak (VmHWM), MiB':20}{'idle':>10}" + "".join(f"{name:>12}" for name in images))
        for workload in _names(next(iter(found.values())), chosen):
            idle, peaks = 0.0, []
            for bench in found.values():
                with WORKLOADS[workload](bench) as comparison:
                    comparison.ours()
                    comparison.after()
                    idle = comparison.ours.idle / 1024
                    peaks.append(comparison.ours.peak / 1024)
            verdict = "met" if max(peaks) <= _MEMORY_GOAL else "MISSED"
            print(f"{workload:20}{idle:10.1f}", *(f"{peak:11.1f}" for peak in peaks), verdict)
            print("memory", workload, idle, *peaks, sep="\t", file=sys.stderr)


def main() -> None:
    """Run the workloads named on the command line, or all."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--daemon", choices=GENERATIONS, action="append", help="repeatable (1.6 and 2.4)"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--image", choices=IMAGES, action="append", help="repeatable (both)")
    parser.add_argument("--line", type=float, default=0, help="MB/s per connection (no limit)")
    parser.add_argument("--memory", action="store_true", help="measure our memory, not times")
    parser.add_argument(
        "--mib", type=int, action="append", help="size for --memory; repeatable (100 and 1024)"
    )
    parser.add_argument(
        "--python", default=sys.executable, help="to run our command line (this one)"
    )
    parser.add_argument("workload", nargs="*", help=f"{', '.join(WORKLOADS)} (all)")
    options = parser.parse_args()
    for generation in options.daemon or ("1.6", "2.4"):
        if options.memory:
            _memory(generation, options.mib or [100, 1024], options.workload)
            continue
        images = {name: LARGE if name == "large" else [] for name in options.image or IMAGES}
        with benches(generation, images, options.python, options.line) as found:
            for image, bench in found.items():
                for workload in _names(bench, options.workload, options.line):
                    _compare(workload, image, bench, options.rounds, not options.line)


if __name__ == "__main__":
    main()
