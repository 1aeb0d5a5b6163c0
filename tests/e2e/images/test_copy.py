"""Copying between real registries and within one, judged by crane."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator

import pytest

from containerd_lite import Client, Layout, ProgressEvent
from containerd_lite.errors import NotFound, RegistryUnauthorized, RegistryUnavailable
from containerd_lite.images.resolver import RegistryResolver
from containerd_lite.oci.descriptor import Descriptor
from containerd_lite.registry.credentials import Credentials
from tests.e2e.images.test_push import AMD, ARM, BOTH, KINDS, Events, _artifact
from tests.e2e.registry.relay import DOWN, Relay
from tests.harness import images
from tests.harness.judges import Crane
from tests.harness.registry import Registry

pytestmark = pytest.mark.registry

LOGIN = ("user", "hush-canary")
#: Copying asks no store; so a folder that cannot be is as good as any.
NOWHERE = Layout("/dev/null/x")


@pytest.fixture(scope="module")
def target() -> Iterator[Registry]:
    """A second registry."""
    with Registry() as running:
        yield running


@pytest.mark.parametrize("kind", KINDS)
def test_from_one_registry_to_another(registry: Registry, target: Registry, kind: str) -> None:
    image = KINDS[kind]
    source = images.push(image, registry.host, f"copied/{kind}", "1")
    ref = f"{target.host}/new/{kind}:2"
    events, again = Events(), Events()
    assert NOWHERE.copy(source, ref, progress=events).digest == image.digest
    assert events.outcomes == dict.fromkeys(image.blobs, "uploaded")
    crane = Crane()
    assert crane.digest(ref) == image.digest
    assert crane.manifest(ref) == image.blobs[image.digest]
    crane.copy(ref, f"{target.host}/new/{kind}:checked")  # all that it names is there
    assert NOWHERE.copy(source, ref, progress=again).digest == image.digest
    assert set(again.outcomes.values()) == {"exists"}


def test_within_a_registry_no_byte_moves(registry: Registry) -> None:
    source = images.push(BOTH, registry.host, "within/one", "1")
    ref, events = f"{registry.host}/within/another:1", Events()
    with Relay(registry.host) as relay:  # what goes through it is counted
        source = source.replace(registry.host, relay.host)
        ref = ref.replace(registry.host, relay.host)
        assert NOWHERE.copy(source, ref, progress=events).digest == BOTH.digest
        assert sum(relay.carried.values()) < AMD.layers[0]["size"]
    documents = {image.digest for image in (AMD, ARM, BOTH)}
    assert events.outcomes == {
        digest: "uploaded" if digest in documents else "mounted" for digest in BOTH.blobs
    }
    assert Crane().digest(f"{registry.host}/within/another:1") == BOTH.digest


def test_a_further_tag(registry: Registry) -> None:
    source, events = images.push(BOTH, registry.host, "further", "1"), Events()
    NOWHERE.copy(source, f"{registry.host}/further:2", progress=events)
    uploaded = [digest for digest, stage in events.outcomes.items() if stage != "exists"]
    assert uploaded == [BOTH.digest]
    assert Crane().tags(f"{registry.host}/further") == ["1", "2"]


def test_by_digest(registry: Registry, target: Registry) -> None:
    source = images.push(AMD, registry.host, "by-digest", "1")
    source, ref = f"{source}@{AMD.digest}", f"{target.host}/by-digest@{AMD.digest}"
    assert NOWHERE.copy(source, ref).digest == AMD.digest
    assert Crane().digest(ref) == AMD.digest


def test_one_platform_with_its_attestations(registry: Registry, target: Registry) -> None:
    image = KINDS["attested"]
    source = images.push(image, registry.host, "reduced", "1")
    ref = f"{target.host}/reduced:1"
    copied = NOWHERE.copy(source, ref, platform="linux/amd64")
    crane = Crane()
    assert crane.digest(ref) == copied.digest
    whole = image.json()["manifests"]
    assert json.loads(crane.manifest(ref))["manifests"] == [whole[0], whole[2]]
    crane.copy(ref, f"{target.host}/reduced:checked")


def test_referrers(registry: Registry, target: Registry) -> None:
    """Debian's registry keeps no list, so a tag has it: several must not lose each other there."""
    artifacts = [
        images.random_image([90], seed=seed, change_manifest=_artifact) for seed in range(20, 26)
    ]
    source = images.push(AMD, registry.host, "referred", "1")
    with RegistryResolver() as resolver:
        for number, artifact in enumerate(artifacts):
            away = images.push(artifact, registry.host, f"artifact-{number}", "1")
            NOWHERE.copy(away, f"{registry.host}/referred:a{number}", resolver=resolver)
        ref = f"{target.host}/referred:1"
        NOWHERE.copy(source, ref, referrers=True, resolver=resolver, max_concurrent=6)
        found = resolver.fetcher(ref).referrers(Descriptor.from_json(AMD.manifest))
    assert {one.digest for one in found} == {one.digest for one in artifacts}
    for artifact in artifacts:
        assert Crane().digest(f"{target.host}/referred@{artifact.digest}") == artifact.digest


