"""Measures the logger of detached containers, beside cat. Needs no daemon.

Usage:

    TMPDIR=/dev/shm python -m benchmarks.logs [--rounds 7] [--mib 64]

The logger is what ``Client.run(detach=True)`` lets the shim start. It gets lines of a pipe, as from
a container, and writes them with times into files that it rotates. The peer is ``cat``, which
copies the same bytes into one file. The first table has the time and the CPU time of a MiB of
output, and the CPU time is that of the logger alone. The second table has the memory of processes
that have copied a MiB: the resident memory of one, and its proportional share (PSS) if it runs
alone or beside nine others.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from benchmarks.measure import Result, Run, measure, report, say_goal
from containerd_lite.runtime.kept import logger
from tests.harness.logger_process import LoggerProcess

OURS, PEER = "logger", "cat"
_LINE = b"x" * 99 + b"\n"
#: The largest resident memory of a logger, in KiB, and its CPU time as a multiple of cat's.
_MEMORY_GOAL = 12 << 10
_CPU_GOAL = 20.0
_MANY = 10


class CatProcess(LoggerProcess):
    """``cat``, which copies what is written to ``stdout`` to a file in the folder."""

    def __init__(self, folder: Path) -> None:
        source, self.stdout = os.pipe2(os.O_CLOEXEC)
        self.stderr = -1
        target = os.open(folder / "output", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        places = [(os.POSIX_SPAWN_DUP2, source, 0), (os.POSIX_SPAWN_DUP2, target, 1)]
        self.pid = os.posix_spawnp("cat", ["cat"], os.environ, file_actions=places)
        os.close(source)
        os.close(target)


KINDS: dict[str, Callable[[Path], LoggerProcess]] = {OURS: LoggerProcess, PEER: CatProcess}


def new_folder(stack: ExitStack) -> Path:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    os.mkfifo(folder / logger.SYNC)
    return folder


def copying(kind: Callable[[Path], LoggerProcess], mib: int) -> Run:
    """Return a run that writes MiB of lines to a new process, and waits for the process's end."""
    block = _LINE * ((1 << 20) // len(_LINE) + 1)

    def run() -> Result:
        with ExitStack() as stack:
            process = kind(new_folder(stack))
            begin = time.perf_counter()
            for _ in range(mib):
                write_all(process.stdout, block[: 1 << 20])
            for descriptor in {process.stdout, process.stderr} - {-1}:
                os.close(descriptor)
            _, status, usage = os.wait4(process.pid, 0)
            if status:
                raise RuntimeError(f"{kind.__name__} ended with {status}")
            wall = time.perf_counter() - begin
            return Result(mib, wall, usage.ru_utime + usage.ru_stime)

    return run


def write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def memory(kind: Callable[[Path], LoggerProcess], number: int) -> tuple[float, float]:
    """Return the medians of the resident memory and of the PSS of so many processes, in KiB."""
    with ExitStack() as stack:
        processes = [stack.enter_context(kind(new_folder(stack))) for _ in range(number)]
        for process in processes:
            write_all(process.stdout, _LINE * ((1 << 20) // len(_LINE)))
        time.sleep(0.5)  # until the pipes are empty
        found = [_memory_of(process.pid) for process in processes]
    return statistics.median(rss for rss, _ in found), statistics.median(pss for _, pss in found)


def _memory_of(pid: int) -> tuple[int, int]:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    fields = dict(line.split(":", 1) for line in text.splitlines()[1:])
    return int(fields["Rss"].split()[0]), int(fields["Pss"].split()[0])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--mib", type=int, default=64, help="output of each round (64)")
    options = parser.parse_args()
    samples = measure(
        {name: copying(kind, options.mib) for name, kind in KINDS.items()}, options.rounds
    )
    report("copy lines of 100 bytes", samples, "ms/MiB", 1e3)
    say_goal(f"CPU of {OURS}", samples[OURS].median_cpu / samples[PEER].median_cpu, PEER, _CPU_GOAL)
    print(f"\nmemory, KiB\n{'':26}{'RSS':>10}{'PSS':>10}{f'PSS of {_MANY}':>12}")
    for name, kind in KINDS.items():
        rss, pss = memory(kind, 1)
        _, shared = memory(kind, _MANY)
        print(f"{name:26}{rss:10.0f}{pss:10.0f}{shared:12.0f}")
        print("memory, KiB", name, rss, pss, shared, sep="\t", file=sys.stderr)
        if name == OURS:
            verdict = "met" if rss <= _MEMORY_GOAL else "MISSED"
            print(f"goal: RSS of {name} is at most {_MEMORY_GOAL} KiB: {verdict}")


if __name__ == "__main__":
    main()
