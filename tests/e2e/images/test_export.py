"""Export from daemons and folders, judged by ctr, skopeo and umoci."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from containerd_lite import Client, Layout
from containerd_lite.errors import DataLoss, NotFound
from tests.e2e.images.test_import import NAME, is_complete, listed, tool
from tests.harness import images
from tests.harness.daemon import Daemon
from tests.unit.images import archives

pytestmark = [pytest.mark.daemon, pytest.mark.usefixtures("nothing_left")]

HERE = images.machine_platform()
OTHER = "linux/s390x"


def made(kind: str) -> images.Image:
    image = images.busybox(docker=kind == "docker")
    if kind == "index":
        other = images.random_image([1000], platform=OTHER)
        return images.index_of({OTHER: other, HERE: image})
    return image


def given(client: Client | Layout, image: images.Image, name: str = NAME) -> None:
    archive = archives.oci([archives.named(image, name)], image)
    client.import_images(io.BytesIO(archive), all_platforms=True)


def exported(client: Client | Layout, *names: str, all_platforms: bool = False) -> bytes:
    target = io.BytesIO()
    client.export_images(target, *names, all_platforms=all_platforms)
    return target.getvalue()


@pytest.mark.generations
@pytest.mark.parametrize("kind", ["manifest", "docker", "index"])
def test_ctr_imports_it(client: Client, daemon: Daemon, tmp_path: Path, kind: str) -> None:
    image = made(kind)
    given(client, image)
    path = tmp_path / "out.tar"
    client.export_images(path, "app:1")
    theirs = daemon.new_namespace()
    daemon.ctr("images", "import", str(path), namespace=theirs)
    assert listed(daemon, theirs) == {NAME: image.digest}
    assert is_complete(daemon, theirs, NAME)
    assert daemon.run(NAME, "echo", "it runs", namespace=theirs) == b"it runs\n"
    daemon.ctr("images", "rm", "--sync", NAME, namespace=theirs)


@pytest.mark.generations
def test_ctr_imports_what_has_one_platform_of_two(
    client: Client, daemon: Daemon, tmp_path: Path
) -> None:
    ours, other = images.busybox(), images.random_image([1000], platform=OTHER)
    image = images.index_of({OTHER: other, HERE: ours})
    archive = archives.oci([archives.named(image, NAME)], image, without=other.blobs)
    client.import_images(io.BytesIO(archive))
    path = tmp_path / "out.tar"
    with pytest.raises(NotFound):
        client.export_images(path, NAME, all_platforms=True)
    client.export_images(path, NAME, all_platforms=True, skip_missing=True)
    theirs = daemon.new_namespace()
    daemon.ctr("images", "import", str(path), namespace=theirs)
    assert listed(daemon, theirs) == {NAME: image.digest}
    assert daemon.run(NAME, "echo", "it runs", namespace=theirs) == b"it runs\n"
    daemon.ctr("images", "rm", "--sync", NAME, namespace=theirs)


def test_skopeo_reads_both_forms(client: Client, tmp_path: Path) -> None:
    image = images.busybox()
    given(client, image)
    path = tmp_path / "out.tar"
    client.export_images(path, NAME)
    flags = ("--insecure-policy", f"--tmpdir={tmp_path}")
    raw = tool("skopeo", "inspect", *flags, "--raw", f"oci-archive:{path}:1", folder=tmp_path)
    assert raw == image.blobs[image.digest]
    said = tool("skopeo", "inspect", *flags, f"docker-archive:{path}:app:1", folder=tmp_path)
    assert json.loads(said)["Architecture"] == HERE.split("/")[1]
    for form in (f"oci-archive:{path}:1", f"docker-archive:{path}:app:1"):
        copy = f"dir:{tmp_path / form.partition(':')[0]}"
        tool("skopeo", "copy", *flags, form, copy, folder=tmp_path)


def test_umoci_unpacks_it(client: Client, tmp_path: Path) -> None:
    given(client, images.busybox())
    path = tmp_path / "out.tar"
    client.export_images(path, NAME)
    layout = tmp_path / "layout"
    for name, body in archives.unpacked(path.read_bytes()).items():
        (layout / name).parent.mkdir(parents=True, exist_ok=True)
        (layout / name).write_bytes(body)
    bundle = tmp_path / "bundle"
    tool("umoci", "unpack", "--image", f"{layout}:1", str(bundle), folder=tmp_path)
    assert (bundle / "rootfs" / "bin" / "busybox").stat().st_mode & 0o111


@pytest.mark.registry
@pytest.mark.parametrize("kind", ["manifest", "index"])
def test_every_store_makes_the_same_archive(
    client: Client, registry_of: str, tmp_path: Path, kind: str
) -> None:
    """A daemon and a folder, one fed by an archive and one by a pull."""
    image = made(kind)
    name = f"{registry_of}/same-{kind}:1"
    images.push(image, registry_of, f"same-{kind}", "1")
    client.pull(name, unpack=False)
    folder = Layout(tmp_path / "layout")
    given(folder, image, name)
    assert exported(client, name) == exported(folder, name)
    if kind == "index":
        with pytest.raises(NotFound):
            exported(client, name, all_platforms=True)
        given(client, image, name)
        assert exported(client, name, all_platforms=True) == exported(
            folder, name, all_platforms=True
        )


@pytest.fixture
def registry_of(registry: object) -> str:
    host: str = registry.host  # type: ignore[attr-defined]
    return host


def test_a_round_trip_by_deltas(client: Client, daemon: Daemon, tmp_path: Path) -> None:
    base = images.random_image([300_000], seed=5)
    image = images.random_image([300_000, 200_000], seed=5)
    given(client, base, "docker.io/library/base:1")
    given(client, image)
    client.export_images(tmp_path / "base.tar", "base:1")
    client.export_images(tmp_path / "delta.tar", "app:1", without=["base:1"])
    with Client(daemon.address, namespace=daemon.new_namespace()) as other:
        with pytest.raises(NotFound, match=base.layers[0]["digest"]):
            other.import_images(tmp_path / "delta.tar")
        other.import_images(tmp_path / "base.tar")
        other.import_images(tmp_path / "delta.tar")
        assert exported(other, "app:1") == exported(client, "app:1")
        for found in other.list_images():
            found.delete(sync=True)


def test_broken_content_is_found(client: Client, daemon: Daemon, tmp_path: Path) -> None:
    """A bit flipped in the daemon's own file, as a disk would."""
    image = images.random_image([100, 3_000_000], seed=77)
    given(client, image)
    digits = image.layers[1]["digest"].partition(":")[2]
    blobs = daemon.root / "io.containerd.content.v1.content" / "blobs" / "sha256"
    body = bytearray((blobs / digits).read_bytes())
    body[1_500_000] ^= 1
    (blobs / digits).write_bytes(body)
    with pytest.raises(DataLoss, match=digits):
        client.export_images(tmp_path / "out.tar", NAME)
    assert list(tmp_path.iterdir()) == []
