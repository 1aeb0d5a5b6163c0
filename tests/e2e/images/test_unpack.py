"""Layers into a real daemon's snapshots: what comes out, and what is left when it cannot be."""

from __future__ import annotations

import io
import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from containerd_lite import Client, ProgressEvent
from containerd_lite.errors import ContainerdError, DiffIDMismatch, InvalidArgument, NotFound
from containerd_lite.images.image import Image
from containerd_lite.images.job import Job
from containerd_lite.images.known_content import KnownContent
from containerd_lite.images.unpack.apply import Applier, Prepared, Step
from containerd_lite.oci.config import chain_ids
from containerd_lite.oci.descriptor import Descriptor
from containerd_lite.services.leases import Resource
from tests.harness import images
from tests.harness.daemon import Daemon
from tests.harness.registry import Registry

pytestmark = [
    pytest.mark.daemon,
    pytest.mark.registry,
    pytest.mark.turns(2),
    pytest.mark.usefixtures("nothing_left"),
]

REF = "containerd.io/snapshot.ref"
DIFF_ID = "containerd.io/snapshot/diff-id"
PARENT = "containerd.io/snapshot/parent-chain-id"

BELOW = images.layer(
    {
        "w": None,
        "w/kept": b"below",
        "w/gone": b"below",
        "w/changed": b"below",
        "w/opaque": None,
        "w/opaque/hidden": b"below",
        "w/whole": None,
        "w/whole/within": b"below",
    }
)
ABOVE = images.layer(
    {
        "w/.wh.gone": b"",
        "w/.wh.whole": b"",
        "w/changed": b"above",
        "w/opaque": None,
        "w/opaque/.wh..wh..opq": b"",
        "w/opaque/shown": b"above",
    }
)
SHOWN = {"kept": b"below", "changed": b"above", "opaque/shown": b"above"}


@pytest.fixture
def fetched(client: Client, registry: Registry) -> Callable[[images.Image], Image]:
    """Brings an image into the content store."""
    return lambda image: client.pull(
        images.push(image, registry.host, "unpack", "latest"), unpack=False
    )


def files_in(client: Client, top: str) -> dict[str, bytes]:
    """What is under ``w`` in the native snapshotter's snapshot, which is a plain folder."""
    snapshots = client.snapshot_service("native")
    (mount,) = snapshots.view("look", top)
    try:
        root = Path(mount.source, "w")
        found = (path for path in root.rglob("*") if not path.is_dir())
        return {str(path.relative_to(root)): path.read_bytes() for path in found}
    finally:
        snapshots.remove("look")


@pytest.mark.generations
def test_whiteouts(client: Client, fetched: Callable[[images.Image], Image]) -> None:
    image = fetched(images.build([BELOW, ABOVE]))
    with client.lease():
        assert files_in(client, image.unpack("native")) == SHOWN


def test_whiteouts_where_a_container_looks(client: Client, registry: Registry) -> None:
    busybox = images.busybox()
    (base,) = busybox.layers
    blob = images.Layer(busybox.blobs[base["digest"]], busybox.config["rootfs"]["diff_ids"][0])
    image = images.build([blob, BELOW, ABOVE], env=["PATH=/bin"])
    name = images.push(image, registry.host, "whiteouts", "latest")
    client.pull(name)
    seen = client.run(name, ["sh", "-c", "cd /w && find . -type f | sort | xargs head -v"])
    shown = [f"==> ./{path} <==\n{content.decode()}" for path, content in sorted(SHOWN.items())]
    assert seen.stdout.decode() == "\n".join(shown)


