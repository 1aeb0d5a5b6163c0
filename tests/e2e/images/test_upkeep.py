"""Check, fetch_missing, verify and repair on daemons, judged by their own ctr."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import pytest

from containerd_lite import Client
from containerd_lite.errors import Aborted, DataLoss, RegistryNotFound
from containerd_lite.images.upkeep.replacement import DaemonReplacer
from containerd_lite.services.lifetimes import ROOT, expires, while_exists
from tests.harness import images
from tests.harness.daemon import Daemon
from tests.harness.registry import Registry

pytestmark = [
    pytest.mark.daemon,
    pytest.mark.registry,
    pytest.mark.turns(2),
    pytest.mark.usefixtures("nothing_left"),
]

HERE = images.machine_platform()
OTHER = "linux/s390x"
LONG_AGO = datetime(2020, 1, 1, tzinfo=timezone.utc)


def pushed(registry: Registry, image: images.Image, name: str) -> str:
    return images.push(image, registry.host, f"upkeep/{name}", "latest")


def index_of(seed: int) -> images.Image:
    ours = images.random_image([60_000, 2 << 20], seed=seed)
    theirs = images.random_image([50_000], seed=seed + 1, platform=OTHER)
    return images.index_of({HERE: ours, OTHER: theirs})


def manifest_of(index: images.Image, platform: str) -> images.Image:
    entries = index.json()["manifests"]
    wanted = images.platform_json(platform)
    entry = next(one for one in entries if one["platform"] == wanted)
    return images.Image(entry, index.blobs)


def file_of(daemon: Daemon, digest: str) -> Path:
    folder = daemon.root / "io.containerd.content.v1.content" / "blobs"
    return folder.joinpath(*digest.split(":"))


def spoil(daemon: Daemon, digest: str) -> None:
    """Flip a bit in the daemon's own file, as a disk would."""
    body = bytearray(file_of(daemon, digest).read_bytes())
    body[len(body) // 2] ^= 1
    file_of(daemon, digest).write_bytes(body)


def content(daemon: Daemon, namespace: str) -> dict[str, set[str]]:
    """Digest to labels, out of a table whose columns have no blanks inside, but for the age."""
    found = {}
    lines = daemon.ctr("content", "ls", namespace=namespace).stdout.decode().splitlines()
    for line in lines[1:]:
        digest, labels = line.split()[0], line.split()[-1]
        found[digest] = set() if labels == "-" else set(re.split(r",(?=containerd\.io/)", labels))
    return found


def bodies(daemon: Daemon, namespace: str) -> dict[str, bytes]:
    return {
        digest: daemon.ctr("content", "get", digest, namespace=namespace).stdout
        for digest in content(daemon, namespace)
    }


def snapshots(daemon: Daemon, namespace: str) -> set[str]:
    lines = daemon.ctr("snapshots", "ls", namespace=namespace).stdout.decode().splitlines()
    return {line.split()[0] for line in lines[1:]}


def collect(daemon: Daemon, namespace: str) -> None:
    daemon.ctr("leases", "create", "--id", "collect", namespace=namespace)
    daemon.ctr("leases", "delete", "--sync", "collect", namespace=namespace)


def ctr_check(daemon: Daemon, namespace: str, name: str) -> tuple[str, int, int, bool]:
    """What `ctr images check` says: the word, how many are here, of how many, and unpacked."""
    said = daemon.ctr("images", "check", namespace=namespace).stdout.decode()
    row = next(line for line in said.splitlines() if line.startswith(name))
    found = re.search(r"(complete|incomplete) \((\d+)/(\d+)\)", row)
    assert found is not None, row
    return found[1], int(found[2]), int(found[3]), row.split()[-1] == "true"


def own_check(client: Client, name: str, image: images.Image) -> tuple[str, int, int, bool]:
    report = client.check(name)
    (only,) = report.platforms
    total = len(image.json()["layers"]) + 1
    word = "complete" if report.is_complete else "incomplete"
    return word, total - len(only.missing), total, bool(only.is_unpacked)


# ---- check and fetch_missing ---------------------------------------------------------------


@pytest.mark.generations
@pytest.mark.parametrize("unpack", [True, False])
@pytest.mark.parametrize("kind", ["manifest", "index"])
def test_check_agrees_with_ctr(
    daemon: Daemon, namespace: str, client: Client, registry: Registry, kind: str, unpack: bool
) -> None:
    index = index_of(10)
    ours = manifest_of(index, HERE)
    name = pushed(registry, index if kind == "index" else ours, f"check-{kind}")
    client.pull(name, unpack=unpack)
    assert own_check(client, name, ours) == ctr_check(daemon, namespace, name)
    assert ctr_check(daemon, namespace, name) == ("complete", 3, 3, unpack)
    daemon.ctr("content", "rm", ours.layers[0]["digest"], namespace=namespace)
    assert own_check(client, name, ours) == ctr_check(daemon, namespace, name)
    (missing,) = client.check(name).missing
    assert (missing.digest, missing.size) == (ours.layers[0]["digest"], ours.layers[0]["size"])
    (fetched,) = client.fetch_missing(name)
    assert fetched == missing
    assert ctr_check(daemon, namespace, name) == ("complete", 3, 3, unpack)


def test_an_index_is_filled_for_all_platforms(
    daemon: Daemon, namespace: str, client: Client, registry: Registry
) -> None:
    index = index_of(20)
    name = pushed(registry, index, "fill")
    client.pull(name)
    theirs = manifest_of(index, OTHER)
    report = client.check(name, all_platforms=True)
    assert [one.digest for one in report.missing] == [theirs.digest]
    assert [one.is_unpacked for one in report.platforms] == [True, None]
    fetched = client.fetch_missing(name, all_platforms=True)
    assert fetched[0].digest == theirs.digest
    assert len(fetched) == 3
    collect(daemon, namespace)
    assert bodies(daemon, namespace) == index.blobs
    report = client.check(name, all_platforms=True)
    assert report.is_complete
    assert [one.is_unpacked for one in report.platforms] == [True, False]
    # Labelled as ctr's own fetch labels it, but for what unpacking adds.
    other = daemon.new_namespace()
    daemon.ctr("content", "fetch", "--plain-http", "--all-platforms", name, namespace=other)
    labelled = content(daemon, namespace)
    for digest, labels in content(daemon, other).items():
        ours = labelled[digest]
        assert {one for one in ours if "uncompressed" not in one and "snapshot" not in one} == {
            one for one in labels if "uncompressed" not in one
        }
    daemon.ctr("images", "rm", "--sync", name, namespace=other)


# ---- verify and repair ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "how"),
    [
        ("layer", "flipped"),
        ("layer", "gone"),
        ("config", "flipped"),
        ("manifest", "short"),
        ("index", "flipped"),
    ],
)
def test_what_is_broken_is_mended_and_nothing_else_changes(
    daemon: Daemon, namespace: str, client: Client, registry: Registry, kind: str, how: str
) -> None:
    image = images.busybox()
    index = images.index_of({HERE: image})
    name = pushed(registry, index, "runs")
    client.pull(name)
    digests = {
        "layer": image.layers[0]["digest"],
        "config": image.json()["config"]["digest"],
        "manifest": image.digest,
    }
    digest = digests.get(kind, index.digest)
    before, unpacked = content(daemon, namespace), snapshots(daemon, namespace)
    assert client.verify().is_sound
    if how == "flipped":
        spoil(daemon, digest)
    elif how == "short":
        file_of(daemon, digest).write_bytes(index.blobs[digest][:100])
    else:
        file_of(daemon, digest).unlink()
    assert client.verify().broken == client.verify(name).broken == (digest,)
    report = client.repair(name)
    assert (report.repaired, report.fetched) == ((digest,), ())
    assert bodies(daemon, namespace) == index.blobs
    assert content(daemon, namespace) == before
    collect(daemon, namespace)
    assert content(daemon, namespace) == before
    assert snapshots(daemon, namespace) == unpacked
    assert client.verify().is_sound
    assert client.get_image(name).is_unpacked()
    assert ctr_check(daemon, namespace, name) == ("complete", 2, 2, True)
    assert daemon.run(name, "echo", "well", namespace=namespace) == b"well\n"


