"""The sandbox store, and its controllers as far as each generation's can be driven.

``ctr`` shows no records of sandboxes: the store is checked by what was put in, read by a call of
its own.  What runs is checked by what ``ctr tasks`` and the machine say.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from containerd_lite import Client
from containerd_lite.errors import (
    AlreadyExists,
    ContainerdError,
    DeadlineExceeded,
    InvalidArgument,
    NotFound,
    Unimplemented,
    Unknown,
)
from containerd_lite.services import cgroups1, cgroups2
from containerd_lite.services._types import AnyValue, Mount, runtime_spec
from containerd_lite.services.sandboxes import SandboxController, SandboxRecord, SandboxStore
from tests.e2e.cri import config, push_pause
from tests.e2e.recorder import Recorder
from tests.e2e.services.conftest import CALLED
from tests.e2e.services.leftovers import lacks, nothing_stays  # noqa: F401
from tests.harness import debris
from tests.harness.daemon import Daemon
from tests.harness.process import wait_until
from tests.harness.registry import Registry

pytestmark = [
    pytest.mark.daemon,
    pytest.mark.generations,
    pytest.mark.backend,
    pytest.mark.usefixtures("nothing_stays"),
]

FULL = SandboxRecord(
    "full",
    runtime="io.containerd.runc.v2",
    runtime_options=AnyValue.of("containerd.runc.v1.Options", {"binary_name": "runc"}),
    spec=runtime_spec({"hostname": "a"}),
    labels={"a.b/c": "d"},
    extensions={"ours": AnyValue("a.B", b"\x00\xff"), "theirs": AnyValue("c.D", b"x")},
    sandboxer="podsandbox",
)
_PATIENCE = 10.0


@pytest.fixture
def store(client: Client) -> SandboxStore:
    return client.sandbox_store


@pytest.fixture
def controller(client: Client) -> SandboxController:
    return client.sandbox_controller


def kept(daemon: Daemon, record: SandboxRecord) -> SandboxRecord:
    """What a generation stores of it."""
    return record if daemon.version_info >= (2,) else replace(record, sandboxer="")


def test_daemons_before_1_7_have_none(
    daemon: Daemon, store: SandboxStore, controller: SandboxController
) -> None:
    if daemon.version_info >= (1, 7):
        assert store.list() == []
        return
    calls: list[Callable[[], object]] = [
        lambda: store.create(FULL),
        lambda: store.update(FULL),
        lambda: store.delete("full"),
        lambda: store.list(),
        lambda: store.get("full"),
        lambda: controller.create("full"),
        lambda: controller.start("full"),
        lambda: controller.platform("full"),
        lambda: controller.stop("full"),
        lambda: controller.wait("full"),
        lambda: controller.status("full"),
        lambda: controller.shutdown("full"),
    ]
    for call in calls:
        with pytest.raises(Unimplemented) as caught:
            call()
        assert lacks(caught.value, daemon, "1.7")
    _assert_no_metrics(daemon, controller)


def _assert_no_metrics(daemon: Daemon, controller: SandboxController) -> None:
    calls: list[Callable[[], object]] = [
        lambda: controller.metrics("x"),
        lambda: controller.update("x", FULL),
    ]
    for call in calls:
        with pytest.raises(Unimplemented) as caught:
            call()
        assert lacks(caught.value, daemon, "2.0")


def test_the_store(daemon: Daemon, store: SandboxStore) -> None:
    if daemon.version_info < (1, 7):
        return  # as above
    made = store.create(FULL)
    assert made.created_at == made.updated_at is not None
    assert replace(made, created_at=None, updated_at=None) == kept(daemon, FULL)
    assert store.get("full") == made
    assert store.list() == [made]
    with pytest.raises(AlreadyExists):
        store.create(FULL)
    with pytest.raises(InvalidArgument):
        store.create(replace(FULL, id="a/b"))
    store.create(SandboxRecord("plain", "io.x.y.v1"))
    assert {one.id for one in store.list()} == {"full", "plain"}
    for filters in (["id==full"], ['labels."a.b/c"==d'], ["id==full", "id==nothing"]):
        assert [one.id for one in store.list(*filters)] == ["full"]
    with pytest.raises(InvalidArgument, match="filters"):
        store.list("==")
    for id in ("full", "plain"):
        store.delete(id)
    assert store.list() == []
    with pytest.raises(NotFound):
        store.get("full")
    with pytest.raises(NotFound if daemon.version_info >= (2,) else Unknown, match="full"):
        store.delete("full")


def test_an_update_changes_what_it_names(daemon: Daemon, store: SandboxStore) -> None:
    if daemon.version_info < (1, 7):
        return  # as above
    before = store.create(FULL)
    other = SandboxRecord(
        "full",
        "io.x.y.v1",
        spec=runtime_spec({"hostname": "b"}),
        labels={"x": "y", "p.q": "z"},
        extensions={"ours": AnyValue("g.H", b"2")},
    )
    made = store.update(other, ["labels.p.q"])
    assert made.labels == {"a.b/c": "d", "p.q": "z"}
    assert made.updated_at is not None
    assert before.updated_at is not None
    assert made.updated_at > before.updated_at
    assert replace(made, labels=FULL.labels, updated_at=before.updated_at) == before
    assert store.update(replace(FULL, labels={}), ["labels.p.q"]).labels == FULL.labels
    with pytest.raises(InvalidArgument, match="immutable"):
        store.update(other)
    with pytest.raises(InvalidArgument, match="nothing"):
        store.update(other, ["nothing"])
    store.update(other, ["labels", "spec", "runtime", "extensions.ours"])
    found = store.get("full")
    assert (found.labels, found.spec, found.runtime) == (other.labels, other.spec, "io.x.y.v1")
    assert found.extensions == {**FULL.extensions, **other.extensions}
    store.update(replace(other, labels={"only": "this"}))
    assert store.get("full").labels == {"only": "this"}
    store.delete("full")
    with pytest.raises(NotFound):
        store.update(FULL, ["labels"])


def test_runc_s_shim_of_1_7_is_a_sandbox(
    daemon: Daemon, namespace: str, store: SandboxStore, controller: SandboxController
) -> None:
    """The daemon does what it is asked, then fails to say so: its topics lack a slash."""
    if not (1, 7) <= daemon.version_info < (2,):
        return
    refused = pytest.raises(InvalidArgument, match='topic "sandboxes/')
    with pytest.raises(NotFound):
        controller.create("full")  # it takes the record from the store
    store.create(FULL)
    with refused:
        controller.create("full")
    assert [shim.option("-id") for shim in debris.shims(daemon.folder, namespace)] == ["full"]
    with pytest.raises(AlreadyExists):
        controller.create("full")
    with refused:
        controller.start("full")
    assert controller.status("full").exited_at is None
    assert controller.status("full", verbose=True).info == {}
    with pytest.raises(Unimplemented, match="Platform not implemented"):
        controller.platform("full")
    with refused:  # this shim does not wait
        controller.with_options(timeout=_PATIENCE).wait("full")
    _assert_no_metrics(daemon, controller)
    try:
        controller.stop("full", 3)
    except Unknown as error:  # the shim ends, and may be gone before it has answered
        assert "ttrpc: closed" in str(error)  # noqa: PT017
    assert wait_until(lambda: not debris.shims(daemon.folder, namespace), _PATIENCE)
    assert wait_until(lambda: _is_gone(controller, "full"), _PATIENCE)
    status = controller.status("full")
    assert (status.id, status.exited_at is None) == ("full", False)
    for call in (controller.stop, controller.wait, controller.shutdown):
        with pytest.raises(NotFound):
            call("full")
    with pytest.raises(Unknown, match='unable to find sandbox "full"'):
        controller.start("full")
    store.delete("full")


def _is_gone(controller: SandboxController, id: str) -> bool:
    """Whether the daemon has seen that the shim has ended."""
    try:
        controller.wait(id)
    except NotFound:
        return True
    except ContainerdError:
        return False
    return False


def test_shutdown_of_1_7(own_daemon: Daemon) -> None:
    """It forgets the sandbox and leaves the shim, which the daemon of this test takes along."""
    if not (1, 7) <= own_daemon.version_info < (2,):
        return
    with Client(own_daemon.address, namespace=own_daemon.namespace) as client:
        client.sandbox_store.create(FULL)
        with pytest.raises(InvalidArgument):
            client.sandbox_controller.create("full")
        client.sandbox_controller.shutdown("full")
        with pytest.raises(NotFound):
            client.sandbox_controller.shutdown("full")


def test_each_call_names_its_sandboxer(daemon: Daemon, controller: SandboxController) -> None:
    if daemon.version_info < (2,):
        return

    def calls(name: str) -> list[Callable[[], object]]:
        return [
            lambda: controller.create("x", sandbox=FULL, sandboxer=name),
            lambda: controller.start("x", sandboxer=name),
            lambda: controller.stop("x", sandboxer=name),
            lambda: controller.wait("x", sandboxer=name),
            lambda: controller.status("x", sandboxer=name),
            lambda: controller.shutdown("x", sandboxer=name),
            lambda: controller.metrics("x", sandboxer=name),
            lambda: controller.update("x", FULL, sandboxer=name),
        ]

    for call in calls(""):
        with pytest.raises(InvalidArgument, match="can not be empty"):
            call()
    for call in calls("nobody"):
        with pytest.raises(NotFound, match="controller by nobody"):
            call()


def test_the_shim_controller_of_2(daemon: Daemon, controller: SandboxController) -> None:
    """runc's shim is no sandbox any more: what can be asked without one."""
    if daemon.version_info < (2,):
        return
    nowhere = replace(FULL, id="none", runtime="io.nowhere.none.v1")
    with pytest.raises(ContainerdError, match="containerd-shim-none-v1"):
        controller.create(
            "none",
            rootfs=[Mount("bind", "/tmp", "", ("ro",))],
            options=AnyValue("a.B", b""),
            netns_path="/nowhere",
            annotations={"a": "b"},
            sandbox=nowhere,
        )
    with pytest.raises(Unknown, match='unable to find sandbox "none"'):
        controller.start("none")
    with pytest.raises(Unimplemented, match="Platform not implemented"):
        controller.platform("none")
    for call in (controller.metrics, controller.wait, controller.shutdown):
        with pytest.raises(NotFound):
            call("none")
    assert controller.status("none").exited_at is not None
    controller.stop("none")
    if daemon.version_info >= (2, 4):  # it asks the shim
        with pytest.raises(NotFound):
            controller.update("none", nowhere, ["labels"])
    else:
        controller.update("none", nowhere, ["labels"])