def test_blobs_that_are_no_layers(client: Client, registry: Registry) -> None:
    """An attestation beside the layers is not unpacked, and one alone is no image."""
    sbom = images.descriptor("application/vnd.in-toto+json", b"{}")

    def add(manifest: images.Json) -> None:
        manifest["layers"].insert(0, sbom)

    def leave(manifest: images.Json) -> None:
        manifest["layers"] = [sbom]

    with io.BytesIO() as archive:
        for change, is_image in ((add, True), (leave, False)):
            made = images.scratch({"etc/passwd": b"me:x:7:8::/:\n"}, change_manifest=change)
            made = replace(made, blobs={**made.blobs, sbom["digest"]: b"{}"})
            image = client.pull(images.push(made, registry.host, "blobs", "latest"))
            assert image.is_unpacked() == is_image
            archive.seek(0)
            archive.truncate()
            client.export_images(archive, image)
            image.delete(sync=True)
            archive.seek(0)
            (image,) = client.import_images(archive, unpack=True)
            assert image.is_unpacked() == is_image
            if is_image:
                assert image.unpack("native") == image.rootfs()[0]
                container = client.new_container(
                    "c", image=image, args=["x"], user="me", snapshotter="native"
                )
                user = container.spec()["process"]["user"]
                container.delete()
                assert user["uid"] == 7
            else:
                with pytest.raises(InvalidArgument, match="has 0 layers"):
                    image.unpack()
            image.delete(sync=True)


def test_usage(client: Client, fetched: Callable[[images.Image], Image]) -> None:
    made = images.build([BELOW, ABOVE])
    image = fetched(made)
    content = sum(map(len, made.blobs.values()))
    assert image.usage(snapshots=True) == content
    image.unpack("overlayfs")
    names = chain_ids(image.rootfs())
    used = sum(client.snapshot_service("overlayfs").usage(name).size for name in names)
    assert image.usage(snapshots=True) == content + used > content
    image.unpack("native")
    used += sum(client.snapshot_service("native").usage(name).size for name in names)
    assert image.usage(snapshots=True) == content + used
    client.snapshot_service("native").remove(names[1])
    assert content < image.usage(snapshots=True) < content + used
    assert image.usage() == content
    assert image.platform == image.config().platform
    image.delete(sync=True)


def test_a_layer_by_itself_keeps_its_whiteouts(
    client: Client, fetched: Callable[[images.Image], Image]
) -> None:
    """As layers are applied where they are put on top of each other afterwards."""
    image = fetched(images.build([BELOW, ABOVE]))
    layer, diff_id = image.manifest().layers[1], image.rootfs()[1]
    snapshots = client.snapshot_service("overlayfs")
    applier = Applier(KnownContent(client.content_store), snapshots, client.diff_service, Job())
    step = Step(layer, diff_id, "mine", "the one below")
    with client.lease():
        prepared = applier.prepare(step, "")
        assert isinstance(prepared, Prepared)
        applier.fill(prepared, lambda layer: None, is_parentless=True)
        (mount,) = prepared.mounts
        root = Path(mount.source, "w")
        assert mount.type == "bind"
        for name in ("gone", "whole"):
            about = (root / name).lstat()
            assert stat.S_ISCHR(about.st_mode)
            assert about.st_rdev == 0
        assert os.getxattr(root / "opaque", "trusted.overlay.opaque") == b"y"
        snapshots.remove(prepared.key)


@pytest.mark.generations
@pytest.mark.parametrize(
    "layers",
    [
        [images.layer({})],
        [images.layer({}), images.layer({}), images.layer({"w": None, "w/a": b"1"})],
        [images.layer({"w": None, "w/a": b"1"}, "none"), images.layer({}, "none")],
        [images.layer({"w": None, "w/a": b"1"}), images.layer({"w": None, "w/a": b"1"})],
    ],
    ids=["alone", "twice below", "a plain one above", "the same twice"],
)
def test_layers_that_add_nothing(
    client: Client, fetched: Callable[[images.Image], Image], layers: list[images.Layer]
) -> None:
    image = fetched(images.build(layers))
    with client.lease():
        top = image.unpack("native")
        assert files_in(client, top) == ({"a": b"1"} if len(layers) > 1 else {})


def test_zstd(client: Client, fetched: Callable[[images.Image], Image]) -> None:
    large = bytes(range(256)) * 2000
    plain = images.layer({"w": None, "w/large": large}, "none")
    image = fetched(images.build([images.zstd(plain), ABOVE]))
    with client.lease():
        assert files_in(client, image.unpack("native")) == {
            "large": large, "changed": b"above", "opaque/shown": b"above",
        }  # fmt: skip


