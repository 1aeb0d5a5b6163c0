"""What pull's options leave in a daemon, beside what its own ctr leaves."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from containerd_lite import Client, ProgressEvent
from containerd_lite.errors import FailedPrecondition, NotFound
from containerd_lite.images.walk import Handler
from containerd_lite.oci import media_types
from containerd_lite.oci.config import chain_ids
from containerd_lite.oci.descriptor import Descriptor
from containerd_lite.services.leases import EXPIRE, LeaseService
from tests.conftest import ROOT, Count
from tests.e2e.client.test_pull import content_labels, local_flags, snapshots
from tests.harness import artifacts, images
from tests.harness.daemon import Daemon
from tests.harness.judges import Crane
from tests.harness.registry import Registry

pytestmark = [pytest.mark.daemon, pytest.mark.registry, pytest.mark.usefixtures("nothing_left")]

NAMES = ("linux/amd64", "linux/arm64", "linux/arm/v7", "linux/s390x", "linux/ppc64le", "linux/386")
SIX = {
    name: images.random_image([800 + n, 900 + n], seed=70 + n, platform=name)
    for n, name in enumerate(NAMES)
}
INDEX = artifacts.attested(images.index_of(SIX))


@pytest.fixture
def name(registry: Registry) -> str:
    return images.push(INDEX, registry.host, "six-platforms", "latest")


@pytest.mark.generations
def test_all_platforms_are_labelled_as_ctr_labels_them(
    daemon: Daemon, namespace: str, client: Client, name: str
) -> None:
    client.fetch(name)
    theirs = daemon.new_namespace()
    # What fetches without unpacking is another command; it takes all platforms.
    daemon.ctr("content", "fetch", "--all-platforms", "--plain-http", name, namespace=theirs)
    assert content_labels(daemon, namespace) == content_labels(daemon, theirs)
    assert content_labels(daemon, namespace).keys() == INDEX.blobs.keys()
    checked = daemon.ctr("images", "check", namespace=namespace).stdout.decode()
    assert "incomplete" not in checked
    daemon.ctr("images", "rm", "--sync", name, namespace=theirs)


@pytest.mark.generations
def test_metadata_of_all_platforms_is_what_ctr_fetches(
    daemon: Daemon, namespace: str, client: Client, name: str
) -> None:
    totals = []
    client.pull(
        name,
        platform="linux/s390x",
        all_metadata=True,
        progress=lambda event: totals.append(event.overall),
    )
    theirs = daemon.new_namespace()
    options = ("--all-metadata", "--platform", "linux/s390x", "--plain-http")
    daemon.ctr("content", "fetch", *options, name, namespace=theirs)
    found = content_labels(daemon, namespace).keys()
    assert found == content_labels(daemon, theirs).keys()
    layers = {layer["digest"] for each in SIX.values() for layer in each.layers}
    assert found & layers == {layer["digest"] for layer in SIX["linux/s390x"].layers}
    assert totals[-1].total == sum(len(INDEX.blobs[digest]) for digest in found)
    daemon.ctr("images", "rm", "--sync", name, namespace=theirs)


@pytest.mark.generations
def test_layers_are_discarded_once_unpacked(
    daemon: Daemon, namespace: str, client: Client, busybox: str, registry: Registry
) -> None:
    fetched: list[str] = []

    def progress(event: ProgressEvent) -> None:
        if event.stage == "downloaded":
            fetched.append(event.name)

    image = client.pull(busybox, discard_layers=True, progress=progress)
    layers = {layer.digest for layer in image.manifest().layers}
    assert layers <= set(fetched)
    _collect_garbage(client)
    assert not layers & content_labels(daemon, namespace).keys()
    assert client.run(image, ["echo", "on"]).stdout == b"on\n"
    fetched.clear()
    again = client.pull(busybox, discard_layers=True, progress=progress)
    assert fetched == []
    assert again.is_unpacked()
    assert not again.is_lazy
    with pytest.raises(NotFound, match="lacks") as caught:
        client.push(f"{registry.host}/discarded:1", again)
    assert "fetch_missing" in str(caught.value.remedy)
    client.fetch_missing(again)
    client.push(f"{registry.host}/discarded:1", again)
    image.delete(sync=True)


@pytest.mark.generations
def test_a_discarded_layer_that_another_image_has_stays(
    daemon: Daemon, namespace: str, client: Client, registry: Registry
) -> None:
    """The two images share their lowest layer. A later pull without the option keeps all layers."""
    small, large = (images.random_image([400, 500][:count], seed=91) for count in (1, 2))
    shared, upper = (layer["digest"] for layer in large.layers)
    assert shared == small.layers[0]["digest"]
    names = [
        images.push(image, registry.host, "shares-layer", f"{number}")
        for number, image in enumerate((small, large))
    ]
    client.pull(names[0])
    client.pull(names[1], discard_layers=True)
    _collect_garbage(client)
    found = content_labels(daemon, namespace).keys()
    assert shared in found
    assert upper not in found
    client.pull(names[1])
    _collect_garbage(client)
    assert {shared, upper} <= content_labels(daemon, namespace).keys()
    for name in names:
        client.get_image(name).delete(sync=True)


def _collect_garbage(client: Client) -> None:
    """Delete a lease; the daemon then collects garbage, and answers when that is done."""
    lease = client.lease_service.create()
    client.lease_service.delete(lease.id, sync=True)


def test_several_platforms_are_unpacked_each(
    daemon: Daemon, namespace: str, client: Client, name: str
) -> None:
    wanted = ["linux/s390x", "linux/arm/v7"]
    image = client.pull(name, platform=wanted)
    chosen = [SIX[one] for one in wanted]
    expected = {INDEX.digest, *(digest for one in chosen for digest in one.blobs)}
    assert content_labels(daemon, namespace).keys() == expected
    chains = {chain for one in chosen for chain in chain_ids(one.config["rootfs"]["diff_ids"])}
    assert snapshots(daemon, namespace) == chains
    image.delete(sync=True)
    assert snapshots(daemon, namespace) == set()


@pytest.mark.generations
def test_layers_are_unpacked_one_at_a_time(
    daemon: Daemon, namespace: str, client: Client, registry: Registry
) -> None:
    image = images.random_image([50_000 + n for n in range(9)], seed=90)
    name = images.push(image, registry.host, "nine-layers", "latest")
    threads = []

    def progress(event: ProgressEvent) -> None:
        if event.stage == "unpacking":
            threads.append(threading.get_ident())

    pulled = client.pull(name, max_concurrent_unpacks=1, progress=progress)
    assert len(set(threads)) == 1
    assert len(snapshots(daemon, namespace)) == 9
    pulled.delete(sync=True)


def test_of_all_platforms_this_machines_is_unpacked(
    daemon: Daemon, namespace: str, client: Client, name: str
) -> None:
    image = client.pull(name, all_platforms=True, attestations=False)
    own = SIX[images.machine_platform()]
    assert snapshots(daemon, namespace) == set(chain_ids(own.config["rootfs"]["diff_ids"]))
    assert image.is_unpacked()


@pytest.mark.generations
def test_what_ctr_left_sparse_is_filled(
    daemon: Daemon, namespace: str, client: Client, name: str
) -> None:
    local = local_flags(daemon)
    daemon.ctr("images", "pull", *local, "--plain-http", name, namespace=namespace)
    client.fetch(name)
    assert content_labels(daemon, namespace).keys() == INDEX.blobs.keys()


def test_handlers_see_and_change_what_is_fetched(
    daemon: Daemon, namespace: str, client: Client, registry: Registry
) -> None:
    """A snapshotter is told the annotations of a layer that are meant for it."""
    image = images.random_image([700, 1700], seed=80)
    ref = images.push(image, registry.host, "handled", "latest")
    asked = []

    def see(descriptor: Descriptor) -> Sequence[Descriptor]:
        asked.append(descriptor.digest)
        return ()

    def annotate(handler: Handler) -> Handler:
        def handle(descriptor: Descriptor) -> Sequence[Descriptor]:
            children = list(handler(descriptor))
            for child in children:
                if media_types.is_layer(child.media_type):
                    child.annotations["containerd.io/snapshot/test"] = child.digest
            return children

        return handle

    client.pull(ref, handlers=[see], wrap_handler=annotate)
    assert sorted(asked) == sorted(image.blobs)
    for layer, chain in zip(
        image.layers, chain_ids(image.config["rootfs"]["diff_ids"]), strict=True
    ):
        said = daemon.ctr("snapshots", "info", chain, namespace=namespace).stdout.decode()
        assert f'"containerd.io/snapshot/test": "{layer["digest"]}"' in said


# ---- resuming ----------------------------------------------------------------------------------

#: A process that pulls until so much of a layer has come, and dies.
DIES = """
import os, sys
from containerd_lite import Client

