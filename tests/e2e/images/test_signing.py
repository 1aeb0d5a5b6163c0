"""Signing and verifying, with cosign 2, cosign 3 and skopeo as judges."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from containerd_lite import Layout
from containerd_lite.errors import (
    InvalidArgument,
    NotFound,
    PermissionDenied,
    RegistryUnavailable,
    Unsigned,
    Untrusted,
)
from containerd_lite.images.resolver import RegistryPusher, RegistryResolver
from containerd_lite.images.signatures import SignRequest
from containerd_lite.trust import (
    Policy,
    PublicKey,
    RequiredAttestation,
    Rule,
    Signer,
    generate_key,
    import_key,
)
from tests.harness import Unavailable, debian, images, signing, skopeo
from tests.harness.cosign import Cosign
from tests.harness.keypairs import KeyPair
from tests.harness.registry import Registry
from tests.harness.signing import Key

pytestmark = [pytest.mark.registry, pytest.mark.turns(6)]

#: Signing needs no store, so a folder that cannot exist suffices.
NOWHERE = Layout("/dev/null/x")
SLSA = "https://slsa.dev/provenance/v1"
KINDS = ("p256", "p384", "p521", "rsa", "ed25519")


@pytest.fixture(scope="module", autouse=True)
def _judges() -> None:
    for name in ("cosign-sid", "cosign-trixie", "skopeo-sid"):
        try:
            debian.program(name)
        except Unavailable as reason:
            pytest.skip(f"{name}: {reason}")


@pytest.fixture
def ref(registry: Registry, request: pytest.FixtureRequest) -> str:
    """An image of the test's own, with its tag."""
    image = images.scratch({"name": request.node.name.encode()})
    return images.push(image, registry.host, "signing/" + _name(request), "1")


def _name(request: pytest.FixtureRequest) -> str:
    return "".join(c if c.isalnum() else "-" for c in request.node.name).strip("-").lower()


def digest_of(ref: str) -> str:
    """The reference without its tag, with its digest."""
    with RegistryResolver() as resolver:
        target = resolver.resolve(ref)[1]
    return f"{ref.rpartition(':')[0]}@{target.digest}"


def policy_of(*keys: Path, **options: object) -> Policy:
    return Policy({"**": Rule(keys=keys, **options)})  # type: ignore[arg-type]


def own_key(folder: Path, kind: str = "p256") -> tuple[Signer, Key]:
    """A key in cosign's files, which this package has written."""
    pem = signing.make_pem(folder, kind)
    files = import_key(pem.read_bytes(), "secret")
    key = Key(folder / f"{kind}.key", folder / f"{kind}.public", "secret")
    key.private.write_bytes(files.private)
    key.public.write_bytes(files.public)
    assert files.public == pem.with_suffix(".pub").read_bytes()
    return Signer.from_file(key.private, "secret"), key


# ---- what we sign, they verify ----------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_cosign_and_skopeo_verify_what_is_signed(ref: str, kind: str, tmp_path: Path) -> None:
    signer, key = own_key(tmp_path, kind)
    other = own_key(tmp_path, "p256" if kind != "p256" else "p384")[1]
    attached = NOWHERE.sign(ref, signer, annotations={"stage": "test"})
    assert [each.digest for each in attached] == [digest_of(ref).partition("@")[2]] * 2
    for judge in (Cosign("2"), Cosign("3")):
        assert judge.verify(digest_of(ref), key).check()
        assert judge.verify(digest_of(ref), key, annotations={"stage": "test"}).ok
        assert not judge.verify(digest_of(ref), key, annotations={"stage": "live"}).ok
        assert not judge.verify(digest_of(ref), other).ok
    for identity in ("matchExact", "matchRepository", "matchRepoDigestOrExact"):
        assert skopeo.verify(ref, skopeo.signed_by(key, identity=identity)).check()
    assert not skopeo.verify(ref, skopeo.signed_by(other)).ok


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "ed25519"])
def test_cosign_verifies_a_bundle_alone(ref: str, kind: str, tmp_path: Path) -> None:
    signer, key = own_key(tmp_path, kind)
    (attached,) = NOWHERE.sign(ref, signer, form="referrer")
    assert "@sha256:" in attached.reference
    assert Cosign("3").verify(digest_of(ref), key).check()
    assert not Cosign("2").verify(digest_of(ref), key).ok
    assert NOWHERE.verify_signatures(ref, policy_of(key.public)).signatures


