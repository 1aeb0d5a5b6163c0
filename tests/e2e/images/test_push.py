"""Pushing to a real registry from daemons and from a folder, judged by skopeo, crane and ctr."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from containerd_lite import Client, Layout, ProgressEvent
from containerd_lite.errors import (
    ContainerdError,
    NotFound,
    RegistryUnauthorized,
    RegistryUnavailable,
)
from containerd_lite.images.resolver import RegistryResolver
from containerd_lite.oci.descriptor import Descriptor
from containerd_lite.registry.credentials import Credentials
from tests.e2e.registry.relay import UP, Relay
from tests.harness import images
from tests.harness.daemon import Daemon
from tests.harness.judges import Crane, Judge, Skopeo
from tests.harness.registry import Registry

Json = dict[str, Any]
LOGIN = ("user", "hush-canary")

pytestmark = [
    pytest.mark.registry,
    pytest.mark.turns(2),
    pytest.mark.usefixtures("nothing_left"),
]


@pytest.fixture
def nothing_left(request: pytest.FixtureRequest) -> None:
    """As everywhere, where there is a daemon."""
    if "client" in request.fixturenames:
        request.getfixturevalue("no_leftovers")


@pytest.fixture
def own_registry() -> Iterator[Registry]:
    """A registry of the test's own, which it may stop."""
    with Registry() as running:
        yield running


def _zstd(manifest: Json) -> None:
    """Nobody looks into the layers here."""
    for layer in manifest["layers"]:
        layer["mediaType"] = images.OCI_LAYER + "+zstd"


def _attested() -> images.Image:
    """An index of two platforms and an attestation of the first, as BuildKit makes them."""
    index = images.index_of({"linux/amd64": AMD, "linux/arm64": ARM})
    proof = images.random_image([70], seed=5, platform="unknown/unknown")
    entry = {
        **proof.manifest,
        "platform": {"architecture": "unknown", "os": "unknown"},
        "annotations": {
            "vnd.docker.reference.type": "attestation-manifest",
            "vnd.docker.reference.digest": AMD.digest,
        },
    }
    document = index.json()
    document["manifests"].append(entry)
    body = images.encode(document)
    blobs = {**AMD.blobs, **ARM.blobs, **proof.blobs, images.digest_of(body): body}
    return images.Image(images.descriptor(images.OCI_INDEX, body), blobs)


def _artifact(manifest: Json) -> None:
    manifest["artifactType"] = "application/vnd.example.thing"
    manifest["subject"] = AMD.manifest


AMD = images.random_image([200_000, 50], platform="linux/amd64")
ARM = images.random_image([300], seed=1, platform="linux/arm64")
BOTH = images.index_of({"linux/amd64": AMD, "linux/arm64": ARM})
KINDS = {
    "manifest": AMD,
    "index": BOTH,
    "docker": images.random_image([100], seed=2, docker=True),
    "docker-index": images.index_of(
        {"linux/amd64": images.random_image([100], seed=3, platform="linux/amd64", docker=True)},
        docker=True,
    ),
    "plain": images.random_image([1000], seed=4, compression="none"),
    "zstd": images.random_image([1000], seed=6, change_manifest=_zstd),
    "empty": images.scratch(),
    "attested": _attested(),
    "artifact": images.random_image([90], seed=8, change_manifest=_artifact),
}


class Events(list[ProgressEvent]):
    """What was told; the outcome of each thing pushed."""

    def __call__(self, event: ProgressEvent) -> None:
        self.append(event)

    @property
    def outcomes(self) -> dict[str, str]:
        ends = ("exists", "mounted", "uploaded")
        found = [(event.name, event.stage) for event in self if event.stage in ends]
        assert len(found) == len(dict(found)), "told twice"
        return dict(found)


def _given(store: Client | Layout, registry: Registry, image: images.Image, repository: str) -> str:
    """Has the store hold an image, all of it, from the registry; returns its name."""
    name = images.push(image, registry.host, repository, "1")
    store.fetch(name)
    return name


def _requests(registry: Registry, begin: int = 0) -> Counter[str]:
    """How often each method succeeded, by the registry's log from a byte on."""
    found: Counter[str] = Counter()
    for line in registry.log.read_bytes()[begin:].decode().splitlines():
        if '" 20' in line and " HTTP/1.1" in line and "time=" not in line:
            found[line.partition('"')[2].partition(" ")[0]] += 1
    return found


