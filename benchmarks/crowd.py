"""Measures 50 pulls of one image at once, from four processes, against a single pull.

Usage:

    TMPDIR=/dev/shm python -m benchmarks.crowd [--daemon 1.6] [--rounds 5] [--mib 96]

Needs root. Each round starts in an empty namespace. When the clock starts, the processes run
already but have no connection. The single pull is one such process with one thread. In the
table, ``ours/peer`` of the second row is the time of 50 pulls divided by the time of one.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

from benchmarks.measure import Result, measure, report
from tests.conftest import ROOT
from tests.harness import images
from tests.harness.daemon import Daemon
from tests.harness.generations import GENERATIONS, OLDEST
from tests.harness.registry import Registry

PULLS, PROCESSES = 50, 4


def pull(daemon: Daemon, ref: str, shares: list[int]) -> Result:
    """Time ``shares[n]`` pulls in process ``n``, all at once, and remove the image afterwards."""
    namespace = daemon.new_namespace()
    command = [sys.executable, "-m", "tests.e2e.images.crowd", daemon.address, namespace, ref]
    processes = [
        subprocess.Popen(
            [*command, str(share)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for share in shares
    ]
    for process in processes:
        assert process.stdout is not None
        process.stdout.readline()
    result = measure_once(processes)
    daemon.ctr("images", "rm", "--sync", ref, namespace=namespace)
    return result


def measure_once(processes: list[subprocess.Popen[bytes]]) -> Result:
    """Let all processes begin, and wait until they have exited."""
    start = time.perf_counter()
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(b"go\n")
        process.stdin.flush()
    for process in processes:
        process.communicate(timeout=300)
        assert process.returncode == 0
    return Result(1, time.perf_counter() - start, 0.0)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--daemon", choices=GENERATIONS, default=OLDEST)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--mib", type=int, default=96, help="size of each of the 4 layers")
    options = parser.parse_args()
    image = images.random_image([options.mib << 20] * 4)
    shares = [PULLS // PROCESSES + (n < PULLS % PROCESSES) for n in range(PROCESSES)]
    with Registry() as registry, Daemon(options.daemon) as daemon:
        ref = images.push(image, registry.host, "crowd", "1")
        contenders = {
            f"{PULLS} pulls at once": lambda: pull(daemon, ref, shares),
            "one pull": lambda: pull(daemon, ref, [1]),
        }
        report(f"crowd, {daemon.version}", measure(contenders, options.rounds), "ms", 1e3)


if __name__ == "__main__":
    main()
