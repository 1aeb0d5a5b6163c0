"""How far calls go past their deadlines when the daemon falls silent in the middle of a frame.

    python -m benchmarks.cut [--suite bookworm] [--deadline 0.05]

wants root.  A pull and a run are recorded, and replayed against a server that says no more from
each boundary of a frame on; the first two calls after that have a deadline each.  Prints the
largest and the median overrun of those deadlines, and a row of TSV on stderr.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time

from containerd_lite.errors import DeadlineExceeded
from tests.harness import images
from tests.harness.daemon import SUITES, Daemon
from tests.harness.registry import Registry
from tests.hostile.conversation import Conversation, record
from tests.hostile.replay import SHORT, replay_cut

#: What is promised, in seconds.
_GOAL = 0.1


def _record(suite: str) -> Conversation:
    with Daemon(suite) as daemon, Registry() as registry:
        busybox = images.push(images.busybox(), registry.host, "library/busybox", "latest")
        print(f"containerd {daemon.version}")
        return record(daemon, registry, busybox)


def main() -> None:
    """Record, cut at each boundary, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--suite", choices=SUITES, default=SUITES[0])
    parser.add_argument("--deadline", type=float, default=SHORT, help="in seconds (%(default)s)")
    options = parser.parse_args()
    conversation = _record(options.suite)
    overruns = []
    begin = time.perf_counter()
    for cut in conversation.boundaries:
        answered = conversation.answered(cut)
        outcome = replay_cut(conversation, cut, silent=True, short=options.deadline)
        unanswered = outcome.results[answered:]
        assert all(isinstance(one.error, DeadlineExceeded) for one in unanswered), unanswered
        overruns += [result.overrun for result in unanswered]
    took = time.perf_counter() - begin
    worst, median = max(overruns) * 1e3, statistics.median(overruns) * 1e3
    print(f"{len(conversation.boundaries)} cuts, {len(overruns)} deadlines, {took:.1f} s")
    print(f"overrun: at most {worst:.2f} ms, median {median:.2f} ms; goal {_GOAL * 1e3:.0f} ms")
    print("cut", len(overruns), worst, median, sep="\t", file=sys.stderr)


if __name__ == "__main__":
    main()
