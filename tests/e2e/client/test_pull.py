"""What pull leaves in a daemon, judged by that daemon's own ctr."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from containerd_lite import Client, ProgressEvent
from containerd_lite.errors import NotFound
from containerd_lite.services.leases import LeaseService
from containerd_lite.store.daemon import DaemonStore
from tests.e2e.recorder import Recorder
from tests.harness import images
from tests.harness.daemon import Daemon
from tests.harness.process import wait_until
from tests.harness.registry import Registry

pytestmark = [
    pytest.mark.daemon,
    pytest.mark.registry,
    pytest.mark.turns(2),
    pytest.mark.usefixtures("nothing_left"),
]

#: `ctr images pull` of 1.7 and later goes through the daemon unless told not to; that of 2.x
#: fetches other platforms' manifests and configs, too, unless told not to.


def local_flags(daemon: Daemon) -> tuple[str, ...]:
    """The flags with which ctr pulls by itself."""
    if daemon.version_info < (1, 7):
        return ()
    return ("--local",) if daemon.version_info < (2,) else ("--local", "--skip-metadata")


def pushed(registry: Registry, image: images.Image, name: str) -> str:
    return images.push(image, registry.host, name, "latest")


def content_labels(daemon: Daemon, namespace: str) -> dict[str, set[str]]:
    """Digest to labels, out of a table whose columns have no blanks inside, but for the age."""
    found = {}
    lines = daemon.ctr("content", "ls", namespace=namespace).stdout.decode().splitlines()
    for line in lines[1:]:
        digest, labels = line.split()[0], line.split()[-1]
        found[digest] = set() if labels == "-" else set(re.split(r",(?=containerd\.io/)", labels))
    return found


def snapshots(daemon: Daemon, namespace: str) -> set[str]:
    lines = daemon.ctr("snapshots", "ls", namespace=namespace).stdout.decode().splitlines()
    return {line.split()[0] for line in lines[1:]}


@pytest.fixture
def two_layers() -> images.Image:
    return images.random_image([70_000, 3 << 20])


@pytest.mark.generations
@pytest.mark.backend
@pytest.mark.dependencies
def test_ctr_accepts_what_pull_left(
    daemon: Daemon, namespace: str, client: Client, busybox: str
) -> None:
    image = client.pull(busybox)
    assert image.name == busybox
    assert image.is_unpacked()
    listed = daemon.ctr("images", "ls", "-q", namespace=namespace).stdout.decode().split()
    assert listed == [busybox]
    checked = daemon.ctr("images", "check", namespace=namespace).stdout.decode()
    row = next(line for line in checked.splitlines() if line.startswith(busybox))
    assert re.search(r"complete \((\d+)/\1\)", row)
    assert row.split()[-1] == "true"  # unpacked
    assert daemon.run(busybox, "echo", "hello", namespace=namespace) == b"hello\n"


@pytest.mark.generations
@pytest.mark.backend
@pytest.mark.dependencies
@pytest.mark.parametrize("kind", ["oci", "docker", "index"])
def test_content_and_snapshots_are_labelled_as_ctr_labels_them(
    daemon: Daemon, namespace: str, client: Client, registry: Registry, kind: str
) -> None:
    image = images.random_image([50_000, 60_000, 50_000], docker=kind == "docker")
    if kind == "index":
        other = images.random_image([1000], seed=7, platform="linux/s390x")
        image = images.index_of({images.machine_platform(): image, "linux/s390x": other})
    name = pushed(registry, image, f"labels-{kind}")
    client.pull(name)
    theirs = daemon.new_namespace()
    local = local_flags(daemon)
    daemon.ctr("images", "pull", *local, "--plain-http", name, namespace=theirs)
    assert content_labels(daemon, namespace) == content_labels(daemon, theirs)
    assert snapshots(daemon, namespace) == snapshots(daemon, theirs)
    daemon.ctr("images", "rm", "--sync", name, namespace=theirs)


@pytest.mark.generations
@pytest.mark.backend
@pytest.mark.dependencies
def test_nothing_of_it_is_lost_to_garbage_collection(
    daemon: Daemon, namespace: str, client: Client, registry: Registry, two_layers: images.Image
) -> None:
    name = pushed(registry, two_layers, "kept")
    other = pushed(registry, images.random_image([9000], seed=3), "dropped")
    image = client.pull(name)
    client.pull(other)
    before = content_labels(daemon, namespace).keys()
    daemon.ctr("images", "rm", "--sync", other, namespace=namespace)
    daemon.ctr("leases", "create", "--id", "collect", namespace=namespace)
    daemon.ctr("leases", "delete", "--sync", "collect", namespace=namespace)
    after = content_labels(daemon, namespace).keys()
    assert after == two_layers.blobs.keys()
    assert before > after  # it did collect
    checked = daemon.ctr("images", "check", namespace=namespace).stdout.decode()
    assert "complete (3/3)" in checked
    assert image.is_unpacked()


def test_a_second_pull_fetches_nothing(client: Client, busybox: str) -> None:
    client.pull(busybox)
    events: list[ProgressEvent] = []
    again = client.pull(busybox, progress=events.append)
    assert {event.stage for event in events} == {
        "resolving", "resolved", "waiting", "exists", "unpacked", "done",
    }  # fmt: skip
    assert again.is_unpacked()


def test_progress_counts_every_byte_and_ends(
    client: Client, registry: Registry, two_layers: images.Image
) -> None:
    name = pushed(registry, two_layers, "progress")
    events: list[ProgressEvent] = []
    threads = set()

    def record(event: ProgressEvent) -> None:
        threads.add(threading.get_ident())
        events.append(event)

    client.pull(name, progress=record)
    done = {event.name: event.offset for event in events if event.stage == "downloaded"}
    assert done == {digest: len(blob) for digest, blob in two_layers.blobs.items()}
    assert events[0].stage == "resolving"
    assert events[-1] == ProgressEvent("done", name)
    assert len(threads) > 1  # layers come side by side


def test_of_an_index_only_this_platform_is_fetched(
    daemon: Daemon, namespace: str, client: Client, registry: Registry
) -> None:
    ours = images.random_image([1000])
    theirs = images.random_image([1000], seed=1, platform="linux/s390x")
    index = images.index_of({"linux/s390x": theirs, images.machine_platform(): ours})
    image = client.pull(pushed(registry, index, "several"))
    assert image.target.digest == index.digest
    assert content_labels(daemon, namespace).keys() == {*ours.blobs, index.digest}
    foreign = client.pull(image.name, platform="linux/s390x", unpack=False)
    assert content_labels(daemon, namespace).keys() == index.blobs.keys()
    assert foreign.config().platform.architecture == "s390x"


def test_unpack_can_come_later(client: Client, registry: Registry) -> None:
    image = client.pull(
        pushed(registry, images.random_image([5000], seed=9), "later"), unpack=False
    )
    assert not image.is_unpacked()
    with client.lease():
        image.unpack()
    assert image.is_unpacked()


@pytest.mark.parametrize(
    "make",
    [
        lambda: images.random_image([]),
        lambda: images.random_image([0, 1000]),
        lambda: images.random_image([100] * 40),
        lambda: images.build([images.layer({"a": b"x"}, "none"), images.layer({"a": b"y"})]),
        lambda: images.build([images.layer({"a": b"x"})] * 2),
    ],
    ids=["no layers", "an empty layer", "40 layers", "a plain layer", "the same layer twice"],
)
def test_odd_images(
    daemon: Daemon,
    namespace: str,
    client: Client,
    registry: Registry,
    make: Callable[[], images.Image],
) -> None:
    image = make()
    pulled = client.pull(pushed(registry, image, "odd"))
    assert pulled.is_unpacked()
    assert content_labels(daemon, namespace).keys() == image.blobs.keys()
    assert "incomplete" not in daemon.ctr("images", "check", namespace=namespace).stdout.decode()


def test_by_digest_and_by_a_moved_tag(client: Client, registry: Registry) -> None:
    first, second = images.random_image([10], seed=1), images.random_image([10], seed=2)
    name = pushed(registry, first, "moved")
    by_digest = client.pull(f"{name.removesuffix(':latest')}@{first.digest}")
    assert by_digest.target.digest == first.digest
    assert client.pull(name, labels={"team": "a"}).labels == {"team": "a"}
    pushed(registry, second, "moved")
    moved = client.pull(name)
    assert moved.target.digest == second.digest
    assert client.get_image(name).target.digest == second.digest
    assert {image.name for image in client.list_images()} == {name, by_digest.name}


def test_many_at_once_share_blobs(client: Client, registry: Registry) -> None:
    name = pushed(registry, images.random_image([2 << 20, 1 << 20], seed=4), "at-once")
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda _: client.pull(name), range(6)))
    assert all(image.is_unpacked() for image in found)


def test_delete_and_get(client: Client, busybox: str) -> None:
    image = client.pull(busybox)
    assert client.get_image(busybox).target == image.target
    image.delete(sync=True)
    with pytest.raises(NotFound, match="not found"):
        client.get_image(busybox)
    assert list(client.content_store.walk()) == []


def test_a_pull_joins_the_lease_around_it(client: Client, registry: Registry) -> None:
    name = pushed(registry, images.random_image([1000], seed=5), "leased")
    leases: LeaseService = client.lease_service
    with client.lease() as outer:
        image = client.pull(name)
        assert [lease.id for lease in leases.list()] == [outer]
        held = {resource.id for resource in leases.list_resources(outer)}
        assert image.target.digest in held
        with client.lease() as inner:
            assert inner == outer
    assert leases.list() == []


def _is_at(store: DaemonStore, digest: str, offset: int) -> bool:
    return (f"layer-{digest}", offset) in [(s.ref, s.offset) for s in store.statuses()]


def test_what_an_earlier_writer_left(client: Client, registry: Registry) -> None:
    """containerd #3089: half a blob is gone on with, and begun again if it was wrong."""
    image = images.random_image([3_000_000, 5_000_000], seed=31)
    name = pushed(registry, image, "left")
    right, wrong = (layer["digest"] for layer in image.layers)
    store, left, buffer = client.content_store, 100_000, 2 << 20
    events: list[ProgressEvent] = []
    with client.lease():
        for digest, data in ((right, image.blobs[right]), (wrong, bytes(left))):
            size = len(image.blobs[digest])
            with store.writer(f"layer-{digest}", size=size, expected=digest) as writer:
                writer.write(data[:left])
                assert wait_until(partial(_is_at, store, digest, left), 5)
        assert client.pull(name, progress=events.append).is_unpacked()

    def offsets(digest: str) -> list[int]:
        return [e.offset for e in events if (e.name, e.stage) == (digest, "downloading")]

    assert offsets(right) == [left + buffer, len(image.blobs[right])]
    size = len(image.blobs[wrong])
    resumed, afresh = [left + buffer, left + 2 * buffer, size], [buffer, 2 * buffer, size]
    assert offsets(wrong) == resumed + afresh


