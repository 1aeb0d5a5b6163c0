"""The wire beside grpcio and grpclib, on the same daemon in the same run.

    python -m benchmarks.wire [--suite bookworm] [--rounds 7] [WORK…]

wants root, and grpcio and grpclib installed beside the package; prints tables, and rows of TSV
on stderr.  Each work has a file of its own.
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
from tests.harness.daemon import SUITES, Daemon


@contextmanager
def _setting(suite: str) -> Iterator[tuple[Daemon, Client]]:
    with (
        Daemon(suite) as daemon,
        Client(daemon.address, namespace=daemon.namespace) as client,
    ):
        print(f"containerd {client.version().version}")
        yield daemon, client


def main() -> None:
    """Run all, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--suite", choices=SUITES, default=SUITES[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--mib", type=int, default=512, help="size of the blobs")
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--stream", type=int, default=2048, help="MiB streamed to watch memory")
    names = "unary, read, write, events, start, memory"
    parser.add_argument("work", nargs="*", help=f"{names} (all)")
    options = parser.parse_args()
    rounds, size = options.rounds, options.mib * content.MIB
    with _setting(options.suite) as (daemon, client):
        work = {
            "unary": lambda: unary(daemon, rounds),
            "read": lambda: content.read(daemon, client, rounds, size),
            # The daemon's disk makes these rounds differ more than the others'.
            "write": lambda: content.write(daemon, client, 2 * rounds + 1, size),
            "events": lambda: subscribe(daemon, client, rounds, options.events),
            "start": lambda: first_call(daemon, rounds),
            "memory": lambda: content.memory(daemon, client, options.stream * content.MIB),
        }
        for name in options.work or work:
            work[name]()


if __name__ == "__main__":
    main()
