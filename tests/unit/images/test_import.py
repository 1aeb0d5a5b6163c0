"""Import into a layout, from archives that Python's tarfile made."""

from __future__ import annotations

import gzip
import io
import json
import os
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import BinaryIO

import pytest

from containerd_lite import Layout, ProgressEvent
from containerd_lite.errors import (
    DataLoss,
    DigestMismatch,
    FailedPrecondition,
    InvalidArgument,
    NoMatchingPlatform,
    NotFound,
    SizeMismatch,
)
from containerd_lite.images.gc_labels import SUBJECT
from tests.harness import images
from tests.harness.interrupts import Alarm, Interrupt
from tests.unit.images import archives

HERE = images.machine_platform()
OTHER = "linux/s390x"
OURS = images.random_image([200_000, 3_000_000, 0])
THEIRS = images.random_image([5000], seed=2, platform=OTHER)
INDEX = images.index_of({OTHER: THEIRS, HERE: OURS})
NAME = "docker.io/library/app:1"

Give = Callable[[bytes, Path], "str | Path | BinaryIO"]


def as_path(archive: bytes, folder: Path) -> Path:
    path = folder / "given.tar"
    path.write_bytes(archive)
    return path


def as_bytes(archive: bytes, folder: Path) -> BinaryIO:
    return io.BytesIO(archive)


def as_gzip(archive: bytes, folder: Path) -> Path:
    return as_path(gzip.compress(archive, 1), folder)


GIVEN: list[Give] = [as_path, as_bytes, as_gzip]


def blobs_of(layout: Layout) -> set[str]:
    folder = layout.path / "blobs" / "sha256"
    return {f"sha256:{name}" for name in os.listdir(folder)} if folder.exists() else set()


def names_of(layout: Layout) -> dict[str, str]:
    return {image.name: image.target.digest for image in layout.list_images()}


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "layout")


@pytest.mark.parametrize("give", GIVEN)
def test_an_oci_archive(layout: Layout, tmp_path: Path, give: Give) -> None:
    archive = archives.oci([archives.named(INDEX, NAME)], INDEX)
    (found,) = layout.import_images(give(archive, tmp_path))
    assert (found.name, found.target.digest) == (NAME, INDEX.digest)
    assert blobs_of(layout) == INDEX.blobs.keys()
    assert layout.get_image("app:1").target.annotations == {}
    assert layout.content_store.statuses() == []


@pytest.mark.parametrize("give", GIVEN)
def test_a_docker_archive(layout: Layout, tmp_path: Path, give: Give) -> None:
    image = images.random_image([100, 2_000_000], compression="none", docker=True)
    (found,) = layout.import_images(give(archives.docker({"app:1": image}), tmp_path))
    assert (found.name, found.target.digest) == (NAME, image.digest)
    assert blobs_of(layout) == image.blobs.keys()
    assert str(found.target.platform) == HERE


def test_a_pipe(layout: Layout) -> None:
    archive = archives.oci([archives.named(OURS, NAME)], OURS)
    reading, writing = os.pipe()

    def write() -> None:
        with open(writing, "wb") as file:
            file.write(archive + bytes(9000))  # to the end: nobody gets a SIGPIPE

    thread = threading.Thread(target=write)
    thread.start()
    with open(reading, "rb") as file:
        assert layout.import_images(file)[0].target.digest == OURS.digest
    thread.join(5)
    assert not thread.is_alive()


def test_a_file_from_where_it_stands(layout: Layout, tmp_path: Path) -> None:
    archive = archives.oci([archives.named(OURS, NAME)], OURS)
    path = as_path(b"before" + archive, tmp_path)
    with path.open("rb") as file:
        file.seek(6)
        assert layout.import_images(file)[0].target.digest == OURS.digest