@pytest.mark.generations
@pytest.mark.parametrize("layers", [1, 60])
def test_a_pull_of_what_is_there_takes_few_calls(
    daemon: Daemon, namespace: str, registry: Registry, layers: int
) -> None:
    """Whatever the number of layers."""
    image = images.random_image([1000] * layers, seed=60)
    ref = images.push(image, registry.host, f"again-{layers}", "1")
    channel = Recorder(daemon.address)
    with channel:
        client = Client(channel=channel, namespace=namespace)
        first = client.pull(ref)
        channel.called.clear()
        again = client.pull(ref)
        assert len(channel.called) <= 12, channel.called
        assert again == first
        assert again.is_unpacked()
        again.delete(sync=True)


@pytest.mark.generations
def test_a_pull_of_what_is_half_there(daemon: Daemon, client: Client, registry: Registry) -> None:
    """The lease holds what is there, and the rest is fetched; labels are set for both."""
    image = images.random_image([1000] * 9, seed=61)
    name = images.push(image, registry.host, "half", "1")
    whole = client.pull(name)
    before = content_labels(daemon, client.namespace)
    gone = [layer["digest"] for layer in image.layers[::2]]
    for digest in gone:
        client.content_store.delete(digest)
        before[digest] = {label for label in before[digest] if "uncompressed" not in label}
    assert client.pull(name) == whole
    assert content_labels(daemon, client.namespace) == before
    assert client.check(name).is_complete
    whole.delete(sync=True)
