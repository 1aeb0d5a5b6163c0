"""Run the tests of one lane: `python tests/lane.py [OPTION…] -- PYTEST-ARGUMENT…`

The lane runs the tests that failed once more, in a second pytest with new daemons. A test that
then passes is flaky, and the closing lines name it. The lane passes if there are at most `--flaky`
flaky tests and no other failures. A test that timed out does not run again. After `--minutes`,
every process prints the stacks of its threads, and the lane fails.

As root, the lane runs in a PID namespace of its own. When the lane ends, or is killed, the kernel
kills all processes that its tests started. The next lane removes the folders and cgroups of a lane
that was killed.
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))

from tests.harness import Unavailable, debris, kernel, outcomes  # noqa: E402

_CLEAN_UP_SECONDS = 20.0
"""Seconds that pytest has after an interrupt."""
_STACKS_SECONDS = 3.0
"""Seconds that all processes have to print their stacks, after the lane's time."""
_TOO_MANY = 20
"""With more failures than this, something is broken, and the tests do not run again."""


class Lane:
    """One lane's runs of pytest, one after the other."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self._options = options
        self._folder = folder
        self._end = time.monotonic() + options.minutes * 60
        self._child: subprocess.Popen[bytes] | None = None
        self._is_interrupted = False
        self._is_apart = False

    def run(self, *, is_apart: bool) -> int:
        """Run the tests; return the lane's exit code.

        `is_apart` says that this process is the first in a PID namespace of its own.
        """
        self._is_apart = is_apart
        for number in kernel.INTERRUPTS:
            signal.signal(number, self._interrupt)
        code, first = self._pytest("first", self._options.arguments)
        self._kill_leftovers()
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        print(f"CPU of all processes: {usage.ru_utime + usage.ru_stime:.0f} s", flush=True)
        if code != 1 or self._is_interrupted or not first.failed:
            return code
        timed_out = [name for name, failure in first.failed.items() if failure.timed_out]
        if timed_out or len(first.failed) > _TOO_MANY or not self._options.flaky:
            return code
        print("\nRunning the failed tests once more, alone:", flush=True)
        alone = ["--numprocesses=0", "--dist=no", f"--again={self._folder / 'first.json'}"]
        _, second = self._pytest("second", [*self._options.arguments, *alone])
        self._kill_leftovers()
        return self._verdict(first, second)

    def _verdict(self, first: outcomes.Outcomes, second: outcomes.Outcomes) -> int:
        flaky = [name for name in first.failed if name in second.passed]
        print()
        for name in flaky:
            print(f"flaky: {name}")
            print("\n".join(f"    {line}" for line in first.failed[name].text.splitlines()))
        failed = [name for name in first.failed if name not in flaky]
        for name in failed:
            print(f"failed twice: {name}")
        if len(flaky) > self._options.flaky:
            print(f"{len(flaky)} tests are flaky; at most {self._options.flaky} may be")
        return 1 if failed or len(flaky) > self._options.flaky else 0

    def _pytest(self, name: str, arguments: Sequence[str]) -> tuple[int, outcomes.Outcomes]:
        """Run pytest, at most to the lane's end; return its exit code and its tests' outcomes."""
        path = self._folder / f"{name}.json"
        program = ["coverage", "run", "-m", "pytest"] if self._options.coverage else ["pytest"]
        self._child = subprocess.Popen(
            [sys.executable, "-I", "-m", *program, f"--outcomes={path}", *arguments],
            env={**os.environ, "TMPDIR": str(self._folder), "CONTAINERD_LITE_END": str(self._end)},
            start_new_session=True,
        )
        signal.signal(signal.SIGALRM, self._give_up)
        signal.setitimer(signal.ITIMER_REAL, self._end + _STACKS_SECONDS - time.monotonic())
        return self._wait(self._child), outcomes.read(path)

    def _wait(self, child: subprocess.Popen[bytes]) -> int:
        """Wait for the child. The first process of a PID namespace also reaps the orphans."""
        while True:
            pid, status = os.wait()
            if pid == child.pid:
                child.returncode = os.waitstatus_to_exitcode(status)
                signal.setitimer(signal.ITIMER_REAL, 0)
                return child.returncode if child.returncode >= 0 else 128 - child.returncode

    def _interrupt(self, number: int, where: FrameType | None) -> None:
        """Pass the first interrupt on to pytest, and kill pytest if it does not end in time."""
        if self._child is not None and not self._is_interrupted:
            self._is_interrupted = True
            signal.setitimer(signal.ITIMER_REAL, _CLEAN_UP_SECONDS)
            with suppress(ProcessLookupError):
                self._child.send_signal(signal.SIGINT)

    def _give_up(self, number: int, where: FrameType | None) -> None:
        if not self._is_interrupted:
            print(f"the lane did not end within {self._options.minutes:g} minutes", flush=True)
        if self._child is not None:
            self._child.kill()

    def _kill_leftovers(self) -> None:
        """Kill what pytest left running: everything in our own namespace, or else its session."""
        if self._child is not None:
            with suppress(ProcessLookupError):
                if self._is_apart:
                    os.kill(-1, signal.SIGKILL)
                else:
                    os.killpg(self._child.pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            while True:
                os.wait()


def main(arguments: Sequence[str]) -> int:
    """Run a lane; return its exit code."""
    about = (__doc__ or "").partition("\n\n")[2]
    parser = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=11.0, help="the lane's time (%(default)g)")
    parser.add_argument(
        "--flaky",
        type=int,
        default=2,
        metavar="N",
        help="flaky tests that are allowed (%(default)s)",
    )
    parser.add_argument("--coverage", action="store_true", help="measure the package's lines")
    parser.add_argument("arguments", nargs="*", metavar="PYTEST-ARGUMENT")
    options = parser.parse_args(arguments)
    folder = debris.make_folder()
    folder.chmod(0o1777)  # like /tmp: some tests run children as the user nobody
    try:
        lane = Lane(options, folder)
        try:
            return kernel.run_apart(lambda: lane.run(is_apart=True))
        except Unavailable:  # only root can make namespaces
            return lane.run(is_apart=False)
    finally:
        debris.remove(folder)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
