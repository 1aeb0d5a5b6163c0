"""pyright accepts the recipes of the documentation, as mypy does."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

pytestmark = pytest.mark.source

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(find_spec("basedpyright") is None, reason="basedpyright is not installed")
def test_the_recipes() -> None:
    command = [sys.executable, "-m", "basedpyright", "--level", "error"]
    done = subprocess.run(
        [*command, "--pythonpath", sys.executable, "docs/recipes"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
