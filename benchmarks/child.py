"""A contender in a process of its own: another protobuf backend, or memory to be measured.

    python -m benchmarks.child benchmarks.content:read_ours ARGUMENT…

calls that function with the arguments, which are strings; what it returns is a ``Run``, and is run
once for each line on stdin.  ``Child`` is the other end.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType

from benchmarks.measure import Result, timed

_ROOT = Path(__file__).resolve().parents[1]


def peak_kib() -> int:
    """The most memory that this process has held, in KiB."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])


class Child:
    """A ``Run`` elsewhere; ``peak`` is the KiB that it has held at most, ``idle`` before it ran."""

    def __init__(self, work: str, *arguments: str, **environment: str) -> None:
        self.peak = 0
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.child", work, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=_ROOT,
            env={**os.environ, **environment},
            text=True,
        )
        self.idle = int(self._line())

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"a contender ended: {self._process.args!r}")
        return line

    def start(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def finish(self) -> Result:
        units, wall, cpu, self.peak = json.loads(self._line())
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
