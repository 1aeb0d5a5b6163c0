"""Fifty pulls of one image at once, from four processes, beside one pull alone.

    TMPDIR=/dev/shm python -m benchmarks.crowd [--suite bookworm] [--rounds 5] [--mib 96]

Each round begins with a namespace that has nothing.  The processes are there, and connected to
nothing, when the clock starts; a single pull is one of them with one thread.
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
from tests.harness.registry import Registry

PULLS, PROCESSES = 50, 4


def pull(daemon: Daemon, ref: str, shares: list[int]) -> Result:
    """So many pulls in each of so many processes; all of it is taken away afterwards."""
    namespace = daemon.new_namespace()
    command = [sys.executable, "-m", "tests.e2e.images.crowd", daemon.address, namespace, ref]
    crowd = [
        subprocess.Popen(
            [*command, str(share)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for share in shares
    ]
    for one in crowd:
        assert one.stdout is not None
        one.stdout.readline()
    taken = measure_once(crowd)
    daemon.ctr("images", "rm", "--sync", ref, namespace=namespace)
    return taken


def measure_once(crowd: list[subprocess.Popen[bytes]]) -> Result:
    start = time.perf_counter()
    for one in crowd:
        assert one.stdin is not None
        one.stdin.write(b"go\n")
        one.stdin.flush()
    for one in crowd:
        one.communicate(timeout=300)
        assert one.returncode == 0
    return Result(1, time.perf_counter() - start, 0.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--suite", default="bookworm")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--mib", type=int, default=96, help="of each of four layers")
    options = parser.parse_args()
    image = images.random_image([options.mib << 20] * 4)
    shares = [PULLS // PROCESSES + (n < PULLS % PROCESSES) for n in range(PROCESSES)]
    with Registry() as registry, Daemon(options.suite) as daemon:
        ref = images.push(image, registry.host, "crowd", "1")
        contenders = {
            f"{PULLS} pulls at once": lambda: pull(daemon, ref, shares),
            "one pull": lambda: pull(daemon, ref, [1]),
        }
        report(f"crowd, {daemon.version}", measure(contenders, options.rounds), "ms", 1e3)


if __name__ == "__main__":
    main()
