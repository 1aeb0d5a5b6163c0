"""Signed documents that do not say that the image is good."""

from __future__ import annotations

from typing import Any

import pytest

from containerd_lite.errors import Unsigned, Untrusted
from containerd_lite.trust import RequiredAttestation, Rule
from tests.harness import images, signatures
from tests.harness.authority import World
from tests.harness.images import Json
from tests.harness.keypairs import KeyPair
from tests.harness.repositories import MemoryRepository
from tests.harness.signatures import BUNDLE, SIGNATURE, SIMPLE_SIGNING
from tests.harness.transparency import SigningKey, Verifier, b64, cosign_entry, hashedrekord_1
from tests.hostile.images.judged import (
    ANOTHER,
    ATT,
    COSIGN_SIGN,
    IMAGE,
    KEY,
    OTHER,
    SLSA,
    TAG,
    add_referrer,
    judge,
    referrers,
    repository_of,
    signed,
    stated,
)

# ---- attestations, payloads and statements -------------------------------------------------------


def attestation(kind: str, key: KeyPair = KEY, annotation: str = "") -> tuple[Json, bytes]:
    layer, body = signatures.attestation(signatures.statement(IMAGE.digest, kind, {}), key)
    return {**layer, "annotations": {SIGNATURE: "", "predicateType": annotation or kind}}, body


@pytest.mark.parametrize("form", ["tag", "referrer"])
@pytest.mark.parametrize("kind", [SLSA, f"{COSIGN_SIGN}/", COSIGN_SIGN.upper(), "https://a/b"])
def test_an_attestation_alone_is_no_signature(kind: str, form: str) -> None:
    """CVE-2026-39395. cosign 3.1 takes any statement about the image for its signature."""
    repository = MemoryRepository()
    if form == "tag":
        repository.add(signatures.manifest([attestation(kind)]), TAG)
    add_referrer(repository, stated(kind))
    with pytest.raises(Unsigned):
        judge(repository)
    add_referrer(repository, stated())
    assert judge(repository).signatures


@pytest.mark.parametrize("form", ["tag", "referrer"])
def test_a_signature_is_no_attestation(form: str) -> None:
    rule = Rule(keys=[KEY.public], attestations=[RequiredAttestation(SLSA)])
    repository = repository_of(signed())
    add_referrer(repository, stated())
    if form == "tag":
        repository.add(signatures.manifest([signed()]), ATT)
    with pytest.raises(Untrusted, match=f"lacks an attestation of {SLSA}"):
        judge(repository, rule)


def test_an_attestation_of_another_type() -> None:
    """CVE-2022-35929. The annotation with the type is not signed, so it is not believed."""
    rule = Rule(keys=[KEY.public], attestations=[RequiredAttestation(SLSA)])
    repository = repository_of(signed())
    other = "https://cyclonedx.org/bom"
    repository.add(signatures.manifest([attestation(other, annotation=SLSA)]), ATT)
    with pytest.raises(Untrusted, match=f"lacks an attestation of {SLSA}"):
        judge(repository, rule)
    repository.add(signatures.manifest([attestation(SLSA, annotation=other)]), ATT)
    (found,) = judge(repository, rule).attestations
    assert found.predicate_type == SLSA


def test_an_attestation_by_another_key() -> None:
    rule = Rule(keys=[KEY.public], attestations=[RequiredAttestation(SLSA)])
    repository = repository_of(signed())
    repository.add(signatures.manifest([attestation(SLSA, OTHER)]), ATT)
    with pytest.raises(Untrusted, match="the signature is not by the key"):
        judge(repository, rule)


def payload(**changes: Any) -> bytes:
    critical = {
        "identity": {"docker-reference": "registry.example/team/app"},
        "image": {"docker-manifest-digest": IMAGE.digest},
        "type": "cosign container image signature",
    }
    return images.encode({"critical": {**critical, **changes}, "optional": None})


