"""Labels that keep objects, or let them go, by what a collection leaves."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta, timezone

import pytest

from containerd_lite import Client
from containerd_lite.errors import InvalidArgument, NotFound
from containerd_lite.oci import digest as digests
from containerd_lite.oci.descriptor import Descriptor
from containerd_lite.services._types import AnyValue
from containerd_lite.services.containers import ContainerRecord
from containerd_lite.services.lifetimes import (
    ROOT,
    expires,
    keeps_while_used,
    used_at,
    while_exists,
)
from tests.e2e.services.leftovers import nothing_stays  # noqa: F401
from tests.harness.daemon import Daemon

pytestmark = [
    pytest.mark.daemon,
    pytest.mark.generations,
    pytest.mark.backend,
    pytest.mark.usefixtures("nothing_stays"),
]

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
NOW = datetime.now(timezone.utc)
PAST, FUTURE = NOW - timedelta(days=1), NOW + timedelta(days=1)
KEPT = {ROOT: "x"}
SNAPSHOTTER = "native"
SPEC = AnyValue("types.containerd.io/opencontainers/runtime-spec/1/Spec", b"{}")


def put(client: Client, body: bytes, labels: dict[str, str]) -> str:
    digest = digests.of(body)
    with client.content_store.writer(digest, size=len(body), expected=digest) as writer:
        writer.write(body)
        return writer.commit(labels)


def put_image(client: Client, name: str, labels: dict[str, str]) -> None:
    target = Descriptor(MANIFEST, "sha256:" + "1" * 64, 17)
    client.image_service.create(name, target, labels)


def collect(client: Client) -> None:
    """Deletes a lease, and waits for the collection that this brings."""
    service = client.lease_service
    service.delete(service.create().id, sync=True)


def there(client: Client) -> set[str]:
    """The bodies of the content, the names of the images and the keys of the snapshots."""
    store = client.content_store
    found = {store.reader(info.digest).read().decode() for info in store.walk()}
    found |= {image.name for image in client.image_service.list()}
    return found | {info.name for info in client.snapshot_service(SNAPSHOTTER).list()}


def put_target(client: Client, kind: str) -> tuple[str, Callable[[], None]]:
    """Creates an object of a kind that collections leave; returns its id and how to remove it."""
    if kind == "content":
        digest = put(client, b"target", KEPT)
        return digest, lambda: client.content_store.delete(digest)
    if kind == "image":
        put_image(client, "target", {})
        return "target", lambda: client.image_service.delete("target", sync=True)
    if kind == "container":
        client.container_service.create(
            ContainerRecord("target", runtime="io.containerd.runc.v2", spec=SPEC)
        )
        return "target", lambda: client.container_service.delete("target")
    snapshots = client.snapshot_service(SNAPSHOTTER)
    snapshots.prepare("target", labels=KEPT)
    return "target", lambda: snapshots.remove("target")


@pytest.mark.parametrize("name", ["", "mine"])
@pytest.mark.parametrize("kind", ["content", "image", "container", f"snapshot.{SNAPSHOTTER}"])
def test_what_exists_as_long_as_another(
    daemon: Daemon, client: Client, kind: str, name: str
) -> None:
    id, remove = put_target(client, kind)
    label = while_exists(kind, id, name)
    dead = while_exists(kind, "sha256:" + "2" * 64, name)
    with client.lease():
        put(client, b"content", label)
        put(client, b"lost content", dead)
        client.snapshot_service(SNAPSHOTTER).prepare("snapshot", labels=label)
        client.snapshot_service(SNAPSHOTTER).prepare("lost snapshot", labels=dead)
        put_image(client, "image", {**label, **expires(PAST)})
        put_image(client, "lost image", {**dead, **expires(PAST)})
    collect(client)
    has_labels = daemon.version_info >= (2, 2)
    kept = {"content", "snapshot", "image"} if has_labels else set()
    target = {"content": {"target"}, "container": set[str]()}.get(kind, {"target"})
    assert there(client) == kept | target | images_that_stay(daemon, "image", "lost image")
    remove()
    collect(client)
    assert there(client) == images_that_stay(daemon, "image", "lost image")
    remove_images(client)


def images_that_stay(daemon: Daemon, *names: str) -> set[str]:
    """Daemons before 2.0 keep expired images."""
    return set(names) if daemon.version_info < (2,) else set()


def remove_images(client: Client) -> None:
    for image in client.image_service.list():
        with suppress(NotFound):
            client.image_service.delete(image.name, sync=True)


def test_images_that_expire(daemon: Daemon, client: Client) -> None:
    put_image(client, "old", expires(PAST))
    put_image(client, "new", expires(FUTURE))
    put_image(client, "ever", {})
    collect(client)
    assert there(client) == {"new", "ever", *images_that_stay(daemon, "old")}
    remove_images(client)


def test_snapshots_that_were_used_lately(daemon: Daemon, client: Client) -> None:
    snapshots, kept = client.snapshot_service(SNAPSHOTTER), keeps_while_used
    hour, day = timedelta(hours=1), timedelta(days=1)
    used = {"fresh": used_at(NOW - hour), "stale": used_at(NOW - day), "unknown": {}}
    image = {**kept(SNAPSHOTTER, "fresh", 7200), **kept(SNAPSHOTTER, "stale", 7200, "second")}
    content = {**kept(SNAPSHOTTER, "by content", 7200), **kept(SNAPSHOTTER, "unknown", 7200, "2")}
    with client.lease():
        for key, label in {**used, "by content": used["fresh"], "by none": used["fresh"]}.items():
            snapshots.prepare(key, labels=label)
        put_image(client, "image", image)
        put(client, b"content", {**KEPT, **content})
    collect(client)
    found = {"fresh", "by content"} if daemon.version_info >= (2, 3) else set()
    assert there(client) == {"image", "content", *found}
    if found:
        snapshots.update("fresh", used["stale"])
    remove_content(client)
    collect(client)
    assert there(client) == {"image"}
    remove_images(client)


def remove_content(client: Client) -> None:
    for info in client.content_store.walk():
        client.content_store.delete(info.digest)


def test_a_new_name_does_not_expire_with_the_old_one(client: Client) -> None:
    """A copy of an expired image would go at the next collection."""
    digest = put(client, b"manifest", KEPT)
    target = Descriptor(MANIFEST, digest, len(b"manifest"))
    bound = {**while_exists("image", "main"), **expires(PAST), "own": "label"}
    for name in ("docker.io/library/main:1", "docker.io/library/extra:1"):
        client.image_service.create(name, target, bound if "extra" in name else {})
    tagged = client.tag("extra:1", "mine:1")
    assert tagged.labels == {**while_exists("image", "main"), "own": "label"}
    collect(client)
    assert "docker.io/library/mine:1" in there(client)
    remove_images(client)
    remove_content(client)


def test_a_time_without_a_zone() -> None:
    for label in (expires, used_at):
        with pytest.raises(InvalidArgument, match="no time zone"):
            label(datetime(2026, 1, 1))
