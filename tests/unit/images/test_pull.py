"""The pipeline on a layout, fed by a resolver of the test's own: the seam that callers have."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from containerd_lite import CancelToken, Layout, ProgressEvent
from containerd_lite.errors import (
    Cancelled,
    DigestMismatch,
    InvalidArgument,
    RegistryUnavailable,
    SizeMismatch,
)
from containerd_lite.images.job import Job
from containerd_lite.images.pull.fetch_blob import fetch_blob
from containerd_lite.oci import digest as digests
from containerd_lite.oci import media_types
from containerd_lite.oci.descriptor import Descriptor
from containerd_lite.store.layout_store import LayoutStore
from containerd_lite.store.layout_writer import LayoutWriter
from containerd_lite.store.protocol import ingest_ref
from tests.harness import images
from tests.harness.overall import Told, sizes_of
from tests.unit.images.own import OwnResolver

IMAGE = images.random_image([200_000, 3_000_000, 50])


def blobs_of(folder: Path) -> set[str]:
    return {f"sha256:{path.name}" for path in (folder / "blobs" / "sha256").iterdir()}


def test_a_resolver_of_ones_own(tmp_path: Path) -> None:
    resolver = OwnResolver(IMAGE)
    pulled = Layout(tmp_path).pull("Own Name!", resolver=resolver)
    assert (pulled.name, pulled.target.digest) == ("Own Name!", IMAGE.digest)
    assert blobs_of(tmp_path) == IMAGE.blobs.keys()
    assert sorted(resolver.asked) == sorted((digest, 0) for digest in IMAGE.blobs)


def test_a_cut_is_resumed_where_it_was(tmp_path: Path) -> None:
    body = bytes(5_000_000)
    descriptor = Descriptor(media_types.OCI_LAYER, digests.of(body), len(body))
    source = OwnResolver(images.Image({}, {descriptor.digest: body}), cuts=[2_000_000, 1])
    store = LayoutStore(tmp_path)
    events: list[ProgressEvent] = []
    assert fetch_blob(source, store, descriptor, {}, Job(events.append))
    assert [offset for _, offset in source.asked] == [0, 2_000_000, 2_000_001]
    assert [event.stage for event in events].count("retrying") == 2
    assert events[-1].stage == "downloaded"
    assert not fetch_blob(source, store, descriptor, {}, Job(events.append))
    assert events.pop().stage == "exists"


def test_what_an_earlier_pull_left_counts_as_done(tmp_path: Path) -> None:
    def stop(event: ProgressEvent) -> None:
        if event.stage == "downloading" and event.total > 1_000_000:
            raise LookupError

    told = Told()
    with Layout(tmp_path) as layout:
        with pytest.raises(LookupError):
            layout.pull("Own Name!", resolver=OwnResolver(IMAGE), resume=True, progress=stop)
        layout.pull("Own Name!", resolver=OwnResolver(IMAGE), resume=True, progress=told)
    told.check_end(*sizes_of(IMAGE))
    (left,) = (event for event in told.events if event.stage == "waiting" and event.offset)
    assert left.offset == 2 << 20


def test_a_cut_without_a_byte_before_it_ends_it(tmp_path: Path) -> None:
    body = bytes(1000)
    descriptor = Descriptor(media_types.OCI_LAYER, digests.of(body), len(body))
    source = OwnResolver(images.Image({}, {descriptor.digest: body}), cuts=[100, 0])
    store = LayoutStore(tmp_path)
    with pytest.raises(RegistryUnavailable):
        fetch_blob(source, store, descriptor, {}, Job())
    assert [offset for _, offset in source.asked] == [0, 100]
    assert store.statuses() == []


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda body: body[:-1] + b"?", DigestMismatch),
        (lambda body: body[:-1], SizeMismatch),
        (lambda body: body + b"more", SizeMismatch),
        (lambda body: b"", SizeMismatch),
    ],
)
def test_other_bytes_are_refused(
    tmp_path: Path, change: Callable[[bytes], bytes], kind: type[Exception]
) -> None:
    blobs = dict(IMAGE.blobs)
    layer = IMAGE.layers[1]["digest"]
    blobs[layer] = change(blobs[layer])
    layout = Layout(tmp_path)
    with pytest.raises(kind, match=layer):
        layout.pull("Own Name!", resolver=OwnResolver(images.Image(IMAGE.manifest, blobs)))
    assert layer not in blobs_of(tmp_path)
    assert layout.content_store.statuses() == []
    assert layout.list_images() == []


@pytest.mark.parametrize("place", [0, 2])
def test_the_first_failure_is_told_and_stops_the_others(tmp_path: Path, place: int) -> None:
    image = images.random_image([3_000_000] * 3)
    digests_of_layers = [layer["digest"] for layer in image.layers]
    everybody = threading.Barrier(3)

    class Broken(Exception):
        pass

    def before(descriptor: Descriptor) -> None:
        if descriptor.digest in digests_of_layers:
            everybody.wait(5)
            if descriptor.digest == digests_of_layers[place]:
                raise Broken
            time.sleep(0.1)  # it is in the middle of it

    resolver = OwnResolver(image)
    resolver.before_fetch = before
    threads = set(threading.enumerate())
    with pytest.raises(Broken):
        Layout(tmp_path).pull("Own Name!", resolver=resolver)
    assert LayoutStore(tmp_path).statuses() == []
    assert set(threading.enumerate()) <= threads


def test_a_progress_callback_that_raises_ends_the_pull(tmp_path: Path) -> None:
    class Enough(Exception):
        pass

    def progress(event: ProgressEvent) -> None:
        if event.stage == "downloading" and event.total > 1_000_000:
            raise Enough

    with pytest.raises(Enough):
        Layout(tmp_path).pull("Own Name!", resolver=OwnResolver(IMAGE), progress=progress)
    assert LayoutStore(tmp_path).statuses() == []


def test_a_document_that_is_too_large(tmp_path: Path) -> None:
    huge = dict(IMAGE.manifest, size=(4 << 20) + 1)
    with pytest.raises(SizeMismatch, match="are allowed"):
        Layout(tmp_path).pull("Own Name!", resolver=OwnResolver(images.Image(huge, IMAGE.blobs)))


def test_a_stopped_job_fetches_nothing(tmp_path: Path) -> None:
    job = Job()
    job.stop.set()
    target = Descriptor.from_json(IMAGE.manifest)
    with pytest.raises(Cancelled):
        fetch_blob(OwnResolver(IMAGE), LayoutStore(tmp_path), target, {}, job)


def test_bad_options(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    with pytest.raises(InvalidArgument, match="max_concurrent"):
        layout.pull("Own Name!", resolver=OwnResolver(IMAGE), max_concurrent_downloads=0)
    with pytest.raises(InvalidArgument, match="platform"):
        layout.pull("Own Name!", resolver=OwnResolver(IMAGE), platform="no/such/thing/at/all")


class Stubborn(LayoutStore):
    """A store in which what an earlier writer left is always there, and always wrong."""

    opened = 0

    def writer(
        self,
        ref: str,
        *,
        size: int = 0,
        expected: str = "",
        lock_timeout: float | None = 0.0,
        cancel: CancelToken | None = None,
    ) -> LayoutWriter:
        self.opened += 1
        writer = super().writer(ref, size=size, expected=expected)
        writer.write(b"something else")
        return writer


def test_what_stays_wrong_is_begun_again_once(tmp_path: Path) -> None:
    store, target = Stubborn(tmp_path), Descriptor.from_json(IMAGE.manifest)
    with pytest.raises(DigestMismatch, match=target.digest):
        fetch_blob(OwnResolver(IMAGE), store, target, {}, Job())
    assert store.opened == 2


@pytest.mark.parametrize(
    ("media_type", "kind"),
    [
        (media_types.OCI_MANIFEST, "manifest"),
        (media_types.DOCKER_INDEX, "index"),
        (media_types.OCI_LAYER_ZSTD, "layer"),
        (media_types.DOCKER_CONFIG, "config"),
        ("text/plain", "unknown"),
    ],
)
def test_writes_are_named_as_containerd_names_them(media_type: str, kind: str) -> None:
    digest = digests.of(b"")
    assert ingest_ref(Descriptor(media_type, digest, 0)) == f"{kind}-{digest}"