def test_a_folder(layout: Layout, tmp_path: Path) -> None:
    folder = images.write_layout(INDEX, tmp_path / "given", NAME)
    (found,) = layout.import_images(folder)
    assert (found.name, found.target.digest) == (NAME, INDEX.digest)
    assert blobs_of(layout) == INDEX.blobs.keys()
    with pytest.raises(InvalidArgument, match="has neither"):
        layout.import_images(tmp_path)


def test_blobs_that_nothing_refers_to_come_too(layout: Layout) -> None:
    archive = archives.oci([archives.named(OURS, NAME)], OURS, THEIRS)
    layout.import_images(io.BytesIO(archive))
    assert blobs_of(layout) == OURS.blobs.keys() | THEIRS.blobs.keys()


def test_what_is_there_is_not_written_again(layout: Layout, tmp_path: Path) -> None:
    path = as_path(archives.oci([archives.named(OURS, NAME)], OURS), tmp_path)
    events: list[ProgressEvent] = []
    layout.import_images(path, progress=events.append)
    stages = [event.stage for event in events if event.stage != "downloading"]
    named = ["waiting"] * len(OURS.blobs)
    assert stages == [*named, *["downloaded"] * len(OURS.blobs), "done"]
    events.clear()
    layout.import_images(path, progress=events.append)
    assert [event.stage for event in events] == [*named, *["exists"] * len(OURS.blobs), "done"]


# ---- names -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("annotations", "ref", "name"),
    [
        ({archives.IMAGE_NAME: "app:1"}, None, NAME),
        ({archives.IMAGE_NAME: NAME}, "other:2", NAME),
        ({archives.REF_NAME: "host.example/app:1"}, None, "host.example/app:1"),
        ({archives.REF_NAME: "host.example/app:1"}, "host.example/app", "host.example/app:1"),
        ({archives.REF_NAME: "host.example/apps:1"}, "host.example/app", ""),
        ({archives.REF_NAME: "1"}, None, ""),
        ({archives.REF_NAME: "1"}, "app:ignored", NAME),
        ({archives.REF_NAME: "1.0+build"}, "app", "docker.io/library/app:1.0+build"),
        ({archives.IMAGE_NAME: "v1"}, None, "v1"),
        ({}, None, ""),
        ({}, "app:1", NAME),
        ({archives.IMAGE_NAME: "Own Name!"}, None, "Own Name!"),
        ({archives.IMAGE_NAME: OURS.digest}, None, OURS.digest),
        ({archives.IMAGE_NAME: "sha256:" + 64 * "a"}, None, ""),
    ],
)
def test_names(layout: Layout, annotations: dict[str, str], ref: str | None, name: str) -> None:
    archive = io.BytesIO(archives.oci([archives.entry(OURS, **annotations)], OURS))
    if name:
        layout.import_images(archive, ref=ref)
        assert names_of(layout) == {name: OURS.digest}
    else:
        with pytest.raises(InvalidArgument, match="ref="):
            layout.import_images(archive, ref=ref)
        assert names_of(layout) == {}


@pytest.mark.parametrize(
    ("annotations", "prefix", "name"),
    [
        ({archives.REF_NAME: "1"}, "host.example/app:", "host.example/app:1"),
        ({archives.REF_NAME: "1"}, "", "1"),
        ({archives.REF_NAME: "busybox:1"}, "", "busybox:1"),
        ({}, "app", "app"),
        ({}, "", ""),
        ({archives.IMAGE_NAME: NAME, archives.REF_NAME: "1"}, "other:", NAME),
    ],
)
def test_names_that_a_function_chooses(
    layout: Layout, annotations: dict[str, str], prefix: str, name: str
) -> None:
    archive = archives.oci([archives.entry(OURS, **annotations)], OURS)
    with nullcontext() if name else pytest.raises(InvalidArgument, match="translate_name="):
        layout.import_images(io.BytesIO(archive), translate_name=prefix.__add__)
    assert names_of(layout) == ({name: OURS.digest} if name else {})


