"""What is here of an image, fetching the rest, and hashing, on a layout."""

from __future__ import annotations

import pickle
import threading
import tracemalloc
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from containerd_lite import Layout, ProgressEvent
from containerd_lite.errors import (
    DigestMismatch,
    InvalidArgument,
    NoMatchingPlatform,
    NotFound,
    RegistryUnavailable,
    SizeMismatch,
)
from containerd_lite.images.upkeep.missing import LateFetcher
from containerd_lite.oci.descriptor import Descriptor
from containerd_lite.oci.platform import parse
from containerd_lite.store.layout_store import LayoutStore
from tests.harness import images
from tests.unit.images.own import OwnResolver

NAME = "Own Name!"
AMD = images.random_image([30_000, 5_000], platform="linux/amd64")
ARM = images.random_image([20_000], seed=1, platform="linux/arm64")
INDEX = images.index_of({"linux/amd64": AMD, "linux/arm64": ARM})


def layout(folder: Path, image: images.Image, without: Iterable[str] = ()) -> Layout:
    """A layout of an image that lacks some blobs; its client is of linux/amd64."""
    images.write_layout(image, folder, NAME)
    for digest in without:
        file_of(folder, digest).unlink()
    return Layout(folder, platform="linux/amd64")


def file_of(folder: Path, digest: str) -> Path:
    return folder.joinpath("blobs", *digest.split(":"))


