"""Schema 1 out of a real registry into a real daemon, judged by what its own ctr makes of it."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from containerd_lite import Client, ProgressEvent
from containerd_lite.images.job import Job
from containerd_lite.images.pull.convert_manifest import repair_octet_config
from containerd_lite.oci import media_types
from containerd_lite.oci.descriptor import Descriptor
from containerd_lite.oci.image_record import CONVERTED
from tests.e2e.client.test_pull import content_labels, local_flags
from tests.harness import images
from tests.harness.daemon import Daemon
from tests.harness.registry import OLD, Registry

pytestmark = [
    pytest.mark.daemon,
    pytest.mark.registry,
    pytest.mark.generations,
    pytest.mark.usefixtures("nothing_left"),
]


@pytest.fixture(scope="module")
def registry() -> Iterator[Registry]:
    """A registry that still knows schema 1."""
    with Registry(generation=OLD) as running:
        yield running


EMPTY = "sha256:a3ed95caeb02ffe68cdd9fd84406680ae93d633cb16422d00e8a7c22955b46d4"


def asked(
    registry: Registry, method: str, path: str, body: bytes | None = None
) -> tuple[http.client.HTTPResponse, bytes]:
    """Ask without a word of schema 2, as clients of then asked."""
    headers = {"Content-Type": media_types.DOCKER_SCHEMA1_SIGNED} if body else {}
    with closing(http.client.HTTPConnection(registry.host, timeout=60)) as connection:
        connection.request(method, f"/v2/{path}", body, headers)
        answer = connection.getresponse()
        said = answer.read()
        assert answer.status in (200, 201), said
        return answer, said


def with_empty_steps(config: images.Json) -> None:
    step: dict[str, Any] = {"created": "2016-01-02T03:04:05.1Z", "created_by": "RUN a && b < c"}
    empty = {**step, "empty_layer": True, "author": "me", "comment": "nothing"}
    layers = len(config["rootfs"]["diff_ids"])
    config["history"] = [empty, *[step] * layers, empty, empty]
    config["config"]["Labels"] = {"b": "<", "a": "é"}
    config["config"]["ExposedPorts"] = {"80/tcp": {}}


def published(registry: Registry, image: images.Image, repository: str) -> str:
    """Push an image of schema 2, and the schema 1 that the registry makes and signs of it."""
    images.push(image, registry.host, repository, "two")
    _, manifest = asked(registry, "GET", f"{repository}/manifests/two")
    asked(registry, "PUT", f"{repository}/manifests/one", manifest)
    return f"{registry.host}/{repository}:one"


def test_it_runs(daemon: Daemon, namespace: str, client: Client, registry: Registry) -> None:
    image = images.busybox(docker=True, change_config=with_empty_steps)
    name = published(registry, image, "schema1/runs")
    events: list[ProgressEvent] = []
    found = client.pull(name, convert_schema1=True, progress=events.append)
    assert EMPTY not in {event.name for event in events}
    assert list(found.rootfs()) == image.config["rootfs"]["diff_ids"]
    assert [step.empty_layer for step in found.config().history] == [True, False, True, True]
    checked = daemon.ctr("images", "check", namespace=namespace).stdout.decode()
    assert "incomplete" not in checked
    assert daemon.run(name, "echo", "hello", namespace=namespace) == b"hello\n"


def test_it_is_what_ctr_makes_of_it(
    daemon: Daemon, own_daemon: Daemon, namespace: str, client: Client, registry: Registry
) -> None:
    if daemon.version_info >= (2,):
        pytest.skip("containerd 2.0 and later do not convert by default")
    layers = [images.layer({str(n): bytes([n]) * 70_000}) for n in range(4)]
    image = images.build(
        [*layers, layers[1]], docker=True, cmd=["sh"], change_config=with_empty_steps
    )
    name = published(registry, image, "schema1/same")
    # A daemon that has converted one warns of it ever after: the others' is their own.
    theirs = own_daemon.new_namespace()
    own_daemon.ctr("images", "pull", *local_flags(daemon), "--plain-http", name, namespace=theirs)
    client.pull(name, convert_schema1=True)
    both = ((daemon, namespace), (own_daemon, theirs))
    ours, their = (
        place.ctr("images", "ls", f"name=={name}", namespace=space).stdout.split()[-7:]
        for place, space in both
    )
    assert ours[:-1] == their[:-1]  # the manifest's digest, the size, the platform
    assert ours[-1].startswith(f"{CONVERTED}=sha256:".encode())
    assert their[-1] in (ours[-1], b"-")  # it came with containerd 1.7.8
    blobs, their_blobs = (content_labels(*place) for place in both)
    their_blobs.pop(EMPTY, None)  # it is fetched there, to see that nothing is in it
    assert blobs == their_blobs


def test_what_is_there_is_not_fetched_again(client: Client, registry: Registry) -> None:
    image = images.random_image([9000, 8000], docker=True)
    name = published(registry, image, "schema1/again")
    events: list[ProgressEvent] = []
    first, again = (
        client.pull(name, convert_schema1=True, progress=events.append) for _ in range(2)
    )
    assert again.target == first.target
    found = [first.target, *first.manifest().children]
    new = [event.name for event in events if event.stage == "downloaded"]
    assert sorted(new) == sorted(one.digest for one in found)  # each but once


def test_garbage_collection_keeps_it(
    daemon: Daemon, namespace: str, client: Client, registry: Registry
) -> None:
    name = published(registry, images.random_image([5000, 6000], docker=True), "schema1/kept")
    client.pull(name, convert_schema1=True)
    before = content_labels(daemon, namespace).keys()
    daemon.ctr("leases", "create", "--id", "collect", namespace=namespace)
    daemon.ctr("leases", "delete", "--sync", "collect", namespace=namespace)
    assert content_labels(daemon, namespace).keys() == before
    assert len(before) == 4


def test_a_config_of_octets_is_repaired_as_ctr_repairs_it(
    daemon: Daemon, namespace: str, client: Client, registry: Registry
) -> None:
    def called_octets(manifest: images.Json) -> None:
        manifest["config"]["mediaType"] = "application/octet-stream"

    layers = [images.layer({str(n): b"x" * n}) for n in range(2)]
    image = images.build(layers, docker=True, change_manifest=called_octets)
    name = images.push(image, registry.host, "octets", "one")
    theirs = daemon.new_namespace()
    daemon.ctr("images", "pull", *local_flags(daemon), "--plain-http", name, namespace=theirs)
    with client.lease():
        store = client.content_store
        for digest, blob in image.blobs.items():
            with store.writer(digest, size=len(blob), expected=digest) as writer:
                writer.write(blob[writer.offset :])  # another namespace has it
                writer.commit()
        made = repair_octet_config(store, Descriptor.from_json(image.manifest), Job())
        client.image_service.create(name, made)
    assert made.digest != image.digest
    listed = daemon.ctr("images", "ls", f"name=={name}", namespace=theirs).stdout.decode()
    assert made.digest in listed.split()
    labels = content_labels(daemon, theirs)[made.digest]
    assert content_labels(daemon, namespace)[made.digest] == labels
    daemon.ctr("images", "rm", "--sync", name, namespace=theirs)