def test_the_judges_read_our_key_files(ref: str, tmp_path: Path) -> None:
    files = generate_key("secret")
    key = Key(tmp_path / "own.key", tmp_path / "own.pub", "secret")
    key.private.write_bytes(files.private)
    key.public.write_bytes(files.public)
    assert b"secret" not in files.private
    Cosign("3").sign(digest_of(ref), key)
    Cosign("2").sign(digest_of(ref), key)
    skopeo.sign(ref, key)
    assert NOWHERE.verify_signatures(ref, policy_of(key.public)).signatures
    with pytest.raises(PermissionDenied):
        Signer.from_file(key.private, "wrong")
    with pytest.raises(PermissionDenied):
        Signer.from_file(key.private)


def test_attestations_are_verified(ref: str, tmp_path: Path) -> None:
    signer, key = own_key(tmp_path)
    predicate: dict[str, object] = {"buildDefinition": {"buildType": "test"}, "runDetails": {}}
    NOWHERE.attest(ref, predicate, "slsaprovenance1", signer, form="both")
    for judge in (Cosign("2"), Cosign("3")):
        assert judge.verify_attestation(digest_of(ref), key, "slsaprovenance1").check()
        assert not judge.verify_attestation(digest_of(ref), key, "spdxjson").ok
    seen: list[object] = []

    def check(found: object) -> bool:
        seen.append(found)
        return True

    wanted = RequiredAttestation(SLSA, check)
    with pytest.raises(Unsigned):  # an attestation is no signature
        NOWHERE.verify_signatures(ref, policy_of(key.public, attestations=[wanted]))
    NOWHERE.sign(ref, signer)
    verdict = NOWHERE.verify_signatures(ref, policy_of(key.public, attestations=[wanted]))
    (attestation,) = verdict.attestations
    assert attestation.predicate == predicate == seen[-1]
    refused = RequiredAttestation(SLSA, lambda found: False)
    with pytest.raises(Untrusted, match="does not accept"):
        NOWHERE.verify_signatures(ref, policy_of(key.public, attestations=[refused]))
    other = RequiredAttestation("https://spdx.dev/Document")
    with pytest.raises(Untrusted, match=r"spdx\.dev"):
        NOWHERE.verify_signatures(ref, policy_of(key.public, attestations=[other]))


# ---- what they sign, we verify -----------------------------------------------------------------