@pytest.mark.parametrize(
    ("name", "reason"), [(5, "translate_name cannot be 5"), ("a\n", "not printable")]
)
def test_names_that_no_function_may_choose(layout: Layout, name: str, reason: str) -> None:
    archive = io.BytesIO(archives.oci([archives.entry(OURS)], OURS))
    with pytest.raises(InvalidArgument, match=reason):
        layout.import_images(archive, translate_name=lambda _: name)
    assert names_of(layout) == {}


def test_several_names(layout: Layout) -> None:
    entries = [archives.named(OURS, NAME), archives.named(OURS, "docker.io/library/app:2"),
               archives.entry(THEIRS)]  # fmt: skip
    found = layout.import_images(io.BytesIO(archives.oci(entries, OURS, THEIRS)))
    assert [image.name for image in found] == [NAME, "docker.io/library/app:2"]
    entries = [archives.named(OURS, NAME), archives.named(THEIRS, NAME)]
    with pytest.raises(InvalidArgument, match="two images called"):
        layout.import_images(io.BytesIO(archives.oci(entries, OURS, THEIRS)))


@pytest.mark.parametrize(
    ("name", "reason"),
    [("a\x1b[2J", "not printable"), ("a\nb", "not printable"), ("x" * 2000, "is longer than")],
)
def test_names_that_nobody_should_see(layout: Layout, name: str, reason: str) -> None:
    archive = archives.oci([archives.entry(OURS, **{archives.IMAGE_NAME: name})], OURS)
    with pytest.raises(InvalidArgument, match=reason):
        layout.import_images(io.BytesIO(archive))


# ---- platforms, and what is missing ----------------------------------------------------------


def sparse(*missing: images.Image) -> BinaryIO:
    left_out = {digest for image in missing for digest in image.blobs}
    return io.BytesIO(archives.oci([archives.named(INDEX, NAME)], INDEX, without=left_out))


def test_only_the_platform_asked_for_need_be_there(layout: Layout) -> None:
    layout.import_images(sparse(THEIRS))
    with pytest.raises(NotFound, match=THEIRS.digest):
        layout.import_images(sparse(THEIRS), all_platforms=True)
    with pytest.raises(NotFound, match=THEIRS.digest):
        layout.import_images(sparse(THEIRS), platform=[HERE, OTHER])
    assert blobs_of(layout) == {INDEX.digest, *OURS.blobs}
    layout.import_images(sparse(THEIRS), all_platforms=True, skip_missing=True)


def test_what_is_missing_is_told(layout: Layout) -> None:
    gone = {OURS.layers[0]["digest"], OURS.layers[1]["digest"]}
    archive = archives.oci([archives.named(OURS, NAME)], OURS, without=gone)
    with pytest.raises(NotFound) as told:
        layout.import_images(io.BytesIO(archive))
    assert all(digest in str(told.value) for digest in gone)
    assert names_of(layout) == {}
    layout.import_images(io.BytesIO(archive), skip_missing=True)
    assert names_of(layout) == {NAME: OURS.digest}


def test_what_is_missing_may_be_there_already(layout: Layout) -> None:
    gone = {layer["digest"] for layer in OURS.layers}
    archive = archives.oci([archives.named(OURS, NAME)], OURS, without=gone)
    layout.import_images(io.BytesIO(archives.oci([archives.named(OURS, "base:1")], OURS)))
    layout.import_images(io.BytesIO(archive))
    assert names_of(layout)[NAME] == OURS.digest


def test_another_platform_only(layout: Layout) -> None:
    both = [archives.named(THEIRS, NAME), archives.named(OURS, "docker.io/library/ours:1")]
    alone = archives.oci(both[:1], THEIRS)
    with pytest.raises(NoMatchingPlatform, match="linux/s390x"):
        layout.import_images(io.BytesIO(alone))
    assert names_of(layout) == {}
    layout.import_images(io.BytesIO(archives.oci(both, THEIRS, OURS)))
    assert names_of(layout) == {"docker.io/library/ours:1": OURS.digest}
    layout.import_images(io.BytesIO(alone), platform=OTHER)
    layout.import_images(io.BytesIO(alone), all_platforms=True)
    assert names_of(layout)[NAME] == THEIRS.digest


