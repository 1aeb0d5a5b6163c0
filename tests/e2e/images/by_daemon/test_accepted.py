"""What the daemon does is held to what our own pipeline would have promised."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from containerd_lite import Client
from containerd_lite.errors import DigestMismatch, InvalidArgument, NoMatchingPlatform, NotFound
from containerd_lite.images.daemon.by_daemon import can_transfer
from containerd_lite.images.via import Via
from tests.e2e.images.by_daemon.moving import INDEX, PARTS
from tests.harness import images
from tests.harness.daemon import Daemon
from tests.harness.registry import Registry
from tests.unit.images import archives

pytestmark = [
    pytest.mark.daemon,
    pytest.mark.registry,
    pytest.mark.generations,
    pytest.mark.turns(2),
]

HERE, OTHER = images.machine_platform(), "linux/s390x"
NAME = "localhost/x:1"
IMAGE = images.random_image([1000, 2000], seed=11)
LACKING = archives.oci([archives.named(IMAGE, NAME)], IMAGE, without=[IMAGE.layers[1]["digest"]])

vias = pytest.mark.parametrize("via", ["daemon", "auto"])


@pytest.fixture
def moving(mover: Daemon, client: Client) -> Client:
    """A client of a daemon that pulls from registries without TLS."""
    if mover.version_info < (2,):
        pytest.skip("1.7 pulls from registries that speak TLS alone")
    return client


@vias
def test_an_archive_that_lacks_something(mover: Daemon, client: Client, via: Via) -> None:
    with pytest.raises(NotFound, match=IMAGE.layers[1]["digest"]):
        client.import_images(io.BytesIO(LACKING), via=via)
    assert client.list_images() == []


@vias
def test_an_image_that_was_there_before_an_import(mover: Daemon, client: Client, via: Via) -> None:
    other = images.random_image([300], seed=12)
    client.import_images(io.BytesIO(archives.oci([archives.named(other, NAME)], other)))
    with pytest.raises(NotFound):
        client.import_images(io.BytesIO(LACKING), via=via)
    assert client.get_image(NAME).target.digest == other.digest


@vias
def test_an_archive_for_others(mover: Daemon, client: Client, via: Via) -> None:
    theirs = PARTS[OTHER]
    archive = archives.oci([archives.named(theirs, NAME)], theirs)
    with pytest.raises(NoMatchingPlatform):
        client.import_images(io.BytesIO(archive), via=via)
    assert client.list_images() == []


def test_images_for_others_are_passed_over(mover: Daemon, client: Client) -> None:
    theirs = PARTS[OTHER]
    entries = [archives.named(theirs, "localhost/theirs:1"), archives.named(IMAGE, NAME)]
    archive = archives.oci(entries, theirs, IMAGE)
    found = client.import_images(io.BytesIO(archive), via="daemon")
    assert [image.name for image in found] == [NAME]
    assert [image.name for image in client.list_images()] == [NAME]


@vias
def test_of_several_platforms_one_is_missing(
    moving: Client, stored: Registry, tmp_path: Path, via: Via
) -> None:
    ref, wanted = f"{stored.host}/library/index:1", [HERE, "linux/riscv64"]
    with pytest.raises(NoMatchingPlatform):
        moving.pull(ref, platform=wanted, unpack=False, via=via)
    assert moving.list_images() == []
    moving.pull(ref, unpack=False, all_platforms=True)
    for platform in (wanted, "linux/riscv64"):
        with pytest.raises(NoMatchingPlatform):
            moving.export_images(tmp_path / "out.tar", ref, platform=platform, via=via)
    assert list(tmp_path.iterdir()) == []


@vias
def test_a_pull_that_is_refused_leaves_what_was_there(
    moving: Client, registry: Registry, via: Via
) -> None:
    ref = images.push(IMAGE, registry.host, f"moved-{via}", "1")
    before = moving.pull(ref, unpack=False, labels={"team": "a"})
    images.push(PARTS[OTHER], registry.host, f"moved-{via}", "1")
    with pytest.raises((NoMatchingPlatform, NotFound)):
        moving.pull(ref, unpack=False, via=via)
    assert moving.get_image(ref) == before
    assert moving.get_image(ref).labels == {"team": "a"}
    assert moving.check(ref).is_complete


@vias
def test_a_name_with_the_digest_of_something_else(
    moving: Client, registry: Registry, via: Via
) -> None:
    image = moving.pull(images.push(IMAGE, registry.host, "right", "1"), unpack=False)
    target = f"{registry.host}/wrong-{via}:1@{INDEX.digest}"
    with pytest.raises(DigestMismatch):
        moving.push(target, image, via=via)
    assert f"/v2/wrong-{via}" not in registry.log.read_text()


def test_auto_is_the_client_where_the_daemon_cannot(
    moving: Client, registry: Registry, tmp_path: Path
) -> None:
    folder = images.write_layout(IMAGE, tmp_path / "layout", NAME)
    (image,) = moving.import_images(folder, via="auto")
    assert moving.push(f"{registry.host}/auto:1", image.target, via="auto") == image.target
    moving.export_images(tmp_path / "out.tar", image.target, via="auto")
    assert (tmp_path / "out.tar").stat().st_size > IMAGE.layers[1]["size"]
    (again,) = moving.import_images(
        io.BytesIO(archives.oci([archives.named(IMAGE, NAME)], IMAGE)), via="auto"
    )
    assert again.target.digest == image.target.digest
    with pytest.raises(InvalidArgument, match="does not support folders"):
        moving.import_images(folder, via="daemon")


def test_auto_unpacks_by_itself_where_the_daemon_does_not(moving: Client, tmp_path: Path) -> None:
    archive = tmp_path / "archive.tar"
    archive.write_bytes(archives.oci([archives.named(IMAGE, NAME)], IMAGE))
    (image,) = moving.import_images(archive, unpack=True, snapshotter="native", via="auto")
    assert image.is_unpacked("native")


def test_a_daemon_in_the_place_of_another_is_asked_again(mover: Daemon, tmp_path: Path) -> None:
    socket = tmp_path / "socket"
    with Daemon("1.6") as old:
        socket.symlink_to(old.socket)
        with Client(f"unix://{socket}", namespace=mover.new_namespace()) as client:
            assert not can_transfer(client)
            socket.unlink()
            socket.symlink_to(mover.socket)
            client.reconnect()
            assert can_transfer(client)
