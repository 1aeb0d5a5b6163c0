"""A pull of an image that is here already: what it asks the daemon, and what it still holds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from containerd_lite import Client
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
