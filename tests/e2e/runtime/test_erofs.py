"""Images and containers on the EROFS snapshotter, with archives and with native layers.

In block mode, the writable layer of a container is a file with its own filesystem.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import IO, cast

import pytest

from containerd_lite import Client
from containerd_lite.errors import FailedPrecondition
from containerd_lite.images.files import read_snapshot_files
from containerd_lite.images.image import Image
from containerd_lite.images.via import Via
from containerd_lite.oci import media_types
from containerd_lite.oci.config import chain_ids
from tests.e2e.runtime.conftest import running, snapshot_layers
from tests.harness import Unavailable, erofs, images
from tests.harness.daemon import Daemon
from tests.harness.registry import Registry

pytestmark = [pytest.mark.daemon, pytest.mark.registry, pytest.mark.generations]

MODES = {"files": "", "block": 'default_size = "64MiB"'}
PASSWD = b"root:x:0:0::/:/bin/sh\nme:x:77:78::/:/bin/sh\n"
NAMES = ["etc/passwd", "two", "three"]
FILES: Mapping[str, bytes | None] = {"etc/passwd": PASSWD, "two": b"2", "three": b"3"}


@pytest.fixture(scope="module", params=[*MODES])
def snapshotting(request: pytest.FixtureRequest, daemon: Daemon) -> Iterator[Daemon]:
    """A daemon of the same generation with the EROFS snapshotter."""
    if daemon.version_info < ((2, 3) if MODES[request.param] else (2, 1)):
        pytest.skip(f"containerd {daemon.version} has no EROFS snapshotter, or no block mode")
    try:
        with erofs.daemon(daemon.generation, MODES[request.param]) as own:
            yield own
    except Unavailable as reason:
        pytest.skip(str(reason))


@pytest.fixture
def manager(snapshotting: Daemon) -> None:
    """Skips a test on a daemon that cannot make the mounts of the snapshotter for others."""
    if snapshotting.version_info < (2, 2):
        pytest.skip("the mount manager came with 2.2, native layers with 2.3")


@pytest.fixture
def client(snapshotting: Daemon) -> Iterator[Client]:
    namespace = snapshotting.new_namespace()
    with Client(snapshotting.address, namespace=namespace, snapshotter=erofs.SNAPSHOTTER) as client:
        yield client
        if snapshotting.version_info >= (2, 2):
            assert [*client.mount_service.list()] == []
        assert not [s.name for s in client.snapshot_service().list() if s.kind != "committed"]


@pytest.fixture(scope="module")
def layers() -> list[images.Layer]:
    """Three archives, with busybox in the first."""
    two = images.layer({"two": b"2", "three": b"old"}, "none")
    three = images.layer({"three": b"3", "etc/passwd": PASSWD}, "none")
    return [images.busybox_layer("none"), two, three]


@pytest.fixture
def image(client: Client, registry: Registry, layers: list[images.Layer]) -> Image:
    made = images.build(layers, cmd=["sh"], env=["PATH=/bin"])
    return client.pull(images.push(made, registry.host, "erofs", "archives"))


@pytest.fixture(scope="module")
def both(registry: Registry, layers: list[images.Layer]) -> str:
    """The name of an index with the same image twice: first with native layers, then archives."""
    try:
        native = [erofs.layer(layer) for layer in layers]
    except Unavailable as reason:
        pytest.skip(str(reason))
    native[1] = images.zstd(native[1])
    made = {
        platform: images.build(of, cmd=["sh"], env=["PATH=/bin"], platform=platform)
        for platform, of in [(erofs.PLATFORM, native), (images.machine_platform(), layers)]
    }
    return images.push(images.index_of(made), registry.host, "erofs", "both")


@pytest.mark.usefixtures("manager")
@pytest.mark.parametrize("via", ["client", "daemon"])
def test_native_layers_are_unpacked_and_run(client: Client, both: str, via: Via) -> None:
    pulled = client.pull(both, platform=erofs.PLATFORM, via=via)
    assert [layer.media_type for layer in pulled.manifest().layers] == [
        erofs.LAYER, erofs.LAYER + "+zstd", erofs.LAYER,
    ]  # fmt: skip
    assert pulled.is_unpacked()
    assert {info.name for info in client.snapshot_service().list()} == {
        *chain_ids(pulled.config().diff_ids)
    }
    script = "cat /two /three; id -u; id -g"
    done = client.run(pulled, ["sh", "-c", script], user="me", timeout=30)
    assert done.stdout == b"2377\n78\n"


@pytest.mark.usefixtures("manager")
def test_a_client_without_the_feature_gets_archives(client: Client, both: str) -> None:
    pulled = client.pull(both)
    assert {layer.media_type for layer in pulled.manifest().layers} == {media_types.OCI_LAYER}
    assert client.run(pulled, ["id", "-u"], user="me", timeout=30).stdout == b"77\n"


@pytest.mark.usefixtures("manager")
def test_another_snapshotter_is_refused(client: Client, both: str) -> None:
    with pytest.raises(FailedPrecondition, match=r"overlayfs does not support .*linux\(\+erofs\)"):
        client.pull(both, platform=erofs.PLATFORM, snapshotter="overlayfs")
    assert [*client.list_images()] == []


@pytest.mark.usefixtures("manager")
@pytest.mark.parametrize("height", [1, 3])
def test_files_of_snapshots_of_all_kinds(
    client: Client, registry: Registry, layers: list[images.Layer], height: int
) -> None:
    made = images.build(layers[-height:], cmd=["sh"], env=["PATH=/bin"])
    name = images.push(made, registry.host, "erofs", f"height-{height}")
    expected = FILES if height > 1 else {**FILES, "two": None}
    with client.lease():
        top = client.pull(name).unpack()
        written = snapshot_layers(client)
        snapshots = written.snapshots
        snapshots.view("seen", top)
        snapshots.prepare("active", top)
        for key in (top, "seen", "active"):
            assert read_snapshot_files(written, client.content_store, key, NAMES) == expected
        snapshots.remove("seen")
        snapshots.remove("active")


def test_a_running_container_and_its_changes(client: Client, image: Image) -> None:
    script = "echo new:x:5:6::/:/bin/sh >> /etc/passwd; rm /two; echo > /ready; exec sleep 1000"
    container = client.new_container("changed", image=image, args=["sh", "-c", script])
    with running(container, delete=False):
        wait = ["sh", "-c", "until [ -e /ready ]; do sleep 0.1; done"]
        assert container.exec(wait, timeout=20).exit_code == 0
        assert container.exec(["id", "-u"], user="new", timeout=20).stdout == b"5\n"
        assert container.exec(["id", "-u"], user="me", timeout=20).stdout == b"77\n"
        while_running = changes(client, "changed", task="changed")
        assert container.exec(["cat", "/three"], timeout=20).stdout == b"3"
    stopped = changes(client, "changed", task="changed")
    container.delete()
    for changed in (while_running, stopped):
        assert set(changed) - {"ready"} == {"etc/passwd", ".wh.two"}


def test_changes_are_restored_from_a_checkpoint(client: Client, image: Image) -> None:
    with running(client.new_container("saved", image=image, args=["sleep", "1000"])) as saved:
        saved.exec(["sh", "-c", "echo -n new > /three; rm /two"], timeout=20)
        saved.checkpoint("localhost/erofs:saved", task=False)
    with running(client.restore("restored", "localhost/erofs:saved")) as restored:
        found = restored.exec(["sh", "-c", "cat /three /etc/passwd; ls /two"], timeout=20)
    assert found.stdout == b"new" + PASSWD
    assert found.exit_code == 1


@pytest.mark.usefixtures("manager")
def test_flattened_layers(
    client: Client, snapshotting: Daemon, image: Image, tmp_path: Path
) -> None:
    """The files of all layers are found in one filesystem, which names the layers as devices."""
    with client.lease():
        written = snapshot_layers(client)
        view = written.snapshots.view("seen", image.unpack())
        sources = [mount.source for mount in view if mount.type == "erofs"]
        assert len(sources) == 3
        merged = Path(sources[0]).with_name("fsmeta.erofs")
        erofs.make(["--aufs", "--ovlfs-strip=1", str(merged), *reversed(sources)])
        flat = written.snapshots.mounts("seen")
        assert [mount.type for mount in flat] == ["erofs", "format/bind"]
        found = read_snapshot_files(written, client.content_store, "seen", NAMES)
        written.snapshots.remove("seen")
    assert found == FILES
    done = client.run(image, ["sh", "-c", "cat /two /three; id -u"], user="me", timeout=30)
    assert done.stdout == b"2377\n"


@pytest.mark.usefixtures("manager")
def test_temporary_mounts(client: Client, image: Image) -> None:
    snapshots = client.snapshot_service()
    with client.lease():
        snapshots.view("seen", image.unpack())
        snapshots.prepare("active", image.unpack())
        mounts = snapshots.mounts("seen")
        assert [mount.type for mount in mounts] == ["erofs"] * 3 + ["format/mkdir/overlay"]
        with client.temp_mount(mounts) as path:
            assert (path / "two").read_text() + (path / "three").read_text() == "23"
            with pytest.raises(OSError, match="Read-only"):
                (path / "new").write_text("x")
        with client.temp_mount(mounts[:1], read_only=True) as path:  # the top layer
            assert {*os.listdir(path)} == {"etc", "three"}
        with client.temp_mount(snapshots.mounts("active")) as path:
            (path / "new").write_text("x")
        with client.temp_mount(snapshots.mounts("active"), read_only=True) as path:
            assert (path / "new").read_text() + (path / "three").read_text() == "x3"
            with pytest.raises(OSError, match="Read-only"):
                (path / "new").write_text("y")
        snapshots.remove("seen")
        snapshots.remove("active")


def changes(client: Client, key: str, task: str) -> set[str]:
    """The names in the layer with the changes of a snapshot."""
    with client.lease():
        layer = snapshot_layers(client).write_changes(key, media_types.OCI_LAYER, task=task)
        reader = cast(IO[bytes], client.content_store.reader(layer.digest))
        with closing(reader), tarfile.open(fileobj=reader) as archive:
            return {entry.name for entry in archive if not entry.isdir()}