SIGN: dict[str, Callable[[str, Key], object]] = {
    "cosign 2, tag": lambda ref, key: Cosign("2").sign(digest_of(ref), key),
    "cosign 2, referrer": lambda ref, key: Cosign("2").sign(digest_of(ref), key, referrer=True),
    "cosign 3": lambda ref, key: Cosign("3").sign(digest_of(ref), key),
    "skopeo": skopeo.sign,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("judge", SIGN)
def test_what_the_judges_sign_is_verified(ref: str, judge: str, kind: str, tmp_path: Path) -> None:
    if (judge, kind) == ("cosign 3", "ed25519"):
        pytest.skip("cosign 3.1 cannot sign with Ed25519")
    _, key = own_key(tmp_path, kind)
    _, other = own_key(tmp_path, "p256" if kind != "p256" else "p384")
    SIGN[judge](ref, key)
    verdict = NOWHERE.verify_signatures(ref, policy_of(key.public))
    (signature,) = verdict.signatures
    assert signature.key == PublicKey.from_file(key.public).fingerprint
    assert NOWHERE.verify_signatures(ref, policy_of(other.public, key.public)).signatures
    with pytest.raises(Untrusted) as caught:
        NOWHERE.verify_signatures(ref, policy_of(other.public))
    ((_, reason),) = caught.value.rejected
    assert "not by the key" in reason
    with pytest.raises(Untrusted):
        NOWHERE.verify_signatures(ref, policy_of(other.public, key.public, threshold=2))


@pytest.mark.parametrize("generation", ["2", "3"])
def test_attestations_of_cosign(ref: str, generation: str, tmp_path: Path) -> None:
    _, key = own_key(tmp_path)
    Cosign(generation).sign(digest_of(ref), key)
    Cosign(generation).attest(digest_of(ref), key, {"name": "sbom"}, "spdxjson")
    wanted = RequiredAttestation("https://spdx.dev/Document")
    verdict = NOWHERE.verify_signatures(ref, policy_of(key.public, attestations=[wanted]))
    assert [each.predicate for each in verdict.attestations] == [{"name": "sbom"}]


@pytest.mark.parametrize(
    ("rule", "judges"),
    [
        ("any", {"cosign 2, tag", "cosign 3", "skopeo"}),
        ("repository", {"cosign 2, tag", "skopeo"}),
        ("exact", {"skopeo"}),
    ],
)
def test_which_names_are_stated(ref: str, rule: str, judges: set[str], tmp_path: Path) -> None:
    for judge in ("cosign 2, tag", "cosign 3", "skopeo"):
        _, key = own_key(tmp_path)
        SIGN[judge](ref, key)
        policy = policy_of(key.public, name=rule)
        if judge in judges:
            assert NOWHERE.verify_signatures(ref, policy).signatures
        else:
            with pytest.raises(Untrusted, match=r"name|not for"):
                NOWHERE.verify_signatures(ref, policy)


# ---- indexes ----------------------------------------------------------------------------------


@pytest.fixture
def index(registry: Registry, request: pytest.FixtureRequest) -> str:
    name = request.node.name.encode()
    platforms = {
        each: images.scratch({"at": each.encode() + name})
        for each in ("linux/amd64", "linux/arm64")
    }
    return images.push(images.index_of(platforms), registry.host, "signing/" + _name(request), "1")


def test_an_index_and_its_platforms(index: str, tmp_path: Path) -> None:
    signer, key = own_key(tmp_path)
    attached = NOWHERE.sign(index, signer)
    assert len({each.digest for each in attached}) == 3
    assert Cosign("2").verify(digest_of(index), key).ok
    assert skopeo.verify(index, skopeo.signed_by(key), every=True).check()
    assert NOWHERE.verify_signatures(index, policy_of(key.public, signed="both")).signatures


@pytest.mark.parametrize(("manifests", "cosign_verifies"), [("index", True), ("platforms", False)])
def test_a_part_of_an_index(
    index: str, manifests: str, cosign_verifies: bool, tmp_path: Path
) -> None:
    signer, key = own_key(tmp_path)
    NOWHERE.sign(index, signer, manifests=manifests, form="tag")  # type: ignore[arg-type]
    assert Cosign("2").verify(digest_of(index), key).ok == cosign_verifies
    assert skopeo.verify(index, skopeo.signed_by(key), every=True).ok != cosign_verifies


# ---- beside other signatures --------------------------------------------------------------------


def test_signatures_of_others_stay(ref: str, tmp_path: Path) -> None:
    first, key = own_key(tmp_path)
    _, second = own_key(tmp_path, "p384")
    skopeo.sign(ref, second)
    for _ in range(2):  # the second time adds nothing to the tag
        NOWHERE.sign(ref, first)
    Cosign("2").sign(digest_of(ref), second, annotations={"more": "yes"})
    verdict = NOWHERE.verify_signatures(ref, policy_of(key.public, second.public, threshold=2))
    assert len({each.key for each in verdict.signatures}) == 2
    with RegistryResolver() as resolver:
        tag = f"{ref.rpartition(':')[0]}:{digest_of(ref).partition('@')[2].replace(':', '-')}.sig"
        name, target = resolver.resolve(tag)
        with_layers = resolver.fetcher(name).fetch(target)
        body = bytearray(target.size)
        with_layers.readinto(memoryview(body))
        with_layers.close()
    assert len(json.loads(body)["layers"]) == 3


def test_threads_sign_side_by_side(ref: str) -> None:
    keys = [KeyPair.generate() for _ in range(6)]
    failures: list[BaseException] = []

    def sign(pair: KeyPair) -> None:
        try:
            NOWHERE.sign(ref, Signer.from_pem(pair.private_pem))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=sign, args=(pair,)) for pair in keys]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    policy = Policy({"**": Rule(keys=[pair.public for pair in keys], threshold=len(keys))})
    assert len(NOWHERE.verify_signatures(ref, policy).signatures) == len(keys)


# ---- push -------------------------------------------------------------------------------------


