"""Which part of an index is pushed: what is there, or what is asked for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from containerd_lite.errors import NoMatchingPlatform, NotFound, RegistryError
from tests.harness import images
from tests.unit.images.shelf import AMD, ARM, INDEX, PPC, Json, Shelf, layout_of, with_entries


def marked(attestation: images.Image, image: images.Image) -> Json:
    return {
        **attestation.manifest,
        "platform": {"architecture": "unknown", "os": "unknown"},
        "annotations": {
            "vnd.docker.reference.type": "attestation-manifest",
            "vnd.docker.reference.digest": image.digest,
        },
    }


def test_what_is_missing_is_told_before_anything_is_pushed(tmp_path: Path) -> None:
    gone = [ARM.digest, PPC.layers[0]["digest"]]
    shelf = Shelf()
    with pytest.raises(NotFound, match=gone[0]) as caught:
        layout_of(tmp_path, INDEX, *gone).push("localhost/it:1", resolver=shelf)
    assert gone[1] in str(caught.value)
    assert "fetch_missing" in caught.value.remedy
    assert shelf.order == []


def test_sparse_pushes_what_is_whole(tmp_path: Path) -> None:
    layout = layout_of(tmp_path, INDEX, ARM.digest, PPC.layers[0]["digest"])
    shelf = Shelf(strict=False)
    assert layout.push("localhost/it:1", sparse=True, resolver=shelf).digest == INDEX.digest
    assert shelf.bodies == {**AMD.blobs, INDEX.digest: INDEX.blobs[INDEX.digest]}
    with pytest.raises(RegistryError) as caught:
        layout.push("localhost/it:1", sparse=True, resolver=Shelf())
    assert "platform=" in caught.value.remedy


def test_sparse_needs_something(tmp_path: Path) -> None:
    layout = layout_of(tmp_path, INDEX, AMD.digest, ARM.digest, PPC.digest)
    with pytest.raises(NotFound, match=PPC.digest):
        layout.push("localhost/it:1", sparse=True, resolver=Shelf(strict=False))


def test_sparse_with_a_platform(tmp_path: Path) -> None:
    layout = layout_of(tmp_path, INDEX, ARM.digest)
    shelf = Shelf(strict=False)
    pushed = layout.push("localhost/it:1", platform="linux/ppc64le", sparse=True, resolver=shelf)
    assert pushed.digest == INDEX.digest
    assert shelf.bodies == {**PPC.blobs, INDEX.digest: INDEX.blobs[INDEX.digest]}
    with pytest.raises(NotFound, match=ARM.digest):
        layout.push("localhost/it:1", platform="linux/arm64", sparse=True, resolver=shelf)


def test_a_reduced_index(tmp_path: Path) -> None:
    shelf = Shelf()
    layout = layout_of(tmp_path, INDEX, ARM.digest)
    wanted = ["linux/ppc64le", "linux/amd64"]
    pushed = layout.push("localhost/it:1", platform=wanted, resolver=shelf)
    document = INDEX.json()
    del document["manifests"][1]
    body = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
    assert shelf.bodies == {**AMD.blobs, **PPC.blobs, images.digest_of(body): body}
    assert (pushed.digest, pushed.size) == (images.digest_of(body), len(body))
    assert pushed.media_type == images.OCI_INDEX
    assert shelf.names["it"] == pushed.digest
    with pytest.raises(NoMatchingPlatform):
        layout.push("localhost/it:1", platform="linux/s390x", resolver=shelf)


def test_platforms_of_which_one_is_in_an_index_below(tmp_path: Path) -> None:
    """As for a pull, of those asked for an index below need not have all."""
    inner = images.index_of({"linux/amd64": AMD, "linux/ppc64le": PPC})
    outer = with_entries(images.index_of({"linux/arm64": ARM}), inner.manifest)
    whole = images.Image(outer.manifest, {**outer.blobs, **inner.blobs})
    shelf = Shelf()
    wanted = ["linux/arm64", "linux/amd64"]
    layout_of(tmp_path, whole).push("localhost/it:1", platform=wanted, resolver=shelf)
    assert AMD.digest in shelf.bodies
    assert ARM.digest in shelf.bodies
    assert PPC.digest not in shelf.bodies


def test_an_index_that_loses_nothing_is_not_reduced(tmp_path: Path) -> None:
    index = images.index_of({"linux/amd64": AMD}, unknown={"kept": " as it is"})
    shelf = Shelf()
    layout = layout_of(tmp_path, index)
    assert layout.push("localhost/it:1", platform="linux/amd64", resolver=shelf).digest == (
        index.digest
    )


def test_a_reduced_index_in_an_index(tmp_path: Path) -> None:
    outer = images.index_of({"linux/amd64": INDEX})
    document = outer.json()
    del document["manifests"][0]["platform"]
    body = images.encode(document)
    whole = images.Image(
        images.descriptor(images.OCI_INDEX, body), {**outer.blobs, images.digest_of(body): body}
    )
    shelf = Shelf()
    layout = layout_of(tmp_path, whole, ARM.digest)
    layout.push("localhost/it:1", platform="linux/amd64", resolver=shelf)
    inner, root = shelf.order[-2:]
    assert [one["digest"] for one in json.loads(shelf.bodies[root])["manifests"]] == [inner]
    assert [one["digest"] for one in json.loads(shelf.bodies[inner])["manifests"]] == [AMD.digest]


@pytest.mark.parametrize("is_there", [True, False])
def test_attestations_go_along_if_they_are_there(tmp_path: Path, is_there: bool) -> None:
    of_amd, of_arm = (images.random_image([70], seed=seed) for seed in (98, 99))
    index = with_entries(INDEX, marked(of_amd, AMD), marked(of_arm, ARM))
    blobs = {**index.blobs, **of_amd.blobs, **of_arm.blobs}
    gone = [of_arm.digest, ARM.digest] + ([] if is_there else [of_amd.layers[0]["digest"]])
    shelf = Shelf()
    layout = layout_of(tmp_path, images.Image(index.manifest, blobs), *gone)
    pushed = layout.push("localhost/it:1", platform="linux/amd64", resolver=shelf)
    entries = json.loads(shelf.bodies[pushed.digest])["manifests"]
    expected = [AMD.digest, of_amd.digest] if is_there else [AMD.digest]
    assert [one["digest"] for one in entries] == expected
    assert (of_amd.digest in shelf.bodies) is is_there


def test_a_child_named_again_and_again(tmp_path: Path) -> None:
    """Forty times at each of six levels: who went to each of them would never end."""
    blobs, entry = dict(PPC.blobs), PPC.manifest
    for _ in range(6):
        document = {"schemaVersion": 2, "mediaType": images.OCI_INDEX, "manifests": [entry] * 40}
        body = images.encode(document)
        entry = images.descriptor(images.OCI_INDEX, body)
        blobs[images.digest_of(body)] = body
    shelf = Shelf()
    layout_of(tmp_path, images.Image(entry, blobs)).push("localhost/it:1", resolver=shelf)
    assert sorted(shelf.order) == sorted(blobs)
    assert shelf.order[-1] == entry["digest"]
