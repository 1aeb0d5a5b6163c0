"""Export from a layout, read back with Python's tarfile."""

from __future__ import annotations

import io
import json
import os
import tarfile
import threading
import tracemalloc
from pathlib import Path

import pytest

from containerd_lite import Layout, ProgressEvent
from containerd_lite.errors import (
    DataLoss,
    DigestMismatch,
    InvalidArgument,
    NoMatchingPlatform,
    NotFound,
)
from containerd_lite.images.image import Image
from containerd_lite.oci.descriptor import Descriptor
from tests.harness import images
from tests.unit.images import archives

HERE = images.machine_platform()
OTHER = "linux/s390x"
OURS = images.random_image([200_000, 3_000_000])
THEIRS = images.random_image([5000], seed=2, platform=OTHER)
INDEX = images.index_of({OTHER: THEIRS, HERE: OURS})
NAME = "docker.io/library/app:1"


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(images.write_layout(INDEX, tmp_path / "layout", NAME))


def layout_of(image: images.Image, folder: Path, *names: str) -> Layout:
    layout = Layout(images.write_layout(image, folder, names[0] if names else NAME))
    for name in names[1:]:
        layout.get_image(names[0]).tag(name)
    return layout


def exported(layout: Layout, *sources: str | Descriptor | Image, **options: object) -> bytes:
    target = io.BytesIO()
    layout.export_images(target, *sources, **options)  # type: ignore[arg-type]
    return target.getvalue()


def blobs_in(archive: bytes) -> set[str]:
    found = set()
    for name, body in archives.unpacked(archive).items():
        if name.startswith("blobs/"):
            algorithm, digits = name.split("/")[1:]
            assert images.digest_of(body) == f"{algorithm}:{digits}"
            found.add(images.digest_of(body))
    return found


