"""Mending a layout from a resolver of the test's own."""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Mapping
from pathlib import Path

import pytest

from containerd_lite import Layout, ProgressEvent
from containerd_lite.errors import (
    DataLoss,
    DigestMismatch,
    NoMatchingPlatform,
    NotFound,
    RegistryUnavailable,
)
from containerd_lite.images.upkeep.repair import RepairReport
from containerd_lite.oci.descriptor import Descriptor
from containerd_lite.store.layout_store import LayoutStore
from tests.harness import images
from tests.unit.images.own import OwnResolver
from tests.unit.images.test_check import (
    AMD,
    ARM,
    INDEX,
    NAME,
    config_of,
    file_of,
    layout,
    spoil,
)

LAYER = AMD.layers[0]["digest"]


def contents(folder: Path) -> dict[str, bytes]:
    return {
        f"{path.parent.name}:{path.name}": path.read_bytes() for path in folder.glob("blobs/*/*")
    }


def test_nothing_to_do(tmp_path: Path) -> None:
    resolver = OwnResolver(INDEX)
    report = layout(tmp_path, INDEX).repair(NAME, resolver=resolver)
    assert report == RepairReport(len(INDEX.blobs), (), ())
    assert resolver.asked == []
    assert repr(report) == f"<RepairReport {len(INDEX.blobs)} checked, 0 repaired, 0 fetched>"


def test_the_total_is_known_at_the_beginning(tmp_path: Path) -> None:
    found = layout(tmp_path, INDEX, [AMD.layers[1]["digest"]])
    found.tag(NAME, "another/name:1")
    for sources in ([NAME], [NAME, "another/name:1"], []):
        events: list[ProgressEvent] = []
        found.repair(*sources, resolver=OwnResolver(INDEX), progress=events.append)
        first = next(event for event in events if event.stage in ("verifying", "downloading"))
        assert first.overall.total == sum(map(len, INDEX.blobs.values()))
        assert events[-1].overall.done == first.overall.total
        file_of(tmp_path, AMD.layers[1]["digest"]).unlink()


@pytest.mark.parametrize("kind", ["layer", "config", "manifest", "index"])
def test_what_is_broken_is_replaced(tmp_path: Path, kind: str) -> None:
    digests = {"layer": LAYER, "config": config_of(AMD), "manifest": AMD.digest}
    digest = digests.get(kind, INDEX.digest)
    found, resolver = layout(tmp_path, INDEX), OwnResolver(INDEX)
    spoil(tmp_path, digest)
    report = found.repair(NAME, resolver=resolver)
    assert report == RepairReport(len(INDEX.blobs), (digest,), ())
    assert resolver.asked == [(digest, 0)]
    assert contents(tmp_path) == INDEX.blobs
    assert found.verify().is_sound
    assert not (tmp_path / ".ingest").exists()


def test_all_of_it_broken_or_missing(tmp_path: Path) -> None:
    found = layout(tmp_path, INDEX, [AMD.layers[1]["digest"]])
    for digest in (INDEX.digest, AMD.digest, LAYER, ARM.digest, config_of(ARM)):
        spoil(tmp_path, digest)
    file_of(tmp_path, config_of(AMD)).write_bytes(b"")
    events: list[ProgressEvent] = []
    report = found.repair(NAME, resolver=OwnResolver(INDEX), progress=events.append)
    assert contents(tmp_path) == INDEX.blobs
    assert report.fetched == (AMD.layers[1]["digest"],)
    assert set(report.repaired) == {
        INDEX.digest, AMD.digest, LAYER, ARM.digest, config_of(ARM), config_of(AMD),
    }  # fmt: skip
    assert {one.name for one in events if one.stage == "downloaded"} == {
        *report.repaired, *report.fetched,
    }  # fmt: skip


def test_missing_platforms_stay_missing_unless_wanted(tmp_path: Path) -> None:
    gone = ARM.layers[0]["digest"]
    found, resolver = layout(tmp_path, INDEX, [gone]), OwnResolver(INDEX)
    spoil(tmp_path, config_of(ARM))
    assert found.repair(NAME, resolver=resolver).repaired == (config_of(ARM),)
    assert not file_of(tmp_path, gone).exists()
    assert found.repair(NAME, all_platforms=True, resolver=resolver).fetched == (gone,)
    assert contents(tmp_path) == INDEX.blobs