@pytest.mark.generations
def test_all_images_at_once(
    daemon: Daemon, namespace: str, client: Client, registry: Registry
) -> None:
    index, other = index_of(30), images.random_image([70_000, 80_000], seed=33)
    client.pull(pushed(registry, index, "first"), unpack=False, all_platforms=True)
    client.pull(pushed(registry, other, "second"))
    spoil(daemon, index.digest)
    for each in (manifest_of(index, HERE), manifest_of(index, OTHER), other):
        spoil(daemon, each.digest)
        spoil(daemon, each.layers[0]["digest"])
    daemon.ctr("content", "rm", other.layers[1]["digest"], namespace=namespace)
    report = client.repair()
    assert (len(report.repaired), report.fetched) == (7, (other.layers[1]["digest"],))
    collect(daemon, namespace)
    assert bodies(daemon, namespace) == {**index.blobs, **other.blobs}


@pytest.fixture(params=["shared", "isolated"])
def sharing(request: pytest.FixtureRequest, daemon: Daemon) -> Iterator[Daemon]:
    """A daemon whose namespaces get content of others for nothing, or have to bring it."""
    if request.param == "shared":
        yield daemon
        return
    extra = '[plugins."io.containerd.metadata.v1.bolt"]\ncontent_sharing_policy = "isolated"'
    with Daemon(daemon.generation, extra=extra) as own:
        yield own


