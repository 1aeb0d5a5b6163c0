"""Schema 1 into a layout, fed by a fetcher of the test's own."""

from __future__ import annotations

import gzip
import io
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from containerd_lite.errors import (
    ContainerdError,
    DataLoss,
    DigestMismatch,
    InvalidArgument,
    NotFound,
    SizeMismatch,
)
from containerd_lite.images.job import Job
from containerd_lite.images.pull.convert_schema1 import convert
from containerd_lite.oci import digest as digests
from containerd_lite.oci import media_types
from containerd_lite.oci.config import ImageConfig
from containerd_lite.oci.descriptor import Descriptor
from containerd_lite.oci.document import MAX_DOCUMENT
from containerd_lite.oci.manifest import Manifest, parse
from containerd_lite.oci.media_types import may_be_schema1
from containerd_lite.store.layout_store import LayoutStore
from containerd_lite.store.protocol import read_blob
from tests.harness import images
from tests.unit.oci.test_schema1 import EMPTY, payload_of, signed

Step = tuple[bytes | str, dict[str, Any]]


class Fetcher:
    """Serves a manifest and blobs, and tells the sizes of those."""

    def __init__(self, manifest: bytes, *blobs: bytes) -> None:
        self.manifest = manifest
        self.blobs = {digests.of(blob): blob for blob in blobs}
        self.asked: list[tuple[str, str]] = []

    def fetch(self, descriptor: Descriptor, offset: int = 0) -> io.BytesIO:
        self.asked.append((descriptor.media_type, descriptor.digest))
        if media_types.is_schema1(descriptor.media_type):
            return io.BytesIO(self.manifest[offset:])
        return io.BytesIO(self.blobs[descriptor.digest][offset:])

    def size_of(self, descriptor: Descriptor) -> int:
        return len(self.blobs[descriptor.digest])


class Case:
    """An image of steps, oldest first: a blob, or a digest of one that nobody has."""

    def __init__(self, *steps: Step) -> None:
        blobs = [blob for blob, _ in steps if isinstance(blob, bytes)]
        names = [blob if isinstance(blob, str) else digests.of(blob) for blob, _ in steps]
        about = [{"os": "linux", "architecture": "amd64", **more} for _, more in steps]
        self.payload = payload_of(names[::-1], about[::-1])
        self.fetcher = Fetcher(signed(self.payload), *blobs)
        self.target = Descriptor(
            media_types.DOCKER_SCHEMA1_SIGNED,
            digests.of(self.payload),
            len(self.fetcher.manifest),
        )

    def convert(self, store: LayoutStore) -> tuple[Manifest, ImageConfig]:
        made = convert(self.fetcher, store, "name", self.target, Job())
        manifest = parse(read_blob(store, made, MAX_DOCUMENT), made.media_type)
        assert isinstance(manifest, Manifest)
        return manifest, ImageConfig.parse(read_blob(store, manifest.config, MAX_DOCUMENT))


@pytest.fixture
def store(tmp_path: Path) -> LayoutStore:
    return LayoutStore(tmp_path)


def layer(text: bytes, compression: str = "gzip") -> images.Layer:
    return images.layer({"file": text}, compression)


ONE, TWO, PLAIN = layer(b"one"), layer(b"two"), layer(b"plain", "none")


def test_an_image(store: LayoutStore) -> None:
    case = Case(
        (ONE.blob, {"comment": "first"}),
        (EMPTY, {"throwaway": True}),
        (PLAIN.blob, {}),
        (TWO.blob, {"Size": 3, "created": "2016-01-01T00:00:00Z"}),
        (digests.of(b"not there"), {"Size": 0, "config": {"Cmd": ["sh"]}}),
    )
    manifest, config = case.convert(store)
    assert config.diff_ids == (ONE.diff_id, PLAIN.diff_id, TWO.diff_id)
    assert [(one.media_type, one.digest, one.size) for one in manifest.layers] == [
        (kind, digests.of(one.blob), len(one.blob))
        for kind, one in (
            (media_types.DOCKER_LAYER_GZIP, ONE),
            (media_types.DOCKER_LAYER, PLAIN),
            (media_types.DOCKER_LAYER_GZIP, TWO),
        )
    ]
    assert [step.empty_layer for step in config.history] == [False, True, False, False, True]
    assert (config.history[0].comment, config.cmd) == ("first", ("sh",))
    fetched = sorted(digest for _, digest in case.fetcher.asked)
    assert fetched == sorted([case.target.digest, *case.fetcher.blobs])
    assert store.statuses() == []


def test_nothing_is_fetched_that_is_there(store: LayoutStore) -> None:
    case = Case((ONE.blob, {}))
    first = case.convert(store)
    case.fetcher.blobs.clear()
    assert case.convert(store) == first


@pytest.mark.parametrize("content", [b"", bytes(1024), bytes(200_000)])
def test_a_layer_without_content_is_found_out(store: LayoutStore, content: bytes) -> None:
    """Of its history, Docker wrote nothing down for a long time."""
    manifest, config = Case((ONE.blob, {}), (gzip.compress(content, mtime=0), {})).convert(store)
    assert config.diff_ids == (ONE.diff_id,)
    assert [step.empty_layer for step in config.history] == [False, True]
    assert len(manifest.layers) == 1


def test_all_steps_may_be_empty(store: LayoutStore) -> None:
    manifest, config = Case((EMPTY, {})).convert(store)
    assert (manifest.layers, config.diff_ids) == ((), ())


