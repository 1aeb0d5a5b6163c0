"""What a daemon says that it can do, beside what ``ctr`` says of it."""

from __future__ import annotations

import pytest

from containerd_lite import Client
from tests.harness.daemon import Daemon

pytestmark = [
    pytest.mark.daemon,
    pytest.mark.generations,
    pytest.mark.backend,
]


def plugins(daemon: Daemon, status: str) -> set[tuple[str, str]]:
    """Type and id of the plugins that ``ctr`` lists with that status."""
    found = set()
    for line in daemon.ctr("plugins", "ls").stdout.decode().splitlines()[1:]:
        kind, id, *_, told = line.split()
        if told == status:
            found.add((kind, id))
    return found


def test_capabilities(daemon: Daemon, client: Client) -> None:
    found, usable = client.capabilities(), plugins(daemon, "ok")
    assert found.services == {id for kind, id in usable if kind == "io.containerd.grpc.v1"}
    kind = "io.containerd.snapshotter.v1"
    assert set(found.snapshotters) == {id for one, id in usable if one == kind}
    assert set(found.differs) == {id for one, id in usable if one == "io.containerd.differ.v1"}
    assert {"overlayfs", "native"} <= set(found.snapshotters)
    unusable = plugins(daemon, "skip") | plugins(daemon, "error")
    assert set(found.failed) == {f"{one}.{id}" for one, id in unusable}
    assert all(found.failed.values())
    systems = {"linux", "linux(+erofs)"} if daemon.version_info >= (2, 3) else {"linux"}
    assert {platform.partition("/")[0] for platform in found.platforms} == systems


def test_each_generation_has_more(daemon: Daemon, client: Client) -> None:
    found, version = client.capabilities(), daemon.version_info
    assert (found.transfer, found.sandboxes) == (version >= (1, 7), version >= (1, 7))
    assert (found.mounts, found.cri) == (version >= (2, 2), False)
    assert set(found.sandboxers) == (
        {"shim", "podsandbox"} if version >= (2,) else {"local"} if version >= (1, 7) else set()
    )


def test_the_server(daemon: Daemon, client: Client) -> None:
    assert client.server().uuid
    if daemon.version_info >= (1, 7):
        assert client.server().pid == daemon.pid
