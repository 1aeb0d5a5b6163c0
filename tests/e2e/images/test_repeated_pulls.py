"""A pull of an image that is here already: what it asks the daemon, and what it still holds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from containerd_lite import Client
from containerd_lite.errors import NoMatchingPlatform
from containerd_lite.oci.config import chain_ids
from tests.e2e.recorder import Recorder
from tests.harness import images
from tests.harness.daemon import Daemon
from tests.harness.registry import Registry

pytestmark = [pytest.mark.daemon, pytest.mark.registry]

IMAGE = images.random_image([2000] * 4)


@pytest.fixture
def channel(daemon: Daemon) -> Iterator[Recorder]:
    found = Recorder(daemon.address)
    with found:
        yield found


@pytest.fixture
def recorded(channel: Recorder, namespace: str) -> Iterator[Client]:
    with Client(channel=channel, namespace=namespace) as found:
        yield found


def test_by_the_client(recorded: Client, channel: Recorder, registry: Registry) -> None:
    """The labels of the config name the snapshot, so it needs no place in the lease."""
    name = images.push(IMAGE, registry.host, "repeated", "1")
    recorded.pull(name)
    channel.called.clear()
    recorded.pull(name)
    assert channel.called == [
        *("Leases/Create", "Namespaces/Get"),
        *("Content/Write", "Content/Info", "Content/Read", "Content/List", "Content/Read"),
        *("Snapshots/Stat", "Images/Update", "Leases/Delete"),
    ]


@pytest.mark.generations
def test_by_the_daemon(
    daemon: Daemon, recorded: Client, channel: Recorder, registry: Registry
) -> None:
    """The image is read during the transfer. All that restores the old name comes before it."""
    if daemon.version_info < (2,):
        pytest.skip("without TLS, the daemon pulls since 2.0")
    index = images.index_of({images.machine_platform(): IMAGE})
    for image, documents in ((IMAGE, 2), (index, 3)):
        name = images.push(image, registry.host, f"repeated/{documents}", "1")
        recorded.pull(name, via="daemon")
        channel.called.clear()
        recorded.pull(name, via="daemon")
        called = channel.called.copy()
        begin = called.index("Transfer/Transfer")
        end = called.index("Images/Get", begin)
        assert called[end:] == ["Images/Get", "Snapshots/Stat", "Leases/Delete"]
        before = [method for method in called[:begin] if method != "Content/Read"]
        assert before.pop(0) == "Leases/Create"
        assert sorted(before) == [
            *("Content/Write", "Images/Get", "Namespaces/Get"),
            *("Streaming/Stream", "Streaming/Stream"),
        ]
        assert sorted(called[:end]) == sorted(
            ["Leases/Create", *before, *["Content/Read"] * documents, "Transfer/Transfer"]
        )


@pytest.mark.generations
def test_by_the_daemon_after_a_change(daemon: Daemon, client: Client, registry: Registry) -> None:
    """What was read of the old image is not taken for the new one."""
    if daemon.version_info < (2,):
        pytest.skip("without TLS, the daemon pulls since 2.0")
    name = images.push(IMAGE, registry.host, "changing", "1")
    client.pull(name, via="daemon")
    other = images.random_image([300], seed=8)
    images.push(other, registry.host, "changing", "1")
    image = client.pull(name, via="daemon")
    assert (image.target.digest, image.is_unpacked()) == (other.digest, True)
    assert image.rootfs() == tuple(other.config["rootfs"]["diff_ids"])
    foreign = images.random_image([300], platform="linux/s390x")
    images.push(foreign, registry.host, "changing", "1")
    with pytest.raises(NoMatchingPlatform):
        client.pull(name, via="daemon")
    assert client.get_image(name).target.digest == other.digest


def test_the_snapshots_are_held(client: Client, registry: Registry) -> None:
    """Although the name is deleted, and the garbage collected: the lease has the manifest."""
    name = images.push(IMAGE, registry.host, "repeated", "2")
    image = client.pull(name)
    top = chain_ids(image.config().diff_ids)[-1]
    with client.lease():
        client.pull(name)
        client.image_service.delete(name, sync=True)
        assert client.snapshot_service().find(top) is not None
    client.lease_service.create("collect")
    client.lease_service.delete("collect", sync=True)
    assert client.snapshot_service().find(top) is None
