"""The cost of a fresh process: our command line and library beside ctr.

    TMPDIR=/dev/shm python -m benchmarks.start [--suite bookworm] [--path] [--rounds 11]

wants root, and builds a wheel of the tree into a fresh venv, so that what runs is what users have:
compiled, with the console script.  Prints tables with goals, and rows of TSV on stderr.

"imports" is a process that imports what the work cannot do without, and ends.  ``run`` and
``exec`` are also measured less the same work in a process that is there: what is left is the
start.
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
from tests.harness.daemon import SUITES

_ROOT = Path(__file__).resolve().parents[1]
_WIRE = "h2.connection, google.protobuf.message_factory"
_HTTP = "urllib3"
_SAYS = ("echo", "hello")
_LIST = "import sys; from containerd_lite import Layout; Layout(sys.argv[1]).list_images()"
_PULL = (
    "import sys; from containerd_lite import Layout; from containerd_lite.images import "
    "RegistryResolver\nwith RegistryResolver(plain_http=True) as resolver:\n"
    "    Layout(sys.argv[1]).pull(sys.argv[2], resolver=resolver)"
)
#: Contender, what it is measured by, and how many times as long it may take.
_GOALS = (
    ("version", "imports h2, protobuf", 1.3),
    ("run", "ctr run --rm", 1.6),
    ("exec", "ctr task exec", 2.3),
    ("Layout.list_images", "imports urllib3", 0.6),
    ("Layout.pull, all there", "imports urllib3", 1.35),
    ("pull, all there", "imports all three", 1.35),
)
#: The same, of what is left of a process that is there: the start.
_START_GOALS = (("run", "imports h2, protobuf", 1.6), ("exec", "imports h2, protobuf", 1.6))


@dataclass(frozen=True)
class Installed:
    """The package in a venv of its own."""

    folder: Path

    def python(self, code: str, *arguments: str) -> list[str]:
        return [str(self.folder / "bin" / "python"), "-I", "-c", code, *arguments]

    def program(self, where: Place, verb: str, *arguments: str) -> list[str]:
        daemon, namespace = where.bench.daemon, where.bench.client.namespace
        program = str(self.folder / "bin" / "containerd-lite")
        return [program, verb, "-a", daemon.address, "-n", namespace, *arguments]


@contextmanager
def installed() -> Iterator[Installed]:
    """The tree's wheel, in a fresh venv."""
    with tempfile.TemporaryDirectory() as name:
        subprocess.run([sys.executable, "-m", "venv", name], check=True)
        # From a copy: setuptools builds in the tree, and leaves it there.
        source = Path(name) / "source"
        subprocess.run(["git", "clone", "-q", str(_ROOT), str(source)], check=True)
        pip = [str(Path(name) / "bin" / "python"), "-m", "pip", "install", "-q", str(source)]
        subprocess.run(pip, check=True)
        yield Installed(Path(name))


def quiet(command: list[str]) -> Run:
    """A process whose output nobody looks at."""

    def run() -> int:
        subprocess.run(command, env=COMPILED, check=True, stdout=subprocess.DEVNULL)
        return 1

    return run


def contenders(where: Place, package: Installed, stack: ExitStack) -> dict[str, Run]:
    """All of them; ``stack`` ends those that go on between rounds."""
    client, ref = where.bench.client, where.ref
    busy = f"busy-{next(where.numbers)}"
    client.run(ref, ["sleep", "100000"], detach=True, id=busy)
    layout = stack.enter_context(tempfile.TemporaryDirectory())
    subprocess.run(package.python(_PULL, layout, ref), check=True)

    def ctr_exec() -> list[str]:
        id = f"theirs-{next(where.numbers)}"
        return where.ctr("tasks", "exec", "--exec-id", id, busy, *_SAYS)

    # In this order: what a daemon does right after another one of the kind takes it half as long.
    return {
        "imports h2, protobuf": quiet(package.python(f"import {_WIRE}")),
        "run": once(lambda: package.program(where, "run", ref, *_SAYS)),
        "version": quiet(package.program(where, "version")),
        "run, in a process that is there": stack.enter_context(where.ours("run", ref)),
        "imports urllib3": quiet(package.python(f"import {_HTTP}")),
        "ctr run --rm": once(where.ctr_run),
        "Layout.list_images": quiet(package.python(_LIST, layout)),
        "exec": once(lambda: package.program(where, "exec", busy, *_SAYS)),
        "imports all three": quiet(package.python(f"import {_WIRE}, {_HTTP}")),
        "exec, in a process that is there": stack.enter_context(where.ours("exec", busy)),
        "Layout.pull, all there": quiet(package.python(_PULL, layout, ref)),
        "ctr task exec": once(ctr_exec),
        "pull, all there": quiet(package.program(where, "pull", "-q", "--plain-http", ref)),
        **where.bench.both_ctr("pull", "--plain-http", ref),
    }


def judge(samples: Mapping[str, Sample]) -> None:
    """Say which goals are met."""
    for name, peer, most in _GOALS:
        say_goal(name, samples[name].median / samples[peer].median, peer, most)
    for name, peer, most in _START_GOALS:
        start = samples[name].median - samples[f"{name}, in a process that is there"].median
        say_goal(f"{name}, less the work", start / samples[peer].median, peer, most)


def main() -> None:
    """Run all of it, on each of the daemons."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--suite", choices=SUITES, action="append", help="(bookworm)")
    parser.add_argument("--path", action="store_true", help="the containerd on PATH, too")
    parser.add_argument("--rounds", type=int, default=11)
    options = parser.parse_args()
    suites = [(suite, False) for suite in options.suite or ("bookworm",)]
    if options.path:
        suites.append((SUITES[-1], True))
    with installed() as package:
        for suite, prefer_path in suites:
            with (
                place(suite, sys.executable, prefer_path=prefer_path) as where,
                ExitStack() as stack,
            ):
                samples = measure(contenders(where, package, stack), options.rounds)
                report(f"start, {where.bench.daemon.version}", samples, "ms", 1e3)
                judge(samples)


if __name__ == "__main__":
    main()
