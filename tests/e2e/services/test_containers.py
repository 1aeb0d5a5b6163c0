"""Every RPC of the containers service, beside what ``ctr`` says of the same container."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from containerd_lite import Client
from containerd_lite.errors import AlreadyExists, InvalidArgument, NotFound
from containerd_lite.services._types import AnyValue, runtime_spec
from containerd_lite.services.containers import ContainerRecord, ContainerService
from containerd_lite.services.filters import Filter
from tests.e2e.services.leftovers import nothing_stays  # noqa: F401
from tests.harness.daemon import Daemon

pytestmark = [
    pytest.mark.daemon,
    pytest.mark.generations,
    pytest.mark.backend,
    pytest.mark.usefixtures("nothing_stays"),
]

SPEC = runtime_spec({"ociVersion": "1.0.2", "hostname": "a"})
FULL = ContainerRecord(
    id="full",
    image="docker.io/library/nothing:latest",
    runtime="io.containerd.runc.v2",
    runtime_options=AnyValue.of("containerd.runc.v1.Options", {"binary_name": "runc"}),
    spec=SPEC,
    snapshotter="overlayfs",
    snapshot_key="a-key",
    labels={"a.b/c": "d"},
    extensions={"ours": AnyValue("a.B", b"\x00\xff"), "theirs": AnyValue("c.D", b"")},
    sandbox="a-sandbox",
)


@pytest.fixture
def containers(client: Client) -> ContainerService:
    return client.container_service


@pytest.fixture
def told(daemon: Daemon, namespace: str) -> Callable[..., Any]:
    """What ``ctr containers info`` says of a container."""

    def info(id: str) -> Any:
        return json.loads(daemon.ctr("containers", "info", id, namespace=namespace).stdout)

    return info


def test_every_field_is_stored(
    daemon: Daemon, containers: ContainerService, told: Callable[..., Any]
) -> None:
    made = containers.create(FULL)
    kept = FULL if daemon.version_info >= (1, 7) else replace(FULL, sandbox="")
    assert made.created_at == made.updated_at is not None
    assert replace(made, created_at=None, updated_at=None) == kept
    assert containers.get("full") == made
    theirs = told("full")
    for field, value in (
        ("ID", "full"),
        ("Image", FULL.image),
        ("Snapshotter", "overlayfs"),
        ("SnapshotKey", "a-key"),
        ("Labels", FULL.labels),
    ):
        assert theirs[field] == value
    assert theirs["Runtime"]["Name"] == FULL.runtime
    assert theirs["Spec"]["hostname"] == "a"
    assert set(theirs["Extensions"]) == {"ours", "theirs"}
    assert theirs.get("SandboxID", "") == kept.sandbox
    with pytest.raises(AlreadyExists):
        containers.create(FULL)
    containers.delete("full")
    for call in (containers.get, containers.delete):
        with pytest.raises(NotFound):
            call("full")


def test_what_must_be_there(daemon: Daemon, containers: ContainerService) -> None:
    for wrong, why in (
        (replace(FULL, runtime=""), "Runtime"),
        (replace(FULL, id="a/b"), "ID"),
        (replace(FULL, snapshotter=""), "Snapshotter"),
    ):
        with pytest.raises(InvalidArgument, match=why):
            containers.create(wrong)
    without = replace(FULL, spec=None)
    if daemon.version_info < (1, 7):
        with pytest.raises(InvalidArgument, match="Spec"):
            containers.create(without)
    else:  # newer ones only mean to refuse it
        made = containers.create(without)
        assert made.spec in (None, AnyValue("", b""))
        containers.delete("full")


def test_update_changes_what_it_names(
    containers: ContainerService, told: Callable[..., Any]
) -> None:
    before = containers.create(FULL)
    other = replace(
        FULL,
        image="new",
        spec=runtime_spec({"hostname": "b"}),
        snapshot_key="new",
        labels={"x": "y", "p.q": "z"},
        extensions={"mine": AnyValue("e.F", b"1"), "ours": AnyValue("g.H", b"2")},
    )
    made = containers.update(other, ["labels.p.q"])
    assert made.labels == {"a.b/c": "d", "p.q": "z"}
    assert replace(made, labels=FULL.labels, updated_at=before.updated_at) == before
    assert made.updated_at is not None
    assert before.updated_at is not None
    assert made.updated_at > before.updated_at
    assert containers.update(replace(FULL, labels={}), ["labels.p.q"]).labels == {"a.b/c": "d"}
    containers.update(other, ["image", "snapshot_key"])
    theirs = told("full")
    assert (theirs["Image"], theirs["SnapshotKey"]) == ("new", "new")
    assert (theirs["Labels"], theirs["Spec"]["hostname"]) == (FULL.labels, "a")
    containers.update(other, ["spec", "labels", "extensions.ours"])
    theirs = told("full")
    assert (theirs["Labels"], theirs["Spec"]["hostname"]) == (other.labels, "b")
    stored = containers.get("full").extensions
    assert stored == {**FULL.extensions, "ours": other.extensions["ours"]}
    for field in ("runtime", "snapshotter", "nothing"):
        with pytest.raises(InvalidArgument, match=field):
            containers.update(other, [field])
    containers.delete("full")
    with pytest.raises(NotFound):
        containers.update(FULL, ["image"])


def test_update_of_everything(containers: ContainerService, told: Callable[..., Any]) -> None:
    containers.create(FULL)
    new = {"new": AnyValue("e.F", b"1")}
    containers.update(replace(FULL, image="new", labels={"x": "y"}, extensions=new))
    theirs = told("full")
    assert (theirs["Image"], theirs["Labels"]) == ("new", {"x": "y"})
    stored = containers.get("full").extensions
    assert stored == {**FULL.extensions, **new}  # daemons add to extensions, and remove none
    containers.update(FULL, ["extensions.new"])
    assert containers.get("full").extensions["new"] == AnyValue("", b"")
    for other in (replace(FULL, runtime="io.x.y.v1"), replace(FULL, snapshotter="native")):
        with pytest.raises(InvalidArgument, match="immutable"):
            containers.update(other)
    containers.delete("full")


def test_lists(daemon: Daemon, namespace: str, containers: ContainerService) -> None:
    names = [f"c{n}" for n in range(5)]
    for name in names:
        labels = {"a/b.c": 'quoted "so"'} if name == "c3" else {}
        containers.create(replace(FULL, id=name, labels=labels))

    def ids(*filters: str) -> list[str]:
        found = [one.id for one in containers.list(*filters)]
        assert found == [one.id for one in containers.stream(*filters)]
        return found

    theirs = daemon.ctr("containers", "ls", "-q", namespace=namespace).stdout.decode().split()
    assert sorted(ids()) == theirs == names
    assert ids(Filter("labels", "a/b.c") == 'quoted "so"') == ["c3"]
    assert sorted(ids("id==c1", "id==c4")) == ["c1", "c4"]
    assert ids('id==c1,labels."a/b.c"') == []
    with pytest.raises(InvalidArgument, match="filters"):
        ids("==")
    first = next(stream := containers.stream())
    assert first.id in names
    del stream  # and with it the call
    for name in names:
        containers.delete(name)
    assert ids() == []


def test_list_in_one_message(client: Client, containers: ContainerService) -> None:
    """What daemons before 1.2 are asked, these still answer."""
    made = containers.create(FULL)
    found = client.call("containerd.services.containers.v1.Containers/List", {"filters": []})
    (only,) = found.containers
    assert (only.id, only.snapshot_key) == (made.id, made.snapshot_key)
    containers.delete("full")
