"""Layers onto snapshots and back, beside what ``ctr`` makes of the same."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from datetime import datetime, timezone

import pytest

from containerd_lite import Client
from containerd_lite.errors import NotFound
from containerd_lite.oci.descriptor import Descriptor
from containerd_lite.services._types import AnyValue, Mount
from tests.e2e.services.leftovers import nothing_stays  # noqa: F401
from tests.harness import images
from tests.harness.daemon import Daemon

pytestmark = [
    pytest.mark.daemon,
    pytest.mark.generations,
    pytest.mark.backend,
    pytest.mark.usefixtures("nothing_stays"),
]

ROOT = {"containerd.io/gc.root": "kept"}
FILES: images.Files = {"folder": None, "folder/file": b"content", "link": "folder/file"}
EPOCH = datetime(2001, 2, 3, 4, 5, 6, tzinfo=timezone.utc)


def put(client: Client, layer: images.Layer) -> Descriptor:
    digest = images.digest_of(layer.blob)
    with client.content_store.writer("layer", size=len(layer.blob), expected=digest) as writer:
        writer.write(layer.blob)
        writer.commit(ROOT)
    return Descriptor(images.OCI_LAYER + layer.suffix, digest, len(layer.blob))


def folder(mounts: tuple[Mount, ...]) -> str:
    (mount,) = mounts
    assert mount.type == "bind"
    return mount.source


def test_apply(client: Client, namespace: str) -> None:
    snapshots = client.snapshot_service()
    layer = images.layer({**FILES, "own": namespace.encode()})
    descriptor = put(client, layer)
    for key, is_synced in (("plain", False), ("synced", True)):
        mounts = snapshots.prepare(key, "", ROOT)
        payloads = {"no.such.processor": AnyValue("a.B", b"c")}  # for none that is there
        applied = client.diff_service.apply(
            descriptor, mounts, payloads=payloads, sync_fs=is_synced
        )
        assert applied.digest == layer.diff_id
        assert applied.media_type == images.OCI_LAYER
        assert applied.size == len(gzip.decompress(layer.blob))
        with open(f"{folder(mounts)}/link") as file:
            assert file.read() == "content"
        snapshots.remove(key)
    mounts = snapshots.prepare("empty", "", ROOT)
    with pytest.raises(NotFound):
        client.diff_service.apply(Descriptor(images.OCI_LAYER, "sha256:" + "0" * 64, 1), mounts)
    snapshots.remove("empty")
    client.content_store.delete(descriptor.digest)


@pytest.fixture
def changed(client: Client) -> list[tuple[Mount, ...]]:
    """The mounts of a committed snapshot and of one that changes it; ``upper`` in ``ctr``."""
    snapshots = client.snapshot_service("native")
    below = folder(snapshots.prepare("key", "", ROOT))
    with open(f"{below}/old", "w") as file:
        file.write("old")
    snapshots.commit("lower", "key", ROOT)
    upper = snapshots.prepare("upper", "lower", ROOT)
    os.unlink(f"{folder(upper)}/old")
    with open(f"{folder(upper)}/new", "w") as file:
        file.write("new")
    return [snapshots.view("below", "lower", ROOT), upper]


def entries(body: bytes) -> dict[str, object]:
    """What is in an archive, but for times: a whiteout has that of the diff."""
    with tarfile.open(fileobj=io.BytesIO(body)) as archive:
        return {
            one.name: (one.type, one.mode, one.uid, one.gid, archive.extractfile(one).read())  # type: ignore[union-attr]
            for one in archive
        }


def test_diff(
    client: Client, daemon: Daemon, namespace: str, changed: list[tuple[Mount, ...]]
) -> None:
    lower, upper = changed
    tar, gz = images.OCI_LAYER, images.OCI_LAYER + "+gzip"
    made = client.diff_service.diff(
        lower, upper, media_type=tar, ref="mine", labels={**ROOT, "a": "b"}
    )
    assert made.media_type == tar
    body = daemon.ctr("content", "get", made.digest, namespace=namespace).stdout
    place = ("snapshots", "--snapshotter", "native")
    theirs = daemon.ctr(*place, "diff", "--media-type", tar, "lower", "upper", namespace=namespace)
    assert (images.digest_of(body), len(body)) == (made.digest, made.size)
    assert entries(body) == entries(theirs.stdout)
    assert entries(body).keys() == {"new", ".wh.old"}
    assert client.content_store.info(made.digest).labels.items() >= {**ROOT, "a": "b"}.items()
    default = client.diff_service.diff(lower, upper, labels=ROOT)
    assert default.media_type == gz
    packed = daemon.ctr("content", "get", default.digest, namespace=namespace).stdout
    assert entries(gzip.decompress(packed)) == entries(body)
    # Of the same second as ctr's it is the same content, which is collected when ctr lets it go.
    with client.lease():
        epoch = client.diff_service.diff(
            lower, upper, media_type=tar, labels=ROOT, source_date_epoch=EPOCH
        )
        dated = daemon.ctr("content", "get", epoch.digest, namespace=namespace).stdout
        with tarfile.open(fileobj=io.BytesIO(dated)) as archive:
            newest = max(member.mtime for member in archive)
        assert (newest == EPOCH.timestamp()) is (daemon.version_info >= (1, 7))
        snapshots = client.snapshot_service("native")
        for key in ("below", "upper", "lower"):
            snapshots.remove(key)
        for digest in {made.digest, default.digest, epoch.digest}:
            client.content_store.delete(digest)
