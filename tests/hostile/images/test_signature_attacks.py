"""Repositories that hold hostile signatures: endless ones, broken ones, and one for several.

Each test has the judge look into a repository in memory. ``test_signature_meanings`` has signatures
of something else, ``test_verified_content`` pulls, and
``tests/hostile/registry/test_signature_requests.py`` has hostile registries.
"""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from containerd_lite.errors import (
    Cancelled,
    ContainerdError,
    DeadlineExceeded,
    RegistryError,
    RegistryUnauthorized,
    RegistryUnavailable,
    ResourceExhausted,
    SignatureError,
    SignaturesUnavailable,
    Unsigned,
    Untrusted,
)
from containerd_lite.oci.descriptor import Descriptor
from containerd_lite.trust import Identity, Policy, RequiredAttestation, Rule, enforce
from containerd_lite.trust.search import MAX_CANDIDATES, MAX_LAYERS, MAX_MANIFESTS
from tests.harness import images, signatures
from tests.harness.authority import ISSUER, World, needs_pki
from tests.harness.images import Image
from tests.harness.keypairs import KeyPair
from tests.harness.repositories import MemoryRepository
from tests.harness.signatures import BUNDLE, DSSE, SIGNATURE, SIMPLE_SIGNING
from tests.harness.transparency import TIME, SigningKey, b64, canonical
from tests.hostile.images.judged import (
    ANOTHER,
    ATT,
    COSIGN_SIGN,
    IMAGE,
    KEY,
    OTHER,
    REFERENCE,
    SLSA,
    TAG,
    add_referrer,
    judge,
    referrers,
    repository_of,
    signed,
    stated,
)

COSIGN_2 = "application/vnd.dev.cosign.artifact.sig.v1+json"
STATEMENT = signatures.statement(IMAGE.digest, COSIGN_SIGN, {})

# ---- endless: CVE-2023-46737, CVE-2024-29902, CVE-2024-29903, CVE-2024-45395, CVE-2023-33957 -----


def test_endless_referrers() -> None:
    repository = MemoryRepository()
    for number in range(20_000):
        repository.listed.append(Descriptor(images.OCI_MANIFEST, f"sha256:{number:064x}", 500))
    with pytest.raises(Untrusted, match="only the first 256 of 20000 are read"):
        judge(repository)
    assert len(repository.asked) <= MAX_MANIFESTS + 2


def test_a_million_layers_under_the_tag() -> None:
    """The manifest has at least 100 MB, and the judge does not read it."""
    repository = MemoryRepository()
    huge = Descriptor(images.OCI_MANIFEST, f"sha256:{'0' * 64}", 100_000_000)
    repository.tags[TAG] = huge
    with pytest.raises(Untrusted, match="100000000 bytes, more than the 4194304 allowed"):
        judge(repository)
    assert huge.digest not in repository.asked


@pytest.mark.parametrize("count", [MAX_LAYERS + 1, 10_000])
def test_a_manifest_with_too_many_layers(count: int) -> None:
    layer, body = signed()
    repository = MemoryRepository()
    image = signatures.manifest([(layer, body)] * count)
    repository.add(image, TAG)
    with pytest.raises(Untrusted, match=f"more than the {MAX_LAYERS} layers allowed"):
        judge(repository)
    assert layer["digest"] not in repository.asked


def test_many_signatures_in_many_manifests() -> None:
    """The layers are in the manifests themselves, so that 2 MB hold 5,000 signatures."""
    layer, body = signed(OTHER)
    repository = MemoryRepository()
    for number in range(10):
        layers = []
        for n in range(500):
            annotations = {**layer["annotations"], "number": f"{number} {n}"}
            layers.append(({**layer, "data": b64(body), "annotations": annotations}, body))
        repository.add(signatures.referrer(IMAGE, layers, COSIGN_2))
    with pytest.raises(Untrusted) as caught:
        judge(repository)
    assert len(caught.value.rejected) <= MAX_CANDIDATES + 1
    assert caught.value.rejected[-1][1] == f"only the first {MAX_CANDIDATES} are read"


