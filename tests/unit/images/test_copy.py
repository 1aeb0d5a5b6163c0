"""Copying by a resolver of the test's own, from a name to a name, with nothing on the disk."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO

import pytest

from containerd_lite import Layout, ProgressEvent
from containerd_lite.errors import (
    DigestMismatch,
    NotFound,
    RegistryNotFound,
    RegistryUnauthorized,
    RegistryUnavailable,
    SizeMismatch,
)
from containerd_lite.images.push import copy as copying
from containerd_lite.oci.descriptor import Descriptor
from containerd_lite.registry.upload import Outcome
from tests.harness import images
from tests.unit.images.shelf import AMD, ARM, FOREIGN, INDEX, PPC, Json, Shelf, with_entries


class Between(Shelf):
    """Serves one image, and takes others."""

    def __init__(self, image: images.Image, **options: Any) -> None:
        super().__init__(**options)
        self.image = image
        self.fetched: list[str] = []
        self.open = 0
        self.change: Callable[[Descriptor, bytes], bytes] = lambda descriptor, body: body

    def resolve(self, ref: str) -> tuple[str, Descriptor]:
        return ref, Descriptor.from_json(self.image.manifest)

    def fetcher(self, ref: str) -> Between:
        return self

    def fetch(self, descriptor: Descriptor, offset: int = 0) -> io.BytesIO:
        self.fetched.append(descriptor.digest)
        if descriptor.digest not in self.image.blobs:
            raise RegistryNotFound(f"{descriptor.digest} is not there", status=404)
        body = self.change(descriptor, self.image.blobs[descriptor.digest])
        return io.BytesIO(body[offset:])


def copy(shelf: Shelf, source: str = "one.example/a:1", target: str = "b", **options: Any) -> str:
    # No store is asked, so a folder that cannot be is as good as any.
    copied = Layout("/dev/null/x").copy(source, target, resolver=shelf, **options)
    return copied.digest


def test_all_of_an_index() -> None:
    shelf = Between(INDEX)
    events: list[ProgressEvent] = []
    assert copy(shelf, progress=events.append) == INDEX.digest == shelf.names["it"]
    assert shelf.bodies == INDEX.blobs
    assert shelf.order[-1] == INDEX.digest
    documents = {INDEX.digest, AMD.digest, ARM.digest, PPC.digest}
    assert all(shelf.fetched.count(digest) == 1 for digest in documents)
    assert [events[0].stage, events[1].stage, events[-1].stage] == ["resolving", "resolved", "done"]


def test_documents_beyond_what_is_kept_are_fetched_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying, "_CACHE_SIZE", INDEX.manifest["size"] + 100)
    shelf = Between(INDEX)
    assert copy(shelf) == INDEX.digest
    assert shelf.bodies == INDEX.blobs
    assert [shelf.fetched.count(one.digest) for one in (INDEX, AMD, ARM)] == [1, 2, 2]


def test_platforms() -> None:
    shelf = Between(INDEX)
    digest = copy(shelf, platform=("linux/arm64",))
    (entry,) = json.loads(shelf.bodies[digest])["manifests"]
    assert entry["digest"] == ARM.digest
    assert shelf.bodies.keys() == {*ARM.blobs, digest}


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("one.example/b:1", ("a",)),
        ("one.example/a:2", ()),
        ("two.example/a:1", ()),
        ("one.example:5000/b:1", ()),
        ("No Reference!", ()),
    ],
)
def test_mounts_within_a_registry_only(target: str, expected: Sequence[str]) -> None:
    shelf = Between(AMD)
    copy(shelf, target=target)
    blobs = AMD.blobs.keys() - {AMD.digest}
    assert {digest: shelf.asked[digest] for digest in blobs} == dict.fromkeys(blobs, expected)


def test_referrers_go_along() -> None:
    """Those of an entry, of the index, and of a referrer; none of what stays behind."""

    def referring(subject: images.Image, seed: int) -> images.Image:
        return images.random_image(
            [40 + seed],
            seed=seed,
            change_manifest=lambda manifest: manifest.update(subject=subject.manifest),
        )

    of_index, of_amd, of_arm = referring(INDEX, 11), referring(AMD, 12), referring(ARM, 13)
    of_referrer = referring(of_amd, 14)
    found = {INDEX.digest: [of_index], AMD.digest: [of_amd], ARM.digest: [of_arm]}
    found[of_amd.digest] = [of_referrer]
    everything = dict(INDEX.blobs)
    for one in (of_index, of_amd, of_arm, of_referrer):
        everything.update(one.blobs)

    class Referred(Between):
        def referrers(self, descriptor: Descriptor) -> Sequence[Descriptor]:
            listed = found.get(descriptor.digest, ())
            return [Descriptor.from_json(one.manifest) for one in listed]

    whole = images.Image(INDEX.manifest, everything)
    shelf: Between = Referred(whole)
    copy(shelf, referrers=True)
    assert shelf.bodies == everything
    assert shelf.order[-1] == INDEX.digest
    copy(shelf := Referred(whole))
    assert shelf.bodies == INDEX.blobs
    copy(shelf := Referred(whole), platform="linux/amd64", referrers=True)
    reduced = shelf.names["it"]
    expected = {*AMD.blobs, *of_amd.blobs, *of_referrer.blobs, reduced}
    assert shelf.bodies.keys() == expected
    copy(shelf := Between(whole), referrers=True)  # this one cannot tell
    assert shelf.bodies == INDEX.blobs


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda body: body[:-1] + bytes([body[-1] ^ 1]), DigestMismatch),
        (lambda body: body[:-1], SizeMismatch),
        (lambda body: body + b"more", SizeMismatch),
        (lambda body: b"", SizeMismatch),
    ],
)
@pytest.mark.parametrize("which", ["manifest", "config", "layer"])
def test_other_bytes_are_refused(
    which: str, change: Callable[[bytes], bytes], kind: type[Exception]
) -> None:
    documents = {"manifest": AMD.manifest, "config": AMD.json()["config"], "layer": AMD.layers[0]}
    digest = documents[which]["digest"]

    class Gullible(Between):
        def push(
            self, descriptor: Descriptor, open_at: Callable[[int], BinaryIO], **options: Any
        ) -> Outcome:
            with open_at(0) as file:
                self.bodies[descriptor.digest] = file.read()
            return Outcome.UPLOADED

    shelf = Gullible(AMD)
    shelf.change = lambda one, body: change(body) if one.digest == digest else body
    with pytest.raises(kind, match=digest):
        copy(shelf)
    assert digest not in shelf.bodies
    assert shelf.names == {}


@pytest.mark.parametrize("which", ["index", "manifest"])
def test_documents_that_are_missing(which: str) -> None:
    gone = {"index": INDEX, "manifest": ARM}[which].digest
    blobs = {digest: body for digest, body in INDEX.blobs.items() if digest != gone}
    with pytest.raises(NotFound, match=gone) as caught:
        copy(shelf := Between(images.Image(INDEX.manifest, blobs)))
    assert "platform=" in caught.value.remedy
    assert shelf.order == []


def test_a_blob_that_is_missing_is_not_an_upload_that_got_lost() -> None:
    layer = AMD.layers[0]["digest"]
    blobs = {digest: body for digest, body in AMD.blobs.items() if digest != layer}
    with pytest.raises(NotFound, match=layer) as caught:
        copy(shelf := Between(images.Image(AMD.manifest, blobs)))
    assert not isinstance(caught.value, RegistryNotFound)
    assert shelf.names == {}


@pytest.mark.parametrize("error", [RegistryUnavailable("away"), RegistryUnauthorized("who?")])
def test_what_the_source_raises_is_told(error: Exception) -> None:
    class Failing(Between):
        def fetch(self, descriptor: Descriptor, offset: int = 0) -> io.BytesIO:
            if descriptor.digest == AMD.layers[1]["digest"]:
                raise error
            return super().fetch(descriptor, offset)

    with pytest.raises(type(error), match=str(error)):
        copy(shelf := Failing(AMD))
    assert shelf.names == {}


def test_foreign_layers_and_inline_data_are_not_fetched() -> None:
    foreign = {**images.descriptor(FOREIGN, b"far away"), "urls": ["http://localhost/away"]}
    inline = {**images.descriptor("text/plain", b"inline"), "data": "aW5saW5l"}

    def change(manifest: Json) -> None:
        manifest["layers"] += [foreign, inline]

    image = images.random_image([10], change_manifest=change)
    shelf = Between(image)
    copy(shelf)
    assert shelf.bodies == {**image.blobs, inline["digest"]: b"inline"}
    assert set(shelf.fetched) == image.blobs.keys()


def test_readers_are_closed() -> None:
    readers: list[io.BytesIO] = []

    class Noting(Between):
        def fetch(self, descriptor: Descriptor, offset: int = 0) -> io.BytesIO:
            readers.append(super().fetch(descriptor, offset))
            return readers[-1]

    copy(Noting(with_entries(INDEX)))
    assert readers
    assert all(reader.closed for reader in readers)
