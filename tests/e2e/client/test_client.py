"""The client as a whole: finding the daemon, losing it, sharing it."""

from __future__ import annotations

import os
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from containerd_lite import Client
from containerd_lite.errors import (
    Cancelled,
    ContainerdError,
    InvalidArgument,
    NotFound,
    SocketNotFound,
)
from containerd_lite.services.event_types import NamespaceCreate
from containerd_lite.services.filters import Filter
from containerd_lite.services.leases import EXPIRE
from containerd_lite.transport.channel import Channel
from tests.e2e.recorder import Recorder
from tests.harness import images
from tests.harness.daemon import Daemon
from tests.harness.registry import Registry

pytestmark = [
    pytest.mark.daemon,
    pytest.mark.backend,
    pytest.mark.dependencies,
    pytest.mark.usefixtures("nothing_left"),
]


@pytest.mark.generations
def test_version_and_health(daemon: Daemon, client: Client) -> None:
    assert client.version().version.startswith(daemon.version)
    assert client.is_serving()
    assert client.health_service.check() == "SERVING"
    assert client.introspection_service.server().uuid


def test_the_default_runtime(daemon: Daemon, client: Client, namespace: str) -> None:
    assert client.runtime == "io.containerd.runc.v2"
    client.namespace_service.create(namespace, {"containerd.io/defaults/runtime": "its.own"})
    assert client.runtime == "its.own"
    with Client(daemon.address, namespace=namespace, runtime="the.clients") as other:
        assert other.runtime == "the.clients"
    client.namespace_service.delete(namespace)


@pytest.mark.generations
def test_plugins(client: Client) -> None:
    kinds = {plugin.type for plugin in client.introspection_service.plugins()}
    assert "io.containerd.content.v1" in kinds
    found = client.introspection_service.plugins("type==io.containerd.snapshotter.v1,id==overlayfs")
    assert [plugin.id for plugin in found] == ["overlayfs"]
    assert found[0].error == ""