def forged(image: images.Image, changed: Mapping[str, bytes]) -> OwnResolver:
    return OwnResolver(images.Image(image.manifest, {**image.blobs, **changed}))


@pytest.mark.parametrize("how", ["away", "gone", "forged"])
def test_what_cannot_be_had_stays_as_it_is(tmp_path: Path, how: str) -> None:
    found = layout(tmp_path, AMD)
    spoil(tmp_path, LAYER)
    spoil(tmp_path, config_of(AMD))
    before = contents(tmp_path)
    resolver = forged(AMD, {LAYER: b"?" * len(AMD.blobs[LAYER])})

    def fail(descriptor: Descriptor) -> None:
        if descriptor.digest == LAYER and how != "forged":
            raise RegistryUnavailable("away") if how == "away" else NotFound("gone")

    resolver.before_fetch = fail
    with pytest.raises(DataLoss, match=LAYER) as failure:
        found.repair(NAME, resolver=resolver, max_concurrent_downloads=1)
    causes = {"away": RegistryUnavailable, "gone": NotFound, "forged": DigestMismatch}
    assert isinstance(failure.value.__cause__, causes[how])
    assert failure.value.joined == (failure.value.__cause__,)
    assert "ref=" in str(failure.value)
    # All else is mended before it is raised.
    good = {config_of(AMD): AMD.blobs[config_of(AMD)]}
    assert contents(tmp_path) == {**before, **good}
    assert not (tmp_path / ".ingest").exists()
    assert pickle.loads(pickle.dumps(failure.value)).joined[0].message


def test_another_reference_has_it(tmp_path: Path) -> None:
    found = layout(tmp_path, AMD)
    spoil(tmp_path, LAYER)
    with pytest.raises(DataLoss, match="Own Name"):
        found.repair(NAME)  # no registry has such a name
    asked = []

    class Elsewhere(OwnResolver):
        def fetcher(self, ref: str) -> OwnResolver:
            asked.append(ref)
            return self

    found.repair(NAME, ref="elsewhere", resolver=Elsewhere(AMD))
    assert asked == ["elsewhere"]
    assert contents(tmp_path) == AMD.blobs


def test_all_images_and_what_none_refers_to(tmp_path: Path) -> None:
    found = layout(tmp_path, AMD)
    stray = b"of no image"
    file_of(tmp_path, images.digest_of(stray)).write_bytes(stray)
    spoil(tmp_path, LAYER)
    assert found.repair(resolver=OwnResolver(AMD)) == RepairReport(len(AMD.blobs) + 1, (LAYER,), ())
    spoil(tmp_path, images.digest_of(stray))
    spoil(tmp_path, LAYER)
    assert found.repair(NAME, resolver=OwnResolver(AMD)).repaired == (LAYER,)
    with pytest.raises(DataLoss, match="no image refers to it"):
        found.repair(resolver=OwnResolver(AMD))


def test_one_image_is_mended_by_another(tmp_path: Path) -> None:
    """What the one's registry no longer has, the other's may."""
    found = layout(tmp_path, AMD)
    found.get_image(NAME).tag("localhost/second:1")
    spoil(tmp_path, LAYER)

    class Second(OwnResolver):
        def fetcher(self, ref: str) -> OwnResolver:
            if ref == NAME:
                raise NotFound("gone")
            return self

    assert found.repair(resolver=Second(AMD)).repaired == (LAYER,)
    assert contents(tmp_path) == AMD.blobs


def test_an_image_for_other_machines_lacks_nothing(tmp_path: Path) -> None:
    other = images.index_of({"linux/s390x": ARM})
    found, resolver = layout(tmp_path, other, [ARM.layers[0]["digest"]]), OwnResolver(other)
    spoil(tmp_path, config_of(ARM))
    report = found.repair(resolver=resolver)
    assert (report.repaired, report.fetched) == ((config_of(ARM),), ())
    with pytest.raises(NoMatchingPlatform):
        found.repair(NAME, resolver=resolver)