def test_cuts_at_the_source(registry: Registry, target: Registry) -> None:
    image = images.random_image([3_000_000], seed=30)
    images.push(image, registry.host, "cut", "1")
    with Relay(registry.host, DOWN, [1_000_000, 1_000_000]) as relay:
        NOWHERE.copy(f"{relay.host}/cut:1", f"{target.host}/cut:1")
        assert relay.cuts == 2
        assert relay.carried[DOWN] < 3_500_000
    assert Crane().digest(f"{target.host}/cut:1") == image.digest


def test_in_chunks(registry: Registry, target: Registry) -> None:
    image = images.random_image([3_000_000], seed=31)
    source = images.push(image, registry.host, "chunks", "1")
    NOWHERE.copy(source, f"{target.host}/chunks:1", chunk_size=700_000)
    assert Crane().digest(f"{target.host}/chunks:1") == image.digest
    assert "PATCH /v2/chunks/" in target.log.read_text()


def test_credentials(registry: Registry) -> None:
    source = images.push(AMD, registry.host, "login", "1")
    with Registry(auth=LOGIN) as closed:
        ref = f"{closed.host}/login:1"
        with RegistryResolver(credentials=None) as resolver, pytest.raises(RegistryUnauthorized):
            NOWHERE.copy(source, ref, resolver=resolver)
        with RegistryResolver(
            credentials=lambda host: Credentials(*LOGIN) if host == closed.host else None
        ) as resolver:
            NOWHERE.copy(source, ref, resolver=resolver)
            NOWHERE.copy(ref, f"{registry.host}/login:back", resolver=resolver)
        assert Crane(logins={closed.host: LOGIN}).digest(ref) == AMD.digest
    assert Crane().digest(f"{registry.host}/login:back") == AMD.digest


def test_what_is_not_there(registry: Registry, target: Registry) -> None:
    with pytest.raises(NotFound):
        NOWHERE.copy(f"{registry.host}/nothing:1", f"{target.host}/nothing:1")
    source = images.push(AMD, registry.host, "broken", "1")
    layer = AMD.layers[0]["digest"][7:]
    (data,) = registry.storage.rglob(f"blobs/sha256/*/{layer}/data")
    body = data.read_bytes()
    try:
        data.unlink()
        with pytest.raises(NotFound, match=layer):
            NOWHERE.copy(source, f"{target.host}/broken:1")
    finally:
        data.write_bytes(body)
    with pytest.raises(RuntimeError):
        Crane().digest(f"{target.host}/broken:1")


@pytest.mark.turns(3, "heavy")
@pytest.mark.parametrize("which", ["source", "target"])
def test_a_registry_that_goes_away(which: str) -> None:
    image = images.random_image([20_000_000] * 3, seed=32)  # more than sockets hold
    with Registry() as one, Registry() as other:
        source = images.push(image, one.host, "away", "1")

        gone = one if which == "source" else other

        def stop(event: ProgressEvent) -> None:
            if event.stage == "uploading" and event.offset >= 2_000_000:
                gone.stop()

        with pytest.raises(RegistryUnavailable):
            NOWHERE.copy(source, f"{other.host}/away:1", progress=stop)
        gone.start()
        assert NOWHERE.copy(source, f"{other.host}/away:1").digest == image.digest


def test_memory_is_flat(registry: Registry, target: Registry) -> None:
    image = images.random_image([20_000_000] * 3, seed=33)
    source = images.push(image, registry.host, "memory", "1")
    tracemalloc.start()
    try:
        NOWHERE.copy(source, f"{target.host}/memory:1")
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.generations
@pytest.mark.daemon
def test_a_client_copies_and_its_store_stays_empty(
    client: Client, registry: Registry, target: Registry, no_leftovers: object
) -> None:
    source = images.push(BOTH, registry.host, "by-client", "1")
    assert client.copy(source, f"{target.host}/by-client:1").digest == BOTH.digest
    assert list(client.content_store.walk()) == []
    assert client.list_images() == []
