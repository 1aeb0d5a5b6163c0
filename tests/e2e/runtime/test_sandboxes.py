"""Sandboxes, as far as each generation can run one."""

from __future__ import annotations

import pytest

from containerd_lite import Client
from containerd_lite.errors import AlreadyExists, InvalidArgument, NotFound, Unimplemented
from containerd_lite.images.image import Image
from containerd_lite.runtime.sandbox import Sandbox
from tests.e2e.services.test_sandboxes import pod, pods
from tests.harness import debris
from tests.harness.daemon import Daemon
from tests.harness.process import wait_until
from tests.harness.registry import Registry

pytestmark = [pytest.mark.daemon, pytest.mark.generations]

_PATIENCE = 10.0
nothing_left = pytest.mark.usefixtures("nothing_left")


@nothing_left
def test_daemons_before_1_7_have_none(daemon: Daemon, client: Client) -> None:
    if daemon.version_info >= (1, 7):
        assert client.sandbox_store.list() == []
        return
    with pytest.raises(Unimplemented, match=r"came with 1\.7"):
        client.new_sandbox("pod")
    with pytest.raises(Unimplemented, match=r"came with 1\.7"):
        client.load_sandbox("pod")


@nothing_left
def test_a_record(daemon: Daemon, client: Client) -> None:
    if daemon.version_info < (1, 7):
        return
    made = client.new_sandbox("pod", labels={"a": "b", "c": "d"})
    assert repr(made) == "<Sandbox pod>"
    found = client.load_sandbox("pod")
    assert found.info == made.info
    assert found.set_labels({"a": "", "e": "f"}) == {"c": "d", "e": "f"}
    assert client.load_sandbox("pod").labels == {"c": "d", "e": "f"}
    with pytest.raises(AlreadyExists):
        client.new_sandbox("pod")
    with pytest.raises(InvalidArgument, match="cannot be an id"):
        client.new_sandbox("a/b")
    made.shutdown()
    made.shutdown()
    with pytest.raises(NotFound):
        client.load_sandbox("pod")


@pytest.mark.registry
@nothing_left
def test_runc_s_shim_of_1_7(daemon: Daemon, namespace: str, client: Client, image: Image) -> None:
    if not (1, 7) <= daemon.version_info < (2,):
        return
    sandbox = client.new_sandbox("pod")
    sandbox.start()
    shims = [shim.option("-id") for shim in debris.shims(daemon.folder, namespace)]
    assert shims == ["pod"]
    assert sandbox.status().exited_at is None
    with pytest.raises(AlreadyExists):
        sandbox.start()
    container = sandbox.new_container("inside", image=image, args=["sh", "-c", "exit 5"])
    assert container.info.sandbox == "pod"
    with container.new_task() as task:
        task.start()
        assert task.wait(_PATIENCE).exit_status == 5
    container.delete()
    _ended(daemon, namespace, sandbox)


def _ended(daemon: Daemon, namespace: str, sandbox: Sandbox) -> None:
    sandbox.stop(3)
    assert wait_until(lambda: not debris.shims(daemon.folder, namespace), _PATIENCE)
    sandbox.shutdown()


@pytest.mark.registry
def test_a_pod_of_2(daemon: Daemon, registry: Registry) -> None:
    if daemon.version_info < (2,):
        return
    with pods(daemon, registry) as (_, client):
        record = pod("pod")
        sandbox = client.new_sandbox(
            "pod", extensions=record.extensions, sandboxer="podsandbox", runtime=record.runtime
        )
        started = sandbox.start()
        assert started is not None
        status = client.load_sandbox("pod").status()
        assert (status.pid, status.state) == (started.pid, "SANDBOX_READY")
        sandbox.stop(5)
        assert sandbox.wait(_PATIENCE).exit_status == 137
        sandbox.shutdown()
        with pytest.raises(NotFound):
            client.load_sandbox("pod")