@pytest.mark.parametrize("platform", [OTHER, [OTHER]])
def test_an_image_is_looked_at_as_the_only_platform_asked_for(
    layout: Layout, platform: str | list[str]
) -> None:
    archive = archives.oci([archives.named(INDEX, NAME)], INDEX)
    (image,) = layout.import_images(io.BytesIO(archive), platform=platform)
    assert str(image.config().platform) == OTHER


def test_foreign_layers_and_embedded_data(layout: Layout) -> None:
    def change(manifest: archives.Json) -> None:
        kind = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
        manifest["layers"][1].update(mediaType=kind, urls=["https://host.example/layer"])
        manifest["layers"][2]["data"] = "ZGF0YQ=="
        manifest["layers"][2].update(size=4, digest=images.digest_of(b"data"))

    image = images.random_image([1, 2, 3], change_manifest=change)
    archive = archives.oci(
        [archives.named(image, NAME)], image, without={image.layers[1]["digest"]}
    )
    layout.import_images(io.BytesIO(archive))
    assert images.digest_of(b"data") in blobs_of(layout)
    assert image.layers[1]["digest"] not in blobs_of(layout)


def test_a_size_that_is_not_the_blobs(layout: Layout) -> None:
    def change(manifest: archives.Json) -> None:
        manifest["layers"][0]["size"] += 1

    image = images.random_image([1000], change_manifest=change)
    with pytest.raises(SizeMismatch, match=image.layers[0]["digest"]):
        layout.import_images(io.BytesIO(archives.oci([archives.named(image, NAME)], image)))
    assert names_of(layout) == {}


def test_a_layout_cannot_unpack(layout: Layout) -> None:
    with pytest.raises(FailedPrecondition):
        layout.import_images(sparse(), unpack=True)
    assert blobs_of(layout) == set()


# ---- docker's archives -----------------------------------------------------------------------


def test_links_within_a_docker_archive(layout: Layout) -> None:
    image = images.random_image([100, 200], compression="none", docker=True)
    files, saved = archives.docker_files(image, "app:1")
    first, second = saved["Layers"]
    saved["Layers"] = ["c/layer.tar", second]
    body = json.dumps([saved]).encode()
    links: list[tuple[str, bytes | str]] = [
        ("b/layer.tar", f"../{first}"), ("c/layer.tar", "../b/layer.tar"),
    ]  # fmt: skip
    archive = archives.packed([*files.items(), ("manifest.json", body), *links])
    assert layout.import_images(io.BytesIO(archive))[0].target.digest == image.digest


def test_the_only_image_beside_its_referrer_gets_the_name(layout: Layout) -> None:
    """containerd's Go client lists the referrers that it exports, without a name."""
    signature = images.random_image([100], seed=3)
    referrer = archives.entry(signature, **{SUBJECT: OURS.digest})
    archive = archives.oci([archives.entry(OURS), referrer], OURS, signature)
    layout.import_images(io.BytesIO(archive), ref="app:1")
    assert names_of(layout) == {NAME: OURS.digest}


@pytest.mark.parametrize("compression", ["gzip", "none"])
def test_layers_are_kept_as_they_are(layout: Layout, compression: str) -> None:
    image = images.random_image([5000], compression=compression, docker=True)
    archive = archives.docker({"app:1": image, "app:2": image})
    found = layout.import_images(io.BytesIO(archive))
    assert {one.target.digest for one in found} == {image.digest}
    assert [one.name for one in found] == [NAME, "docker.io/library/app:2"]


def test_a_docker_archive_without_a_tag(layout: Layout) -> None:
    image = images.random_image([5000], docker=True)
    files, saved = archives.docker_files(image)
    body = json.dumps([saved]).encode()
    archive = archives.packed([*files.items(), ("manifest.json", body)])
    with pytest.raises(InvalidArgument, match="ref="):
        layout.import_images(io.BytesIO(archive))
    assert layout.import_images(io.BytesIO(archive), ref="app:1")[0].name == NAME


