"""Checkpoint images that ask for the rights of root, and labels that other programs trust."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from containerd_lite import Client
from containerd_lite.errors import FailedPrecondition, InvalidArgument, NotFound
from containerd_lite.images.image import Image
from containerd_lite.oci.spec.default import default_spec
from containerd_lite.oci.spec.privileges import beyond_default
from containerd_lite.runtime.labels import is_reserved
from tests.harness.daemon import Daemon
from tests.harness.leaks import Watch

Change = Callable[[Any], object]


def mounted(**mount: object) -> Change:
    return lambda spec: spec["mounts"].append(
        {"destination": "/x", "type": "tmpfs", "source": "none", "options": [], **mount}
    )


def linux(**fields: object) -> Change:
    return lambda spec: spec["linux"].update(fields)


def process(**fields: object) -> Change:
    return lambda spec: spec["process"].update(fields)


def top(**fields: object) -> Change:
    return lambda spec: spec.update(fields)


def ruled(**rule: object) -> Change:
    return lambda spec: spec["linux"]["resources"]["devices"].append({"access": "rwm", **rule})


def joined(kind: str, path: str) -> Change:
    return lambda spec: spec["linux"]["namespaces"].append({"type": kind, "path": path})


HOOK = {"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", "id > /owned"]}]}
#: Each lets a container, or who wrote its spec, reach the machine.
EVIL: dict[str, tuple[Change, str]] = {
    "hook": (top(hooks=HOOK), "hooks"),
    "hook, for Go": (top(HOOKS=HOOK), "HOOKS"),
    "annotation": (top(annotations={"run.oci.handler": "krun"}), "annotations"),
    "other system": (top(vm={"hypervisor": {"path": "/bin/sh"}}), "vm"),
    "root of the machine": (top(root={"path": "/"}), "root.path: '/'"),
    "root above": (top(root={"path": "../.."}), "root.path"),
    "no root": (top(root=None), "root.path"),
    "bind": (mounted(type="bind", source="/"), "a mount of type 'bind' at '/x'"),
    "rbind": (mounted(options=["rbind"], source="/"), "a mount of type 'tmpfs'"),
    "disk": (mounted(type="ext4", source="/dev/vda"), "a mount of type 'ext4'"),
    "overlay": (mounted(type="overlay", options=["lowerdir=/"]), "a mount of type 'overlay'"),
    "kind, for Go": (mounted(type="tmpfs", Type="bind"), "mounts: Type"),
    "kind is a list": (mounted(type=["bind"]), "a mount of type"),
    "another proc": (mounted(type="proc", destination="/p"), "'proc' at '/p'"),
    "sysfs to write": (mounted(type="sysfs", destination="/sys", options=["ro", "rw"]), "'sysfs'"),
    "cgroups to write": (mounted(type="cgroup", destination="/sys/fs/cgroup"), "'cgroup'"),
    "capability": (process(capabilities={"bounding": ["CAP_SYS_ADMIN"]}), "'CAP_SYS_ADMIN'"),
    "label": (process(selinuxLabel="u:r:spc_t:s0"), "process.selinuxLabel"),
    "its own process": (process(Capabilities={"effective": ["CAP_SYS_ADMIN"]}), "Capabilities"),
    "namespaces of the machine": (linux(namespaces=[]), "the machine's pid namespace"),
    "another's namespace": (joined("cgroup", "/proc/1/ns/cgroup"), "a cgroup namespace that"),
    "nothing masked": (linux(maskedPaths=[]), "linux.maskedPaths without /proc/acpi"),
    "nothing read-only": (linux(readonlyPaths=None), "linux.readonlyPaths without /proc/bus"),
    "device": (linux(devices=[{"path": "/dev/vda", "type": "b"}]), "linux.devices"),
    "any device": (linux(resources={}), "access to all devices"),
    "denied later": (
        lambda spec: spec["linux"]["resources"]["devices"].reverse(), "access to all devices",
    ),
    "disk by its number": (ruled(allow=True, type="b", major=8, minor=0), "the device 'b' 8:0"),
    "every device": (ruled(allow=True), "the device None"),
    "memory": (ruled(allow=True, type="c", major=1, minor=1), "the device 'c' 1:1"),
    "cgroup of the machine": (linux(cgroupsPath="/"), "linux.cgroupsPath: '/'"),
    "cgroup of another": (linux(cgroupsPath="/ns/../system.slice"), "linux.cgroupsPath"),
    "sysctl": (linux(sysctl={"kernel.core_pattern": "|/x"}), "linux.sysctl"),
    "propagation": (linux(rootfsPropagation="rshared"), "linux.rootfsPropagation"),
    "agent": (linux(seccomp={"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/x"}),
              "linux.seccomp.listenerPath"),
    "network device": (linux(netDevices={"eth0": {}}), "linux.netDevices"),
    "resctrl": (linux(intelRdt={"closID": "x"}), "linux.intelRdt"),
    "file of the cgroup": (
        lambda spec: spec["linux"]["resources"].update(unified={"../x": "1"}),
        "linux.resources.unified",
    ),
}  # fmt: skip


def beyond(change: Change) -> list[str]:
    spec = copy.deepcopy(default_spec("/ns/id"))
    change(spec)
    return list(beyond_default(spec, "ns"))


@pytest.mark.parametrize("name", EVIL)
def test_a_spec_that_reaches_the_machine(name: str) -> None:
    change, said = EVIL[name]
    found = beyond(change)
    assert any(said in line for line in found), found


@pytest.mark.parametrize(
    "change",
    [
        lambda spec: None,
        process(args=["x"], env=["A=b"], user={"uid": 5}, terminal=True, noNewPrivileges=False),
        top(hostname="h", hooks=None, annotations={}),
        mounted(options=["ro", "size=1m"]),
        linux(resources={"devices": default_spec("")["linux"]["resources"]["devices"],  # type: ignore[index]
                         "memory": {"limit": 1}}),
        linux(seccomp={"defaultAction": "SCMP_ACT_ERRNO"}),
        linux(maskedPaths=["/more", *default_spec("")["linux"]["maskedPaths"]]),  # type: ignore[index]
        joined("user", ""),
    ],
)  # fmt: skip
def test_a_spec_that_is_like_the_default(change: Change) -> None:
    assert beyond(change) == []


@pytest.mark.parametrize(
    "change",
    [
        top(process=5),
        top(linux=["x"]),
        top(mounts="x"),
        top(mounts=[5]),
        process(capabilities={"bounding": 5}),
        process(capabilities=["CAP_SYS_ADMIN"]),
        linux(namespaces={"a": 1}),
        linux(resources={"devices": 7}),
        linux(maskedPaths=[5]),
    ],
)
def test_a_spec_that_is_none(change: Change) -> None:
    with pytest.raises(InvalidArgument):
        beyond(change)


@pytest.mark.daemon
@pytest.mark.registry
@pytest.mark.generations
class TestRestore:
    @pytest.fixture(autouse=True)
    def _nothing_left(self, no_leftovers: Watch) -> None:
        no_leftovers.keep_snapshots()

    @pytest.mark.parametrize("evil", ["hook", "runtime", "options", "bind"])
    def test_a_checkpoint_must_be_trusted(self, client: Client, busybox: str, evil: str) -> None:
        image: Image = client.pull(busybox)
        every: dict[str, Any] = {
            "hook": {"edit": lambda spec: spec.update(hooks=HOOK)},
            "runtime": {"runtime": "io.containerd.evil.v2"},
            "options": {"runtime_options": {"binary_name": "/tmp/evil"}},
            "bind": {"mounts": ["type=bind,src=/,dst=/machine,options=rbind"]},
        }
        said = {
            "hook": "default: hooks",
            "runtime": "default: runtime 'io.containerd.evil.v2'",
            "options": "default: options of the runtime",
            "bind": "default: a mount of type 'bind' at '/machine'",
        }[evil]
        made = client.new_container("evil", image=image, args=["true"], **every[evil])
        saved = made.checkpoint("saved", task=False)
        made.delete()
        with pytest.raises(FailedPrecondition, match=f"{said}.*trust=True"):
            client.restore("evil", saved)
        with pytest.raises(NotFound):
            client.load_container("evil")
        again = client.restore("evil", saved, trust=True)
        assert again.info.spec == made.info.spec
        again.delete()
        saved.delete(sync=True)

    def test_a_container_of_ctr_needs_no_trust(
        self, daemon: Daemon, namespace: str, client: Client, busybox: str
    ) -> None:
        image: Image = client.pull(busybox)
        daemon.ctr("containers", "create", image.name, "theirs", "true", namespace=namespace)
        theirs = client.load_container("theirs")
        saved = theirs.checkpoint("saved", task=False)
        theirs.delete()
        client.restore("theirs", saved).delete()
        saved.delete(sync=True)


@pytest.mark.parametrize(
    "key",
    [
        "nerdctl/log-uri",
        "nerdctl/state-dir",
        "com.docker/engine.bundle.path",
        "com.docker.compose.project",
        "io.kubernetes.pod.name",
        "containerd-lite.networks",
        "containerd.io/restart.loguri",
        "io.containerd.image.config.stop-signal",
        "io.cri-containerd.kind",
    ],
)
def test_a_label_that_other_programs_trust(key: str) -> None:
    assert is_reserved(key)


@pytest.mark.parametrize("key", ["org.opencontainers.image.title", "nerdctl", "com.dockerish", "a"])
def test_a_label_that_says_something(key: str) -> None:
    assert not is_reserved(key)