@contextmanager
def pods(daemon: Daemon, registry: Registry) -> Iterator[tuple[Daemon, Client]]:
    """A daemon whose CRI parts can start a pod's first container, and a client in its namespace."""
    name = push_pause(registry)
    with (
        Daemon(daemon.generation, extra=config(daemon, name)) as own,
        Recorder(own.address, CALLED.setdefault(own.version, set())) as channel,
    ):
        client = Client(channel=channel, namespace="k8s.io")
        if own.version_info >= (2, 3):  # the CRI fetches the image, and the controller no longer
            client.pull(name)
        yield own, client


def pod(id: str, cgroup_parent: str = "") -> SandboxRecord:
    """A pod on the machine's network, as the CRI keeps it (its store/sandbox/metadata.go)."""
    config = {
        "metadata": {"name": id, "uid": "u", "namespace": "default"},
        "linux": {
            "cgroup_parent": cgroup_parent,
            "security_context": {"namespace_options": {"network": 2}},
        },
    }
    metadata = {"Version": "v1", "Metadata": {"ID": id, "Name": id, "Config": config}}
    kind = "github.com/containerd/cri/pkg/store/sandbox/Metadata"
    value = AnyValue(kind, json.dumps(metadata).encode())
    return SandboxRecord(
        id, "io.containerd.runc.v2", extensions={"metadata": value}, sandboxer="podsandbox"
    )


