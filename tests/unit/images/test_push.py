"""Pushing from a layout to a pusher of the test's own: the seam that callers have."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from containerd_lite import ProgressEvent
from containerd_lite.errors import (
    Cancelled,
    DigestMismatch,
    InvalidArgument,
    NotFound,
    RegistryUnavailable,
)
from containerd_lite.images.job import Job
from containerd_lite.images.platforms import Platforms
from containerd_lite.images.push.push import push
from containerd_lite.oci.content import ContentInfo
from containerd_lite.oci.descriptor import Descriptor
from containerd_lite.registry.upload import Outcome
from containerd_lite.store.layout_store import LayoutStore
from tests.harness import images
from tests.unit.images.shelf import (
    AMD,
    ARM,
    FOREIGN,
    INDEX,
    PPC,
    Json,
    Shelf,
    layout_of,
    with_entries,
)


def test_all_of_an_index_in_order(tmp_path: Path) -> None:
    shelf = Shelf()
    pushed = layout_of(tmp_path, INDEX).push("localhost/it:1", resolver=shelf)
    assert pushed.digest == INDEX.digest == shelf.names["it"]
    assert shelf.bodies == INDEX.blobs
    assert sorted(shelf.order) == sorted(INDEX.blobs)  # each once
    documents = [image.digest for image in (AMD, ARM, PPC)]
    assert set(shelf.order[-4:-1]) == set(documents)
    assert shelf.order[-1] == INDEX.digest


@pytest.mark.parametrize("workers", [1, 3])
def test_indexes_in_indexes_that_share(tmp_path: Path, workers: int) -> None:
    """The outer one names the inner's child first: "the last found first" would be wrong."""
    inner = images.index_of({"linux/amd64": AMD})
    middle = images.index_of({"linux/arm64": inner})
    outer = with_entries(INDEX, inner.manifest, middle.manifest)
    whole = images.Image(outer.manifest, {**outer.blobs, **inner.blobs, **middle.blobs})
    shelf = Shelf()
    layout = layout_of(tmp_path, whole)
    layout.push("localhost/it:1", resolver=shelf, max_concurrent_uploads=workers)
    assert shelf.bodies == whole.blobs
    assert shelf.order.index(inner.digest) < shelf.order.index(middle.digest)
    assert shelf.order[-1] == whole.digest


def test_what_to_push(tmp_path: Path) -> None:
    layout = layout_of(tmp_path, AMD)
    for target in ("localhost/it:1", layout.get_image("localhost/it:1"), None):
        shelf = Shelf()
        name = "localhost/it:1" if target is None else "localhost/another:1"
        assert layout.push(name, target, resolver=shelf).digest == AMD.digest
        assert shelf.bodies == AMD.blobs
    descriptor = Descriptor.from_json(AMD.manifest)
    assert layout.push("localhost/x", descriptor, resolver=Shelf()) == descriptor
    with pytest.raises(NotFound, match="localhost/nothing"):
        layout.push("localhost/nothing:1", resolver=Shelf())
    with pytest.raises(InvalidArgument, match="must be a manifest"):
        layout.push("localhost/x", Descriptor.from_json(AMD.layers[0]), resolver=Shelf())
    with pytest.raises(DigestMismatch, match="holds a digest"):
        layout.push(f"localhost/x@{ARM.digest}", descriptor, resolver=Shelf())


def test_foreign_layers_and_inline_data(tmp_path: Path) -> None:
    away, here, inline = b"far away", b"foreign, but here", b"inline"
    layers = [
        {**images.descriptor(FOREIGN, away), "urls": ["http://localhost/away"]},
        {**images.descriptor(FOREIGN, here), "urls": ["http://localhost/here"]},
        {**images.descriptor("text/plain", inline), "data": "aW5saW5l"},
    ]

    def change(manifest: Json) -> None:
        manifest["layers"] += layers

    image = images.random_image([10], change_manifest=change)
    blobs = {**image.blobs, images.digest_of(here): here}
    shelf = Shelf()
    layout = layout_of(tmp_path, images.Image(image.manifest, blobs))
    layout.push("localhost/it:1", resolver=shelf)
    assert shelf.bodies == {**blobs, images.digest_of(inline): inline}


def test_a_foreign_layer_without_a_place_is_missing(tmp_path: Path) -> None:
    away = images.descriptor(FOREIGN, b"nowhere")
    image = images.random_image(
        [10], change_manifest=lambda manifest: manifest["layers"].append(away)
    )
    with pytest.raises(NotFound, match=away["digest"]):
        layout_of(tmp_path, image).push("localhost/it:1", resolver=Shelf())