@pytest.mark.generations
@pytest.mark.parametrize("kind", ["layer", "config"])
def test_a_blob_of_two_namespaces(sharing: Daemon, registry: Registry, kind: str) -> None:
    """There is one file: it is mended for both, or for none."""
    image = images.random_image([40_000], seed=40)
    name = pushed(registry, image, "shared")
    digest = image.layers[0]["digest"] if kind == "layer" else image.json()["config"]["digest"]
    ours, theirs = sharing.new_namespace(), sharing.new_namespace()
    with Client(sharing.address, namespace=ours) as client:
        client.pull(name)
        client.in_namespace(theirs).pull(name)
        sharing.ctr("content", "label", digest, "containerd.io/their=own", namespace=theirs)
        before = {each: content(sharing, each) for each in (ours, theirs)}
        unpacked = {each: snapshots(sharing, each) for each in (ours, theirs)}
        spoil(sharing, digest)
        assert client.repair(name).repaired == (digest,)
        collect(sharing, ours)
        for each in (ours, theirs):
            assert bodies(sharing, each) == image.blobs
            assert content(sharing, each) == before[each]
            assert snapshots(sharing, each) == unpacked[each]
            assert sharing.ctr("leases", "ls", "-q", namespace=each).stdout == b""
            assert client.in_namespace(each).get_image(name).is_unpacked()
            sharing.ctr("images", "rm", "--sync", name, namespace=each)


