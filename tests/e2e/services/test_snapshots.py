"""Snapshots, in the snapshotters that every generation has, beside what ``ctr`` says of them."""

from __future__ import annotations

import json
from datetime import datetime

import pytest

from containerd_lite import Client
from containerd_lite.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Unimplemented,
)
from containerd_lite.services._types import Mount
from containerd_lite.services.filters import Filter
from containerd_lite.services.snapshots import SnapshotInfo, SnapshotService
from tests.e2e.services.leftovers import nothing_stays  # noqa: F401
from tests.harness.daemon import Daemon

pytestmark = [
    pytest.mark.daemon,
    pytest.mark.generations,
    pytest.mark.backend,
    pytest.mark.usefixtures("nothing_stays"),
]

ROOT = {"containerd.io/gc.root": "kept"}


@pytest.fixture(params=["overlayfs", "native"])
def snapshots(request: pytest.FixtureRequest, client: Client) -> SnapshotService:
    return client.snapshot_service(request.param)


def ctr(snapshots: SnapshotService, daemon: Daemon, *command: str) -> str:
    place = ("snapshots", "--snapshotter", snapshots.snapshotter)
    namespace = snapshots.identity[1]
    return daemon.ctr(*place, *command, namespace=namespace).stdout.decode()


def told(snapshots: SnapshotService, daemon: Daemon, key: str) -> SnapshotInfo:
    """What ``ctr snapshots info`` says, which has nanoseconds."""
    found = json.loads(ctr(snapshots, daemon, "info", key))
    created, updated = (moment(found[name]) for name in ("Created", "Updated"))
    kind, labels = found["Kind"].lower(), found.get("Labels") or {}
    return SnapshotInfo(found["Name"], found.get("Parent", ""), kind, created, updated, labels)


def moment(text: str) -> datetime:
    """Go writes nanoseconds, as many digits as it takes."""
    whole, _, fraction = text.rstrip("Z").partition(".")
    return datetime.fromisoformat(f"{whole}.{fraction[:6]:0<6}+00:00")


def mounts_told(snapshots: SnapshotService, daemon: Daemon, key: str) -> list[str]:
    return ctr(snapshots, daemon, "mounts", "/x", key).split()


def command(mounts: tuple[Mount, ...]) -> list[str]:
    """As ``ctr snapshots mounts`` prints them."""
    (mount,) = mounts
    return ["mount", "-t", mount.type, mount.source, "/x", "-o", ",".join(mount.options)]


def test_a_chain(snapshots: SnapshotService, daemon: Daemon) -> None:
    for name, parent in (("one", ""), ("two", "one")):
        key = f"{name}-key"
        mounts = snapshots.prepare(key, parent, {**ROOT, "name": name})
        assert command(mounts) == mounts_told(snapshots, daemon, key)
        assert snapshots.mounts(key) == mounts
        assert mounts[0].target == ""
        active = snapshots.stat(key)
        assert (active.kind, active.parent) == ("active", parent)
        assert active == told(snapshots, daemon, key)
        with pytest.raises(AlreadyExists):
            snapshots.prepare(key, parent)
        snapshots.commit(name, key, {**ROOT, "layer": name})
        assert snapshots.stat(name) == told(snapshots, daemon, name)
        assert snapshots.stat(name).labels == {**ROOT, "layer": name}
        assert snapshots.stat(name).kind == "committed"
    view = snapshots.view("view", "two", ROOT)
    assert command(view) == mounts_told(snapshots, daemon, "view")
    assert snapshots.stat("view").kind == "view"
    found = {info.name: info for info in snapshots.list()}
    lines = [line.split() for line in ctr(snapshots, daemon, "ls").splitlines()[1:]]
    listed = {line[0]: (line[1] if len(line) > 2 else "", line[-1].lower()) for line in lines}
    assert {name: (info.parent, info.kind) for name, info in found.items()} == listed
    assert all(told(snapshots, daemon, name) == info for name, info in found.items())
    assert [info.name for info in snapshots.list(Filter("labels", "layer") == "two")] == ["two"]
    both = snapshots.list("kind==view", Filter("parent") == "one")
    assert {info.name for info in both} == {"view", "two"}
    with pytest.raises(FailedPrecondition):
        snapshots.remove("one")
    for name in ("view", "two", "one"):
        snapshots.remove(name)
    assert list(snapshots.list()) == []