def spoil(folder: Path, digest: str) -> None:
    """Flip a bit in the middle of a blob, as a disk would."""
    body = bytearray(file_of(folder, digest).read_bytes())
    body[len(body) // 2] ^= 1
    file_of(folder, digest).write_bytes(body)


def config_of(image: images.Image) -> str:
    digest: str = image.json()["config"]["digest"]
    return digest


def sizes(image: images.Image) -> int:
    """Bytes of config and layers."""
    return sum(len(body) for digest, body in image.blobs.items() if digest != image.digest)


# ---- check ---------------------------------------------------------------------------------


def test_a_whole_image(tmp_path: Path) -> None:
    report = layout(tmp_path, AMD).check(NAME)
    assert (report.name, report.target.digest) == (NAME, AMD.digest)
    assert report.is_complete
    assert report.missing == ()
    (only,) = report.platforms
    assert only.manifest.digest == AMD.digest
    assert only.platform == parse("linux/amd64")  # as the config says
    assert only.present == only.total == sizes(AMD)
    assert only.is_unpacked is None
    assert only.is_complete
    assert repr(report) == f"<CheckReport {NAME} complete>"
    assert pickle.loads(pickle.dumps(report)) == report


def test_what_is_missing_is_named_with_its_size(tmp_path: Path) -> None:
    gone = AMD.layers[0]
    report = layout(tmp_path, AMD, [gone["digest"]]).check(NAME)
    assert not report.is_complete
    assert [(one.digest, one.size) for one in report.missing] == [(gone["digest"], gone["size"])]
    (only,) = report.platforms
    assert only.missing == report.missing
    assert (only.present, only.total) == (sizes(AMD) - gone["size"], sizes(AMD))
    assert repr(report) == f"<CheckReport {NAME} lacks 1 ({gone['size']} bytes)>"
    assert repr(only) == f"<PlatformCheck linux/amd64 lacks 1 ({gone['size']} bytes)>"


def test_a_missing_manifest_is_missing_and_its_children_unknown(tmp_path: Path) -> None:
    report = layout(tmp_path, INDEX, [ARM.digest]).check(NAME, all_platforms=True)
    amd, arm = report.platforms
    assert amd.is_complete
    assert [one.digest for one in report.missing] == [ARM.digest]
    assert (arm.platform, arm.total) == (parse("linux/arm64"), 0)
    assert arm.missing == report.missing
    assert "linux/arm64" in repr(arm)


def test_a_missing_root(tmp_path: Path) -> None:
    report = layout(tmp_path, INDEX, [INDEX.digest]).check(NAME)
    assert report.platforms == ()
    assert report.missing == (report.target,)


def test_the_platforms_asked_for_count(tmp_path: Path) -> None:
    found = layout(tmp_path, INDEX, [ARM.layers[0]["digest"]])
    assert found.check(NAME).is_complete
    assert [str(one.platform) for one in found.check(NAME).platforms] == ["linux/amd64"]
    assert not found.check(NAME, platform="linux/arm64").is_complete
    both = found.check(NAME, platform=["linux/amd64", "linux/arm64"])
    assert [one.is_complete for one in both.platforms] == [True, False]
    assert both == found.check(NAME, all_platforms=True)
    with pytest.raises(NoMatchingPlatform):
        found.check(NAME, platform="linux/s390x")
    with pytest.raises(InvalidArgument):
        found.check(NAME, platform="linux/amd64", all_platforms=True)


def test_what_two_platforms_share_is_missing_once(tmp_path: Path) -> None:
    twin = images.random_image([30_000, 5_000], platform="linux/arm64")
    assert twin.layers == AMD.layers
    index = images.index_of({"linux/amd64": AMD, "linux/arm64": twin})
    shared = AMD.layers[1]["digest"]
    report = layout(tmp_path, index, [shared]).check(NAME, all_platforms=True)
    assert [one.digest for one in report.missing] == [shared]
    assert [len(one.missing) for one in report.platforms] == [1, 1]


def test_usage(tmp_path: Path) -> None:
    """All that is there counts, once, and needs no platform."""
    both = layout(tmp_path / "both", INDEX).get_image(NAME)
    assert both.usage() == both.usage(snapshots=True) == sum(map(len, INDEX.blobs.values()))
    assert both.platform == parse("linux/amd64")
    lacking = [AMD.digest, ARM.layers[0]["digest"]]
    rest = (INDEX.digest, ARM.digest, config_of(ARM))
    some = layout(tmp_path / "some", INDEX, lacking).get_image(NAME)
    assert some.usage() == sum(len(INDEX.blobs[digest]) for digest in rest)
    with pytest.raises(NotFound):
        _ = some.platform
    twice = images.build([images.layer({"a": b"b"})] * 2)
    found = layout(tmp_path / "twice", twice).get_image(NAME)
    assert (
        found.usage()
        == sum(map(len, twice.blobs.values()))
        < found.size() + len(twice.blobs[twice.digest])
    )


def test_a_layer_that_comes_twice_counts_once(tmp_path: Path) -> None:
    one = images.layer({"a": b"same"})
    image = images.build([one, one])
    (only,) = layout(tmp_path, image).check(NAME).platforms
    assert only.total == sizes(image)


def test_a_check_of_many_layers_asks_little(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = images.build([images.layer({f"{n}": b"%d" % n}) for n in range(120)])
    gone = [layer["digest"] for layer in image.layers[::7]]
    found = layout(tmp_path, image, gone)
    asked = []
    for name in ("walk", "info", "reader"):
        method = getattr(LayoutStore, name)

        def counted(
            *args: object, name: str = name, method: Callable[..., object] = method
        ) -> object:
            asked.append(name)
            return method(*args)

        monkeypatch.setattr(LayoutStore, name, counted)
    report = found.check(NAME)
    assert [one.digest for one in report.missing] == gone
    # Walking asks this store for each blob's size, by itself; a daemon tells all at once.
    assert asked.count("walk") == 1
    assert asked.count("info") == len(image.blobs) - len(gone)
    assert asked.count("reader") == 2  # the manifest and the config


def test_sources_are_names_images_and_descriptors(tmp_path: Path) -> None:
    found = layout(tmp_path, AMD)
    image = found.get_image(NAME)
    assert found.check(image) == found.check(NAME)
    assert found.check(image.target).name == AMD.digest
    with pytest.raises(NotFound):
        found.check("another")


def test_a_broken_manifest_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    found = layout(tmp_path, AMD)
    spoil(tmp_path, AMD.digest)
    with pytest.raises(DigestMismatch, match="Repair"):
        found.check(NAME)


# ---- fetch_missing -------------------------------------------------------------------------


def test_only_what_is_missing_is_fetched(tmp_path: Path) -> None:
    gone = {config_of(AMD), AMD.layers[1]["digest"]}
    found, resolver = layout(tmp_path, AMD, gone), OwnResolver(AMD)
    fetched = found.fetch_missing(NAME, resolver=resolver)
    assert {one.digest for one in fetched} == gone
    assert sorted(resolver.asked) == sorted((digest, 0) for digest in gone)
    assert found.check(NAME).is_complete
    assert found.verify().broken == ()
    assert found.fetch_missing(NAME, resolver=resolver) == ()


def test_an_index_is_filled_for_another_platform(tmp_path: Path) -> None:
    found, resolver = layout(tmp_path, INDEX, ARM.blobs), OwnResolver(INDEX)
    assert found.check(NAME).is_complete
    assert found.fetch_missing(NAME, resolver=resolver) == ()
    events: list[ProgressEvent] = []
    fetched = found.fetch_missing(
        NAME, platform="linux/arm64", resolver=resolver, progress=events.append
    )
    assert {one.digest for one in fetched} == ARM.blobs.keys()
    assert found.check(NAME, all_platforms=True).is_complete
    assert [one.name for one in events if one.stage == "done"] == [NAME]
    assert {one.name for one in events if one.stage == "downloaded"} == ARM.blobs.keys()


def test_a_complete_image_may_have_any_name(tmp_path: Path) -> None:
    """No registry has this one, and none is asked for it."""
    found = layout(tmp_path, AMD)
    assert found.fetch_missing(NAME) == ()
    file_of(tmp_path, config_of(AMD)).unlink()
    with pytest.raises(InvalidArgument, match="Own Name"):
        found.fetch_missing(NAME)


def test_a_descriptor_wants_a_reference(tmp_path: Path) -> None:
    found = layout(tmp_path, AMD, [config_of(AMD)])
    target = Descriptor.from_json(AMD.manifest)
    with pytest.raises(InvalidArgument, match="ref="):
        found.fetch_missing(target, resolver=OwnResolver(AMD))
    (fetched,) = found.fetch_missing(target, ref=NAME, resolver=OwnResolver(AMD))
    assert fetched.digest == config_of(AMD)


def test_other_bytes_are_refused_and_nothing_is_left(tmp_path: Path) -> None:
    layer = AMD.layers[0]["digest"]
    forged = images.Image(AMD.manifest, {**AMD.blobs, layer: AMD.blobs[layer][:-1] + b"?"})
    found = layout(tmp_path, AMD, [layer])
    with pytest.raises(DigestMismatch):
        found.fetch_missing(NAME, resolver=OwnResolver(forged))
    assert not file_of(tmp_path, layer).exists()
    assert not (tmp_path / ".ingest").exists()


def test_a_manifest_too_large_is_not_fetched(tmp_path: Path) -> None:
    resolver = OwnResolver(AMD)
    target = replace(Descriptor.from_json(AMD.manifest), size=(4 << 20) + 1)
    found = layout(tmp_path, AMD, [AMD.digest])
    with pytest.raises(SizeMismatch, match="allowed"):
        found.fetch_missing(target, ref=NAME, resolver=resolver)
    assert resolver.asked == []


def test_a_registry_that_is_away_is_asked_once() -> None:
    resolver = OwnResolver(AMD)

    def fail(descriptor: Descriptor) -> None:
        raise RegistryUnavailable("away")

    resolver.before_fetch = fail
    fetcher = LateFetcher(resolver, NAME, Descriptor.from_json(AMD.manifest), None)
    for _ in range(3):
        with pytest.raises(RegistryUnavailable):
            fetcher.fetch(Descriptor.from_json(AMD.manifest))
    assert len(resolver.asked) == 1


# ---- verify --------------------------------------------------------------------------------


def test_content_that_is_right(tmp_path: Path) -> None:
    events: list[ProgressEvent] = []
    report = layout(tmp_path, INDEX).verify(progress=events.append)
    assert report.is_sound
    assert (report.checked, report.broken) == (len(INDEX.blobs), ())
    assert report.size == sum(map(len, INDEX.blobs.values()))
    assert {one.name for one in events if one.stage == "verified"} == INDEX.blobs.keys()
    assert (
        repr(report) == f"<VerifyReport {len(INDEX.blobs)} checked ({report.size} bytes), 0 broken>"
    )


@pytest.mark.parametrize("how", ["flipped", "short", "long", "empty"])
def test_other_bytes_are_found(tmp_path: Path, how: str) -> None:
    found, digest = layout(tmp_path, AMD), AMD.layers[0]["digest"]
    body = AMD.blobs[digest]
    others = {"flipped": body[:-1] + b"?", "short": body[:-1], "long": body + b"?", "empty": b""}
    file_of(tmp_path, digest).write_bytes(others[how])
    assert found.verify().broken == (digest,)
    assert found.verify(NAME).broken == (digest,)
    assert not found.verify().is_sound


def test_only_what_the_sources_refer_to_is_hashed(tmp_path: Path) -> None:
    found = layout(tmp_path, INDEX)
    spoil(tmp_path, ARM.layers[0]["digest"])
    amd, arm = (Descriptor.from_json(one.manifest) for one in (AMD, ARM))
    assert found.verify(amd).is_sound
    assert found.verify(amd).checked == len(AMD.blobs)
    assert found.verify(amd, arm).broken == found.verify(NAME).broken == found.verify().broken
    with pytest.raises(NotFound):
        found.verify("another")


def test_a_broken_document_is_found_and_what_is_missing_is_not_broken(tmp_path: Path) -> None:
    found = layout(tmp_path, INDEX, [AMD.layers[0]["digest"]])
    spoil(tmp_path, ARM.digest)
    report = found.verify(NAME)
    assert report.broken == (ARM.digest,)
    # The index, of AMD all but the layer, of ARM the manifest alone: its children are not known.
    assert report.checked == 1 + len(AMD.blobs) - 1 + 1


def test_what_goes_away_meanwhile_is_not_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, gone = layout(tmp_path, AMD), AMD.layers[0]["digest"]
    read = LayoutStore.reader

    def reader(store: LayoutStore, digest: str) -> object:
        file_of(tmp_path, gone).unlink(missing_ok=True)
        return read(store, digest)

    monkeypatch.setattr(LayoutStore, "reader", reader)
    assert found.verify().is_sound


def test_memory_is_flat(tmp_path: Path) -> None:
    body = bytes(48 << 20)
    found = layout(tmp_path, AMD)
    file_of(tmp_path, images.digest_of(body)).write_bytes(body)
    tracemalloc.start()
    try:
        assert found.verify().is_sound
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 << 20


def test_a_failure_of_the_callback_stops_it(tmp_path: Path) -> None:
    found = layout(tmp_path, INDEX)

    def fail(event: ProgressEvent) -> None:
        raise KeyError("told")

    before = threading.active_count()
    with pytest.raises(KeyError, match="told"):
        found.verify(progress=fail)
    assert threading.active_count() == before
