"""Names of images, beside what ``ctr`` says of them."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone

import pytest

from containerd_lite import Client
from containerd_lite.errors import AlreadyExists, InvalidArgument, NotFound, Unimplemented
from containerd_lite.oci.descriptor import Descriptor
from containerd_lite.oci.image_record import ImageRecord
from containerd_lite.services.filters import Filter
from tests.e2e.services.leftovers import (
    labels_of,
    lacks,
    nothing_stays,  # noqa: F401
    rows,
)
from tests.harness import images
from tests.harness.daemon import Daemon
from tests.harness.registry import Registry

pytestmark = [
    pytest.mark.daemon,
    pytest.mark.generations,
    pytest.mark.backend,
    pytest.mark.usefixtures("nothing_stays"),
]

LONG_AGO = datetime(2001, 2, 3, 4, 5, 6, 789000, tzinfo=timezone.utc)
TARGET = Descriptor(images.OCI_MANIFEST, "sha256:" + "1" * 64, 17, {"note": "x"})
OTHER = Descriptor(images.DOCKER_MANIFEST, "sha256:" + "2" * 64, 18)


@pytest.fixture(scope="module")
def small(registry: Registry) -> str:
    """An image of few bytes, in the registry."""
    return images.push(images.scratch({"a": b"b"}), registry.host, "library/small", "1")


def listed(daemon: Daemon, namespace: str) -> dict[str, list[str]]:
    return {line[0]: line for line in rows(daemon, namespace, "images", "ls")}


@pytest.mark.registry
def test_what_ctr_pulled(client: Client, daemon: Daemon, namespace: str, small: str) -> None:
    if daemon.version_info < (2,):
        daemon.ctr("images", "pull", "--plain-http", small, namespace=namespace)
    else:
        daemon.ctr("images", "pull", "--plain-http", "--local", small, namespace=namespace)
    service = client.image_service
    daemon.ctr("images", "tag", small, "two:1", namespace=namespace)
    daemon.ctr("images", "label", "two:1", "a=b", namespace=namespace)
    found = {image.name: image for image in service.list()}
    table = listed(daemon, namespace)
    assert set(found) == {small, "two:1"} == set(table)
    for name, image in found.items():
        assert service.get(name) == image
        assert [image.target.media_type, image.target.digest] == table[name][1:3]
        assert labels_of(table[name][-1]).items() == image.labels.items()
    manifest = daemon.ctr("content", "get", found[small].target.digest, namespace=namespace).stdout
    assert found[small].target.size == len(manifest)
    assert found["two:1"].labels["a"] == "b"
    complete = rows(daemon, namespace, "images", "check")
    assert {line[0] for line in complete if "complete" in line} == set(found)
    for name in found:
        service.delete(name, sync=True)
    assert listed(daemon, namespace) == {}
    assert rows(daemon, namespace, "content", "ls") == []  # collected before that returned
    for snapshot in client.snapshot_service().list():
        raise AssertionError(f"{snapshot.name} stays")


def test_create_list_delete(client: Client, daemon: Daemon, namespace: str) -> None:
    service = client.image_service
    before = datetime.now(timezone.utc)
    made = service.create("one:1", TARGET, {"a": "b"})
    assert replace(made, created_at=None, updated_at=None) == ImageRecord(
        "one:1", TARGET, {"a": "b"}
    )
    assert made.target.annotations == {"note": "x"}
    assert made.created_at is not None
    assert made.updated_at is not None
    assert before <= made.created_at <= made.updated_at <= datetime.now(timezone.utc)
    with pytest.raises(AlreadyExists):
        service.create("one:1", TARGET)
    service.create("two:1", OTHER)
    assert service.get("one:1") == made
    table = listed_quietly(daemon, namespace)
    assert {image.name for image in service.list()} == table == {"one:1", "two:1"}
    assert [image.name for image in service.list(Filter("labels", "a") == "b")] == ["one:1"]
    by_digest = service.list(Filter("target.digest") == OTHER.digest)
    assert [image.name for image in by_digest] == ["two:1"]
    assert len(service.list("name==one:1", Filter("name").matches("^two"))) == 2
    service.delete("one:1")
    service.delete("two:1")
    assert listed_quietly(daemon, namespace) == set()
    for call in (service.get, service.delete):
        with pytest.raises(NotFound):
            call("one:1")


def listed_quietly(daemon: Daemon, namespace: str) -> set[str]:
    """The names that ``ctr`` lists; its table wants the content, too."""
    return set(daemon.ctr("images", "ls", "-q", namespace=namespace).stdout.decode().split())


def test_update_masks(client: Client) -> None:
    service = client.image_service
    service.create("x:1", TARGET, {"a": "1", "b": "2"})

    def stored(found: ImageRecord) -> ImageRecord:
        assert service.get("x:1") == found
        return found

    some = stored(service.update("x:1", OTHER, {"a": "3", "b": "4"}, fields=["labels.a"]))
    assert (some.target, some.labels) == (TARGET, {"a": "3", "b": "2"})
    labels = stored(service.update("x:1", OTHER, {"c": "5"}, fields=["labels"]))
    assert (labels.target, labels.labels) == (TARGET, {"c": "5"})
    target = stored(service.update("x:1", OTHER, {}, fields=["target"]))
    assert (target.target, target.labels) == (OTHER, {"c": "5"})
    whole = stored(service.update("x:1", TARGET, {"d": "6"}))
    assert (whole.target, whole.labels) == (TARGET, {"d": "6"})
    notes = stored(
        service.update("x:1", replace(TARGET, annotations={"n": "m"}), fields=["annotations"])
    )
    assert notes.target.annotations["n"] == "m"
    with pytest.raises(InvalidArgument):
        service.update("x:1", TARGET, fields=["created_at"])
    with pytest.raises(NotFound):
        service.update("no:1", TARGET)
    service.delete("x:1")


def test_source_date_epoch(client: Client, daemon: Daemon) -> None:
    """1.6 does not know the field, and takes its own time."""
    service = client.image_service
    has_it = daemon.version_info >= (1, 7)
    made = service.create("x:1", TARGET, source_date_epoch=LONG_AGO)
    assert (made.created_at == made.updated_at == LONG_AGO) is has_it
    later = LONG_AGO.replace(year=2002)
    updated = service.update("x:1", OTHER, source_date_epoch=later)
    assert (updated.updated_at == later) is has_it
    assert updated.created_at == made.created_at
    service.delete("x:1")


def test_delete_by_target(client: Client, daemon: Daemon, namespace: str) -> None:
    service = client.image_service
    service.create("x:1", TARGET)
    if daemon.version_info >= (2,):
        with pytest.raises(NotFound):
            service.delete("x:1", target=OTHER)
        assert listed_quietly(daemon, namespace) == {"x:1"}
        service.delete("x:1", target=TARGET)
    else:
        with pytest.raises(Unimplemented) as caught:
            service.delete("x:1", target=TARGET)
        assert lacks(caught.value, daemon, "2.0")
        assert "Images.Delete" in str(caught.value)
        assert listed_quietly(daemon, namespace) == {"x:1"}  # it would have deleted it
        service.delete("x:1")
    assert listed_quietly(daemon, namespace) == set()