@pytest.mark.registry
def test_a_pod_from_created_to_gone(daemon: Daemon, registry: Registry) -> None:
    if daemon.version_info < (2,):
        return
    with pods(daemon, registry) as (own, client):
        _drive(own, client, "pod", "podsandbox")


def _drive(daemon: Daemon, client: Client, id: str, name: str) -> None:
    controller = client.sandbox_controller
    with pytest.raises(NotFound, match="metadata"):
        controller.create(id, sandbox=replace(pod(id), extensions={}), sandboxer=name)
    client.sandbox_store.create(pod(id))
    assert controller.create(id, sandbox=client.sandbox_store.get(id), sandboxer=name) == id
    status = controller.status(id, sandboxer=name)
    assert (status.id, status.pid, status.state) == (id, 0, "SANDBOX_UNKNOWN")
    assert status.created_at is status.exited_at is None
    started = controller.start(id, sandboxer=name)
    lines = daemon.ctr("tasks", "ls", namespace="k8s.io").stdout.decode().splitlines()[1:]
    assert [line.split() for line in lines] == [[id, str(started.pid), "RUNNING"]]
    assert started.labels["oci_runtime_type"] == "io.containerd.runc.v2"
    status = controller.status(id, verbose=True, sandboxer=name)
    assert (status.id, status.pid, status.state) == (id, started.pid, "SANDBOX_READY")
    assert status.created_at == started.created_at == client.load_container(id).info.created_at
    assert json.loads(status.info["info"])["pid"] == started.pid
    controller.update(id, pod(id), ["labels"], sandboxer=name)
    with pytest.raises(Unimplemented, match="not implemented"):
        controller.platform(id, sandboxer=name)
    without = (
        (Unknown, "has no cgroup parent")
        if daemon.version_info >= (2, 4)
        else (Unimplemented, "not implemented")
    )
    with pytest.raises(without[0], match=without[1]):
        controller.metrics(id, sandboxer=name)
    with pytest.raises(DeadlineExceeded):
        controller.with_options(timeout=0.05).wait(id, sandboxer=name)
    controller.stop(id, 5, sandboxer=name)
    ended = controller.with_options(timeout=_PATIENCE).wait(id, sandboxer=name)
    assert ended.exit_status == 137
    status = controller.status(id, sandboxer=name)
    assert (status.state, status.exited_at) == ("SANDBOX_NOTREADY", ended.exited_at)
    controller.shutdown(id, sandboxer=name)
    with pytest.raises(NotFound):
        controller.status(id, sandboxer=name)
    assert client.containers() == []
    client.sandbox_store.delete(id)


@pytest.mark.registry
def test_metrics_of_a_pod_with_a_cgroup(daemon: Daemon, registry: Registry) -> None:
    """They came with 2.4."""
    if daemon.version_info < (2, 4):
        return
    with pods(daemon, registry) as (own, client):
        controller, record = client.sandbox_controller, pod("pod", f"/{own.namespace}")
        client.sandbox_store.create(record)
        controller.create("pod", sandbox=record, sandboxer="podsandbox")
        controller.start("pod", sandboxer="podsandbox")
        found = controller.metrics("pod", sandboxer="podsandbox")
        assert found is not None
        assert isinstance(found.data, cgroups1.Metrics | cgroups2.Metrics)
        assert found.data.memory is not None
        controller.stop("pod", 5, sandboxer="podsandbox")
        controller.shutdown("pod", sandboxer="podsandbox")
        client.sandbox_store.delete("pod")
