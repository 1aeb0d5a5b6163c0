"""The CRI on containerd's socket, through stubs: every RPC, on a pod that runs for real.

What the daemon answers of the pod is checked by what it answers elsewhere, or by what the
container itself reports; what a generation lacks is ``Unimplemented``.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from containerd_lite import Client
from containerd_lite.errors import Unimplemented, Unknown
from containerd_lite.services._base import MessageStream
from containerd_lite.services.raw import Stub
from tests.e2e.cri import config, push_pause
from tests.e2e.recorder import Recorder
from tests.e2e.services.conftest import CALLED
from tests.harness.daemon import Daemon
from tests.harness.registry import Registry

pytestmark = [
    pytest.mark.daemon,
    pytest.mark.registry,
    pytest.mark.generations,
    pytest.mark.backend,
]

#: What not all generations have, and since which release one does (by containerd's sources).
_SINCE = {
    "GetContainerEvents": (1, 7),
    "RuntimeConfig": (2, 0),
    "ListMetricDescriptors": (2, 2),
    "ListPodSandboxMetrics": (2, 2),
    "UpdatePodSandboxResources": (2, 2),
    "StreamPodSandboxes": (2, 4),
    "StreamContainers": (2, 4),
    "StreamContainerStats": (2, 4),
    "StreamPodSandboxStats": (2, 4),
    "StreamPodSandboxMetrics": (2, 4),
}
_NODE = 2  # NamespaceMode: the pod shares the machine's


@pytest.fixture
def cri(daemon: Daemon, registry: Registry, busybox: str) -> Iterator[Pod]:
    extra = config(daemon, push_pause(registry))
    called = CALLED.setdefault(daemon.version, set())
    with (
        Daemon(daemon.generation, cri=True, extra=extra) as own,
        Recorder(own.address, called) as channel,
    ):
        client = Client(channel=channel, namespace="k8s.io")
        pod = Pod(client, own, busybox)
        try:
            yield pod
        finally:
            pod.remove()


class Pod:
    """The stubs, and a pod and a container made with them."""

    def __init__(self, client: Client, daemon: Daemon, image: str) -> None:
        self.client = client
        self.version = daemon.version_info[:2]
        self.runtime: Stub = client.stub("runtime.v1.RuntimeService")
        self.images: Stub = client.stub("runtime.v1.ImageService")
        self.image = image
        self.logs = daemon.folder / "pod-logs"
        self.logs.mkdir()
        self.config: dict[str, Any] = {
            "metadata": {"name": "pod", "uid": "u1", "namespace": "tests"},
            "log_directory": str(self.logs),
            "labels": {"made": "here"},
            "linux": {
                "cgroup_parent": f"/{daemon.namespace}",
                "security_context": {"namespace_options": {"network": _NODE}},
            },
        }
        self.id = ""
        self.container = ""

    def run(self) -> None:
        self.images.PullImage(image={"image": self.image})
        self.id = self.runtime.RunPodSandbox(config=self.config).pod_sandbox_id
        config = {
            "metadata": {"name": "main"},
            "image": {"image": self.image},
            "command": ["sh", "-c", "echo begun; exec sleep 86400"],
            "log_path": "main.log",
            "linux": {"resources": {"cpu_shares": 512}},
        }
        self.container = self.runtime.CreateContainer(
            pod_sandbox_id=self.id, config=config, sandbox_config=self.config
        ).container_id
        self.runtime.StartContainer(container_id=self.container)

    def shell(self, script: str) -> tuple[int, bytes]:
        done = self.runtime.ExecSync(container_id=self.container, cmd=["sh", "-c", script])
        return done.exit_code, bytes(done.stdout)

    def remove(self) -> None:
        for pod in self.runtime.ListPodSandbox().items:
            self.runtime.StopPodSandbox(pod_sandbox_id=pod.id)
            self.runtime.RemovePodSandbox(pod_sandbox_id=pod.id)
        for left in Path("/sys/fs/cgroup").glob(f"*{self.config['linux']['cgroup_parent']}"):
            left.rmdir()  # a kubelet makes and removes it


def test_a_pod_from_its_beginning_to_its_end(cri: Pod) -> None:
    told = cri.runtime.Version(version="v1")
    assert (told.runtime_name, told.runtime_api_version) == ("containerd", "v1")
    assert {one.type for one in cri.runtime.Status().status.conditions} >= {"RuntimeReady"}
    cri.runtime.UpdateRuntimeConfig(runtime_config={"network_config": {"pod_cidr": "10.0.0.0/24"}})
    cri.run()
    (pod,) = cri.runtime.ListPodSandbox(filter={"label_selector": {"made": "here"}}).items
    assert (pod.id, pod.metadata.uid, pod.state) == (cri.id, "u1", 0)
    assert cri.runtime.PodSandboxStatus(pod_sandbox_id=cri.id).status.metadata.name == "pod"
    (one,) = cri.runtime.ListContainers(filter={"pod_sandbox_id": cri.id}).containers
    assert one.id == cri.container
    # The same container by containerd's own service, and by what it says of itself.
    assert cri.container in {found.id for found in cri.client.containers()}
    assert cri.shell("echo $((6*7)); exit 3") == (3, b"42\n")
    assert (cri.logs / "main.log").read_text().endswith("begun\n")
    shares = "cat /sys/fs/cgroup/cpu/cpu.shares"
    assert cri.shell(shares) == (0, b"512\n")
    cri.runtime.UpdateContainerResources(
        container_id=cri.container, linux={"cpu_shares": 256, "cpu_period": 100_000}
    )
    assert cri.shell(shares) == (0, b"256\n")
    (cri.logs / "main.log").rename(cri.logs / "old.log")
    cri.runtime.ReopenContainerLog(container_id=cri.container)
    assert (cri.logs / "main.log").exists()
    cri.runtime.StopContainer(container_id=cri.container, timeout=0)
    status = cri.runtime.ContainerStatus(container_id=cri.container).status
    assert (status.state, status.exit_code) == (2, 128 + signal.SIGKILL)
    cri.runtime.RemoveContainer(container_id=cri.container)
    cri.runtime.StopPodSandbox(pod_sandbox_id=cri.id)
    cri.runtime.RemovePodSandbox(pod_sandbox_id=cri.id)
    assert list(cri.runtime.ListContainers().containers) == []
    assert list(cri.runtime.ListPodSandbox().items) == []


def test_what_a_pod_tells_while_it_runs(cri: Pod) -> None:
    cri.run()
    stats = cri.runtime.ContainerStats(container_id=cri.container).stats
    assert stats.attributes.id == cri.container
    listed = cri.runtime.ListContainerStats(filter={"id": cri.container}).stats
    assert [one.attributes.metadata.name for one in listed] == ["main"]
    assert cri.runtime.PodSandboxStats(pod_sandbox_id=cri.id).stats.attributes.id == cri.id
    pods = cri.runtime.ListPodSandboxStats(filter={"id": cri.id}).stats
    assert [one.attributes.metadata.uid for one in pods] == ["u1"]
    for what, request in {
        "Exec": {"container_id": cri.container, "cmd": ["true"], "stdout": True},
        "Attach": {"container_id": cri.container, "stdout": True},
        "PortForward": {"pod_sandbox_id": cri.id, "port": [80]},
    }.items():  # where the daemon's own server of streams is to be asked, on the loopback
        assert getattr(cri.runtime, what)(request).url.startswith("http://127.0.0.1:")


def test_images(cri: Pod) -> None:
    ref = cri.images.PullImage(image={"image": cri.image}).image_ref
    found = cri.images.ListImages(filter={"image": {"image": cri.image}}).images
    assert [cri.image in one.repo_tags for one in found] == [True]
    status = cri.images.ImageStatus(image={"image": cri.image}).image
    assert status.id in (found[0].id, ref)
    assert cri.client.get_image(cri.image).target.digest in status.repo_digests[0]
    (usage,) = cri.images.ImageFsInfo().image_filesystems
    assert Path(usage.fs_id.mountpoint).exists() or usage.fs_id.mountpoint
    cri.images.RemoveImage(image={"image": cri.image})
    assert not cri.images.ImageStatus(image={"image": cri.image}).HasField("image")


def test_what_only_some_generations_have(cri: Pod) -> None:
    cri.run()
    for name, came in _SINCE.items():
        call = getattr(cri.runtime, name)
        fields = {"pod_sandbox_id": cri.id} if name == "UpdatePodSandboxResources" else {}
        if cri.version < came:
            assert_unimplemented(call, fields, came)
        elif name == "GetContainerEvents":
            with call() as events:  # nothing comes until something happens
                cri.runtime.StopContainer(container_id=cri.container, timeout=0)
                while events.receive(30).container_id != cri.container:
                    """Of the pod's own container, before."""
        elif name == "RuntimeConfig":
            assert call().linux.cgroup_driver in (0, 1)
        else:
            answered(call, fields)


