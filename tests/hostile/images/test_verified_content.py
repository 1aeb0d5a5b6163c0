"""A pull uses what was verified (CVE-2023-33959), even if the registry changes its answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from containerd_lite import Layout
from containerd_lite.errors import (
    ContainerdError,
    DataLoss,
    InvalidArgument,
    NotFound,
    SignatureError,
    Untrusted,
)
from containerd_lite.oci.descriptor import Descriptor
from containerd_lite.trust import Policy, Rule
from tests.harness import images, signatures
from tests.harness.images import Image
from tests.hostile.images.judged import IMAGE, KEY
from tests.unit.images.own import Source

NAME = "registry.example/team/app:1"
REPOSITORY = NAME.rpartition(":")[0]
EVIL = images.scratch({"evil": b"1"})
PLATFORM = images.machine_platform()
INDEX = images.index_of({"linux/riscv64": EVIL, PLATFORM: IMAGE})
POLICY = Policy({"**": Rule(keys=[KEY.public])})


class Changing:
    """A resolver of an image whose registry answers otherwise from time to time.

    Attributes:
        answers: What the name refers to, one after the other; the last one stays.
        blobs: The content by digest.
        tags: What other names refer to.
        fetched: The digests that were asked for.
        replaced: Other bytes for a digest, after so many right answers.
    """

    def __init__(self, *answers: Image) -> None:
        self.answers = list(answers)
        self.blobs: dict[str, bytes] = {}
        self.tags: dict[str, Descriptor] = {}
        self.fetched: list[str] = []
        self.replaced: dict[str, tuple[int, bytes]] = {}
        self.media_type = ""
        for answer in answers:
            self.blobs |= answer.blobs

    def sign(self, image: Image) -> Changing:
        signed = signatures.signed(image, KEY)
        self.blobs |= signed.blobs
        tag = f"{REPOSITORY}:{signatures.tag(image.digest)}"
        self.tags[tag] = Descriptor.from_json(signed.manifest)
        return self

    def resolve(self, ref: str) -> tuple[str, Descriptor]:
        if ref in self.tags:
            return ref, self.tags[ref]
        if ref != NAME:
            raise NotFound(f"no {ref}")
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        kind = self.media_type or answer.manifest["mediaType"]
        return ref, Descriptor.from_json({**answer.manifest, "mediaType": kind})

    def fetcher(self, ref: str) -> Changing:
        return self

    def fetch(self, descriptor: Descriptor, offset: int = 0) -> Source:
        self.fetched.append(descriptor.digest)
        count, other = self.replaced.get(descriptor.digest, (0, b""))
        if other and self.fetched.count(descriptor.digest) > count:
            return Source(other[offset:])
        return Source(self.blobs[descriptor.digest][offset:])


def pull(
    folder: Path, resolver: Changing, policy: Policy = POLICY, *, all_platforms: bool = False
) -> Layout:
    layout = Layout(folder / "store")
    layout.pull(NAME, resolver=resolver, policy=policy, all_platforms=all_platforms)
    return layout


def refused(
    folder: Path, resolver: Changing, error: type[ContainerdError], policy: Policy = POLICY
) -> None:
    """Expect an error, and that nothing got a name."""
    layout = Layout(folder / "store")
    with pytest.raises(error):
        layout.pull(NAME, resolver=resolver, policy=policy)
    assert layout.list_images() == []


@pytest.mark.parametrize("image", [IMAGE, INDEX], ids=["manifest", "index"])
def test_the_tag_refers_to_another_image_after_the_verdict(tmp_path: Path, image: Image) -> None:
    resolver = Changing(image, EVIL).sign(image)
    (found,) = pull(tmp_path, resolver).list_images()
    assert found.target.digest == image.digest
    assert EVIL.digest not in resolver.fetched


def test_the_tag_refers_to_another_image_at_each_look(tmp_path: Path) -> None:
    """Each pull is verified for itself."""
    resolver = Changing(IMAGE, EVIL, IMAGE).sign(IMAGE)
    layout = pull(tmp_path, resolver)
    with pytest.raises(SignatureError, match=EVIL.digest):
        layout.pull(NAME, resolver=resolver, policy=POLICY)
    (found,) = layout.list_images()
    assert found.target.digest == IMAGE.digest
    assert layout.pull(NAME, resolver=resolver, policy=POLICY).verdict is not None


def parts(image: Image) -> list[str]:
    """The digests of the image's manifest, config and layer."""
    found = image.json()
    return [image.digest, found["config"]["digest"], found["layers"][0]["digest"]]


@pytest.mark.parametrize("number", range(3), ids=["manifest", "config", "layer"])
@pytest.mark.parametrize("same_size", [True, False])
def test_other_bytes_for_a_digest(tmp_path: Path, number: int, same_size: bool) -> None:
    resolver = Changing(IMAGE).sign(IMAGE)
    digest, other = parts(IMAGE)[number], EVIL.blobs[parts(EVIL)[number]]
    size = len(IMAGE.blobs[digest])
    resolver.replaced[digest] = (0, other.ljust(size)[:size] if same_size else other + b" ")
    refused(tmp_path, resolver, DataLoss)