def test_the_first_failure_is_told_and_stops_the_others(tmp_path: Path) -> None:
    image = images.random_image([1000] * 3)
    everybody = threading.Barrier(3)
    ended: list[BaseException] = []
    layers = [layer["digest"] for layer in image.layers]

    class Failing(Shelf):
        def push(self, descriptor: Descriptor, *args: Any, **options: Any) -> Outcome:
            if descriptor.digest not in layers:
                return super().push(descriptor, *args, **options)
            everybody.wait(5)
            if descriptor.digest == layers[1]:
                raise RegistryUnavailable("gone")
            assert job.stop.wait(5)
            try:
                return super().push(descriptor, *args, **options)
            except Cancelled as error:
                ended.append(error)
                raise

    job = Job()
    shelf = Failing()
    store = layout_of(tmp_path, image).content_store
    root = Descriptor.from_json(image.manifest)
    with pytest.raises(RegistryUnavailable, match="gone"):
        push(
            store,
            shelf,
            "localhost/it:1",
            target=root,
            platforms=None,
            job=job,
            max_concurrent_uploads=4,
        )
    assert len(ended) == 2
    assert image.digest not in shelf.bodies
    assert not any(t.name.startswith("containerd-lite") for t in threading.enumerate())


def test_a_callback_that_raises_ends_it(tmp_path: Path) -> None:
    def complain(event: ProgressEvent) -> None:
        raise ValueError("enough")

    shelf = Shelf()
    with pytest.raises(ValueError, match="enough"):
        layout_of(tmp_path, AMD).push("localhost/it:1", resolver=shelf, progress=complain)
    assert shelf.names == {}


class Labelled(LayoutStore):
    """A layout that knows where its content came from."""

    labels: dict[str, dict[str, str]]

    def info(self, digest: str) -> ContentInfo:
        found = super().info(digest)
        return ContentInfo(
            digest, found.size, found.created_at, found.updated_at, self.labels.get(digest, {})
        )


def test_where_it_may_be_mounted_from(tmp_path: Path) -> None:
    images.write_layout(AMD, tmp_path)
    config, first, second = (one["digest"] for one in [AMD.json()["config"], *AMD.layers])
    key = "containerd.io/distribution.source.registry.example"
    store = Labelled(tmp_path)
    store.labels = {
        AMD.digest: {key: "a/b,team/app/web"},
        config: {key: "z,team/app/base,team/other,team/app"},
        first: {"containerd.io/distribution.source.elsewhere": "team/app/secret"},
        second: {key: "../x,UPPER,team/app/new,,a b"},
    }
    shelf = Shelf()
    root = Descriptor.from_json(AMD.manifest)
    push(
        store,
        shelf,
        "registry.example:5000/team/app/new:1",
        target=root,
        platforms=None,
        job=Job(),
        chunk_size=9,
    )
    assert shelf.asked[config] == ("team/app", "team/app/base", "team/app/web", "team/other")
    assert shelf.asked[first] == shelf.asked[second] == ("team/app/web", "a/b")
    assert shelf.chunks == {9}
    push(store, shelf := Shelf(), "A name of another kind", target=root, platforms=None, job=Job())
    assert set(shelf.asked.values()) == {()}


def test_platforms_of_a_single_manifest_are_not_looked_at(tmp_path: Path) -> None:
    """As in containerd: who names a manifest gets it."""
    layout = layout_of(tmp_path, ARM)
    root = Descriptor.from_json(ARM.manifest)
    wanted = Platforms.of("linux/amd64")
    assert (
        push(
            layout.content_store, Shelf(), "localhost/it", target=root, platforms=wanted, job=Job()
        )
        == root
    )


def test_documents_are_believed_only_if_they_are_right(tmp_path: Path) -> None:
    layout = layout_of(tmp_path, AMD)
    path = tmp_path / "blobs" / "sha256" / AMD.digest[7:]
    path.write_bytes(path.read_bytes().replace(b"layers", b"Layers"))
    with pytest.raises(DigestMismatch):
        layout.push("localhost/it:1", resolver=Shelf())


def test_tag(tmp_path: Path) -> None:
    layout = layout_of(tmp_path, AMD)
    tagged = layout.tag("localhost/it:1", "other")
    assert tagged.name == "docker.io/library/other:latest"
    assert layout.get_image("other").target.digest == AMD.digest
    layout.tag(tagged, "localhost/third:1")
    layout.tag(tagged.target, "localhost/fourth:1")
    assert len(layout.list_images()) == 4
    with pytest.raises(NotFound):
        layout.tag("localhost/nothing", "x")
    with pytest.raises(NotFound):
        layout.tag(Descriptor.from_json(ARM.manifest), "x")
    with pytest.raises(InvalidArgument):
        layout.tag(tagged, "No Name!")
    for tag in (tagged.tag, lambda name: layout.tag(tagged, name)):
        assert tag(f"localhost/it@{AMD.digest}").target.digest == AMD.digest
        with pytest.raises(DigestMismatch):
            tag(f"localhost/it@{ARM.digest}")
        layout.content_store.delete(AMD.digest)
        with pytest.raises(NotFound):
            tag("localhost/fifth:1")
        (tmp_path / "more").mkdir(exist_ok=True)
        layout_of(tmp_path, AMD)