def test_one_odd_image_keeps_nobody_from_mending(tmp_path: Path) -> None:
    found = layout(tmp_path, AMD)
    body = b'{"schemaVersion": 2, "config": 1}'
    odd = Descriptor(images.OCI_MANIFEST, images.digest_of(body), len(body))
    file_of(tmp_path, odd.digest).write_bytes(body)
    index = json.loads((tmp_path / "index.json").read_bytes())
    named = {"annotations": {"org.opencontainers.image.ref.name": "odd"}}
    index["manifests"].insert(0, {**odd.to_json(), **named})
    (tmp_path / "index.json").write_text(json.dumps(index))
    spoil(tmp_path, LAYER)
    with pytest.raises(DataLoss, match=odd.digest):
        found.repair(resolver=OwnResolver(AMD))
    assert contents(tmp_path)[LAYER] == AMD.blobs[LAYER]


def of_sha512() -> tuple[images.Image, str]:
    """An image, and the digest of its layer."""
    body = bytes(100_000)
    digest = "sha512:" + hashlib.sha512(body).hexdigest()

    def change(manifest: images.Json) -> None:
        manifest["layers"] = [{"mediaType": images.OCI_LAYER, "digest": digest, "size": len(body)}]

    image = images.build([], change_manifest=change)
    return images.Image(image.manifest, {**image.blobs, digest: body}), digest


def test_blobs_of_sha512(tmp_path: Path) -> None:
    image, digest = of_sha512()
    found = layout(tmp_path, image)
    spoil(tmp_path, digest)
    assert found.repair(NAME, resolver=OwnResolver(image)).repaired == (digest,)
    assert contents(tmp_path) == image.blobs
    assert not (tmp_path / ".ingest").exists()


@pytest.mark.parametrize("how", ["cut", "forged"])
def test_a_broken_blob_of_sha512_stays_until_the_good_one_is_here(tmp_path: Path, how: str) -> None:
    image, digest = of_sha512()
    found = layout(tmp_path, image)
    spoil(tmp_path, digest)
    before = contents(tmp_path)
    resolver = OwnResolver(image, cuts=[50_000, 0] if how == "cut" else None)
    if how == "forged":
        resolver = forged(image, {digest: b"?" * len(image.blobs[digest])})
    with pytest.raises(DataLoss, match=digest):
        found.repair(NAME, resolver=resolver)
    assert contents(tmp_path) == before
    assert not (tmp_path / ".ingest").exists()


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_a_broken_blob_is_there_until_the_good_one_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, algorithm: str
) -> None:
    """The one takes the other's place at once: whoever is killed in between has lost nothing."""
    image, digest = of_sha512() if algorithm == "sha512" else (AMD, LAYER)
    found = layout(tmp_path, image)
    spoil(tmp_path, digest)
    monkeypatch.delattr(LayoutStore, "delete")
    assert found.repair(NAME, resolver=OwnResolver(image)).repaired == (digest,)
    assert contents(tmp_path) == image.blobs


def test_a_cut_is_gone_on_with(tmp_path: Path) -> None:
    found = layout(tmp_path, AMD)
    spoil(tmp_path, LAYER)
    resolver = OwnResolver(AMD, cuts=[10_000])
    assert found.repair(NAME, resolver=resolver).repaired == (LAYER,)
    assert resolver.asked == [(LAYER, 0), (LAYER, 10_000)]
    assert contents(tmp_path) == AMD.blobs


def test_a_broken_blob_of_two_kinds_is_replaced_once(tmp_path: Path) -> None:
    """The same content as a layer here and an unknown thing there."""

    def change(manifest: images.Json) -> None:
        manifest["layers"].append({**manifest["layers"][0], "mediaType": "application/x-other"})

    image = images.random_image([300_000], change_manifest=change)
    found, resolver = layout(tmp_path, image), OwnResolver(image)
    spoil(tmp_path, image.layers[0]["digest"])
    assert len(found.repair(NAME, resolver=resolver).repaired) == 1
    assert len(resolver.asked) == 1


def test_layouts_alone_are_enough(tmp_path: Path) -> None:
    """An empty layout has nothing to check, nor to repair."""
    empty = Layout(tmp_path / "empty")
    assert empty.verify().checked == 0
    assert empty.repair() == RepairReport(0, (), ())