PLAIN = payload().decode()
ANOTHER_IMAGE = f'"image":{{"docker-manifest-digest":"{ANOTHER.digest}"}}'
OWN_IMAGE = f'"image":{{"docker-manifest-digest":"{IMAGE.digest}"}}'
#: Payloads that our key signed, and that another reader could take for those of this image.
PAYLOADS: dict[str, tuple[str, str]] = {
    "the image occurs twice": (
        PLAIN.replace(OWN_IMAGE, f"{ANOTHER_IMAGE},{OWN_IMAGE}"),
        "a key occurs twice",
    ),
    "the digest occurs twice": (
        PLAIN.replace("}", f',"docker-manifest-digest":"{IMAGE.digest}"}}', 2),
        "a key occurs twice",
    ),
    "the payload is there twice": (
        f'{{"critical":{{}},{PLAIN[1:]}',
        "a key occurs twice",
    ),
    "another case beside": (
        PLAIN.replace(OWN_IMAGE, f'{OWN_IMAGE},"Image":{ANOTHER_IMAGE.partition(":")[2]}'),
        "unknown field 'Image'",
    ),
    "another case": (PLAIN.replace('"critical"', '"Critical"'), "unknown field 'Critical'"),
    "another case of a letter": (PLAIN.replace('"critical"', '"critica\u017f"'), "unknown field"),
    "an unknown field beside": (f'{{"expires":"2020-01-01",{PLAIN[1:]}', "unknown field 'expires'"),
    "another type": (payload(type="atomic container signature").decode(), "has the type"),
    "no type": (payload(type=None).decode(), "has no 'type'"),
    "an unknown field": (payload(expires="2020-01-01").decode(), "unknown field 'expires'"),
    "an unknown field of the image": (
        payload(image={"docker-manifest-digest": IMAGE.digest, "size": 1}).decode(),
        "unknown field 'size'",
    ),
    "no image": (payload(image=None).decode(), "has no image"),
    "another image": (payload(image={"docker-manifest-digest": ANOTHER.digest}).decode(), "signs"),
    "no digest": (payload(image={"docker-manifest-digest": "latest"}).decode(), "not a digest"),
    "a digest in capitals": (
        payload(image={"docker-manifest-digest": IMAGE.digest.upper()}).decode(),
        "not a digest",
    ),
    "a list": (f"[{PLAIN}]", "is not a JSON object"),
    "more behind": (f"{PLAIN}{PLAIN}", "not valid JSON"),
}


@pytest.mark.parametrize("name", PAYLOADS)
def test_a_payload_that_means_something_else(name: str) -> None:
    text, reason = PAYLOADS[name]
    assert text != PLAIN
    assert judge(repository_of(signatures.layer(PLAIN.encode(), KEY))).signatures
    with pytest.raises(Untrusted, match=reason):
        judge(repository_of(signatures.layer(text.encode(), KEY)))


STATEMENT = signatures.statement(IMAGE.digest, COSIGN_SIGN, {}).decode()
OWN_HEX, OTHER_HEX = (each.digest.partition(":")[2] for each in (IMAGE, ANOTHER))
STATEMENTS: dict[str, tuple[str, str]] = {
    "the type occurs twice": (
        STATEMENT.replace('"predicateType"', f'"predicateType":"{SLSA}","predicateType"'),
        "a key occurs twice",
    ),
    "another case beside": (
        STATEMENT.replace('"predicateType"', f'"PredicateType":"{SLSA}","predicateType"'),
        "ambiguous field 'PredicateType'",
    ),
    "a subject in another case": (
        STATEMENT.replace('"subject"', '"Subject":[],"subject"'),
        "ambiguous field 'Subject'",
    ),
    "another image": (STATEMENT.replace(OWN_HEX, OTHER_HEX), "about other artifacts"),
    "the digest by another hash": (
        STATEMENT.replace('"sha256"', '"sha512"'),
        "about other artifacts",
    ),
    "no subject": (STATEMENT.replace('"subject"', '"x"'), "0 subjects"),
    "another statement": (STATEMENT.replace("Statement/v0.1", "Statement/v9"), "unknown type"),
}