def test_120_layers(client: Client, daemon: Daemon, namespace: str, registry: Registry) -> None:
    layers = [images.layer({"w": None, f"w/{n % 7}": str(n).encode()}) for n in range(120)]
    name = images.push(images.build(layers), registry.host, "tall", "latest")
    image = client.pull(name)
    listed = daemon.ctr("snapshots", "ls", namespace=namespace).stdout.decode().splitlines()
    assert len(listed) == 1 + 120
    assert image.is_unpacked()
    with client.lease():  # otherwise, garbage collection may remove the view first
        mounts = client.snapshot_service().view("look", image.unpack())
        client.snapshot_service().remove("look")
    (lower,) = (one for one in mounts[0].options if one.startswith("lowerdir="))
    assert len(lower.split(":")) == 120


@pytest.mark.generations
def test_snapshots_are_labelled_as_the_daemon_labels_them(
    client: Client, daemon: Daemon, namespace: str, registry: Registry
) -> None:
    """Older daemons set fewer labels: ``snapshot.ref`` alone before 2.3, and ``ctr`` 1.x none."""
    image = images.random_image([2000, 3000], seed=90)
    name = images.push(image, registry.host, "labels", "latest")
    pulled = client.pull(name)

    def told(where: str) -> dict[str, images.Json]:
        lines = daemon.ctr("snapshots", "ls", namespace=where).stdout.decode().splitlines()
        names = [line.split()[0] for line in lines[1:]]
        info = ("snapshots", "info")
        found = [json.loads(daemon.ctr(*info, one, namespace=where).stdout) for one in names]
        return {one["Name"]: {**one, "Created": "", "Updated": ""} for one in found}

    ours = told(namespace)
    (bottom, second), top = pulled.rootfs(), pulled.unpack()
    assert {one: about["Labels"] for one, about in ours.items()} == {
        bottom: {REF: bottom, DIFF_ID: bottom},
        top: {REF: top, DIFF_ID: second, PARENT: bottom},
    }
    theirs = daemon.new_namespace()
    daemon.ctr("images", "pull", "--plain-http", name, namespace=theirs)
    known = {REF, DIFF_ID, PARENT} if daemon.version_info >= (2, 3) else {REF}
    for about in ours.values():
        if daemon.version_info >= (2,):
            about["Labels"] = {key: about["Labels"][key] for key in known & {*about["Labels"]}}
        else:
            del about["Labels"]
    assert told(theirs) == ours
    daemon.ctr("images", "rm", "--sync", name, namespace=theirs)


def _one_too_few(config: images.Json) -> None:
    del config["rootfs"]["diff_ids"][-1]


def _upper_wrong(config: images.Json) -> None:
    config["rootfs"]["diff_ids"][1] = images.digest_of(b"something else")


@pytest.mark.parametrize(
    ("change", "kind", "words", "stays"),
    [
        (images.wrong_diff_ids, DiffIDMismatch, "the config says", 0),
        (_upper_wrong, DiffIDMismatch, "the config says", 1),
        (_one_too_few, InvalidArgument, "2 layers, but the config has 1", 0),
    ],
)
def test_images_that_contradict_themselves(
    client: Client,
    registry: Registry,
    change: images.Change,
    kind: type[Exception],
    words: str,
    stays: int,
) -> None:
    image = images.random_image([1000, 2000], seed=91, change_config=change)
    name = images.push(image, registry.host, "contradicts", "latest")
    with client.lease():
        with pytest.raises(kind, match=words):
            client.pull(name)
        assert kinds_of(client) == ["committed"] * stays  # without the help of the lease's end
        image_of = client.pull(name, unpack=False)
        with pytest.raises(kind, match=words):
            image_of.unpack()
        assert kinds_of(client) == ["committed"] * stays
    assert not image_of.is_unpacked()


@pytest.mark.generations
def test_below_a_wrong_layer_all_is_kept(client: Client, registry: Registry) -> None:
    """Also where layers are unpacked side by side, and the wrong one is the first to be there."""

    def third_wrong(config: images.Json) -> None:
        config["rootfs"]["diff_ids"][2] = images.digest_of(b"something else")

    sizes = [8_000_000, 8_000_000, 1000, 1000, 8_000_000]
    image = images.random_image(sizes, seed=94, change_config=third_wrong)
    name = images.push(image, registry.host, "third-wrong", "latest")
    with client.lease():
        with pytest.raises(DiffIDMismatch, match=image.layers[2]["digest"]):
            client.pull(name)
        found = {info.name for info in client.snapshot_service().list()}
        assert found == {*chain_ids(image.config["rootfs"]["diff_ids"][:2])}


