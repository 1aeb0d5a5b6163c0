"""Measures the cost of a new process: our command line and library against ctr. Needs root.

Usage:

    TMPDIR=/dev/shm python -m benchmarks.start [--daemon 1.6] [--path] [--rounds 11]

It installs the last commit of the repository into a new virtual environment. It thus measures the
package as users have it: compiled, with the console script. It prints tables with goals, and rows
of TSV on stderr. A ratio in a table is the time of the first row divided by that of this row.

The rows "imports …" are processes that import the modules that the work needs, and exit. The time
of ``run`` and ``exec`` less the time of the same work in a running process is the cost of the
start alone.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.images_bench import COMPILED
from benchmarks.measure import Run, Sample, measure, report, say_goal
from benchmarks.runtime import Place, once, place
from containerd_lite import NullIO
from tests.harness.generations import GENERATIONS, NEWEST, OLDEST

_ROOT = Path(__file__).resolve().parents[1]
_WIRE = "h2.connection, google.protobuf.message_factory"
_HTTP = "urllib3"
_COMMAND = ("echo", "hello")
_LIST_SCRIPT = "import sys; from containerd_lite import Layout; Layout(sys.argv[1]).list_images()"
_PULL_SCRIPT = (
    "import sys; from containerd_lite import Layout; from containerd_lite.images import "
    "RegistryResolver\nwith RegistryResolver(plain_http=True) as resolver:\n"
    "    Layout(sys.argv[1]).pull(sys.argv[2], resolver=resolver)"
)
#: Contender, its peer, and the largest ratio of their wall times.
_GOALS = (
    ("version", "imports h2, protobuf", 1.3),
    ("run", "ctr run --rm", 1.6),
    ("exec", "ctr task exec", 2.3),
    ("Layout.list_images", "imports urllib3", 0.6),
    ("Layout.pull, up to date", "imports urllib3", 1.35),
    ("pull, up to date", "imports all three", 1.35),
)
#: The same for the start alone, without the time of the work in a running process.
_START_GOALS = (("run", "imports h2, protobuf", 1.6), ("exec", "imports h2, protobuf", 1.6))


@dataclass(frozen=True)
class Installed:
    """The package in a virtual environment of its own."""

    folder: Path

    def python(self, code: str, *arguments: str) -> list[str]:
        return [str(self.folder / "bin" / "python"), "-I", "-c", code, *arguments]

    def program(self, where: Place, verb: str, *arguments: str) -> list[str]:
        daemon, namespace = where.bench.daemon, where.bench.client.namespace
        program = str(self.folder / "bin" / "containerd-lite")
        return [program, verb, "-a", daemon.address, "-n", namespace, *arguments]


@contextmanager
def installed(extra: str = "") -> Iterator[Installed]:
    """Install the last commit of the repository into a new virtual environment."""
    with tempfile.TemporaryDirectory() as name:
        subprocess.run([sys.executable, "-m", "venv", name], check=True)
        # Build from a clone, because setuptools would leave its files in the repository.
        source = Path(name) / "source"
        subprocess.run(["git", "clone", "-q", str(_ROOT), str(source)], check=True)
        pip = [str(Path(name) / "bin" / "python"), "-m", "pip", "install", "-q"]
        subprocess.run([*pip, f"{source}[{extra}]" if extra else str(source)], check=True)
        yield Installed(Path(name))


def quiet(command: list[str]) -> Run:
    """Return a run of a command whose output is discarded."""

    def run() -> int:
        subprocess.run(command, env=COMPILED, check=True, stdout=subprocess.DEVNULL)
        return 1

    return run


def contenders(where: Place, package: Installed, stack: ExitStack) -> dict[str, Run]:
    """Return all contenders. ``stack`` ends the processes that stay between rounds."""
    client, ref = where.bench.client, where.ref
    busy = f"busy-{next(where.numbers)}"
    client.run(ref, ["sleep", "100000"], detach=True, id=busy, streams=NullIO())
    layout = stack.enter_context(tempfile.TemporaryDirectory())
    subprocess.run(package.python(_PULL_SCRIPT, layout, ref), check=True)

    def ctr_exec() -> list[str]:
        id = f"theirs-{next(where.numbers)}"
        return where.ctr("tasks", "exec", "--exec-id", id, busy, *_COMMAND)

    # The order matters: right after work of the same kind, the daemon takes half as long.
    return {
        "imports h2, protobuf": quiet(package.python(f"import {_WIRE}")),
        "run": once(lambda: package.program(where, "run", ref, *_COMMAND)),
        "version": quiet(package.program(where, "version")),
        "run, in a running process": stack.enter_context(where.ours("run", ref)),
        "imports urllib3": quiet(package.python(f"import {_HTTP}")),
        "ctr run --rm": once(where.ctr_run),
        "Layout.list_images": quiet(package.python(_LIST_SCRIPT, layout)),
        "exec": once(lambda: package.program(where, "exec", busy, *_COMMAND)),
        "imports all three": quiet(package.python(f"import {_WIRE}, {_HTTP}")),
        "exec, in a running process": stack.enter_context(where.ours("exec", busy)),
        "Layout.pull, up to date": quiet(package.python(_PULL_SCRIPT, layout, ref)),
        "ctr task exec": once(ctr_exec),
        "pull, up to date": quiet(package.program(where, "pull", "-q", "--plain-http", ref)),
        **where.bench.both_ctr("pull", "--plain-http", ref),
    }


def judge(samples: Mapping[str, Sample]) -> None:
    """Print which goals are met."""
    for name, peer, limit in _GOALS:
        say_goal(name, samples[name].median / samples[peer].median, peer, limit)
    for name, peer, limit in _START_GOALS:
        start = samples[name].median - samples[f"{name}, in a running process"].median
        say_goal(f"start of {name} alone", start / samples[peer].median, peer, limit)


def main() -> None:
    """Run all contenders on each daemon."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--daemon", choices=GENERATIONS, action="append", help="repeatable (1.6)")
    parser.add_argument("--path", action="store_true", help="also the containerd on the PATH")
    parser.add_argument("--rounds", type=int, default=11)
    options = parser.parse_args()
    generations = [(generation, False) for generation in options.daemon or (OLDEST,)]
    if options.path:
        generations.append((NEWEST, True))
    with installed() as package:
        for generation, prefer_path in generations:
            with (
                place(generation, sys.executable, prefer_path=prefer_path) as where,
                ExitStack() as stack,
            ):
                samples = measure(contenders(where, package, stack), options.rounds)
                report(f"start, {where.bench.daemon.version}", samples, "ms", 1e3)
                judge(samples)


if __name__ == "__main__":
    main()