def test_a_push_signs_before_the_tag_exists(registry: Registry, tmp_path: Path) -> None:
    image = images.random_image([1000], seed=7)
    layout = Layout(images.write_layout(image, tmp_path / "layout", "localhost/x:1"))
    signer, key = own_key(tmp_path)
    ref = f"{registry.host}/signing/pushed:1"
    named: list[bool] = []

    class Watching(RegistryResolver):
        def pusher(self, ref: str) -> RegistryPusher:
            if "sha256-" in ref:
                with RegistryResolver() as other:
                    try:
                        other.resolve(f"{registry.host}/signing/pushed:1")
                        named.append(True)
                    except NotFound:
                        named.append(False)
            return super().pusher(ref)

    with Watching() as resolver:
        layout.push(ref, "localhost/x:1", sign=signer, resolver=resolver)
    assert named
    assert not any(named)
    assert Cosign("3").verify(digest_of(ref), key).ok
    assert NOWHERE.verify_signatures(ref, policy_of(key.public)).signatures


def test_a_signature_that_fails_leaves_the_tag(registry: Registry, tmp_path: Path) -> None:
    old, new = images.random_image([1000], seed=1), images.random_image([1000], seed=2)
    ref = images.push(old, registry.host, "signing/failed", "1")
    layout = Layout(images.write_layout(new, tmp_path / "layout", "localhost/x:1"))

    def fail(message: bytes, hash_name: str) -> bytes:
        raise RuntimeError("the token is not plugged in")

    with pytest.raises(RuntimeError, match="plugged in"):
        layout.push(ref, "localhost/x:1", sign=Signer(fail, KeyPair.generate().public))

    class Refusing(RegistryResolver):
        def pusher(self, ref: str) -> RegistryPusher:
            if ".sig" in ref:
                raise RegistryUnavailable("no signatures today")
            return super().pusher(ref)

    request = SignRequest(own_key(tmp_path)[0], form="tag")
    with Refusing() as resolver, pytest.raises(RegistryUnavailable):
        layout.push(ref, "localhost/x:1", sign=request, resolver=resolver)
    assert digest_of(ref).endswith(old.digest)
    layout.push(ref, "localhost/x:1", sign=request)
    assert digest_of(ref).endswith(new.digest)


def test_a_function_signs(ref: str) -> None:
    pair = KeyPair.generate("ecdsa-p384")
    asked: list[str] = []

    def sign(message: bytes, hash_name: str) -> bytes:
        asked.append(hash_name)
        return pair.sign(message, hash_name)

    NOWHERE.sign(ref, Signer(sign, pair.public))
    assert set(asked) == {"sha256"}
    policy = Policy({"**": Rule(keys=[lambda: pair.public.to_pem()])})
    assert NOWHERE.verify_signatures(ref, policy).signatures
    wrong = Signer(sign, KeyPair.generate("ecdsa-p384").public)
    with pytest.raises(InvalidArgument, match="not by the key"):
        NOWHERE.sign(ref, wrong)


@pytest.mark.parametrize(
    "options",
    [
        {"form": "Tag"},
        {"manifests": "all"},
        {"signer": "cosign.key"},
    ],
)
def test_bad_arguments(ref: str, options: dict[str, object]) -> None:
    signer = Signer.from_pem(KeyPair.generate().private_pem)
    with pytest.raises(InvalidArgument):
        NOWHERE.sign(ref, **{"signer": signer, **options})  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="predicate"):
        NOWHERE.attest(ref, {}, "sbom", signer)
    with pytest.raises(InvalidArgument, match="JSON"):
        NOWHERE.attest(ref, {"x": object()}, SLSA, signer)
    assert "PRIVATE" not in repr(signer)


def test_an_attestation_of_many_mebibytes(ref: str, tmp_path: Path) -> None:
    signer, key = own_key(tmp_path)
    NOWHERE.sign(ref, signer)
    large = {"packages": ["\N{SNOWMAN}" * 1000] * 1000}  # 6 MB of JSON
    NOWHERE.attest(ref, large, SLSA, signer, form="both")
    policy = policy_of(key.public, attestations=[RequiredAttestation(SLSA)])
    (attestation,) = NOWHERE.verify_signatures(ref, policy).attestations
    assert attestation.predicate == large
    huge = {"packages": ["x" * 1000] * 20_000}
    with pytest.raises(InvalidArgument, match="bytes"):
        NOWHERE.attest(ref, huge, SLSA, signer)