def _judged(registry: Registry, ref: str, image: images.Image) -> None:
    judges: list[Judge] = [Skopeo(plain=[registry.host]), Crane()]
    for judge in judges:
        assert judge.digest(ref) == image.digest
        assert judge.manifest(ref) == image.blobs[image.digest]


def _pushed(store: Client | Layout, registry: Registry, image: images.Image, kind: str) -> str:
    """Pushes an image under a second name, and again; both are looked at from all sides."""
    name = _given(store, registry, image, f"given/{kind}")
    ref = f"{registry.host}/pushed/{kind}/{type(store).__name__.lower()}/{image.digest[7:19]}:1"
    events, again = Events(), Events()
    assert store.push(ref, name, progress=events).digest == image.digest
    _judged(registry, ref, image)
    assert events.outcomes.keys() == image.blobs.keys()
    assert events[-1] == ProgressEvent("done", ref)
    begin = registry.log.stat().st_size
    assert store.push(ref, name, progress=again).digest == image.digest
    assert again.outcomes == dict.fromkeys(image.blobs, "exists")
    assert not _requests(registry, begin).keys() & {"POST", "PUT", "PATCH"}
    return ref


@pytest.mark.daemon
@pytest.mark.generations
@pytest.mark.parametrize("kind", KINDS)
def test_others_read_what_a_daemon_has(
    client: Client, daemon: Daemon, namespace: str, registry: Registry, kind: str
) -> None:
    image = KINDS[kind]
    ref = _pushed(client, registry, image, f"{daemon.generation}/{kind}")
    if kind not in ("attested", "artifact", "empty"):  # of these ctr makes nothing
        other = daemon.new_namespace()
        flags = ("--plain-http", "--all-platforms", "--all-metadata")
        with contextlib.suppress(RuntimeError):  # it unpacks too, which random platforms may not
            daemon.ctr("content", "fetch", *flags, ref, namespace=other)
        listed = daemon.ctr("content", "ls", "-q", namespace=other).stdout.decode().split()
        assert set(listed) == image.blobs.keys()


@pytest.mark.parametrize("kind", KINDS)
def test_others_read_what_a_folder_has(registry: Registry, tmp_path: Path, kind: str) -> None:
    _pushed(Layout(tmp_path), registry, KINDS[kind], f"layout/{kind}")


@pytest.mark.parametrize("was_there", [False, True])
def test_a_subject_is_told_of_its_referrer(
    registry: Registry, tmp_path: Path, was_there: bool
) -> None:
    """If somebody else has put it there, and gone before telling, it is told all the same."""
    layout, image = Layout(tmp_path), KINDS["artifact"]
    repository = f"referrer/to-{was_there}".lower()
    name = _given(layout, registry, image, f"{repository}-given")
    images.push(AMD, registry.host, repository, "1")
    if was_there:
        images.push(image, registry.host, repository, "sig")
    layout.push(f"{registry.host}/{repository}:sig", name)
    with RegistryResolver() as resolver:
        fetcher = resolver.fetcher(f"{registry.host}/{repository}:1")
        (found,) = fetcher.referrers(Descriptor.from_json(AMD.manifest))
        assert fetcher.referrers(Descriptor.from_json(AMD.manifest), "text/plain") == ()
    assert (found.digest, found.artifact_type) == (image.digest, "application/vnd.example.thing")


@pytest.mark.daemon
def test_what_a_pull_noted_is_mounted(
    client: Client, daemon: Daemon, namespace: str, own_registry: Registry
) -> None:
    """And nothing is noted of the push: ctr leaves the same labels."""
    name = images.push(BOTH, own_registry.host, "team/app/base", "1")
    client.fetch(name)
    before = _labels(client)
    begin, events = own_registry.log.stat().st_size, Events()
    client.push(f"{own_registry.host}/team/app/new:1", name, progress=events)
    documents = {image.digest for image in (AMD, ARM, BOTH)}
    assert events.outcomes == {
        digest: "uploaded" if digest in documents else "mounted" for digest in BOTH.blobs
    }
    assert not [event for event in events if event.stage == "uploading"]
    blobs = len(BOTH.blobs) - len(documents)
    said = _requests(own_registry, begin)
    assert said == {"POST": blobs, "PUT": len(documents)}
    again = Events()
    client.push(f"{own_registry.host}/team/app/new:1", name, progress=again)
    assert {*again.outcomes.values()} == {"exists"}
    assert _labels(client) == before
    to = f"{own_registry.host}/team/app/by-ctr:1"
    daemon.ctr("images", "push", "--plain-http", to, name, namespace=namespace)
    assert _labels(client) == before


