"""Where signatures can be: behind the referrers API, in a store, in an archive of cosign."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from containerd_lite import Client, Layout
from containerd_lite.errors import Unsigned, Untrusted
from containerd_lite.trust import Policy, RequiredAttestation, Rule, Signer
from tests.harness import Unavailable, debian, images
from tests.harness.cosign import GENERATIONS, PROGRAMS, Cosign
from tests.harness.keypairs import KeyPair
from tests.harness.referrers_api import ReferrersApi
from tests.harness.registry import Registry
from tests.harness.signing import Key

pytestmark = pytest.mark.registry

NOWHERE = Layout("/dev/null/x")
PAIR, OTHER = KeyPair.generate(), KeyPair.generate()
SIGNER = Signer.from_pem(PAIR.private_pem)
POLICY = Policy({"**": Rule(keys=[PAIR.public])})
STRANGER = Policy({"**": Rule(keys=[OTHER.public])})
SBOM = "https://spdx.dev/Document"


@pytest.fixture
def api(registry: Registry) -> Iterator[ReferrersApi]:
    with ReferrersApi(registry.host) as running:
        yield running


def push(host: str, request: pytest.FixtureRequest) -> str:
    name = request.node.name
    image = images.scratch({"name": name.encode()})
    repository = "places/" + "".join(c if c.isalnum() else "-" for c in name).strip("-").lower()
    images.push(image, host, repository, "1")
    return f"{host}/{repository}@{image.digest}"


@pytest.fixture
def key(tmp_path: Path) -> Key:
    for name in PROGRAMS.values():
        try:
            debian.program(name)
        except Unavailable as reason:
            pytest.skip(f"{name}: {reason}")
    return Cosign("3").generate_key(tmp_path)


def test_the_referrers_api(api: ReferrersApi, key: Key, request: pytest.FixtureRequest) -> None:
    ref = push(api.host, request)
    signer = Signer.from_file(key.private, key.password)
    NOWHERE.sign(ref, signer, form="referrer")
    NOWHERE.attest(ref, {"name": "sbom"}, "spdxjson", signer)
    assert Cosign("3").verify(ref, key).check()
    assert Cosign("3").verify_attestation(ref, key, "spdxjson").check()
    rule = Rule(keys=[key.public], attestations=[RequiredAttestation(SBOM)])
    verdict = NOWHERE.verify_signatures(ref, Policy({"**": rule}))
    assert (len(verdict.signatures), len(verdict.attestations)) == (1, 1)
    with pytest.raises(Untrusted):
        NOWHERE.verify_signatures(ref, STRANGER)


@pytest.mark.parametrize("generation", GENERATIONS)
def test_cosign_behind_the_referrers_api(
    api: ReferrersApi, key: Key, generation: str, request: pytest.FixtureRequest
) -> None:
    ref = push(api.host, request)
    Cosign(generation).sign(ref, key, referrer=True)
    assert NOWHERE.verify_signatures(ref, Policy({"**": Rule(keys=[key.public])})).signatures


def test_how_many_requests_a_verdict_takes(
    api: ReferrersApi, registry: Registry, request: pytest.FixtureRequest
) -> None:
    """Five by the fallback tag: image, referrers API, tag, manifest, bundle."""
    ref = push(api.host, request)
    NOWHERE.sign(ref, SIGNER, form="referrer")
    api.requests.clear()
    NOWHERE.verify_signatures(ref, POLICY)
    assert len(api.requests) == 4
    behind = ref.replace(api.host, registry.host)
    NOWHERE.sign(behind, SIGNER, form="referrer")
    before = registry.log.read_text().count("HTTP/1.1")
    NOWHERE.verify_signatures(behind, POLICY)
    assert registry.log.read_text().count("HTTP/1.1") - before <= 5


@pytest.mark.daemon
@pytest.mark.generations
def test_a_daemon_keeps_signatures(
    client: Client, registry: Registry, request: pytest.FixtureRequest
) -> None:
    ref = push(registry.host, request)
    tag = f"{ref.partition('@')[0]}:1"
    NOWHERE.sign(ref, SIGNER)
    image = client.pull(tag, unpack=False)
    with pytest.raises(Unsigned):
        client.verify_signatures(image, POLICY)
    image = client.pull(tag, unpack=False, referrers=True)
    assert client.verify_signatures(image, POLICY).signatures
    with pytest.raises(Untrusted):
        client.verify_signatures(image, STRANGER)


@pytest.mark.daemon
def test_a_daemon_keeps_the_tag_of_cosign(
    client: Client, registry: Registry, request: pytest.FixtureRequest
) -> None:
    ref = push(registry.host, request)
    tag = f"{ref.partition('@')[0]}:1"
    NOWHERE.sign(ref, SIGNER, form="tag")
    image = client.pull(tag, unpack=False)
    digest = ref.partition("@")[2].replace(":", "-")
    client.fetch(f"{ref.partition('@')[0]}:{digest}.sig")
    assert client.verify_signatures(image, POLICY).signatures


def test_a_folder_keeps_referrers(
    registry: Registry, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    ref = push(registry.host, request)
    NOWHERE.sign(ref, SIGNER, form="referrer")
    layout = Layout(tmp_path / "layout")
    image = layout.pull(ref, referrers=True)
    assert layout.verify_signatures(image, POLICY).signatures
    with pytest.raises(Untrusted):
        layout.verify_signatures(image, STRANGER)


def test_a_copy_takes_referrers_along(registry: Registry, request: pytest.FixtureRequest) -> None:
    ref = push(registry.host, request)
    NOWHERE.sign(ref, SIGNER, form="referrer")
    target = f"{registry.host}/places/copied:1"
    NOWHERE.copy(ref, target, referrers=True, policy=POLICY)
    assert NOWHERE.verify_signatures(target, POLICY).signatures


@pytest.mark.parametrize("generation", GENERATIONS)
def test_an_archive_of_cosign(
    registry: Registry, key: Key, generation: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    ref = push(registry.host, request)
    Cosign("2").sign(ref, key)
    Cosign("2").attest(ref, key, {"name": "sbom"}, "spdxjson")
    folder = tmp_path / "saved"
    Cosign(generation).save(ref, folder)
    name = f"{ref.partition('@')[0]}:1"
    rule = Rule(keys=[key.public], attestations=[RequiredAttestation(SBOM)])
    store = Layout(tmp_path / "store")
    with pytest.raises(Untrusted):
        store.import_images(folder, ref=name, policy=STRANGER)
    assert not store.list_images()
    (image,) = store.import_images(folder, ref=name, policy=Policy({"**": rule}))
    assert image.verdict is not None
    assert len(image.verdict.attestations) == 1