@pytest.mark.generations
def test_what_exists_as_long_as_the_broken_blob(
    daemon: Daemon, client: Client, registry: Registry
) -> None:
    """Content, an image and a snapshot that another namespace binds to it outlive its repair."""
    if daemon.version_info < (2, 2):
        pytest.skip("containerd before 2.2 has no back references")
    image = images.random_image([40_000], seed=55)
    name = pushed(registry, image, "bound")
    client.pull(name)
    digest, body = image.layers[0]["digest"], b"bound to a blob"
    label = while_exists("content", digest)
    with Client(daemon.address, namespace=daemon.new_namespace()) as theirs:
        target = theirs.pull(name, unpack=False).target
        snapshots = theirs.snapshot_service("native")
        theirs.content_store.update(digest, {ROOT: "x"})
        with theirs.lease():
            with theirs.content_store.writer("bound", size=len(body)) as writer:
                writer.write(body)
                writer.commit(label)
            snapshots.prepare("bound", labels=label)
            theirs.image_service.create("bound", target, {**label, **expires(LONG_AGO)})
        theirs.get_image(name).delete(sync=True)
        before = content(daemon, theirs.namespace)
        spoil(daemon, digest)
        assert client.repair(name).repaired == (digest,)
        collect(daemon, theirs.namespace)
        assert content(daemon, theirs.namespace) == before
        assert [found.name for found in snapshots.list()] == ["bound"]
        assert [found.name for found in theirs.image_service.list()] == ["bound"]
        theirs.content_store.delete(digest)
        collect(daemon, theirs.namespace)
        assert content(daemon, theirs.namespace) == {}
        assert (list(snapshots.list()), theirs.image_service.list()) == ([], [])


def test_what_another_namespace_has_broken_is_not_taken_over(
    daemon: Daemon, namespace: str, client: Client, registry: Registry
) -> None:
    image = images.random_image([40_000], seed=50)
    name = pushed(registry, image, "taken")
    client.pull(name)
    theirs = client.in_namespace(daemon.new_namespace())
    theirs.pull(name)
    digest = image.layers[0]["digest"]
    daemon.ctr("content", "rm", digest, namespace=namespace)
    spoil(daemon, digest)
    assert client.repair(name).repaired == (digest,)
    assert bodies(daemon, namespace) == image.blobs
    assert theirs.verify().is_sound
    daemon.ctr("images", "rm", "--sync", name, namespace=theirs.namespace)


def test_what_cannot_be_had_stays_as_it_is(
    daemon: Daemon, namespace: str, client: Client, registry: Registry
) -> None:
    image = images.random_image([40_000, 50_000], seed=60)
    name = pushed(registry, image, "lost")
    client.pull(name)
    spoil(daemon, image.digest)
    spoil(daemon, image.layers[0]["digest"])
    before, unpacked = content(daemon, namespace), snapshots(daemon, namespace)
    elsewhere = f"{registry.host}/upkeep/no-such:latest"
    with pytest.raises(DataLoss) as failure:
        client.repair(name, ref=elsewhere)
    assert [type(one) for one in failure.value.joined] == [RegistryNotFound]
    collect(daemon, namespace)
    assert content(daemon, namespace) == before
    assert snapshots(daemon, namespace) == unpacked
    assert set(client.repair(name).repaired) == {image.digest, image.layers[0]["digest"]}


def test_a_blob_that_another_client_holds(
    daemon: Daemon, namespace: str, client: Client, registry: Registry
) -> None:
    """A write under way in another namespace keeps the broken bytes; they stay for everybody."""
    image = images.random_image([40_000], seed=70)
    name = pushed(registry, image, "held")
    client.pull(name)
    layer = image.layers[0]
    digest, size = layer["digest"], layer["size"]
    before = content(daemon, namespace)
    spoil(daemon, digest)
    other = client.in_namespace(daemon.new_namespace())
    with other.lease():
        writer = other.content_store.writer("theirs", size=size, expected=digest)
        assert writer.offset == size  # the daemon has linked it
        with pytest.raises(DataLoss) as failure:
            client.repair(name)
        assert [type(one) for one in failure.value.joined] == [Aborted]
        assert content(daemon, namespace) == before
        replacer = DaemonReplacer(
            client.content_service, client.lease_service, client.namespace_service
        )
        with pytest.raises(KeyError), client.lease(), replacer.cleared(digest):
            raise KeyError  # when it is forgotten already
        assert content(daemon, namespace) == before
        writer.close()
        other.content_store.abort("theirs")
    assert client.repair(name).repaired == (digest,)
    assert content(daemon, namespace) == before