def _labels(client: Client) -> dict[str, dict[str, str]]:
    return {info.digest: dict(info.labels) for info in client.content_store.walk()}


@pytest.mark.daemon
def test_nothing_is_mounted_from_another_registry(
    client: Client, registry: Registry, own_registry: Registry
) -> None:
    """Here even the labels' names are the same, which leave the port out: it is uploaded."""
    name = _given(client, registry, AMD, "team/only-there")
    events = Events()
    ref = f"{own_registry.host}/team/new:1"
    client.push(ref, name, progress=events)
    assert events.outcomes == dict.fromkeys(AMD.blobs, "uploaded")
    _judged(own_registry, ref, AMD)


@pytest.mark.daemon
def test_one_platform_of_an_index(client: Client, registry: Registry) -> None:
    """After the usual pull the rest is not here: that is said, and there are ways out."""
    image = KINDS["attested"]
    name = images.push(image, registry.host, "reduced/given", "1")
    client.fetch(name, platform="linux/amd64", attestations=True)
    ref = f"{registry.host}/reduced/pushed:1"
    with pytest.raises(NotFound, match=f"{ARM.digest}, the content of linux/arm64") as caught:
        client.push(ref, name)
    assert "Pass platform=['linux/amd64'] to push what is here" in caught.value.remedy
    pushed = client.push(ref, name, platform="linux/amd64")
    crane = Crane()
    assert crane.digest(ref) == pushed.digest
    entries = json.loads(crane.manifest(ref))["manifests"]
    whole = image.json()["manifests"]
    assert entries == [whole[0], whole[2]]
    crane.copy(ref, f"{registry.host}/reduced/copied:1")  # all that it names is there
    again = Events()
    assert client.push(ref, name, platform="linux/amd64", progress=again) == pushed
    assert set(again.outcomes.values()) == {"exists"}


@pytest.mark.daemon
def test_a_sparse_index(client: Client, own_registry: Registry) -> None:
    """Debian's registry takes none, and leaves the tag as it was; its successors can be told to."""
    name = images.push(BOTH, own_registry.host, "sparse/given", "1")
    client.fetch(name, platform="linux/amd64")
    ref = f"{own_registry.host}/sparse/pushed:1"
    with pytest.raises(ContainerdError) as caught:
        client.push(ref, name, sparse=True)
    assert "platform=" in caught.value.remedy
    assert (
        Crane().manifest(f"{own_registry.host}/sparse/pushed@{AMD.digest}") == AMD.blobs[AMD.digest]
    )
    with pytest.raises(RuntimeError):
        Crane().digest(ref)
    images.push(ARM, own_registry.host, "sparse/pushed", "arm")  # now it lacks nothing
    assert client.push(ref, name, sparse=True).digest == BOTH.digest
    assert Crane().digest(ref) == BOTH.digest


@pytest.mark.daemon
@pytest.mark.parametrize("chunk_size", [None, 1 << 20, 300_000])
def test_chunks_and_cuts(
    client: Client, registry: Registry, own_registry: Registry, chunk_size: int | None
) -> None:
    image = images.random_image([3_000_000, 10], seed=chunk_size or 1)
    name = _given(client, registry, image, f"chunks/{chunk_size or 0}")
    begin, events = own_registry.log.stat().st_size, Events()
    with Relay(own_registry.host, UP, [1_000_000, 1_500_000]) as relay:
        client.push(f"{relay.host}/a/b:1", name, progress=events, chunk_size=chunk_size)
        assert relay.cuts == 2
    assert "retrying" in {event.stage for event in events}
    if chunk_size is not None:
        assert _requests(own_registry, begin)["PATCH"] >= image.layers[0]["size"] // chunk_size
    _judged(own_registry, f"{own_registry.host}/a/b:1", image)


def test_a_mirror_is_not_asked_what_is_there(
    registry: Registry, own_registry: Registry, tmp_path: Path
) -> None:
    """It has the image, and the registry that it stands for has not."""
    layout = Layout(tmp_path / "layout")
    name = _given(layout, registry, BOTH, "mirror/pushed")
    folder = tmp_path / "certs.d" / own_registry.host.replace(":", "_") / ""
    folder = folder.with_name(folder.name + "_")
    folder.mkdir(parents=True)
    server, mirror = (f"http://{one.host}" for one in (own_registry, registry))
    text = f'server = "{server}"\n[host."{mirror}"]\ncapabilities = ["pull", "resolve"]\n'
    (folder / "hosts.toml").write_text(text)
    ref = f"{own_registry.host}/mirror/pushed:1"
    with RegistryResolver(hosts_dirs=[tmp_path / "certs.d"]) as resolver:
        assert resolver.resolve(ref)[1].digest == BOTH.digest  # the mirror's word
        layout.push(ref, name, resolver=resolver)
    _judged(own_registry, ref, BOTH)