def progress(event):
    if event.stage == "downloading" and event.offset >= 2 << 20:
        os.kill(os.getpid(), 9)

with Client(sys.argv[1], namespace=sys.argv[2]) as client:
    client.pull(sys.argv[3], resume=True, progress=progress, max_concurrent_downloads=1)
"""


def leases_of(client: Client) -> list[str]:
    service: LeaseService = client.lease_service
    return [lease.id for lease in service.list()]


def test_another_process_goes_on_where_one_was_killed(
    daemon: Daemon, namespace: str, client: Client, registry: Registry
) -> None:
    image = images.random_image([5_000_000, 6_000_000], seed=81)
    ref = images.push(image, registry.host, "resumed", "latest")
    done = subprocess.run(
        [sys.executable, "-c", DIES, daemon.address, namespace, ref], cwd=ROOT, check=False
    )
    assert done.returncode == -9
    (lease,) = leases_of(client)
    assert lease.startswith("lite-resume-")
    # Neither garbage collection nor the next process's clean-up takes it away.
    daemon.ctr("leases", "create", "--id", "collect", namespace=namespace)
    daemon.ctr("leases", "delete", "--sync", "collect", namespace=namespace)
    events: list[ProgressEvent] = []
    assert client.pull(ref, resume=True, progress=events.append).is_unpacked()
    first = image.layers[0]["digest"]
    offsets = [e.offset for e in events if (e.name, e.stage) == (first, "downloading")]
    assert not offsets or offsets[0] > 1 << 20
    assert leases_of(client) == []
    assert client.check(ref).is_complete


def test_a_pull_that_fails_and_is_not_resumed_leaves_nothing(
    daemon: Daemon, namespace: str, client: Client, registry: Registry
) -> None:
    image = images.random_image([3_000_000], seed=82)
    ref = images.push(image, registry.host, "fails", "latest")

    def fail(event: ProgressEvent) -> None:
        if event.stage == "downloading" and event.total > 1_000_000:
            raise LookupError(event)

    with pytest.raises(LookupError):
        client.pull(ref, progress=fail)
    assert content_labels(daemon, namespace) == {}
    assert client.list_images() == []
    with pytest.raises(LookupError):
        client.pull(ref, progress=fail, resume=True)
    assert len(leases_of(client)) == 1
    assert client.pull(ref, resume=True).is_unpacked()
    assert leases_of(client) == []


def test_each_try_keeps_what_has_come_for_as_long(client: Client, registry: Registry) -> None:
    ref = images.push(images.random_image([3_000_000], seed=84), registry.host, "again", "1")

    def fail(event: ProgressEvent) -> None:
        if event.stage == "downloading" and event.total > 1_000_000:
            raise LookupError(event)

    seen = []
    # Spelt otherwise it is the same pull.
    for platform in (images.machine_platform(), [images.machine_platform()]):
        with pytest.raises(LookupError):
            client.pull(ref, platform=platform, resume=True, progress=fail)
        (lease,) = client.lease_service.list()
        seen.append((lease.labels[EXPIRE], client.lease_service.list_resources(lease.id)))
        time.sleep(1.1)  # what the daemon is told has no fraction
    (first, held), (second, still_held) = seen
    assert first < second
    assert held
    assert set(held) <= set(still_held)
    assert client.pull(ref, resume=True).is_unpacked()
    assert leases_of(client) == []


def test_two_that_resume_one_after_the_other(client: Client, registry: Registry) -> None:
    """They share a lease, which the first one to end deletes."""
    ref = images.push(images.random_image([3_000_000], seed=85), registry.host, "two", "1")
    told: list[tuple[str, str]] = []

    def pull(who: str) -> None:
        def progress(event: ProgressEvent) -> None:
            told.append((who, event.stage))
            time.sleep(0.02)

        client.pull(ref, resume=True, progress=progress)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(pull, "ab"))
    order = [who for who, _ in told]
    assert order == sorted(order, reverse=order[0] == "b")
    assert leases_of(client) == []


def test_a_lease_that_somebody_prunes_is_made_again(
    daemon: Daemon, namespace: str, client: Client, registry: Registry
) -> None:
    image = images.random_image([3_000_000, 100_000], seed=83)
    ref = images.push(image, registry.host, "pruned", "latest")
    pruned: list[str] = []

    def prune(event: ProgressEvent) -> None:
        if event.stage == "downloading" and event.total > 1_000_000 and not pruned:
            pruned.extend(leases_of(client))
            for lease in pruned:
                daemon.ctr("leases", "delete", "--sync", lease, namespace=namespace)

    image_pulled = client.pull(ref, progress=prune)
    assert pruned
    assert image_pulled.is_unpacked()
    assert client.check(ref).is_complete
    assert leases_of(client) == []


# ---- the object --------------------------------------------------------------------------------


def test_tags_and_what_a_layout_cannot(client: Client, busybox: str, tmp_path: Path) -> None:
    from containerd_lite import Layout

    image = client.pull(busybox, labels={"team": "a"})
    again = image.tag("docker.io/library/other:1")
    assert again == client.get_image("other:1")
    assert (again.target, again.labels) == (image.target, {"team": "a"})
    with pytest.raises(NotFound):
        client.get_image("nothing")
    found = Layout(tmp_path).pull(busybox)
    assert found == Layout(tmp_path).get_image(busybox)
    assert found != image
    with pytest.raises(FailedPrecondition, match="no snapshots"):
        found.unpack()


# ---- what others make of it --------------------------------------------------------------------


@pytest.mark.generations
def test_ctr_pushes_and_runs_what_we_pulled(
    daemon: Daemon, namespace: str, client: Client, busybox: str, registry: Registry
) -> None:
    image = client.pull(busybox)
    target = f"{registry.host}/pushed-by-ctr/{daemon.generation}:1"
    local = ("--local",) if daemon.version_info >= (1, 7) else ()
    daemon.ctr("images", "push", *local, "--plain-http", target, busybox, namespace=namespace)
    assert Crane(plain=[registry.host]).digest(target) == image.target.digest
    again = client.in_namespace(daemon.new_namespace()).pull(target)
    assert again.target.digest == image.target.digest
    assert daemon.run(busybox, "echo", "hello", namespace=namespace) == b"hello\n"
    again.delete(sync=True)


def test_a_large_layer(
    daemon: Daemon, namespace: str, client: Client, registry: Registry, count: Count
) -> None:
    """One longer than signed 32 bits can count, in the full counts."""
    mib = count(33, 2049)
    plain = images.layer({"zeros": bytes(mib << 20)}, "none")
    ref = images.push(images.build([plain]), registry.host, f"large-{mib}", "1")
    image = client.pull(ref)
    assert image.is_unpacked()
    assert image.size() > mib << 20
    (layer,) = image.manifest().layers
    assert client.content_store.info(layer.digest).size == layer.size
    image.delete(sync=True)
