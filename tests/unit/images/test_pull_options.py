"""What of a name is fetched: platforms, attestations, referrers, and what handlers make of it."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path

import pytest

from containerd_lite import Layout, ProgressEvent
from containerd_lite.errors import InvalidArgument, NoMatchingPlatform
from containerd_lite.images.walk import Handler, SkipDescriptor, StopHandlers
from containerd_lite.oci import media_types
from containerd_lite.oci.descriptor import Descriptor
from tests.harness import artifacts, images
from tests.harness.images import Image
from tests.unit.images.own import OwnResolver

NAMES = ("linux/amd64", "linux/arm64", "linux/arm/v7", "linux/s390x")
SEVERAL = {
    name: images.random_image([500 + n, 600 + n], seed=n, platform=name)
    for n, name in enumerate(NAMES)
}
INDEX = images.index_of(SEVERAL)


def blobs_of(folder: Path) -> set[str]:
    return {f"sha256:{path.name}" for path in (folder / "blobs" / "sha256").iterdir()}


def pulled(folder: Path, image: Image, **options: object) -> set[str]:
    """The digests that a pull of an image brings."""
    resolver = OwnResolver(image)
    Layout(folder).pull("Own Name!", resolver=resolver, **options)  # type: ignore[arg-type]
    return blobs_of(folder)


def of(*names: str) -> set[str]:
    return {INDEX.digest, *(digest for name in names for digest in SEVERAL[name].blobs)}


@pytest.mark.parametrize(
    ("platform", "expected"),
    [
        ("linux/s390x", ("linux/s390x",)),
        ("linux/arm64/v8", ("linux/arm64",)),
        (["linux/amd64", "linux/arm/v7"], ("linux/amd64", "linux/arm/v7")),
        (("linux/amd64/v3",), ("linux/amd64",)),
        (["linux/arm/v8", "linux/arm/v7"], ("linux/arm/v7",)),
    ],
)
def test_of_an_index_the_platforms_asked_for(
    tmp_path: Path, platform: str | Sequence[str], expected: tuple[str, ...]
) -> None:
    assert pulled(tmp_path, INDEX, platform=platform) == of(*expected)


def test_of_an_index_all_platforms(tmp_path: Path) -> None:
    assert pulled(tmp_path, INDEX, all_platforms=True) == of(*NAMES)
    layout = Layout(tmp_path / "fetched")
    layout.fetch("Own Name!", resolver=OwnResolver(INDEX))
    assert blobs_of(tmp_path / "fetched") == of(*NAMES)


def test_one_platform_after_the_other(tmp_path: Path) -> None:
    assert pulled(tmp_path, INDEX, platform="linux/s390x") == of("linux/s390x")
    assert pulled(tmp_path, INDEX, platform="linux/amd64") == of("linux/s390x", "linux/amd64")


def test_what_an_index_lacks_is_told(tmp_path: Path) -> None:
    with pytest.raises(NoMatchingPlatform, match=r"linux/riscv64; it has linux/amd64, linux/arm64"):
        pulled(tmp_path, INDEX, platform=["linux/amd64", "linux/riscv64"])
    with pytest.raises(NoMatchingPlatform, match="linux/s390x"):
        pulled(tmp_path, SEVERAL["linux/amd64"], platform="linux/s390x")
    with pytest.raises(InvalidArgument, match="exclude"):
        pulled(tmp_path, INDEX, platform="linux/amd64", all_platforms=True)
    assert Layout(tmp_path).list_images() == []


def test_attestations_come_when_asked_for_and_with_all(tmp_path: Path) -> None:
    index = artifacts.attested(images.index_of(dict(list(SEVERAL.items())[:2])))
    attestations = {
        entry["annotations"]["vnd.docker.reference.digest"]: entry["digest"]
        for entry in index.json()["manifests"]
        if "annotations" in entry
    }
    amd64, arm64 = SEVERAL["linux/amd64"], SEVERAL["linux/arm64"]

    def below(digest: str) -> set[str]:
        document = index.json(digest)
        children = [document["config"], *document["layers"]]
        return {digest, *(child["digest"] for child in children)}

    plain = pulled(tmp_path / "plain", index, platform="linux/amd64")
    assert plain == {index.digest, *amd64.blobs}
    asked = pulled(tmp_path / "asked", index, platform="linux/amd64", attestations=True)
    assert asked == plain | below(attestations[amd64.digest])
    assert arm64.digest not in asked
    assert pulled(tmp_path / "all", index, all_platforms=True) == index.blobs.keys()


def test_an_index_in_an_index(tmp_path: Path) -> None:
    inner = images.index_of({name: SEVERAL[name] for name in NAMES[2:]})
    entry = dict(inner.manifest)
    outer_json = {
        "schemaVersion": 2,
        "mediaType": images.OCI_INDEX,
        "manifests": [*images.index_of({NAMES[0]: SEVERAL[NAMES[0]]}).json()["manifests"], entry],
    }
    blob = images.encode(outer_json)
    outer = Image(
        images.descriptor(images.OCI_INDEX, blob),
        {**SEVERAL[NAMES[0]].blobs, **inner.blobs, images.digest_of(blob): blob},
    )
    expected = {outer.digest, inner.digest, *SEVERAL["linux/s390x"].blobs}
    assert pulled(tmp_path / "one", outer, platform="linux/s390x") == expected
    both = pulled(tmp_path / "two", outer, platform=["linux/s390x", "linux/amd64"])
    assert both == expected | set(SEVERAL["linux/amd64"].blobs)


class WithReferrers(OwnResolver):
    """Knows of artifacts that refer to what it has."""

    def __init__(self, image: Image, *artifacts: Image) -> None:
        blobs = {digest: blob for one in (image, *artifacts) for digest, blob in one.blobs.items()}
        super().__init__(Image(image.manifest, blobs))
        self._artifacts = artifacts

    def referrers(self, descriptor: Descriptor) -> list[Descriptor]:
        return [
            Descriptor.from_json(one.manifest)
            for one in self._artifacts
            if one.json()["subject"]["digest"] == descriptor.digest
        ]


def test_referrers_of_what_was_chosen_and_theirs(tmp_path: Path) -> None:
    amd64, arm64 = SEVERAL["linux/amd64"], SEVERAL["linux/arm64"]
    sbom = artifacts.artifact(amd64, b"sbom")
    signature = artifacts.artifact(sbom, b"signature of the sbom")
    other = artifacts.artifact(arm64, b"of another platform")
    resolver = WithReferrers(INDEX, sbom, signature, other)
    options = {"platform": "linux/amd64", "resolver": resolver}
    Layout(tmp_path / "plain").pull("Own Name!", **options)  # type: ignore[arg-type]
    assert blobs_of(tmp_path / "plain") == of("linux/amd64")
    Layout(tmp_path / "asked").pull("Own Name!", referrers=True, **options)  # type: ignore[arg-type]
    assert blobs_of(tmp_path / "asked") == of("linux/amd64") | set(sbom.blobs) | set(
        signature.blobs
    )


# ---- handlers ----------------------------------------------------------------------------------

IMAGE = SEVERAL["linux/amd64"]
LAYERS = [layer["digest"] for layer in IMAGE.layers]


def test_a_handler_skips_and_another_adds(tmp_path: Path) -> None:
    extra = b"further content"
    found = Descriptor("text/plain", images.digest_of(extra), len(extra))
    image = Image(IMAGE.manifest, {**IMAGE.blobs, found.digest: extra})
    asked = []

    def skip(descriptor: Descriptor) -> Sequence[Descriptor]:
        asked.append(descriptor.digest)
        if descriptor.digest == LAYERS[0]:
            raise SkipDescriptor
        return ()

    def add(descriptor: Descriptor) -> Sequence[Descriptor]:
        return [found] if descriptor.digest == image.digest else []

    brought = pulled(tmp_path, image, handlers=(skip, add), platform="linux/amd64")
    assert brought == {*IMAGE.blobs, found.digest} - {LAYERS[0]}
    assert sorted(asked) == sorted({*IMAGE.blobs, found.digest})


def test_a_handler_stops_before_the_fetch(tmp_path: Path) -> None:
    def stop(descriptor: Descriptor) -> Sequence[Descriptor]:
        if descriptor.digest == LAYERS[1]:
            raise StopHandlers
        return ()

    brought = pulled(tmp_path, IMAGE, handlers=[stop], platform="linux/amd64")
    assert brought == IMAGE.blobs.keys() - {LAYERS[1]}


def test_a_wrapped_handler_changes_the_children(tmp_path: Path) -> None:
    def without_layers(handler: Handler) -> Handler:
        def handle(descriptor: Descriptor) -> Sequence[Descriptor]:
            return [c for c in handler(descriptor) if not media_types.is_layer(c.media_type)]

        return handle

    brought = pulled(tmp_path, IMAGE, wrap_handler=without_layers, platform="linux/amd64")
    assert brought == IMAGE.blobs.keys() - set(LAYERS)


def test_a_handler_that_fails_ends_the_pull(tmp_path: Path) -> None:
    def fail(descriptor: Descriptor) -> Sequence[Descriptor]:
        raise LookupError(descriptor.digest)

    with pytest.raises(LookupError, match=IMAGE.digest):
        pulled(tmp_path, IMAGE, handlers=[fail], platform="linux/amd64")
    assert not list(tmp_path.iterdir())


# ---- what needs no fetch, and what was fetched before ------------------------------------------


def test_data_in_a_descriptor_is_not_fetched(tmp_path: Path) -> None:
    def embed(manifest: images.Json) -> None:
        config = manifest["config"]
        config["data"] = base64.b64encode(blobs[config["digest"]]).decode()

    parts = images.random_image([100], seed=8)
    blobs = parts.blobs
    layer = images.Layer(blobs[parts.layers[0]["digest"]], parts.config["rootfs"]["diff_ids"][0])
    image = images.build([layer], change_manifest=embed)
    assert image.json()["config"]["digest"] in blobs
    resolver = OwnResolver(image)
    Layout(tmp_path).pull("Own Name!", resolver=resolver)
    assert blobs_of(tmp_path) == image.blobs.keys()
    assert image.json()["config"]["digest"] not in [digest for digest, _ in resolver.asked]


def test_a_pull_that_resumes_fetches_what_is_missing(tmp_path: Path) -> None:
    image = images.random_image([9_000_000, 50])
    big, piece = image.layers[0]["digest"], 2 << 20
    layout = Layout(tmp_path)
    broken = OwnResolver(image)
    at_once = ProgressEvent("downloading", big, piece, len(image.blobs[big]))

    def give_up(event: ProgressEvent) -> None:
        if event == at_once:
            raise LookupError("enough")

    with pytest.raises(LookupError):
        layout.pull(
            "Own Name!",
            resolver=broken,
            progress=give_up,
            resume=True,
            max_concurrent_downloads=1,
        )
    (left,) = layout.content_store.statuses()
    assert left.offset == piece
    again = OwnResolver(image)
    Layout(tmp_path).pull("Own Name!", resolver=again, resume=True)
    assert blobs_of(tmp_path) == image.blobs.keys()
    assert (big, piece) in again.asked
    assert len(again.asked) < len(image.blobs)
    assert not (tmp_path / ".ingest").exists()


def test_without_resume_nothing_half_made_is_left(tmp_path: Path) -> None:
    image = images.random_image([3_000_000])

    def give_up(event: ProgressEvent) -> None:
        if event.stage == "downloading" and event.total > 1_000_000:
            raise LookupError("enough")

    layout = Layout(tmp_path)
    with pytest.raises(LookupError):
        layout.pull("Own Name!", resolver=OwnResolver(image), progress=give_up)
    assert layout.content_store.statuses() == []
    assert not (tmp_path / ".ingest").exists()