def test_streams_have_what_lists_have(cri: Pod) -> None:
    cri.run()
    if cri.version < (2, 4):
        assert_unimplemented(cri.images.StreamImages, {}, (2, 4))
        return  # as above
    listed = cri.images.ListImages().images
    assert {one.id for part in cri.images.StreamImages() for one in part.images} == {
        one.id for one in listed
    }
    pods = cri.runtime.StreamPodSandboxes(filter={"id": cri.id})
    assert [one.metadata.uid for part in pods for one in part.pod_sandboxes] == ["u1"]
    found = cri.runtime.StreamContainers(filter={"id": cri.container})
    assert [one.metadata.name for part in found for one in part.containers] == ["main"]
    assert list(cri.runtime.StreamContainers(filter={"id": "none"})) == []


def test_what_no_generation_has(cri: Pod) -> None:
    for call in (cri.runtime.CheckpointPod, cri.runtime.RestorePod):
        with pytest.raises(Unimplemented, match="This is containerd") as caught:
            call()
        assert "came with" not in caught.value.remedy


def test_checkpoints_want_criu(cri: Pod) -> None:
    cri.run()
    fields = {"container_id": cri.container, "location": os.devnull}
    if cri.version < (2, 0):
        assert_unimplemented(cri.runtime.CheckpointContainer, fields, (2, 0))
    else:
        with pytest.raises(Unknown, match="criu"):
            cri.runtime.CheckpointContainer(fields)


def answered(call: Any, fields: dict[str, str]) -> object:
    """The answer, or the first one."""
    found = call(fields)
    return found.receive(30) if isinstance(found, MessageStream) else found


def assert_unimplemented(call: Any, fields: dict[str, str], came: tuple[int, int]) -> None:
    release = "{}.{}".format(*came)
    with pytest.raises(Unimplemented, match=f"This is containerd .*came with {release}$"):
        answered(call, fields)