def test_a_layer_twice(store: LayoutStore) -> None:
    case = Case((ONE.blob, {}), (TWO.blob, {}), (ONE.blob, {}))
    manifest, config = case.convert(store)
    assert config.diff_ids == (ONE.diff_id, TWO.diff_id, ONE.diff_id)
    assert manifest.layers[0] == manifest.layers[2]
    assert len(case.fetcher.asked) == 3


def test_a_layer_of_several_gzip_members(store: LayoutStore) -> None:
    tar = PLAIN.blob
    parts = gzip.compress(tar[:700]) + gzip.compress(b"") + gzip.compress(tar[700:])
    _, config = Case((parts, {})).convert(store)
    assert config.diff_ids == (PLAIN.diff_id,)


@pytest.mark.parametrize(
    "blob",
    [
        ONE.blob[:-1],
        ONE.blob[:-9],
        ONE.blob + b"more",
        ONE.blob[:-8] + bytes(8),
        b"\x1f\x8b\x08other",
    ],
)
def test_a_layer_that_does_not_decompress(store: LayoutStore, blob: bytes) -> None:
    with pytest.raises(DataLoss, match=digests.of(blob)):
        Case((blob, {})).convert(store)
    assert store.statuses() == []


def test_memory_stays_flat_whatever_a_layer_unpacks_to(store: LayoutStore) -> None:
    case = Case((ONE.blob, {}), (gzip.compress(bytes(100 << 20), mtime=0), {}))
    tracemalloc.start()
    try:
        case.convert(store)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 << 20


def other_payload(case: Case) -> bytes:
    return signed(case.payload.replace(b"amd64", b"arm64"))


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (other_payload, DigestMismatch),
        (lambda case: case.payload.replace(b"app", b"apq"), DigestMismatch),
        (lambda case: case.payload + b" " * MAX_DOCUMENT, SizeMismatch),
        (lambda case: case.fetcher.manifest[:-1], InvalidArgument),
        (lambda case: b"", InvalidArgument),
    ],
)
def test_another_manifest_is_refused(
    store: LayoutStore, change: Callable[[Case], bytes], kind: type[ContainerdError]
) -> None:
    case = Case((ONE.blob, {}))
    case.fetcher.manifest = change(case)
    with pytest.raises(kind):
        case.convert(store)
    assert list(store.walk()) == []


def test_signatures_may_change_and_go(store: LayoutStore) -> None:
    """A registry signs afresh at each request; the digest is the payload's alone."""
    case = Case((ONE.blob, {}))
    first = case.convert(store)
    case.fetcher.manifest = signed(case.payload, alg="another, and longer")
    assert case.convert(store) == first
    case.fetcher.manifest = case.payload
    assert case.convert(store) == first


def test_a_history_that_is_not_true(store: LayoutStore) -> None:
    case = Case((ONE.blob, {}), (ONE.blob, {"throwaway": True}))
    with pytest.raises(
        InvalidArgument, match=r"layer sha256:.+ is empty, but the layer has content"
    ):
        case.convert(store)


def test_another_blob_is_refused(store: LayoutStore) -> None:
    case = Case((ONE.blob, {}), (TWO.blob, {}))
    digest = digests.of(TWO.blob)
    case.fetcher.blobs[digest] = TWO.blob[:-1] + b"?"
    with pytest.raises(DigestMismatch, match=digest):
        case.convert(store)
    assert store.statuses() == []
    assert [info.digest for info in store.walk()] in ([], [digests.of(ONE.blob)])


def test_a_failure_is_told(store: LayoutStore) -> None:
    case = Case((ONE.blob, {}), (TWO.blob, {}))

    def size_of(descriptor: Descriptor) -> int:
        raise NotFound(descriptor.digest)

    case.fetcher.size_of = size_of  # type: ignore[method-assign]
    with pytest.raises(NotFound):
        case.convert(store)


def test_a_fetcher_that_cannot_tell_sizes(store: LayoutStore) -> None:
    class Sizeless:
        def fetch(self, descriptor: Descriptor, offset: int = 0) -> io.BytesIO:
            raise AssertionError

    case = Case((ONE.blob, {}))
    with pytest.raises(InvalidArgument, match="size_of"):
        convert(Sizeless(), store, "name", case.target, Job())


def test_what_is_convertible(store: LayoutStore) -> None:
    case = Case((ONE.blob, {}))
    first = case.convert(store)
    for kind in (media_types.DOCKER_SCHEMA1, "text/plain"):
        case.target = Descriptor(kind, case.target.digest, case.target.size)
        assert may_be_schema1(case.target.media_type)
        assert case.convert(store) == first
    case.target = Descriptor(media_types.DOCKER_MANIFEST, case.target.digest, 1)
    assert not may_be_schema1(case.target.media_type)
    with pytest.raises(InvalidArgument, match=r"not a schema 1 manifest"):
        case.convert(store)


def test_it_is_written_as_containerd_writes_it(store: LayoutStore) -> None:
    """Three spaces, and no media type: the digest is to be that of containerd's conversion."""
    case = Case((EMPTY, {"comment": "a < b & c"}))
    made = convert(case.fetcher, store, "name", case.target, Job())
    body = read_blob(store, made, MAX_DOCUMENT)
    config = json.loads(body)["config"]
    assert body.decode() == (
        '{\n   "schemaVersion": 2,\n   "config": {\n'
        f'      "mediaType": "{media_types.OCI_CONFIG}",\n'
        f'      "digest": "{config["digest"]}",\n      "size": {config["size"]}\n   }},\n'
        '   "layers": []\n}'
    )
    with store.reader(config["digest"]) as file:
        assert b'"comment": "a \\u003c b \\u0026 c"' in file.read()
