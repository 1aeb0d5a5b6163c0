"""Measures gRPC calls and streams against grpcio and grpclib, on the same daemon.

Usage:

    python -m benchmarks.wire [--daemon 1.6] [--rounds 7] [WORKLOAD…]

Needs root, and grpcio and grpclib installed beside the package. Prints tables, and rows of TSV on
stderr. The tables give medians of the wall time and the CPU time for a unit of work;
``ours/peer`` below 1 means that containerd_lite is faster. The workload ``start`` is a new
process that makes its first call, and ``memory`` is the peak memory while content is streamed.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks import content
from benchmarks.events import subscribe
from benchmarks.first_call import first_call
from benchmarks.unary import unary
from containerd_lite import Client
from tests.harness.daemon import Daemon
from tests.harness.generations import GENERATIONS, OLDEST


@contextmanager
def _setting(generation: str) -> Iterator[tuple[Daemon, Client]]:
    with (
        Daemon(generation) as daemon,
        Client(daemon.address, namespace=daemon.namespace) as client,
    ):
        print(f"containerd {client.version().version}")
        yield daemon, client


def main() -> None:
    """Run the workloads named on the command line, or all."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--daemon", choices=GENERATIONS, default=OLDEST)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--mib", type=int, default=512, help="size of a blob (%(default)s)")
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument(
        "--stream", type=int, default=2048, help="MiB to stream in the workload memory"
    )
    names = "unary, read, write, events, start, memory"
    parser.add_argument("workload", nargs="*", help=f"{names} (all)")
    options = parser.parse_args()
    rounds, size = options.rounds, options.mib * content.MIB
    with _setting(options.daemon) as (daemon, client):
        workloads = {
            "unary": lambda: unary(daemon, rounds),
            "read": lambda: content.read(daemon, client, rounds, size),
            # The daemon's disk makes the rounds of a write differ more, so there are more of them.
            "write": lambda: content.write(daemon, client, 2 * rounds + 1, size),
            "events": lambda: subscribe(daemon, client, rounds, options.events),
            "start": lambda: first_call(daemon, rounds),
            "memory": lambda: content.memory(daemon, client, options.stream * content.MIB),
        }
        for name in options.workload or workloads:
            workloads[name]()


if __name__ == "__main__":
    main()