@pytest.mark.daemon
def test_credentials(client: Client, registry: Registry) -> None:
    name = _given(client, registry, AMD, "credentials/given")
    with ExitStack() as stack:
        closed = stack.enter_context(Registry(auth=LOGIN))
        ref = f"{closed.host}/a/b:1"
        for pair in (None, Credentials("user", "wrong")):
            resolver = stack.enter_context(RegistryResolver(credentials=pair))
            with pytest.raises(RegistryUnauthorized) as caught:
                client.push(ref, name, resolver=resolver)
            assert "wrong" not in str(caught.value)
        resolver = stack.enter_context(RegistryResolver(credentials=Credentials(*LOGIN)))
        assert client.push(ref, name, resolver=resolver).digest == AMD.digest
        assert Crane(logins={closed.host: LOGIN}).digest(ref) == AMD.digest


@pytest.mark.daemon
def test_a_registry_that_goes_away(client: Client, registry: Registry) -> None:
    image = images.random_image([5_000_000] * 3, seed=9)
    name = _given(client, registry, image, "away/given")
    with Registry() as gone:
        ref = f"{gone.host}/a/b:1"

        def stop(event: ProgressEvent) -> None:
            if event.stage == "uploading" and event.offset >= 2_000_000:
                gone.stop()

        with pytest.raises(RegistryUnavailable):
            client.push(ref, name, progress=stop)
        gone.start()
        assert client.push(ref, name).digest == image.digest
        _judged(gone, ref, image)


@pytest.mark.daemon
def test_what_a_registry_has_half_of_is_sent_anew(client: Client, registry: Registry) -> None:
    """As docker-registry leaves it that is killed while it writes where a blob is."""
    name = _given(client, registry, AMD, "half/given")
    ref = f"{registry.host}/half/pushed:1"
    client.push(ref, name)
    layer = AMD.layers[0]["digest"].partition(":")[2]
    (link,) = registry.storage.rglob(f"half/pushed/_layers/sha256/{layer}/link")
    link.write_bytes(b"")
    client.push(ref, name)
    _judged(registry, ref, AMD)


@pytest.mark.daemon
def test_who_ends_it_leaves_nothing(client: Client, registry: Registry) -> None:
    """Of Debian's registry no more can be had than that it is asked to drop what had begun."""
    image = images.random_image([5_000_000] * 3, seed=10)
    name = _given(client, registry, image, "left/given")
    with Registry() as other:

        def enough(event: ProgressEvent) -> None:
            if event.stage == "uploading" and event.offset >= 2_000_000:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            client.push(f"{other.host}/a/b:1", name, progress=enough)
        said = other.log.read_text()
        for folder in other.storage.rglob("_uploads/*"):
            assert f'"DELETE /v2/a/b/blobs/uploads/{folder.name}?' in said
        with pytest.raises(RuntimeError):
            Crane().digest(f"{other.host}/a/b:1")


@pytest.mark.generations
@pytest.mark.daemon
def test_tag_and_push_by_the_new_name(client: Client, daemon: Daemon, namespace: str,
                                      registry: Registry) -> None:  # fmt: skip
    name = images.push(AMD, registry.host, "tag/given", "1")
    client.fetch(name, platform="linux/amd64", labels={"kept": "yes"})
    ref = f"{registry.host}/tag/pushed:2"
    assert client.tag(name, ref).labels == {"kept": "yes"}
    listed = daemon.ctr("images", "ls", namespace=namespace).stdout.decode()
    (line,) = (one for one in listed.splitlines() if one.startswith(ref))
    assert AMD.digest in line
    assert "kept=yes" in line
    client.push(ref)
    _judged(registry, ref, AMD)


def _peak(work: Callable[[], object]) -> int:
    """The most memory (bytes) that Python took for it."""
    import tracemalloc

    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.turns(3, "heavy")
@pytest.mark.daemon
def test_memory_is_flat(client: Client, registry: Registry, own_registry: Registry) -> None:
    image = images.random_image([20_000_000] * 3, seed=11)
    name = _given(client, registry, image, "memory/given")
    assert _peak(lambda: client.push(f"{own_registry.host}/a:1", name)) < 24 << 20
