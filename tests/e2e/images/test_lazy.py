"""Layers that a snapshotter has without their content, beside what containerd's own client does."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import accumulate

import pytest

from containerd_lite import Client, ProgressEvent
from containerd_lite.images.pull.cri_labels import append_info
from tests.harness import Unavailable, images
from tests.harness.daemon import Daemon
from tests.harness.registry import Registry
from tests.harness.snapshotter import REF, REMOTE, Snapshotter

pytestmark = [
    pytest.mark.daemon,
    pytest.mark.registry,
    pytest.mark.generations,
    pytest.mark.turns(2),
]

IMAGE = images.random_image([50_000, 60_000, 70_000], seed=80)
LAYERS = [layer["digest"] for layer in IMAGE.layers]
CRI = "containerd.io/snapshot/cri"
DIFF_ID = "containerd.io/snapshot/diff-id"
PARENT = "containerd.io/snapshot/parent-chain-id"
#: For 1.x, where nothing else of the daemon pulls lazily over plain HTTP.
_KUBELETS = f"""
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "{Snapshotter.name}"
disable_snapshot_annotations = false
"""


def chain_of(image: images.Image) -> list[str]:
    def above(below: str, diff_id: str) -> str:
        return "sha256:" + hashlib.sha256(f"{below} {diff_id}".encode()).hexdigest()

    return list(accumulate(image.config["rootfs"]["diff_ids"], above))


def labels_of(image: images.Image) -> list[dict[str, str]]:
    """The labels that this package gives each snapshot of an image."""
    chain, diff_ids = chain_of(image), image.config["rootfs"]["diff_ids"]
    own = [{REF: name, DIFF_ID: diff_id} for name, diff_id in zip(chain, diff_ids, strict=True)]
    return [own[0], *({**one, PARENT: below} for one, below in zip(own[1:], chain, strict=False))]


CHAIN, LABELS = chain_of(IMAGE), labels_of(IMAGE)


@pytest.fixture(scope="module")
def plugged(daemon: Daemon) -> Iterator[tuple[Daemon, Snapshotter]]:
    """A daemon of the generation with a snapshotter of its own: it collects the garbage there."""
    is_old = daemon.version_info < (2,)
    try:
        with (
            Snapshotter() as snapshotter,
            Daemon(
                daemon.generation, cri=is_old, extra=f"{snapshotter.config}\n{_KUBELETS}"
            ) as lazy,
        ):
            yield lazy, snapshotter
    except Unavailable as reason:
        pytest.skip(str(reason))


@pytest.fixture
def lazy(plugged: tuple[Daemon, Snapshotter]) -> Daemon:
    return plugged[0]


@pytest.fixture
def snapshotter(plugged: tuple[Daemon, Snapshotter]) -> Snapshotter:
    """It has nothing, and was asked for nothing."""
    plugged[1].have()
    plugged[1].forget()
    return plugged[1]


@pytest.fixture
def client(lazy: Daemon, snapshotter: Snapshotter) -> Iterator[Client]:
    """In a new namespace, with the snapshotter as its default; nothing half-made may be left."""
    with Client(
        lazy.address, namespace=lazy.new_namespace(), snapshotter=snapshotter.name
    ) as client:
        yield client
        kinds = {snapshot.kind for snapshot in client.snapshot_service().list()}
        assert kinds <= {"committed"}
        assert client.lease_service.list() == []
        assert client.content_store.statuses() == []
        collect_all(client)


def collect_all(client: Client) -> None:
    """Take every image away, so that the next test finds nothing in the snapshotter.

    It would, for that knows no namespaces.
    """
    for namespace in client.namespace_service.list():
        images_of = client.in_namespace(namespace.name).image_service
        for image in images_of.list():
            images_of.delete(image.name, sync=True)


@pytest.fixture(scope="module")
def name(registry: Registry) -> str:
    return images.push(IMAGE, registry.host, "lazy", "latest")


def layers_in(client: Client) -> list[str]:
    there = {info.digest for info in client.content_store.walk()}
    return [digest for digest in LAYERS if digest in there]


def downloaded(events: Iterable[ProgressEvent]) -> set[str]:
    return {event.name for event in events if event.stage == "downloaded"}


def told(daemon: Daemon, client: Client, snapshotter: Snapshotter) -> list[dict[str, object]]:
    """What ``ctr`` says of the image's snapshots, but for times."""
    command, where = ("snapshots", "--snapshotter", snapshotter.name, "info"), client.namespace
    said = [json.loads(daemon.ctr(*command, one, namespace=where).stdout) for one in CHAIN]
    return [{key: one.get(key) for key in ("Kind", "Name", "Parent", "Labels")} for one in said]


@contextmanager
def pulled_by(daemon: Daemon, client: Client, name: str) -> Iterator[Client]:
    """The daemon has pulled it; the ``ctr`` of 1.x pulls nothing lazily."""
    if daemon.version_info >= (2,):
        theirs = client.in_namespace(daemon.new_namespace())
        options = ("--snapshotter", Snapshotter.name, "--plain-http")
        daemon.ctr("images", "pull", *options, name, namespace=theirs.namespace)
        yield theirs
    else:
        theirs = client.in_namespace("k8s.io")
        kubelets = theirs.stub("runtime.v1.ImageService")
        kubelets.PullImage(image={"image": name})
        yield theirs
        kubelets.RemoveImage(image={"image": name})