@pytest.mark.parametrize("name", STATEMENTS)
def test_a_statement_that_means_something_else(name: str) -> None:
    text, reason = STATEMENTS[name]
    assert text != STATEMENT
    repository = referrers(signatures.bundle(text.encode(), KEY))
    with pytest.raises(Untrusted, match=reason):
        judge(repository)


# ---- signatures of something else ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "stated"),
    [
        ("repository", "registry.example/team/other"),
        ("repository", "evil.example/team/app"),
        ("repository", "registry.example/team/app/more"),
        ("repository", ""),
        ("exact", "registry.example/team/app:2"),
        ("exact", "registry.example/team/app"),
    ],
)
def test_a_signature_for_another_name(rule: Any, stated: str) -> None:
    repository = repository_of(signed(name=stated))
    with pytest.raises(Untrusted, match=r"it is for|for which name"):
        judge(repository, Rule(keys=[KEY.public], name=rule))
    repository = repository_of(signed(name="registry.example/team/app:1"))
    assert judge(repository, Rule(keys=[KEY.public], name=rule)).signatures


@pytest.mark.parametrize("subject", [ANOTHER.manifest, None], ids=["another", "none"])
def test_a_referrer_whose_subject_is_another_image(subject: Json | None) -> None:
    """Registries without the API let anyone who can push list anything under the fallback tag."""
    repository = MemoryRepository()
    repository.add(signatures.manifest([signed()], subject=subject))
    with pytest.raises(Untrusted, match=r"its subject is .* not the image"):
        judge(repository)


def test_a_manifest_under_the_tag_whose_subject_is_another_image() -> None:
    repository = MemoryRepository()
    repository.add(signatures.manifest([signed()], subject=ANOTHER.manifest), TAG)
    with pytest.raises(Untrusted, match=r"its subject is .* not the image"):
        judge(repository)


def test_a_list_that_promises_signatures_of_another_digest() -> None:
    """The descriptor of a referrer is not signed: its manifest counts."""
    repository = MemoryRepository()
    found = signatures.referrer(ANOTHER, [stated()], BUNDLE)
    repository.add(found, artifactType=BUNDLE)
    with pytest.raises(Untrusted, match=r"its subject is .* not the image"):
        judge(repository)


def test_an_entry_of_another_signature() -> None:
    """CVE-2022-23649, CVE-2022-36056, CVE-2026-22703: a log has an entry, but not of this one."""
    world, key = World(), SigningKey()
    rule = Rule(keys=[key.public], trust_root=world.trusted_root(), log=True)
    body = signatures.payload(IMAGE.digest)
    stranger = SigningKey()

    def repository(logged: bytes, signature: bytes, signer: SigningKey) -> MemoryRepository:
        entry = world.rekor_1.add(hashedrekord_1(logged, signature, Verifier.of_key(signer)))
        annotations = {
            SIGNATURE: b64(own),
            "dev.sigstore.cosign/bundle": cosign_entry(entry),
        }
        layer = {**images.descriptor(SIMPLE_SIGNING, body), "annotations": annotations}
        return repository_of((layer, body))

    own = key.sign(body)
    assert judge(repository(body, own, key), rule).signatures[0].log_indexes
    for logged, signature, signer in (
        (body, key.sign(body), key),
        (body, stranger.sign(body), stranger),
        (b"other", own, key),
        (body, own, stranger),
    ):
        with pytest.raises(Untrusted, match="the log entry is about another"):
            judge(repository(logged, signature, signer), rule)
    layer = {**images.descriptor(SIMPLE_SIGNING, body), "annotations": {SIGNATURE: b64(own)}}
    with pytest.raises(Untrusted, match="no entry in a transparency log"):
        judge(repository_of((layer, body)), rule)
