"""Measures how far calls go past their deadlines when the daemon stops sending.

Usage:

    python -m benchmarks.cut [--daemon 1.6] [--deadline 0.05]

Needs root. It records the calls of a pull and a run, and replays them once for each frame
boundary, against a server that stops sending there. In each replay, up to two calls that get no
response have a deadline. It prints the largest and the median overrun of these deadlines, and a
row of TSV on stderr.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time

from containerd_lite.errors import DeadlineExceeded
from tests.harness import images
from tests.harness.daemon import Daemon
from tests.harness.generations import GENERATIONS, OLDEST
from tests.harness.registry import Registry
from tests.hostile.conversation import Conversation, record
from tests.hostile.replay import SHORT, replay_cut

#: The largest overrun that the package promises, in seconds.
_GOAL = 0.1


def _record(generation: str) -> Conversation:
    with Daemon(generation) as daemon, Registry() as registry:
        busybox = images.push(images.busybox(), registry.host, "library/busybox", "latest")
        print(f"containerd {daemon.version}")
        return record(daemon, registry, busybox)


def main() -> None:
    """Record the calls, replay them with each cut, and print the overruns."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--daemon", choices=GENERATIONS, default=OLDEST)
    parser.add_argument("--deadline", type=float, default=SHORT, help="seconds (%(default)s)")
    options = parser.parse_args()
    conversation = _record(options.daemon)
    overruns = []
    begin = time.perf_counter()
    for cut in conversation.boundaries:
        answered = conversation.answered(cut)
        outcome = replay_cut(conversation, cut, silent=True, short=options.deadline)
        unanswered = outcome.results[answered:]
        assert all(isinstance(call.error, DeadlineExceeded) for call in unanswered), unanswered
        overruns += [result.overrun for result in unanswered]
    seconds = time.perf_counter() - begin
    worst, median = max(overruns) * 1e3, statistics.median(overruns) * 1e3
    print(f"{len(conversation.boundaries)} cuts, {len(overruns)} deadlines, {seconds:.1f} s")
    print(f"overrun: max {worst:.2f} ms, median {median:.2f} ms; goal: max {_GOAL * 1e3:.0f} ms")
    print("cut", len(overruns), worst, median, sep="\t", file=sys.stderr)


if __name__ == "__main__":
    main()
