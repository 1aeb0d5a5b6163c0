"""What is known of an image's users without reading it again."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace

import pytest

from containerd_lite import Client
from containerd_lite.oci.descriptor import Descriptor
from containerd_lite.oci.manifest import Manifest
from containerd_lite.runtime.users.kept_users import Files, UserFileCache
from containerd_lite.store.daemon import DaemonStore

pytestmark = [pytest.mark.daemon, pytest.mark.usefixtures("nothing_left")]

LABEL = "containerd-lite/users"
FILES: Files = (b"root:x:0:0::/:\n\xff", None)


@pytest.fixture
def store(client: Client) -> Iterator[DaemonStore]:
    with client.lease():
        yield client.content_store


def put(store: DaemonStore, body: bytes, size: int | None = None) -> Descriptor:
    with store.writer(body.decode(), size=len(body)) as writer:
        writer.write(body)
        digest = writer.commit()
    return Descriptor("a/b", digest, len(body) if size is None else size)


@pytest.fixture
def manifest(store: DaemonStore) -> Manifest:
    """Of an image that takes long to read."""
    return Manifest("a/b", put(store, b"config"), (put(store, b"layer", 8 << 20),))


def test_another_process_knows_it(store: DaemonStore, manifest: Manifest) -> None:
    UserFileCache().put(store, manifest, FILES)
    assert UserFileCache().get(store, manifest) == FILES


def test_of_a_small_image_nothing_is_written(store: DaemonStore, manifest: Manifest) -> None:
    small = replace(manifest, layers=(put(store, b"small"),))
    kept = UserFileCache()
    kept.put(store, small, FILES)
    assert kept.get(store, small) == FILES
    assert UserFileCache().get(store, small) is None
    assert LABEL not in store.info(small.config.digest).labels


def test_it_is_of_these_layers_alone(store: DaemonStore, manifest: Manifest) -> None:
    """Else a manifest with somebody else's config would say who its users are."""
    evil = replace(manifest, layers=(put(store, b"evil", 8 << 20),))
    UserFileCache().put(store, evil, (b"app:x:0:0::/:\n", None))
    assert UserFileCache().get(store, manifest) is None
    UserFileCache().put(store, manifest, FILES)
    assert UserFileCache().get(store, evil) is None
    assert UserFileCache().get(store, manifest) == FILES


def test_files_that_no_label_holds(store: DaemonStore, manifest: Manifest) -> None:
    for size in (8000, 70_000):  # what no label holds, and what no process keeps either
        UserFileCache().put(store, manifest, (os.urandom(size), None))
        assert UserFileCache().get(store, manifest) is None
    kept = UserFileCache()
    kept.put(store, manifest, (bytes(70_000), None))
    assert kept.get(store, manifest) is None


@pytest.mark.parametrize("end", ["", "!", "AAAA", "eJw", "eJyLrgUAARUAuQ=="])
def test_a_label_that_somebody_else_made(store: DaemonStore, manifest: Manifest, end: str) -> None:
    UserFileCache().put(store, manifest, FILES)
    mine = store.info(manifest.config.digest).labels[LABEL]
    store.update(manifest.config.digest, {LABEL: mine.partition(".")[0] + "." + end})
    assert UserFileCache().get(store, manifest) is None


def test_a_store_that_cannot_be_written(store: DaemonStore, manifest: Manifest) -> None:
    gone = replace(manifest, config=Descriptor("a/b", f"sha256:{'0' * 64}", 1))
    kept = UserFileCache()
    kept.put(store, gone, FILES)
    assert kept.get(store, gone) == FILES
    assert UserFileCache().get(store, gone) is None