@pytest.mark.parametrize(
    ("has", "fetched", "is_lazy"),
    [
        ([0, 1, 2], [], True),
        ([0, 1], [2], True),
        ([0], [1, 2], True),
        ([], [0, 1, 2], False),
        # Whether it has what lies on a layer, it can be asked when that layer is there.
        ([1], [0, 1, 2], False),
        ([0, 2], [1, 2], True),
    ],
)
def test_only_what_it_has_not_is_fetched(
    client: Client,
    lazy: Daemon,
    snapshotter: Snapshotter,
    name: str,
    has: list[int],
    fetched: list[int],
    is_lazy: bool,
) -> None:
    snapshotter.have(*(CHAIN[place] for place in has))
    events: list[ProgressEvent] = []
    image = client.pull(name, progress=events.append)
    expected = {LAYERS[place] for place in fetched}
    others = {IMAGE.digest, IMAGE.json()["config"]["digest"]}
    assert downloaded(events) == expected | others
    assert set(layers_in(client)) == expected
    assert image.is_lazy is is_lazy
    assert image.is_unpacked()
    ours = snapshotter.prepared()
    assert ours == LABELS
    found = told(lazy, client, snapshotter)
    remote = [REMOTE in (one["Labels"] or {}) for one in found]  # type: ignore[operator]
    assert [place for place in range(3) if remote[place]] == has


@pytest.mark.parametrize("has", [[0, 1, 2], [0, 1], [], [0, 2]])
def test_it_is_asked_as_the_daemon_asks_it(
    client: Client, lazy: Daemon, snapshotter: Snapshotter, name: str, has: list[int]
) -> None:
    """When it pulls by itself, by its transfer service or for the kubelet."""
    snapshotter.have(*(CHAIN[place] for place in has))
    client.pull(name, wrap_handler=append_info(name))
    ours = snapshotter.prepared()
    assert ours == [
        {
            **LABELS[place],
            f"{CRI}.image-ref": name,
            f"{CRI}.layer-digest": LAYERS[place],
            f"{CRI}.image-layers": ",".join(LAYERS[place:]),
            f"{CRI}.manifest-digest": IMAGE.digest,
        }
        for place in range(3)
    ]
    snapshotter.forget()
    with pulled_by(lazy, client, name) as theirs:
        assert snapshotter.prepared() == [as_told_by(lazy, labels) for labels in ours]
        assert layers_in(theirs) == layers_in(client)
        # Both may share a snapshot of the plug-in, with the labels of the first that asked for it.
        of_theirs, of_ours = (
            [{**one, "Labels": as_told_by(lazy, one["Labels"])} for one in told(lazy, *parts)]
            for parts in ((theirs, snapshotter), (client, snapshotter))
        )
        assert of_theirs == of_ours


def as_told_by(daemon: Daemon, labels: object) -> dict[str, str]:
    """The labels as the daemon's own unpacker sets them.

    Two of them it sets since 2.3. The transfer service of 2.0 sets none for lazy snapshotters.
    """
    assert isinstance(labels, dict)
    new = () if daemon.version_info >= (2, 3) else (DIFF_ID, PARENT)
    lazy = (CRI,) if daemon.version_info[:2] == (2, 0) else ()
    return {key: value for key, value in labels.items() if not key.startswith((*new, *lazy))}


def test_a_second_pull_stays_lazy(client: Client, snapshotter: Snapshotter, name: str) -> None:
    snapshotter.have(*CHAIN[:2])
    assert client.pull(name).is_lazy
    events: list[ProgressEvent] = []
    snapshotter.forget()
    assert client.pull(name, progress=events.append).is_lazy
    assert downloaded(events) == set()
    assert layers_in(client) == LAYERS[2:]
    assert snapshotter.prepared() == []


def test_what_was_fetched_after_all_is_not_lazy(
    client: Client, snapshotter: Snapshotter, name: str
) -> None:
    snapshotter.have(*CHAIN)
    assert client.pull(name).is_lazy
    client.fetch(name)
    assert layers_in(client) == LAYERS
    assert not client.pull(name).is_lazy


def test_what_nobody_will_bring_is_fetched(client: Client, name: str) -> None:
    """A snapshot is there, its layer is not (as the kubelet may have it), and no word of remote."""
    client.pull(name)
    client.content_store.delete(LAYERS[1])
    events: list[ProgressEvent] = []
    image = client.pull(name, progress=events.append)
    assert downloaded(events) == {LAYERS[1]}
    assert layers_in(client) == LAYERS
    assert not image.is_lazy


def test_an_image_does_not_speak_for_the_snapshotter(
    client: Client, lazy: Daemon, snapshotter: Snapshotter, registry: Registry
) -> None:
    """Its layers are told what they say, but not that they need no content, or have another."""
    other = "containerd.io/snapshot/other"

    def annotate(manifest: images.Json) -> None:
        for layer in manifest["layers"]:
            layer["annotations"] = {
                **dict.fromkeys((REMOTE, DIFF_ID, PARENT), "so it says"),
                other: "told",
                "some": "thing",
            }

    image = images.random_image([1000], seed=81, change_manifest=annotate)
    (chain_id,) = chain_of(image)
    client.pull(images.push(image, registry.host, "liar", "latest"))
    labels = {**labels_of(image)[0], other: "told"}
    assert snapshotter.prepared() == [labels]
    assert client.snapshot_service().stat(chain_id).labels == labels


def test_unpack_of_what_is_there_asks_for_nothing(
    client: Client, snapshotter: Snapshotter, name: str
) -> None:
    snapshotter.have(*CHAIN)
    image = client.pull(name)
    snapshotter.forget()
    assert image.unpack() == CHAIN[-1]
    assert snapshotter.prepared() == []


def test_a_lazy_unpack_of_what_was_fetched(
    client: Client, snapshotter: Snapshotter, name: str
) -> None:
    snapshotter.have(*CHAIN[:1])
    image = client.pull(name, unpack=False)
    with client.lease():
        assert image.unpack() == CHAIN[-1]
    assert snapshotter.prepared() == LABELS
