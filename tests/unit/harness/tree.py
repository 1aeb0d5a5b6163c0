"""A copy of the harness with tests of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT


class Tree:
    """The folder of a copy, and ways to run its tests."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(ROOT / "tests" / "harness", folder / "tests" / "harness")
        for name in ("conftest.py", "lane.py"):
            shutil.copy(ROOT / "tests" / name, folder / "tests")
        shutil.copy(ROOT / "setup.cfg", folder)
        self.temporary = folder / "t"
        self.temporary.mkdir()

    def write(self, *tests: str) -> None:
        for number, text in enumerate(tests):
            (self.folder / "tests" / f"test_{number}.py").write_text(text)

    def argv(self, *arguments: str) -> list[str]:
        return [sys.executable, "-I", str(self.folder / "tests" / "lane.py"), *arguments]

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.argv(*arguments),
            cwd=self.folder,
            env={**os.environ, "TMPDIR": str(self.temporary)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str) -> tuple[int, str]:
        """Run a lane; returns its exit code and all that it said."""
        with self.start(*arguments) as lane:
            said = lane.communicate(timeout=50)[0]
        return lane.returncode, said

    def collect(self, *arguments: str) -> list[str]:
        """Return the node ids of the tests that pytest would run."""
        argv = [sys.executable, "-I", "-m", "pytest", "--collect-only", "-q", *arguments]
        done = subprocess.run(argv, cwd=self.folder, capture_output=True, text=True, timeout=50)
        assert done.returncode == 0, done.stdout + done.stderr
        return [line for line in done.stdout.splitlines() if "::" in line]
