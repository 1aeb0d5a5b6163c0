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
from tests.harness import Unavailable, cni
from tests.harness.daemon import Daemon

pytestmark = [pytest.mark.daemon, pytest.mark.registry, pytest.mark.usefixtures("nothing_left")]

ROOT = Path(__file__).resolve().parents[3]
RECIPES = ROOT / "docs" / "recipes"
#: A pattern of the output of each recipe.
OUTPUTS = {
    "as_json": r"\{.*\}\n",
    "background": r"run-\w+ runs .sh -c .* as \d+: running\npaused: paused\nstopped with 0\n",
    "from_docker_py": r"(\S+busybox:latest) sha256:\w{64}\n\1\nhello\n\n(run-\w+)\n0\nhello\n\n"
    r"hello\n\1 \{[^}]*\}\n\['echo', 'hello'\]\n"
    r"run-\w+ \1 running\n0 Linux\n\n\['note'\]\n\d+ 1 \{[^}]*\}\ncopy\n/tasks/exit\n",
    "quickstart": r"b'hello world\\n'\n\[ContainerSummary[^\n]*\]\n\S+busybox:latest\n"
    r"b'(?:started\\n)?'\nb'started'\n\[<Image \S+busybox:latest[^\n]*\]\n",
    "cancelling": r"too slow, but it said: working\nstopped by SIGTERM; containers left: 0\n",
    "events": r"a process ended with 3\n",
    "options": r"True True\ncpus: .*\n",
    "registries": r"pulled (\S+)\npushed \1-copy\n",
    "limits_and_mounts": r"2 /data/input\n\n",
    "login": r"pulled \S+busybox:latest\nremoved the credentials: True\n",
    "logs": r"(?:\d\d:\d\d:\d\d (?:stdout|stderr): (?:ready|failed|done)\n){3}(?:failed|done)\n",
    "network": r"127\.0\.0\.1\tlocalhost\n.*192\.0\.2\.7\tdb\n10\.83\.0\.1\tmachine\n"
    r"10\.83\.0\.2\tweb\n\n"
    r"nameserver 192\.0\.2\.53\n\nreceived [1-9]\d+ bytes, sent [1-9]\d+\n",
    "progress": r"resolving .* of .*\n(?:sha256:\w{12} has \d+ bytes\n)+all done: .* of .*\n",
    "wait_for_several": r"(?:job ([123]) ended with \1\n){3}",
}


def test_each_recipe_has_a_test() -> None:
    assert {path.stem for path in RECIPES.glob("*.py")} == set(OUTPUTS)


@pytest.mark.parametrize("name", [name for name in OUTPUTS if name != "network"])
def test_a_recipe(client: Client, daemon: Daemon, busybox: str, name: str, tmp_path: Path) -> None:
    login = {"DOCKER_CONFIG": str(tmp_path), "REGISTRY_USER": "me", "REGISTRY_TOKEN": "x"}
    said = run_recipe(client, daemon, busybox, name, **login)
    if name == "as_json":
        assert json.loads(said)["containers"] == []


def test_the_recipe_of_networks(
    client: Client, daemon: Daemon, busybox: str, tmp_path: Path
) -> None:
    client.pull(busybox)
    own = {"CONTAINERD_LITE_STATE": f"{tmp_path}/own"}
    try:
        with cni.machine_with_iptables(tmp_path) as environment:
            run_recipe(client, daemon, busybox, "network", **environment, **own)
    except Unavailable as reason:
        pytest.skip(f"CNI plugins: {reason}")
    assert list((tmp_path / "own" / "containers").iterdir()) == []


def run_recipe(client: Client, daemon: Daemon, busybox: str, name: str, **environment: str) -> str:
    """Run a recipe, check what it prints and leaves, and return what it prints."""
    place = {"CONTAINERD_ADDRESS": daemon.address, "CONTAINERD_NAMESPACE": client.namespace}
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        [sys.executable, "-W", "error", RECIPES / f"{name}.py", busybox],
        env={**os.environ, **place, **environment, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(OUTPUTS[name], done.stdout, re.S), done.stdout
    assert client.containers() == []
    return done.stdout