def test_huge_annotations() -> None:
    """30 manifests with annotations of 3 MB: each is forgotten before the next is read."""
    repository = MemoryRepository()
    for number in range(30):
        layer, body = signed(OTHER)
        layer["annotations"]["more"] = chr(97 + number % 26) * (3 << 20) + str(number)
        repository.add(signatures.referrer(IMAGE, [(layer, body)], COSIGN_2))
    tracemalloc.start()
    try:
        with pytest.raises(Untrusted):
            judge(repository)
        assert tracemalloc.get_traced_memory()[1] < 40 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("size", [(24 << 20) + 1, (1 << 63) - 1])
@pytest.mark.parametrize("kind", [SIMPLE_SIGNING, DSSE, BUNDLE])
def test_a_huge_layer(kind: str, size: int) -> None:
    layer = {**images.descriptor(kind, b""), "size": size, "annotations": {SIGNATURE: "AA=="}}
    repository = repository_of((layer, b""))
    with pytest.raises(Untrusted, match=f"{size} bytes, more than the"):
        judge(repository)
    assert layer["digest"] not in repository.asked


def test_many_large_layers() -> None:
    """All content of one image together is bounded, too."""
    layers = []
    for number in range(40):
        digest = images.digest_of(str(number).encode())
        layers.append(({"mediaType": BUNDLE, "digest": digest, "size": 20 << 20}, b""))
    repository = repository_of(*layers)
    with pytest.raises(Untrusted):
        judge(repository)
    assert len(repository.asked) <= 2 + (256 // 20) + 1


@pytest.mark.once
def test_a_slow_judgement() -> None:
    """1,000 signatures by another key take less than a second for each of the policy's keys."""
    layer, body = signed(OTHER)
    layers = [
        ({**layer, "annotations": {**layer["annotations"], "n": str(n)}}, body) for n in range(1000)
    ]
    repository = repository_of(*layers)
    start = time.thread_time()
    with pytest.raises(Untrusted):
        judge(repository, Rule(keys=[KEY.public, KeyPair.generate("rsa").public]))
    assert time.thread_time() - start < 2


@needs_pki
@pytest.mark.once
def test_many_identities() -> None:
    """The certificate of a signature is checked once, not for each identity of the policy."""
    world = World()
    layers = []
    for _ in range(20):
        body = canonical(world.sign(payload=STATEMENT))
        layers.append((images.descriptor(BUNDLE, body), body))
    repository = MemoryRepository()
    add_referrer(repository, *layers)
    identities = [Identity(ISSUER, f"{number}@example.com") for number in range(200)]
    rule = Rule(identities=identities, trust_root=world.trusted_root())
    start = time.thread_time()
    with pytest.raises(Untrusted, match="its subject is"):
        judge(repository, rule)
    assert time.thread_time() - start < 1
    identities.append(Identity(ISSUER, "someone@example.com"))
    accepted = Rule(identities=identities, trust_root=world.trusted_root())
    assert judge(repository, accepted).signatures


def test_an_index_that_lists_one_manifest_again_and_again() -> None:
    """Its signatures are looked for once."""
    entries = [IMAGE.manifest] * 2_000
    body = images.encode({"schemaVersion": 2, "mediaType": images.OCI_INDEX, "manifests": entries})
    index = images.descriptor(images.OCI_INDEX, body)
    repository = repository_of(signed())
    repository.blobs[index["digest"]] = body
    rule = Rule(keys=[KEY.public], signed="platforms")
    judge(repository, rule, Descriptor.from_json(index))
    assert len(repository.asked) < 10


# ---- one for several -----------------------------------------------------------------------------


def copies(key: KeyPair) -> list[Any]:
    """One key in four forms."""
    public = key.public
    return [public, type(public).from_jwk(key.jwk()), public.to_pem, lambda: public]


def test_one_key_does_not_count_twice() -> None:
    """Two signatures by it count once, and so does a key that the policy names twice."""
    repository = repository_of(signed(), signed(), signed(name="registry.example/x"))
    add_referrer(repository, stated())
    for keys in (copies(KEY), [KEY.public, OTHER.public]):
        with pytest.raises(Untrusted, match="lacks 1 of the required signatures"):
            judge(repository, Rule(keys=keys, threshold=2))
    repository.add(signatures.manifest([signed(), signed(OTHER)]), TAG)
    found = judge(repository, Rule(keys=[*copies(KEY), OTHER.public], threshold=2))
    assert {each.key for each in found.signatures} == {
        KEY.public.fingerprint,
        OTHER.public.fingerprint,
    }


def index_of(*parts: Image) -> tuple[Descriptor, dict[str, bytes]]:
    """An index with an entry for each part: of another machine first, then of this one."""
    names = ["linux/riscv64", images.machine_platform()]
    found = images.index_of(dict(zip(names, parts, strict=True)))
    return Descriptor.from_json(found.manifest), dict(found.blobs)


@pytest.mark.parametrize("signed_", ["platforms", "both"])
@pytest.mark.parametrize("number", [0, 1])
def test_only_one_platform_is_signed(signed_: Any, number: int) -> None:
    """CVE-2022-24778: only the first platform of an index was checked."""
    parts = (IMAGE, ANOTHER)
    target, blobs = index_of(*parts)
    repository = MemoryRepository()
    repository.blobs |= blobs
    rule = Rule(keys=[KEY.public], signed=signed_)
    missing = parts[1 - number].digest

    def sign(digest: str) -> None:
        repository.add(signatures.manifest([signed(digest=digest)]), signatures.tag(digest))

    sign(target.digest)
    sign(parts[number].digest)
    with pytest.raises(Unsigned, match=missing):
        judge(repository, rule, target)
    sign(missing)
    digests = {each.digest for each in judge(repository, rule, target).signatures}
    assert digests == {IMAGE.digest, ANOTHER.digest} | (
        {target.digest} if signed_ == "both" else set()
    )


def test_a_platform_that_is_not_used_need_not_be_signed() -> None:
    target, blobs = index_of(IMAGE, ANOTHER)
    repository = MemoryRepository()
    repository.blobs |= blobs
    repository.add(
        signatures.manifest([signed(digest=ANOTHER.digest)]), signatures.tag(ANOTHER.digest)
    )
    policy = Policy({"**": Rule(keys=[KEY.public], signed="platforms")})

    def choose(used: Image) -> Callable[..., Sequence[Descriptor]]:
        return lambda document, is_root: [
            each for each in document.children if each.digest == used.digest
        ]

    enforce([policy], repository, REFERENCE, target, choose(ANOTHER))
    with pytest.raises(Unsigned, match=IMAGE.digest):
        enforce([policy], repository, REFERENCE, target, choose(IMAGE))
    with pytest.raises(Untrusted, match="lists no manifest"):
        enforce([policy], repository, REFERENCE, target, lambda *_: ())


# ---- old, broken, failing ------------------------------------------------------------------------


def test_an_old_image_that_was_signed() -> None:
    """CVE-2024-23332: a signature does not say which image a tag should refer to now."""
    world, key = World(), SigningKey()

    def repository(signed_at: datetime) -> MemoryRepository:
        document = world.sign(payload=STATEMENT, key=key, rekor=1, stamps=[], time=signed_at)
        body = canonical(document)
        return referrers((images.descriptor(BUNDLE, body), body))

    def rule(age: float | timedelta) -> Rule:
        return Rule(keys=[key.public], trust_root=world.trusted_root(), max_age=age)

    now = datetime.now(timezone.utc).replace(microsecond=0)
    with pytest.raises(Untrusted, match="it is from 2026-01-15 12:00:00, which is too old"):
        judge(repository(TIME), rule(timedelta(days=1)))
    for age in (timedelta(days=1), 10.0**9, 10.0**18, float("inf")):
        assert judge(repository(now), rule(age)).signatures[0].times == (now,)
    body = canonical(world.sign(payload=STATEMENT, key=key, rekor=None, stamps=[]))
    plain = referrers((images.descriptor(BUNDLE, body), body))
    with pytest.raises(Untrusted, match="its age is not proven"):
        judge(plain, rule(float("inf")))


def broken() -> dict[str, Callable[[MemoryRepository], object]]:
    """Functions that add something broken to a repository."""

    def bundle(body: bytes) -> Callable[[MemoryRepository], object]:
        return lambda repository: add_referrer(repository, (images.descriptor(BUNDLE, body), body))

    def manifest(body: bytes) -> Callable[[MemoryRepository], object]:
        image = Image(images.descriptor(images.OCI_MANIFEST, body), {images.digest_of(body): body})
        return lambda repository: repository.add(image)

    def missing(repository: MemoryRepository) -> None:
        found = add_referrer(repository, stated(key=OTHER))
        del repository.blobs[found.digest]

    def other_bytes(repository: MemoryRepository) -> None:
        layer = stated(key=KeyPair.generate())
        add_referrer(repository, layer)
        repository.blobs[layer[0]["digest"]] = b"x" * layer[0]["size"]

    return {
        "no JSON": bundle(b"\x80"),
        "no bundle": bundle(b"{}"),
        "nesting": bundle(b"[" * 100_000),
        "an unknown version": bundle(
            b'{"mediaType":"application/vnd.dev.sigstore.bundle.v9+json"}'
        ),
        "by another key": lambda found: add_referrer(found, stated(key=OTHER)),
        "no manifest": manifest(b"{}"),
        "a manifest that is missing": missing,
        "other bytes": other_bytes,
    }


@pytest.mark.parametrize("name", broken())
def test_a_good_signature_beside_a_broken_one(name: str) -> None:
    """The good one counts, whichever is first, and the error lists the broken one."""
    good = stated()
    for is_first in (True, False):
        repository = MemoryRepository()
        if is_first:
            add_referrer(repository, good)
        broken()[name](repository)
        if not is_first:
            add_referrer(repository, good)
        assert judge(repository).signatures
        strict = Rule(keys=[KEY.public], annotations={"stage": "other"})
        with pytest.raises(Untrusted) as caught:
            judge(repository, strict)
        assert len(caught.value.rejected) == 2
        assert all(reason for _, reason in caught.value.rejected)


def test_an_index_under_the_tag() -> None:
    body = images.encode(
        {"schemaVersion": 2, "mediaType": images.OCI_INDEX, "manifests": [IMAGE.manifest]}
    )
    index = Image(images.descriptor(images.OCI_INDEX, body), {images.digest_of(body): body})
    repository = MemoryRepository()
    repository.add(index, TAG)
    with pytest.raises(Untrusted, match="it is an index, not a manifest"):
        judge(repository)
    add_referrer(repository, stated())
    assert judge(repository).signatures


ERRORS = (
    RegistryUnavailable("away"),
    RegistryUnauthorized("who"),
    RegistryError("500"),
    DeadlineExceeded("late"),
    ResourceExhausted("full"),
)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_a_repository_that_fails_at_each_request_in_turn(error: ContainerdError) -> None:
    """It is never unsigned, and never accepted before the good signature was read."""
    rule = Rule(keys=[KEY.public], attestations=[RequiredAttestation(SLSA)])
    repository = MemoryRepository()
    add_referrer(repository, stated(key=OTHER))
    repository.add(signatures.manifest([signed()]), TAG)
    repository.add(
        signatures.manifest(
            [signatures.attestation(signatures.statement(IMAGE.digest, SLSA, {}), KEY)]
        ),
        ATT,
    )
    assert judge(repository, rule)
    asked = list(repository.asked)
    assert len(asked) == 9
    for number in range(len(asked)):
        repository.asked.clear()

        def fail(name: str, last: int = number) -> None:
            if len(repository.asked) > last:
                raise error

        repository.before = fail
        with pytest.raises(SignaturesUnavailable) as caught:
            judge(repository, rule)
        assert caught.value.__cause__ is error
        assert repository.asked == asked[: number + 1]


def test_who_cancels_gets_no_verdict() -> None:
    repository = repository_of(signed())

    def cancel(name: str) -> None:
        raise Cancelled("stop")

    repository.before = cancel
    with pytest.raises(Cancelled):
        judge(repository)


def test_texts_of_signatures_do_not_control_a_terminal() -> None:
    text = "\x1b]0;title\x07\r\n\u202e" * 1000
    odd = signatures.payload(IMAGE.digest).replace(b"cosign container", b"\\u001b")
    repository = repository_of(signed(name=text), signatures.layer(odd, KEY))
    add_referrer(repository, stated(text))
    add_referrer(
        repository, signatures.bundle(STATEMENT.replace(b"Statement/v0.1", b"\\u001b"), KEY)
    )
    with pytest.raises(SignatureError) as caught:
        judge(repository, Rule(keys=[OTHER.public], name="exact"))
    told = [str(caught.value), *(part for each in caught.value.rejected for part in each)]
    assert all(each.isprintable() and len(each) < 10_000 for each in told)
