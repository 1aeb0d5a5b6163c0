"""Runs a contender in a process of its own, for another protobuf backend or for its memory use.

    python -m benchmarks.child benchmarks.content:read_ours ARGUMENT…

calls that function with the arguments, which are strings. The function returns a ``Run``. The
process runs it once for each line on stdin. ``Child`` starts such a process and drives it.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from benchmarks.measure import Result, timed

_ROOT = Path(__file__).resolve().parents[1]


def peak_kib() -> int:
    """Return the most memory that this process has held, in KiB."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])


class Child:
    """A ``Run`` in another process.

    ``function`` names the function that returns the run, as ``module:name``. ``idle`` is the peak
    memory of the process before its first run, and ``peak`` after its latest run, both in KiB.
    """

    def __init__(self, function: str, *arguments: str, **environment: str) -> None:
        self._start([sys.executable, "-m", "benchmarks.child", function, *arguments], environment)

    @classmethod
    def of_program(cls, *command: str) -> Child:
        """Start a program that speaks as this module does."""
        child = cls.__new__(cls)
        child._start(command, {})
        return child

    def _start(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.peak = 0
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=_ROOT,
            env={**os.environ, **environment},
            text=True,
        )
        self.idle = int(self._read_line())

    def _read_line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the contender's process exited: {self._process.args!r}")
        return line

    def start(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def finish(self) -> Result:
        units, wall, cpu, self.peak = json.loads(self._read_line())
        return Result(units, wall, cpu)

    def __call__(self) -> Result:
        self.start()
        return self.finish()

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.communicate(timeout=30)


def main() -> None:
    module, _, name = sys.argv[1].partition(":")
    run = getattr(importlib.import_module(module), name)(*sys.argv[2:])
    print(peak_kib(), flush=True)
    for _ in sys.stdin:
        print(json.dumps([*timed(run), peak_kib()]), flush=True)


if __name__ == "__main__":
    main()