def test_the_environment_names_daemon_and_namespace(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONTAINERD_ADDRESS", str(daemon.socket))
    monkeypatch.setenv("CONTAINERD_NAMESPACE", "from-env")
    with Client() as client:
        assert client.version().version
        assert (client.address, client.namespace) == (daemon.address, "from-env")
    with Client(namespace="given") as client:
        assert client.namespace == "given"


def test_namespaces(client: Client, namespace: str) -> None:
    service = client.namespace_service
    service.create(namespace, {"a": "b"})
    assert service.update(namespace, {"c": "d"}).labels == {"a": "b", "c": "d"}
    other = client.in_namespace(namespace + "x")
    assert other.address == client.address
    assert other.list_images() == []
    assert namespace in {found.name for found in service.list()}
    service.delete(namespace)
    assert namespace not in {found.name for found in service.list()}
    with pytest.raises(NotFound):
        service.delete(namespace)


@pytest.mark.registry
def test_the_namespace_says_which_snapshotter(client: Client, namespace: str, busybox: str) -> None:
    label = {"containerd.io/defaults/snapshotter": "native"}
    client.namespace_service.create(namespace, label)
    assert client.snapshot_service().snapshotter == "native"
    image = client.pull(busybox)
    assert client.run(image, ["echo", "hi"]).stdout == b"hi\n"
    assert list(client.snapshot_service("overlayfs").list()) == []
    kinds = {info.kind for info in client.snapshot_service().list()}
    assert kinds == {"committed"}


@pytest.mark.registry
def test_a_snapshotter_of_ones_own_choice(client: Client, busybox: str) -> None:
    image = client.pull(busybox)
    assert (image.is_unpacked(), image.is_unpacked("native")) == (True, False)
    done = client.run(image, ["echo", "hi"], snapshotter="native")
    assert done.stdout == b"hi\n"
    assert image.is_unpacked("native")
    client.new_container("native", image=image, args=["true"], snapshotter="native")
    loaded = client.load_container("native")
    task = loaded.new_task()  # on its own snapshotter's mounts, not on the default one's
    assert task.delete(force=True) is not None
    loaded.delete()
    left = [
        info.kind
        for name in ("native", "overlayfs")
        for info in client.snapshot_service(name).list()
    ]
    assert left == ["committed"] * 2


def test_a_list_is_one_call(daemon: Daemon, namespace: str) -> None:
    channel = Recorder(daemon.address)
    with channel:
        client = Client(channel=channel, namespace=namespace)
        assert client.list_images() == []
        assert client.containers() == []
        with pytest.raises(NotFound):
            client.load_container("none")
        assert channel.called == ["Images/List", "Containers/ListStream", "Containers/Get"]


@pytest.mark.generations
def test_subscribe(client: Client, namespace: str) -> None:
    with client.subscribe(Filter("namespace") == namespace) as events:
        events.wait_until_subscribed(30)
        client.namespace_service.create(namespace, {"a": "b"})
        event = events.receive(30)
        assert event is not None
        assert (event.topic, event.namespace) == ("/namespaces/create", namespace)
        assert event.event == NamespaceCreate(namespace, {"a": "b"})
    client.namespace_service.delete(namespace)


@pytest.mark.generations
def test_leases(client: Client) -> None:
    leases = client.lease_service
    with client.lease(expires=60) as id:
        (lease,) = leases.list()
        assert lease.id == id
        assert lease.labels[EXPIRE].endswith("Z")
    assert leases.list() == []
    with pytest.raises(KeyError), client.lease():
        raise KeyError
    assert leases.list() == []


@pytest.mark.registry
def test_a_block_that_fails_takes_its_content_with_it(client: Client, registry: Registry) -> None:
    name = images.push(images.random_image([100], seed=8), registry.host, "failing", "latest")

    class Stop(Exception):
        pass

    def stop_at_the_end(event: object) -> None:
        if "done" in str(event):
            raise Stop

    with pytest.raises(Stop):
        client.pull(name, unpack=False, progress=stop_at_the_end)
    assert list(client.content_store.walk()) == []


@pytest.mark.registry
@pytest.mark.generations
def test_events(client: Client, busybox: str) -> None:
    with client.event_service.subscribe('topic~="/images/.*"') as stream:
        client.pull(busybox, unpack=False)
        message = stream.receive(timeout=5)
        assert message is not None
        assert (message.topic, message.namespace) == ("/images/create", client.namespace)


def test_is_serving_waits_for_the_daemon(own_daemon: Daemon) -> None:
    own_daemon.stop()
    with Client(own_daemon.address) as client:
        assert not client.is_serving(timeout=0.05)
        with pytest.raises(SocketNotFound):
            client.version()
        starter = threading.Thread(target=own_daemon.start)
        starter.start()
        assert client.is_serving(timeout=30)
        starter.join()


@pytest.mark.generations
def test_it_connects_again_after_a_restart(own_daemon: Daemon) -> None:
    with Client(own_daemon.address) as client:
        client.version()
        for restart in (own_daemon.restart, own_daemon.restart):
            restart()
            assert client.version().version
        own_daemon.kill()
        with pytest.raises(ContainerdError):
            client.version()
        own_daemon.start()
        assert client.version(wait_for_ready=True).version


def test_close_ends_calls_of_other_threads(daemon: Daemon) -> None:
    with Client(daemon.address) as client:
        stream = client.event_service.subscribe()
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(stream.receive)
            client.version()
            client.close()
            with pytest.raises(Cancelled):
                waiting.result(timeout=5)
        stream.close()
        with pytest.raises(Cancelled, match="closed"):
            client.version()
        client.close()


def test_pickled_it_connects_by_itself(client: Client, daemon: Daemon) -> None:
    client.version()
    with pickle.loads(pickle.dumps(client)) as copy:
        assert (copy.address, copy.namespace) == (client.address, client.namespace)
        assert copy.version() == client.version()
    assert client.version()


def test_a_forked_child_has_a_connection_of_its_own(client: Client) -> None:
    ours = client.version()
    with client.event_service.subscribe():  # a connection in use, too
        pid = os.fork()
        if not pid:  # pragma: no cover - the child's coverage is lost
            status = 1
            try:
                status = 0 if client.version() == ours else 2
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert client.version() == ours


def test_a_channel_of_the_callers_own(daemon: Daemon) -> None:
    with Channel(daemon.address) as channel:
        with Client(channel=channel) as client:
            assert client.version()
        with Client(channel=channel) as again:  # a client closes only what it opened
            assert again.version()
        with pytest.raises(InvalidArgument):
            Client(daemon.address, channel=channel)


def test_repr_names_address_and_namespace(client: Client, daemon: Daemon) -> None:
    assert repr(client) == f"<Client {daemon.address} namespace={client.namespace}>"
    assert daemon.address in repr(client.image_service)