def test_a_layer_that_the_config_does_not_know(layout: Layout) -> None:
    image = images.random_image([5000], compression="none", change_config=images.wrong_diff_ids)
    with pytest.raises(DigestMismatch, match="but its diff ID"):
        layout.import_images(io.BytesIO(archives.docker({"app:1": image})))
    image = images.random_image(
        [5000, 500],
        change_config=lambda c: c["rootfs"].update(diff_ids=c["rootfs"]["diff_ids"][:1]),
    )
    with pytest.raises(InvalidArgument, match="has 1 diff IDs"):
        layout.import_images(io.BytesIO(archives.docker({"app:1": image})))


def test_both_in_one_are_an_oci_layout(layout: Layout) -> None:
    files, saved = archives.docker_files(THEIRS, "other:1")
    oci = archives.unpacked(archives.oci([archives.named(OURS, NAME)], OURS))
    body = json.dumps([saved]).encode()
    archive = archives.packed([("manifest.json", body), *files.items(), *oci.items()])
    layout.import_images(io.BytesIO(archive))
    assert names_of(layout) == {NAME: OURS.digest}


# ---- failures --------------------------------------------------------------------------------


@pytest.mark.parametrize("give", [as_path, as_bytes])
def test_a_wrong_digest_stops_all(layout: Layout, tmp_path: Path, give: Give) -> None:
    files = archives.unpacked(archives.oci([archives.named(OURS, NAME)], OURS))
    place = f"blobs/sha256/{OURS.layers[1]['digest'][7:]}"
    files[place] = files[place][:-1] + b"?"
    with pytest.raises(DigestMismatch, match=OURS.layers[1]["digest"]):
        layout.import_images(give(archives.packed(files.items()), tmp_path))
    assert layout.content_store.statuses() == []
    assert names_of(layout) == {}


def test_an_archive_that_is_cut_off(layout: Layout, tmp_path: Path) -> None:
    archive = archives.oci([archives.named(OURS, NAME)], OURS)
    for length in (1000, 100_000, 2_000_000, len(archive.rstrip(b"\0")) - 10):
        for give in (as_path, as_bytes):
            with pytest.raises(DataLoss, match="cut off"):
                layout.import_images(give(archive[:length], tmp_path))
    assert layout.content_store.statuses() == []
    assert names_of(layout) == {}


@pytest.mark.parametrize("give", GIVEN)
def test_a_callback_that_raises(layout: Layout, tmp_path: Path, give: Give) -> None:
    def stop(event: ProgressEvent) -> None:
        if event.stage == "downloading":
            raise KeyboardInterrupt

    archive = archives.oci([archives.named(OURS, NAME)], OURS)
    with pytest.raises(KeyboardInterrupt):
        layout.import_images(give(archive, tmp_path), progress=stop)
    assert layout.content_store.statuses() == []
    assert names_of(layout) == {}
    assert not [t for t in threading.enumerate() if t.name.startswith("containerd-lite-side")]


@pytest.mark.parametrize("is_folder", [False, True])
def test_an_interrupt_stops_those_who_read(layout: Layout, tmp_path: Path, is_folder: bool) -> None:
    many = images.random_image([3_000_000] * 8)
    source = tmp_path / "given"
    if is_folder:
        images.write_layout(many, source, NAME)
    else:
        source.write_bytes(archives.oci([archives.named(many, NAME)], many))
    before = set(threading.enumerate())
    with pytest.raises(Interrupt), Alarm(0.2):
        layout.import_images(source, progress=lambda event: time.sleep(0.05))
    assert set(threading.enumerate()) <= before
    assert len(list(layout.content_store.walk())) < len(many.blobs)
    assert layout.content_store.statuses() == []
