"""The programs in docs/recipes run, print what they promise, and leave nothing behind."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from containerd_lite import Client
from tests.harness.daemon import Daemon

pytestmark = [pytest.mark.daemon, pytest.mark.registry, pytest.mark.usefixtures("nothing_left")]

ROOT = Path(__file__).resolve().parents[3]
RECIPES = ROOT / "docs" / "recipes"
#: A pattern of the output of each recipe.
OUTPUTS = {
    "as_json": r"\{.*\}\n",
    "background": r"run-\w+ runs .sh -c .* as \d+: running\npaused: paused\nstopped with 0\n",
    "limits_and_mounts": r"2 /data/input\n\n",
    "logs": r"(?:\d\d:\d\d:\d\d (?:stdout|stderr): (?:ready|failed|done)\n){3}(?:failed|done)\n",
    "wait_for_several": r"(?:job ([123]) ended with \1\n){3}",
}


def test_each_recipe_has_a_test() -> None:
    assert {path.stem for path in RECIPES.glob("*.py")} == set(OUTPUTS)


@pytest.mark.parametrize("name", OUTPUTS)
def test_a_recipe(client: Client, daemon: Daemon, busybox: str, name: str) -> None:
    place = {"CONTAINERD_ADDRESS": daemon.address, "CONTAINERD_NAMESPACE": client.namespace}
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        [sys.executable, "-W", "error", RECIPES / f"{name}.py", busybox],
        env={**os.environ, **place, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(OUTPUTS[name], done.stdout, re.S), done.stdout
    assert client.containers() == []
    if name == "as_json":
        assert json.loads(done.stdout)["containers"] == []
