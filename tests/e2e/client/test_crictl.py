"""crictl lists, inspects and runs images that this client has pulled into the CRI's namespace."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from containerd_lite import Client
from containerd_lite.images.image import Image
from tests.e2e import cri
from tests.e2e.registry.rounds import asked
from tests.harness import Unavailable, golang
from tests.harness.daemon import Daemon
from tests.harness.process import wait_until
from tests.harness.registry import Registry

pytestmark = [pytest.mark.daemon, pytest.mark.registry, pytest.mark.generations]

NODE = 2  # NamespaceMode: the pod shares the machine's
SECONDS = 25


class Crictl:
    """crictl, which talks to one daemon."""

    def __init__(self, daemon: Daemon, folder: Path) -> None:
        settings = {"runtime-endpoint": daemon.address, "image-endpoint": daemon.address}
        config = folder / "crictl.yaml"
        config.write_text(json.dumps({**settings, "timeout": SECONDS}))
        self._argv = [str(golang.program(golang.CRICTL, "crictl")), "--config", str(config)]
        self._folder = folder

    def __call__(self, *args: str) -> str:
        """Return the output of a command, which must succeed."""
        argv = [*self._argv, *args]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=2 * SECONDS)
        assert done.returncode == 0, f"crictl {args[0]}: {done.stderr}"
        return done.stdout.strip()

    def json(self, command: str, *args: str) -> Any:
        """Return the output of a command as JSON."""
        return json.loads(self(command, "--output", "json", *args))

    def write(self, name: str, value: object) -> str:
        """Write a configuration of a pod or a container; return its path."""
        path = self._folder / f"{name}.json"
        path.write_text(json.dumps(value))
        return str(path)


@pytest.fixture
def pause(registry: Registry) -> str:
    return cri.push_pause(registry)


@pytest.fixture
def node(daemon: Daemon, pause: str) -> Iterator[Daemon]:
    with Daemon(daemon.generation, cri=True, extra=cri.config(daemon, pause)) as own:
        yield own


@pytest.fixture
def crictl(node: Daemon, tmp_path: Path) -> Iterator[Crictl]:
    try:
        found = Crictl(node, tmp_path)
    except Unavailable as reason:
        pytest.skip(str(reason))
    yield found
    found("rmp", "--all", "--force")
    for left in Path("/sys/fs/cgroup").glob(f"*/{node.namespace}"):
        left.rmdir()  # a kubelet makes and removes it


def assert_listed(crictl: Crictl, image: Image, busybox: str) -> None:
    def find() -> list[Any]:
        return [one for one in crictl.json("images")["images"] if busybox in one["repoTags"]]

    assert wait_until(lambda: bool(find()), SECONDS)  # the CRI learns of an image by an event
    (listed,) = find()
    assert listed["id"] == image.manifest().config.digest
    inspected = crictl.json("inspecti", busybox)
    assert inspected["status"]["id"] == listed["id"]
    assert inspected["status"]["repoTags"] == [busybox]
    assert inspected["info"]["chainID"] == image.rootfs()[-1]


def test_what_this_client_pulled_runs_in_a_pod(
    crictl: Crictl, node: Daemon, registry: Registry, pause: str, busybox: str, tmp_path: Path
) -> None:
    with Client(node.address, namespace="k8s.io") as client:
        client.pull(pause)
        image = client.pull(busybox)
        begin = len(asked(registry))
        assert_listed(crictl, image, busybox)
        sandbox = {
            "metadata": {"name": "pod", "uid": "u1", "namespace": "tests"},
            "log_directory": str(tmp_path),
            "linux": {
                "cgroup_parent": f"/{node.namespace}",
                "security_context": {"namespace_options": {"network": NODE}},
            },
        }
        container = {
            "metadata": {"name": "main"},
            "image": {"image": busybox},
            "command": ["sh", "-c", "echo begun; exec sleep 86400"],
            "log_path": "main.log",
        }
        pod_file = crictl.write("pod", sandbox)
        pod = crictl("runp", pod_file)
        id = crictl("create", pod, crictl.write("container", container), pod_file)
        assert crictl("start", id) == id
        assert crictl("exec", "--sync", id, "cat", "/proc/1/comm") == "sleep"
        assert crictl("logs", id) == "begun"
        assert [one["id"] for one in crictl.json("pods")["items"]] == [pod]
        assert [one["id"] for one in crictl.json("ps")["containers"]] == [id]
        inspected = crictl.json("inspect", id)
        assert inspected["status"]["state"] == "CONTAINER_RUNNING"
        assert inspected["status"]["image"]["image"] == busybox
        assert {one.id for one in client.containers()} == {pod, id}
        crictl("stop", "--timeout", "0", id)
        crictl("rm", id)
        crictl("stopp", pod)
        crictl("rmp", pod)
        assert list(client.containers()) == []
        assert len(asked(registry)) == begin  # the daemon has pulled nothing
        crictl("rmi", busybox)
        assert [one.name for one in client.list_images() if one.name == busybox] == []