@pytest.mark.generations
@pytest.mark.parametrize("is_released", [False, True], ids=["held", "gone"])
def test_the_image_below_is_deleted_while_another_is_unpacked_on_it(
    client: Client, registry: Registry, is_released: bool
) -> None:
    """Its snapshots are held; if they go nevertheless, they are made again, and no layer twice."""
    layers = [images.layer({f"file-{n}": bytes([n]) * 100_000}) for n in range(4)]
    lower, upper = (
        images.push(images.build(layers[:size]), registry.host, f"shared-{size}", "1")
        for size in (2, 4)
    )
    top = client.pull(lower).unpack()
    before = client.snapshot_service().stat(top)
    applied: list[str] = []

    def watch(event: ProgressEvent) -> None:
        if event.stage != "unpacking":
            return
        if not applied:
            if is_released:
                (lease,) = client.lease_service.list()
                held = Resource(top, "snapshots/overlayfs")
                client.lease_service.delete_resource(lease.id, held)
            client.image_service.delete(lower, sync=True)
        applied.append(event.name)

    image = client.pull(upper, progress=watch)
    digests = [images.digest_of(layer.blob) for layer in layers]
    is_made_again = is_released and client.snapshot_service().can_rebase()
    assert sorted(applied) == sorted(digests if is_made_again else digests[2:])
    assert (client.snapshot_service().stat(top) == before) is not is_made_again
    assert image.is_unpacked()
    assert client.check(upper).is_complete
    assert kinds_of(client) == ["committed"] * 4


def kinds_of(client: Client) -> list[str]:
    return [info.kind for info in client.snapshot_service().list()]


def _config(image: Image) -> Descriptor:
    return image.manifest().config


def _upper_layer(image: Image) -> Descriptor:
    return image.manifest().layers[1]


@pytest.mark.parametrize(
    ("missing", "stays"), [(_config, 0), (_upper_layer, 1)], ids=["config", "layer"]
)
def test_content_that_is_missing(
    client: Client,
    fetched: Callable[[images.Image], Image],
    missing: Callable[[Image], Descriptor],
    stays: int,
) -> None:
    image = fetched(images.random_image([1000, 2000], seed=92))
    digest = missing(image).digest
    with client.lease():
        client.content_store.delete(digest)
        with pytest.raises(NotFound, match=digest.removeprefix("sha256:")):
            image.unpack()
        assert kinds_of(client) == ["committed"] * stays


def test_a_layer_that_is_no_archive(client: Client, registry: Registry) -> None:
    broken = images.Layer(b"no archive, and nothing compressed", images.digest_of(b""), "")
    name = images.push(images.build([BELOW, broken]), registry.host, "broken", "latest")
    with client.lease():
        with pytest.raises(ContainerdError):
            client.pull(name)
        assert kinds_of(client) == ["committed"]


_OTHER = """
import sys
from containerd_lite import Client
address, namespace, name = sys.argv[1:]
with Client(address, namespace=namespace) as client, client.lease():
    image = client.get_image(name)
    print("ready", flush=True)
    sys.stdin.readline()
    print(image.unpack(), flush=True)
"""


@pytest.fixture
def others(client: Client, namespace: str) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Starts processes that unpack an image when they are given a line."""
    started: list[subprocess.Popen[str]] = []

    def start(name: str) -> subprocess.Popen[str]:
        argv = [sys.executable, "-c", _OTHER, client.address, namespace, name]
        pipe = subprocess.PIPE
        child = subprocess.Popen(argv, stdin=pipe, stdout=pipe, text=True)
        started.append(child)
        return child

    yield start
    for child in started:
        if child.poll() is None:
            child.kill()
        child.communicate()


@pytest.mark.generations
def test_two_processes_at_once(
    client: Client,
    fetched: Callable[[images.Image], Image],
    others: Callable[[str], subprocess.Popen[str]],
) -> None:
    image = fetched(images.random_image([20_000] * 12, seed=93))
    two = [others(image.name) for _ in range(2)]
    for child in two:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    for child in two:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    said = [child.communicate(timeout=60)[0].strip() for child in two]
    assert [child.returncode for child in two] == [0, 0]
    assert said == [image.unpack()] * 2
    assert kinds_of(client) == ["committed"] * 12
