"""A disk of the daemon that is full, in each of the places to which it writes."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from containerd_lite import Client, Via
from containerd_lite.errors import ResourceExhausted
from containerd_lite.oci import digest as digests
from containerd_lite.oci.descriptor import Descriptor
from containerd_lite.store.blob_writes import write_blob
from tests.harness import images
from tests.harness.daemon import Daemon
from tests.harness.registry import Registry

pytestmark = [pytest.mark.daemon, pytest.mark.generations, pytest.mark.backend]

CONTENT = "io.containerd.content.v1.content"
NATIVE = "io.containerd.snapshotter.v1.native"
OVERLAY = "io.containerd.snapshotter.v1.overlayfs"
DATABASE = "io.containerd.metadata.v1.bolt"
FULL = "no space left on device.*Free disk space on the daemon's machine"


@contextmanager
def full(daemon: Daemon, folder: str) -> Iterator[Client]:
    """A client of a daemon whose ``folder`` is on a disk of 3 MiB."""
    daemon.stop()
    place = daemon.root / folder
    place.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", place], check=True)
    try:
        daemon.start()
        with Client(daemon.address, namespace=daemon.namespace) as client:
            yield client
    finally:
        daemon.stop()
        subprocess.run(["umount", "-l", place], check=True)


def layer(size: int) -> tuple[Descriptor, bytes]:
    """A layer with a file of so many zeros."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as archive:
        entry = tarfile.TarInfo("big")
        entry.size = size
        archive.addfile(entry, io.BytesIO(bytes(size)))
    data = gzip.compress(plain.getvalue(), 1)
    kind = "application/vnd.oci.image.layer.v1.tar+gzip"
    return Descriptor(kind, digests.of(data), len(data)), data


def test_no_room_for_content(own_daemon: Daemon) -> None:
    with full(own_daemon, CONTENT) as client:
        data = os.urandom(8 << 20)
        blob = Descriptor("a/b", digests.of(data), len(data))
        with pytest.raises(ResourceExhausted, match=FULL):
            write_blob(client.content_store, blob, lambda writer: writer.write(data))


def test_no_room_for_a_snapshot(own_daemon: Daemon) -> None:
    with full(own_daemon, NATIVE) as client, client.lease():
        blob, data = layer(8 << 20)
        write_blob(client.content_store, blob, lambda writer: writer.write(data))
        mounts = client.snapshot_service("native").prepare("key", "")
        with pytest.raises(ResourceExhausted, match=FULL):
            client.diff_service.apply(blob, mounts)


def test_no_room_for_names(own_daemon: Daemon) -> None:
    with full(own_daemon, DATABASE) as client:
        target = Descriptor("a/b", digests.of(b"x"), 1)
        names = (f"image-{number}" for number in range(2000))
        with pytest.raises(ResourceExhausted, match=FULL):
            all(client.image_service.create(name, target, {"x": "y" * 4000}) for name in names)


@pytest.mark.registry
@pytest.mark.parametrize("via", ["client", "daemon"])
@pytest.mark.parametrize("folder", [CONTENT, OVERLAY])
def test_no_room_for_an_image(
    own_daemon: Daemon, registry: Registry, folder: str, via: Via
) -> None:
    if via == "daemon" and own_daemon.version_info < (2,):
        pytest.skip("1.7 pulls only from registries that speak TLS")
    made = images.random_image([8 << 20])
    name = images.push(made, registry.host, "full-disk", "1")
    with full(own_daemon, folder) as client, pytest.raises(ResourceExhausted, match=FULL):
        client.pull(name, via=via)
