"""Leases and what they hold, beside what ``ctr`` says of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timezone

import pytest

from containerd_lite import Client
from containerd_lite.errors import AlreadyExists, InvalidArgument, NotFound, Unimplemented
from containerd_lite.services.filters import Filter
from containerd_lite.services.leases import EXPIRE, Resource
from containerd_lite.services.snapshots import SnapshotService
from tests.conftest import Count
from tests.e2e.services.leftovers import (
    labels_of,
    nothing_stays,  # noqa: F401
    rows,
)
from tests.harness.daemon import Daemon
from tests.harness.interrupts import Interrupt, Tracer

pytestmark = [
    pytest.mark.daemon,
    pytest.mark.generations,
    pytest.mark.backend,
    pytest.mark.usefixtures("nothing_stays"),
]


def test_create_list_delete(client: Client, daemon: Daemon, namespace: str) -> None:
    service = client.lease_service
    made = service.create("one", {"a": "b"})
    assert (made.id, made.labels) == ("one", {"a": "b"})
    daemon.ctr("leases", "create", "--id", "two", "c=d", namespace=namespace)
    with pytest.raises(AlreadyExists):
        service.create("two")
    unnamed = service.create()
    assert unnamed.id not in ("", "one", "two")
    found = {lease.id: lease for lease in service.list()}
    assert found["one"] == made
    listed = {line[0]: line for line in rows(daemon, namespace, "leases", "ls")}
    assert set(found) == {"one", "two", unnamed.id} == set(listed)
    for id, lease in found.items():
        when = datetime.strptime(listed[id][1], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
        assert lease.created_at.replace(microsecond=0) == when
        assert lease.labels == labels_of(listed[id][2])
    assert found["two"].labels.pop(EXPIRE) > made.created_at.isoformat()
    assert [lease.id for lease in service.list(Filter("labels", "a") == "b")] == ["one"]
    assert {lease.id for lease in service.list("id==one", Filter("id") == "two")} == {"one", "two"}
    for id in found:
        service.delete(id)
    assert rows(daemon, namespace, "leases", "ls") == []
    with pytest.raises(NotFound):
        service.delete("one")


def test_a_lease_holds_until_it_is_deleted(client: Client, daemon: Daemon, namespace: str) -> None:
    service = client.lease_service
    id = service.create("holder").id
    mine = client.snapshot_service().with_options(lease=id)
    mine.prepare("key")
    snapshot = Resource("key", "snapshots/overlayfs")
    assert service.list_resources(id) == [snapshot]
    other = service.create("other").id  # or garbage collection may take it in between
    service.add_resource(other, snapshot)
    service.delete_resource(id, snapshot)
    assert service.list_resources(id) == []
    service.add_resource(id, snapshot)
    service.add_resource(id, snapshot)
    service.delete(other)
    assert service.list_resources(id) == [snapshot]
    assert [line[0] for line in rows(daemon, namespace, "snapshots", "ls")] == ["key"]
    service.delete(id, sync=True)  # and with it, before it returns, what it held
    assert rows(daemon, namespace, "snapshots", "ls") == []


def find(snapshots: SnapshotService) -> None:
    snapshots.stat("top")


def prepare(snapshots: SnapshotService) -> None:
    with pytest.raises(AlreadyExists):
        snapshots.prepare("again", "bottom", {"containerd.io/snapshot.ref": "top"})


def commit(snapshots: SnapshotService) -> None:
    snapshots.prepare("other", "")
    with pytest.raises(AlreadyExists):
        snapshots.commit("top", "other")
    snapshots.remove("other")


@pytest.mark.parametrize(("use", "since"), [(find, None), (prepare, (1, 7)), (commit, (1, 7))])
def test_which_calls_hold_a_snapshot_that_exists(
    client: Client,
    daemon: Daemon,
    use: Callable[[SnapshotService], None],
    since: tuple[int, int] | None,
) -> None:
    """On every daemon, ``add_resource`` does, which is why the client's methods call it.

    A lease that holds a snapshot also holds its parent.
    """
    service, snapshots = client.lease_service, client.snapshot_service()
    owner, id = service.create().id, service.create().id
    made = snapshots.with_options(lease=owner)
    for name, parent in (("bottom", ""), ("top", "bottom")):
        made.prepare(f"{name}-key", parent)
        made.commit(name, f"{name}-key")
    use(snapshots.with_options(lease=id))
    service.delete(owner, sync=True)
    holds = since is not None and daemon.version_info >= since
    assert {info.name for info in snapshots.list()} == ({"bottom", "top"} if holds else set())
    service.delete(id, sync=True)


def renewing() -> bool:
    return "containerd-lite-lease" in [thread.name for thread in threading.enumerate()]


@pytest.mark.turns(2)
def test_a_lease_is_renewed_while_its_block_runs(
    client: Client, daemon: Daemon, namespace: str
) -> None:
    service, expires = client.lease_service, 2.0
    with client.lease(expires=expires) as id:
        snapshot = client.snapshot_service()
        snapshot.prepare("before")
        time.sleep(expires * 1.2)
        assert [lease.id for lease in service.list()] == [id]
        snapshot.prepare("after")
        time.sleep(expires)
        service.delete(service.create().id, sync=True)  # and what nothing holds
        held = sorted(line[0] for line in rows(daemon, namespace, "snapshots", "ls"))
        assert held == ["after", "before"]
    assert service.list() == []
    assert not renewing()


def test_a_lease_that_somebody_deletes_is_not_renewed(client: Client) -> None:
    service = client.lease_service
    with client.lease(expires=1.0) as id:
        assert renewing()
        service.delete(id)
        time.sleep(0.8)
        assert service.list() == []
        assert not renewing()


@pytest.mark.turns(2)
def test_a_lease_with_an_id_and_labels_that_another_client_joins(
    client: Client, daemon: Daemon, namespace: str
) -> None:
    service = client.lease_service
    with client.lease(id="mine", labels={"a": "b"}) as id:
        (made,) = service.list()
        assert (id, made.id, made.labels["a"]) == ("mine", "mine", "b")
        with pytest.raises(AlreadyExists, match="mine"), client.lease(id="mine"):
            pytest.fail("it was made twice")
        with Client(daemon.address, namespace=namespace) as other:
            with other.lease_service.joining("mine"), other.lease() as joined:
                other.snapshot_service().prepare("joined")
            with other.lease_service.joining("none"), pytest.raises(NotFound):
                other.snapshot_service().prepare("lost")
        assert joined == "mine"
        with client.lease(labels={"inner": ""}) as inner:
            assert inner != id
            client.snapshot_service().prepare("inner")
            assert [held.id for held in service.list_resources(inner)] == ["inner"]
        service.delete(service.create().id, sync=True)  # and what nothing holds
        assert [line[0] for line in rows(daemon, namespace, "snapshots", "ls")] == ["joined"]
    service.delete(service.create().id, sync=True)
    assert rows(daemon, namespace, "snapshots", "ls") == []


@pytest.mark.turns(2)
def test_a_renewed_lease_keeps_its_id_and_labels(client: Client) -> None:
    service = client.lease_service
    with client.lease(id="mine", labels={"a": "b"}, expires=1.0):
        (made,) = service.list()
        while (found := service.list("id==mine")) == [made] or not found:
            assert renewing()  # a renewal deletes the lease for a moment
        (renewed,) = found
        assert renewed.labels.pop(EXPIRE) > made.labels.pop(EXPIRE)
        assert renewed.labels == made.labels == {"a": "b"}
    assert service.list() == []


def test_an_interrupt_leaves_the_lease_of_another_client(client: Client, count: Count) -> None:
    service = client.lease_service
    made = service.create("taken", {"a": "b"})
    for at in range(0, 10_000, count(40, 1)):
        tracer = Tracer("services", at)
        with suppress(Interrupt, AlreadyExists), tracer, client.lease(id="taken"):
            pytest.fail("it was made twice")
        assert service.list() == [made]
        if not tracer.hit:
            break
    service.delete("taken")


@pytest.mark.parametrize("expires", [-1, 0, 0.99, float("nan"), float("inf"), 1e30])
def test_a_time_that_no_lease_can_have(client: Client, expires: float) -> None:
    with pytest.raises(InvalidArgument, match="at least 1"), client.lease(expires=expires):
        pytest.fail("it was made")


@pytest.mark.parametrize(("part", "few"), [("services", 3), ("transport", 29)])
def test_an_interrupt_anywhere_leaves_no_lease(
    client: Client, count: Count, part: str, few: int
) -> None:
    hits = 0
    for at in range(0, 10_000, count(few, 1)):
        with suppress(Interrupt), Tracer(part, at) as tracer, client.lease():
            pass
        assert client.lease_service.list() == []
        if not tracer.hit:
            break
        hits += 1
    assert hits > 8


def test_resources_of_every_type(client: Client, daemon: Daemon) -> None:
    service = client.lease_service
    id = service.create().id
    held = [
        Resource("sha256:" + "0" * 64, "content"),
        Resource("ref", "ingests"),
        Resource("key", "snapshots/native"),
    ]
    for resource in held:
        service.add_resource(id, resource)
    image = Resource("example.org/image:1", "images")
    if daemon.version_info >= (2,):
        service.add_resource(id, image)
        held.append(image)
    else:
        for call in (service.add_resource, service.delete_resource):
            with pytest.raises(Unimplemented) as caught:
                call(id, image)
            assert daemon.version in caught.value.remedy
            assert caught.value.remedy.endswith("came with 2.0")
    assert set(service.list_resources(id)) == set(held)
    for resource in held:
        service.delete_resource(id, resource)
    assert service.list_resources(id) == []
    service.delete(id)
    with pytest.raises(NotFound):
        service.list_resources(id)
    for call in (service.add_resource, service.delete_resource):
        with pytest.raises(NotFound):
            call(id, held[0])