def test_what_an_archive_is_made_of(layout: Layout) -> None:
    archive = exported(layout, "app:1")
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        members = tar.getmembers()
    names = [member.name + "/" * member.isdir() for member in members]
    assert names == sorted(names)
    assert names[:2] == ["blobs/", "blobs/sha256/"]
    assert names[-3:] == ["index.json", "manifest.json", "oci-layout"]
    for member in members:
        assert (member.uid, member.gid, member.uname, member.gname, member.mtime) == (
            0, 0, "", "", 0,
        )  # fmt: skip
        wanted = 0o755 if member.isdir() else 0o444 if "blobs" in member.name else 0o644
        assert member.mode == wanted
    files = archives.unpacked(archive)
    assert json.loads(files["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    (entry,) = json.loads(files["index.json"])["manifests"]
    assert entry == archives.named(INDEX, NAME)
    (saved,) = json.loads(files["manifest.json"])
    place = "blobs/sha256/{}".format
    assert saved == {
        "Config": place(OURS.json()["config"]["digest"][7:]),
        "RepoTags": ["app:1"],
        "Layers": [place(layer["digest"][7:]) for layer in OURS.layers],
    }


def test_an_index_is_whole_and_its_content_chosen(layout: Layout) -> None:
    assert blobs_in(exported(layout, NAME)) == {INDEX.digest, *OURS.blobs}
    assert blobs_in(exported(layout, NAME, platform=OTHER)) == {INDEX.digest, *THEIRS.blobs}
    assert blobs_in(exported(layout, NAME, all_platforms=True)) == INDEX.blobs.keys()
    assert blobs_in(exported(layout, NAME, platform=[HERE, OTHER])) == INDEX.blobs.keys()
    with pytest.raises(NoMatchingPlatform):
        exported(layout, NAME, platform="linux/riscv64")


def test_the_same_images_make_the_same_archive(layout: Layout, tmp_path: Path) -> None:
    first = exported(layout, NAME, all_platforms=True)
    other = Layout(tmp_path / "other")
    other.import_images(io.BytesIO(first), all_platforms=True)
    assert exported(other, NAME, all_platforms=True) == first
    assert exported(layout, NAME) == exported(other, layout.get_image(NAME)) != first


def test_several_images(tmp_path: Path) -> None:
    layout = layout_of(OURS, tmp_path / "layout", NAME, "host.example/app:2", "app@" + OURS.digest)
    pinned = f"docker.io/library/app@{OURS.digest}"
    files = archives.unpacked(exported(layout, NAME, "host.example/app:2", pinned, NAME))
    entries = json.loads(files["index.json"])["manifests"]
    assert [entry["annotations"][archives.REF_NAME] for entry in entries] == ["1", OURS.digest, "2"]
    (saved,) = json.loads(files["manifest.json"])
    assert saved["RepoTags"] == ["app:1", "host.example/app:2"]


def test_the_order_in_which_images_are_named_does_not_matter(tmp_path: Path) -> None:
    layout = layout_of(OURS, tmp_path / "layout", NAME, "host.example/app:2")
    names = [NAME, "host.example/app:2"]
    assert exported(layout, *names) == exported(layout, *reversed(names))


def test_names_that_are_tags_stay_so(tmp_path: Path) -> None:
    """As skopeo and umoci name what is in a layout."""
    archive = exported(layout_of(OURS, tmp_path / "layout", "v1"), "v1")
    files = archives.unpacked(archive)
    (entry,) = json.loads(files["index.json"])["manifests"]
    assert entry["annotations"][archives.REF_NAME] == "v1"
    assert json.loads(files["manifest.json"])[0]["RepoTags"] == []
    back = Layout(tmp_path / "back")
    back.import_images(io.BytesIO(archive))
    assert [image.name for image in back.list_images()] == ["v1"]


def test_a_platform_that_is_asked_for_must_be_there(tmp_path: Path) -> None:
    layout = layout_of(THEIRS, tmp_path / "layout")
    assert exported(layout, NAME) == exported(layout, NAME, platform=OTHER)
    with pytest.raises(NoMatchingPlatform):
        exported(layout, NAME, platform=HERE)


def test_a_descriptor_has_no_name(layout: Layout) -> None:
    files = archives.unpacked(exported(layout, Descriptor.from_json(OURS.manifest)))
    (entry,) = json.loads(files["index.json"])["manifests"]
    assert entry == OURS.manifest
    assert json.loads(files["manifest.json"])[0]["RepoTags"] == []


def test_without_docker(layout: Layout) -> None:
    assert "manifest.json" not in archives.unpacked(
        exported(layout, NAME, skip_docker_manifest=True)
    )


def test_an_artifact_is_nothing_for_docker(tmp_path: Path) -> None:
    def change(manifest: archives.Json) -> None:
        manifest["config"]["mediaType"] = "application/vnd.example.thing.v1+json"

    artifact = images.random_image([10], change_manifest=change)
    archive = exported(layout_of(artifact, tmp_path / "layout"), NAME)
    assert blobs_in(archive) == artifact.blobs.keys()
    assert "manifest.json" not in archives.unpacked(archive)


def test_nothing_is_nothing(layout: Layout) -> None:
    with pytest.raises(InvalidArgument, match="no image to export"):
        exported(layout)
    with pytest.raises(NotFound, match="nobody"):
        exported(layout, "nobody")


def test_foreign_layers_are_left_out(tmp_path: Path) -> None:
    def change(manifest: archives.Json) -> None:
        kind = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
        manifest["layers"][0].update(mediaType=kind, urls=["https://host.example/layer"])

    image = images.random_image([10, 20], change_manifest=change)
    archive = exported(layout_of(image, tmp_path / "layout"), NAME)
    assert blobs_in(archive) == image.blobs.keys() - {image.layers[0]["digest"]}
    Layout(tmp_path / "other").import_images(io.BytesIO(archive))


# ---- what is missing or broken ---------------------------------------------------------------


def place(layout: Layout, digest: str) -> Path:
    return layout.path / "blobs" / "sha256" / digest[7:]


def test_what_is_missing_is_told(layout: Layout, tmp_path: Path) -> None:
    gone = [layer["digest"] for layer in OURS.layers]
    for digest in gone:
        place(layout, digest).unlink()
    with pytest.raises(NotFound) as told:
        layout.export_images(tmp_path / "out.tar", NAME)
    assert all(digest in str(told.value) for digest in gone)
    exported(layout, NAME, platform=OTHER)
    with pytest.raises(NotFound):
        exported(layout, NAME, all_platforms=True)
    place(layout, INDEX.digest).unlink()
    with pytest.raises(NotFound, match=INDEX.digest):
        exported(layout, NAME)
    assert os.listdir(tmp_path) == ["layout"]


def test_platforms_without_content_are_left_out(layout: Layout) -> None:
    whole = exported(layout, NAME)
    layer, manifest = THEIRS.layers[0]["digest"], THEIRS.digest
    for digest, left in ((layer, {INDEX.digest, THEIRS.digest}), (manifest, {INDEX.digest})):
        place(layout, digest).unlink()
        with pytest.raises(NotFound):
            exported(layout, NAME, all_platforms=True)
        archive = exported(layout, NAME, all_platforms=True, skip_missing=True)
        assert blobs_in(archive) == {*left, *OURS.blobs}
        assert "manifest.json" in archives.unpacked(archive)
        with pytest.raises(NotFound, match="complete content of no wanted platform"):
            exported(layout, NAME, platform=OTHER, skip_missing=True)
    assert archive == whole
    assert exported(layout, NAME, platform=[HERE, OTHER], skip_missing=True) == whole
    place(layout, OURS.layers[0]["digest"]).unlink()
    with pytest.raises(NotFound, match=NAME):
        exported(layout, NAME, all_platforms=True, skip_missing=True)


def test_docker_does_not_get_what_is_left_out(layout: Layout) -> None:
    place(layout, OURS.layers[0]["digest"]).unlink()
    archive = exported(layout, NAME, all_platforms=True, skip_missing=True)
    assert blobs_in(archive) == {INDEX.digest, OURS.digest, *THEIRS.blobs}
    assert "manifest.json" not in archives.unpacked(archive)


def test_broken_content_is_found_on_its_way(layout: Layout, tmp_path: Path) -> None:
    path = place(layout, OURS.layers[1]["digest"])
    body = bytearray(path.read_bytes())
    body[2_500_000] ^= 1
    path.write_bytes(body)
    (tmp_path / "out.tar").write_text("before")
    with pytest.raises(DigestMismatch, match=OURS.layers[1]["digest"]):
        layout.export_images(tmp_path / "out.tar", NAME)
    path.write_bytes(body[:-1])
    with pytest.raises(DataLoss, match=OURS.layers[1]["digest"]):
        layout.export_images(tmp_path / "out.tar", NAME)
    assert (tmp_path / "out.tar").read_text() == "before"
    assert sorted(os.listdir(tmp_path)) == ["layout", "out.tar"]
    assert not [t for t in threading.enumerate() if t.name.startswith("containerd-lite-export")]


def test_a_callback_that_raises(layout: Layout, tmp_path: Path) -> None:
    def stop(event: ProgressEvent) -> None:
        if event.stage == "uploading":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        layout.export_images(tmp_path / "out.tar", NAME, progress=stop)
    assert os.listdir(tmp_path) == ["layout"]
    assert not [t for t in threading.enumerate() if t.name.startswith("containerd-lite-export")]


# ---- deltas ----------------------------------------------------------------------------------


def test_a_delta(tmp_path: Path) -> None:
    """The second image has the first one's layer, and one of its own."""
    first = images.random_image([300_000], seed=5)
    both = images.random_image([300_000, 200_000], seed=5)
    assert first.layers[0] == both.layers[0]
    layout = layout_of(first, tmp_path / "layout", "docker.io/library/base:1")
    whole = archives.oci([archives.named(both, NAME)], both)
    layout.import_images(io.BytesIO(whole))
    delta = exported(layout, NAME, without=["base:1"])
    assert blobs_in(delta) == both.blobs.keys() - {first.layers[0]["digest"]}
    shared = first.layers[0]["digest"]
    assert exported(layout, NAME, without=[shared]) == delta
    assert exported(layout, NAME, without=[layout.get_image("base:1").target]) == delta
    other = Layout(tmp_path / "other")
    with pytest.raises(NotFound, match=shared):
        other.import_images(io.BytesIO(delta))
    other.import_images(io.BytesIO(exported(layout, "base:1")))
    other.import_images(io.BytesIO(delta))
    assert exported(other, NAME) == exported(layout, NAME)


def test_a_delta_to_what_has_nothing_for_the_platform(tmp_path: Path) -> None:
    foreign = images.index_of({OTHER: THEIRS})
    layout = layout_of(foreign, tmp_path / "layout", "docker.io/library/other:1")
    layout.import_images(io.BytesIO(archives.oci([archives.named(OURS, NAME)], OURS)))
    assert exported(layout, NAME, without=["other:1"]) == exported(layout, NAME)
    assert blobs_in(exported(layout, NAME, without=NAME)) == {OURS.digest}  # one may be alone


def test_a_delta_has_all_manifests(layout: Layout) -> None:
    delta = exported(layout, NAME, without=[NAME])
    assert blobs_in(delta) == {INDEX.digest, OURS.digest}
    gone = OURS.layers[0]["digest"]
    place(layout, gone).unlink()
    assert blobs_in(exported(layout, NAME, without=[gone])) == {
        INDEX.digest, *OURS.blobs,
    } - {gone}  # fmt: skip
    with pytest.raises(NotFound):
        exported(layout, NAME, without=["nobody"])


def test_memory_is_flat(tmp_path: Path) -> None:
    layout = layout_of(images.random_image([40 << 20], compression="none"), tmp_path / "big")
    path = tmp_path / "out.tar"
    tracemalloc.start()
    try:
        layout.export_images(path, NAME)
        Layout(tmp_path / "other").import_images(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 32 << 20