def test_what_is_not_there(snapshots: SnapshotService) -> None:
    for call in (snapshots.stat, snapshots.mounts, snapshots.remove, snapshots.usage):
        with pytest.raises(NotFound):
            call("nothing")
    with pytest.raises(NotFound):
        snapshots.prepare("key", "nothing")
    with pytest.raises(NotFound):
        snapshots.commit("name", "nothing")
    with pytest.raises(NotFound):
        snapshots.update("nothing", {"a": "b"})


def test_update_masks(snapshots: SnapshotService, daemon: Daemon) -> None:
    snapshots.prepare("key", "", {**ROOT, "a": "1", "b": "2"})

    def same(info: SnapshotInfo) -> dict[str, str]:
        assert info == told(snapshots, daemon, "key")
        return info.labels

    before = snapshots.stat("key")
    assert snapshots.update("key", {}) == before
    assert same(snapshots.update("key", {"a": "", "c": "3"})) == {**ROOT, "b": "2", "c": "3"}
    some = snapshots.update("key", {"b": "4", "c": "5"}, fields=["labels.c"])
    assert same(some) == {**ROOT, "b": "2", "c": "5"}
    assert same(snapshots.update("key", {**ROOT, "x": "y"}, fields=["labels"])) == {
        **ROOT,
        "x": "y",
    }
    assert same(snapshots.update("key", ROOT, fields=())) == ROOT
    with pytest.raises(InvalidArgument):
        snapshots.update("key", {}, fields=["parent"])
    snapshots.remove("key")


def test_usage(snapshots: SnapshotService, daemon: Daemon) -> None:
    (mount,) = snapshots.prepare("key", "", ROOT)
    assert mount.type == "bind"
    with open(f"{mount.source}/file", "wb") as file:
        file.write(bytes(range(256)) * 64)
    found = snapshots.usage("key")
    ((_, size, inodes),) = [
        line.split() for line in ctr(snapshots, daemon, "usage", "-b", "key").splitlines()[1:]
    ]
    assert (found.size, found.inodes) == (int(size), int(inodes))
    assert found.size >= 16384
    snapshots.remove("key")


def test_cleanup(client: Client, daemon: Daemon) -> None:
    """containerd keeps its own snapshotters' to itself: garbage collection calls it."""
    for name in ("overlayfs", "native"):
        with pytest.raises(Unimplemented) as caught:
            client.snapshot_service(name).cleanup()
        assert daemon.version in caught.value.remedy
    with pytest.raises(InvalidArgument):
        client.snapshot_service("no such").cleanup()


def can_rebase(snapshots: SnapshotService, daemon: Daemon) -> bool:
    return snapshots.snapshotter == "overlayfs" and daemon.version_info >= (2, 2)


def test_a_parent_in_commit(snapshots: SnapshotService, daemon: Daemon) -> None:
    """Without the capability, ``native`` of 2.3 takes it, and lacks the files of the parent."""
    assert snapshots.can_rebase() is can_rebase(snapshots, daemon)
    snapshots.prepare("key", "", ROOT)
    if can_rebase(snapshots, daemon):
        with pytest.raises(NotFound):
            snapshots.commit("name", "key", ROOT, parent="below")
        assert [info.kind for info in snapshots.list()] == ["active"]
        snapshots.prepare("lower", "", ROOT)
        snapshots.commit("below", "lower", ROOT)
        snapshots.commit("name", "key", ROOT, parent="below")
        assert snapshots.stat("name").parent == "below"
        (mount,) = snapshots.view("look", "name", ROOT)
        assert len(mount.options[0].removeprefix("lowerdir=").split(":")) == 2
        assert mount.is_read_only
        for name in ("look", "name", "below"):
            snapshots.remove(name)
        return
    with pytest.raises(Unimplemented) as caught:
        snapshots.commit("name", "key", parent="below")
    assert daemon.version in caught.value.remedy
    assert "came with 2.2" in caught.value.remedy
    assert [info.kind for info in snapshots.list()] == ["active"]  # nothing was done
    snapshots.remove("key")