@pytest.mark.parametrize("rule", ["index", "platforms", "both"])
def test_other_bytes_after_the_judge_has_read_them(tmp_path: Path, rule: str) -> None:
    """The judge reads the index, too, to find the platforms. The pull reads it again."""
    resolver = Changing(INDEX).sign(INDEX).sign(IMAGE)
    policy = Policy({"**": Rule(keys=[KEY.public], signed=rule)})  # type: ignore[arg-type]
    body = INDEX.blobs[INDEX.digest]
    other = body.replace(IMAGE.digest.encode(), EVIL.digest.encode())
    for count in range(3):
        resolver.fetched.clear()
        resolver.replaced[INDEX.digest] = (count, other)
        try:
            layout = pull(tmp_path / str(count), resolver, policy)
        except ContainerdError as error:
            assert isinstance(error, DataLoss | SignatureError)  # noqa: PT017
            assert not Layout(tmp_path / str(count) / "store").list_images()
        else:
            assert layout.list_images()[0].target.digest == INDEX.digest
        assert not set(parts(EVIL)) & set(resolver.fetched)


def test_other_bytes_of_a_signature(tmp_path: Path) -> None:
    """A registry that sends another manifest of signatures for a digest is not believed."""
    resolver = Changing(IMAGE).sign(IMAGE)
    (tag,) = resolver.tags.values()
    other = signatures.signed(IMAGE, KEY)
    resolver.blobs |= other.blobs
    resolver.replaced[tag.digest] = (0, other.blobs[other.digest])
    refused(tmp_path, resolver, Untrusted)


def test_an_index_that_is_declared_to_be_a_manifest(tmp_path: Path) -> None:
    """CVE-2021-41190: its platforms would not be looked at. The pull then refuses it."""
    resolver = Changing(INDEX).sign(INDEX)
    resolver.media_type = images.OCI_MANIFEST
    policy = Policy({"**": Rule(keys=[KEY.public], signed="both")})
    refused(tmp_path, resolver, InvalidArgument, policy)
    assert not set(parts(IMAGE)) & set(resolver.fetched)


@pytest.mark.parametrize("signed", ["platforms", "both"])
def test_two_entries_for_one_platform(tmp_path: Path, signed: str) -> None:
    """CVE-2022-24778: the entry that is verified is the entry that is pulled."""
    policy = Policy({"**": Rule(keys=[KEY.public], signed=signed)})  # type: ignore[arg-type]

    def index(entries: Sequence[Image]) -> Image:
        listed = [{**each.manifest, "platform": images.platform_json(PLATFORM)} for each in entries]
        body = images.encode(
            {"schemaVersion": 2, "mediaType": images.OCI_INDEX, "manifests": listed}
        )
        blobs: dict[str, bytes] = {images.digest_of(body): body}
        for each in entries:
            blobs |= each.blobs
        return Image(images.descriptor(images.OCI_INDEX, body), blobs)

    for number, entries in enumerate(([IMAGE, EVIL], [EVIL, IMAGE])):
        found = index(entries)
        resolver = Changing(found).sign(found).sign(IMAGE)
        folder = tmp_path / str(number)
        if entries[0] is EVIL:
            refused(folder, resolver, SignatureError, policy)
        else:
            layout = pull(folder, resolver, policy)
            assert layout.list_images()[0].target.digest == found.digest
        assert not set(parts(EVIL)[1:]) & set(resolver.fetched)


def test_all_platforms_are_verified_if_all_are_pulled(tmp_path: Path) -> None:
    policy = Policy({"**": Rule(keys=[KEY.public], signed="both")})
    resolver = Changing(INDEX).sign(INDEX).sign(IMAGE)
    pull(tmp_path / "one", resolver, policy)
    with pytest.raises(SignatureError, match=EVIL.digest):
        pull(tmp_path / "all", resolver, policy, all_platforms=True)
    pull(tmp_path / "all", resolver.sign(EVIL), policy, all_platforms=True)


Verb = Callable[[Layout, Changing], object]
VERBS: dict[str, Verb] = {
    "fetch_missing": lambda layout, resolver: layout.fetch_missing(
        NAME, resolver=resolver, policy=POLICY, all_platforms=True
    ),
    "repair": lambda layout, resolver: layout.repair(
        NAME, resolver=resolver, policy=POLICY, all_platforms=True
    ),
}


@pytest.mark.parametrize("verb", VERBS)
def test_what_is_fetched_later_is_of_the_same_image(tmp_path: Path, verb: str) -> None:
    """The name in the registry refers to another, signed image now."""
    resolver = Changing(INDEX, IMAGE)
    layout = Layout(tmp_path / "store")
    layout.pull(NAME, resolver=resolver)
    resolver.sign(IMAGE)
    with pytest.raises(SignatureError, match=INDEX.digest):
        VERBS[verb](layout, resolver)
    VERBS[verb](layout, resolver.sign(INDEX))
    assert layout.list_images()[0].target.digest == INDEX.digest
