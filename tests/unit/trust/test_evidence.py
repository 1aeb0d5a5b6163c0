"""Signatures by keys that people manage, with and without log entries."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from containerd_lite.errors import InvalidArgument, SignatureError
from containerd_lite.trust.bundles import Bundle, Material, material_of_annotations
from containerd_lite.trust.dsse import IN_TOTO, Envelope
from containerd_lite.trust.evidence import SignedContent, check_evidence
from tests.harness.authority import PAYLOAD, TimestampAuthority, World, check_bundle, needs_pki
from tests.harness.transparency import (
    TIME,
    KeyKind,
    SigningKey,
    Verifier,
    b64,
    cosign_entry,
    dsse_1,
    dsse_2,
    hashedrekord_1,
)

KEYS: list[KeyKind] = ["p256", "p384", "p521", "rsa", "ed25519"]
WORLD = World()
ROOT = WORLD.trusted_root()


@pytest.mark.parametrize("kind", KEYS)
def test_a_statement_by_each_kind_of_key(kind: KeyKind) -> None:
    key = SigningKey(kind)
    found = check_bundle(WORLD.sign(key=key, rekor=None, stamps=[]), None, key=key.public)
    assert (found.key, found.identity) == (key.public, None)
    assert (found.times, found.entries, found.timestamps, found.log_indexes) == ((), (), (), ())


@pytest.mark.parametrize("kind", ["p256", "rsa"])
def test_an_artifact_by_its_digest(kind: KeyKind) -> None:
    key = SigningKey(kind)
    document = WORLD.sign(key=key, is_message=True, rekor=1)
    assert check_bundle(document, ROOT, key=key.public).times == (TIME,)
    with pytest.raises(SignatureError, match="the bundle is about sha256:"):
        check_bundle(document, ROOT, key=key.public, artifact=b"other")
    del document["messageSignature"]["messageDigest"]  # which is only a hint
    with pytest.raises(SignatureError, match="the signature is not by the key"):
        check_bundle(document, ROOT, key=key.public, artifact=b"other")


@pytest.mark.parametrize(
    ("kind", "reason"),
    [("p384", "the sha384 of the artifact is not known"), ("ed25519", "signs artifacts")],
)
def test_keys_that_need_more_than_the_sha256_of_an_artifact(kind: KeyKind, reason: str) -> None:
    key = SigningKey(kind)
    document = WORLD.sign(key=key, is_message=True, rekor=None, stamps=[])
    with pytest.raises(SignatureError, match=reason):
        check_bundle(document, None, key=key.public)


def test_the_stated_digest_of_an_artifact_has_the_hash_of_its_digest() -> None:
    key = SigningKey()
    document = WORLD.sign(key=key, is_message=True, rekor=None, stamps=[])
    document["messageSignature"]["messageDigest"]["algorithm"] = "SHA2_512"
    with pytest.raises(SignatureError, match="the bundle is about sha512:"):
        check_bundle(document, None, key=key.public)


def test_another_key() -> None:
    document = WORLD.sign(key=SigningKey(), rekor=1)
    for root in (ROOT, None):
        with pytest.raises(SignatureError, match="the signature is not by the key"):
            check_bundle(document, root, key=SigningKey().public)


def test_no_key_and_no_certificate() -> None:
    document = WORLD.sign(key=SigningKey(), rekor=1)
    with pytest.raises(SignatureError, match="the signature has no certificate"):
        check_bundle(document, ROOT)
    with pytest.raises(InvalidArgument, match="needs a trusted root"):
        check_bundle(document, None)


@pytest.mark.parametrize("rekor", [1, 2])
def test_entries_are_checked_with_a_trusted_root_and_ignored_without(rekor: int) -> None:
    key = SigningKey()
    document = WORLD.sign(key=key, rekor=rekor, stamps=[])
    found = check_bundle(document, ROOT, key=key.public)
    log = WORLD.rekor_1 if rekor == 1 else WORLD.rekor_2
    assert [(each.log_id, each.index) for each in found.entries] == [(log.id, *found.log_indexes)]
    assert found.times == ((TIME,) if rekor == 1 else ())
    entry = document["verificationMaterial"]["tlogEntries"][0]
    entry["inclusionProof"]["treeSize"] = "1"
    assert check_bundle(document, None, key=key.public).entries == ()
    with pytest.raises(SignatureError):
        check_bundle(document, ROOT, key=key.public)


def test_one_bad_entry_of_two_is_not_overlooked() -> None:
    """Otherwise, breaking an entry would take away the evidence that it is."""
    key = SigningKey()
    first, second = (WORLD.sign(key=key, rekor=rekor, stamps=[]) for rekor in (1, 2))
    material = first["verificationMaterial"]
    material["tlogEntries"] += second["verificationMaterial"]["tlogEntries"]
    with pytest.raises(SignatureError, match="about another signature"):
        check_bundle(first, ROOT, key=key.public)


def test_entries_of_both_logs() -> None:
    key = SigningKey()
    document = WORLD.sign(key=key, rekor=1)
    bundle = Bundle.parse(json.dumps(document).encode())
    assert bundle.envelope is not None
    body = dsse_2(PAYLOAD, bundle.envelope.signatures[0], Verifier.of_key(key))
    document["verificationMaterial"]["tlogEntries"].append(WORLD.rekor_2.add(body))
    found = check_bundle(document, ROOT, key=key.public)
    assert len(found.entries) == 2
    assert found.times == (TIME,)


def test_a_log_that_ended_needs_a_time() -> None:
    """Nobody guards the key of a log that is no longer in use."""
    key = SigningKey()
    document = WORLD.sign(key=key, rekor=2, stamps=[])
    root = WORLD.trusted_root(tlogs=[WORLD.rekor_2.trusted(end=TIME)])
    with pytest.raises(SignatureError, match=r"nothing proves that the log .* was in use"):
        check_bundle(document, root, key=key.public)


@needs_pki
def test_timestamps_of_signatures_by_a_key() -> None:
    key = SigningKey()
    document = WORLD.sign(key=key, rekor=2)
    found = check_bundle(document, ROOT, key=key.public)
    assert (found.times, found.timestamps) == ((TIME,), (TIME,))
    other = TimestampAuthority().trusted()
    with pytest.raises(SignatureError, match="no authority of the trusted root issued"):
        check_bundle(document, WORLD.trusted_root(timestampAuthorities=[other]), key=key.public)
    for root in (None, WORLD.trusted_root(timestampAuthorities=[])):  # nothing can be verified
        assert check_bundle(document, root, key=key.public).timestamps == ()
    assert check_bundle(document, WORLD.trusted_root(tlogs=[]), key=key.public).entries == ()


# ---- the tag form -------------------------------------------------------------------------------


def cosign_annotations(payload: bytes, signature: bytes, key: SigningKey) -> dict[str, str]:
    """cosign's annotation with the entry of a signature."""
    entry = WORLD.rekor_1.add(hashedrekord_1(payload, signature, Verifier.of_key(key)))
    return {"dev.sigstore.cosign/bundle": cosign_entry(entry)}


@pytest.mark.parametrize("kind", ["p256", "p384", "p521", "rsa"])
def test_the_tag_form_has_sha256_for_each_key(kind: KeyKind) -> None:
    key = SigningKey(kind)
    signature = key.sign(b"payload", "sha256")
    material = material_of_annotations(cosign_annotations(b"payload", signature, key))
    signed = SignedContent(signature, b"payload", "sha256")
    found = check_evidence(material, signed, ROOT, key=key.public)
    assert found.times == (TIME,)
    if kind in ("p384", "p521"):
        other = key.sign(b"payload", {"p384": "sha384", "p521": "sha512"}[kind])
        with pytest.raises(SignatureError, match="the signature is not by the key"):
            check_evidence(
                material, SignedContent(other, b"payload", "sha256"), ROOT, key=key.public
            )
        # Bundles have either hash: cosign verifies SHA-256 there, and Sigstore's libraries the
        # hash that fits the key.
        for each in (signature, other):
            check_evidence(Material(), SignedContent(each, b"payload"), ROOT, key=key.public)


def test_the_entry_in_an_annotation_is_of_another_signature() -> None:
    """CVE-2022-36056, and CVE-2026-22703: the entry was valid, but not compared."""
    key, other = SigningKey(), SigningKey()
    signature = key.sign(b"payload")
    for found in (
        cosign_annotations(b"payload", key.sign(b"payload"), key),
        cosign_annotations(b"payload", signature, other),
        cosign_annotations(b"other", signature, key),
    ):
        signed = SignedContent(signature, b"payload", "sha256")
        with pytest.raises(SignatureError, match="the log entry is about another"):
            check_evidence(material_of_annotations(found), signed, ROOT, key=key.public)


def test_an_annotation_whose_promise_is_by_another_log() -> None:
    key = SigningKey()
    signature = key.sign(b"payload")
    material = material_of_annotations(cosign_annotations(b"payload", signature, key))
    root = World().trusted_root()
    with pytest.raises(SignatureError, match="does not have the log"):
        check_evidence(material, SignedContent(signature, b"payload"), root, key=key.public)


@needs_pki
def test_timestamps_of_attestations_in_the_tag_form_are_of_the_envelope() -> None:
    key = SigningKey()
    envelope = Envelope(PAYLOAD, IN_TOTO, ())
    signature = key.sign(envelope.signed_bytes)
    envelope = Envelope(PAYLOAD, IN_TOTO, (signature,))
    body = json.dumps({"payload": b64(PAYLOAD)}).encode()
    material = Material(timestamps=(WORLD.tsa.stamp(body),))
    for stamped, valid in ((body, True), (None, False), (b"other", False)):
        signed = SignedContent(
            signature, envelope.signed_bytes, "sha256", envelope, stamped=stamped
        )
        if valid:
            assert check_evidence(material, signed, ROOT, key=key.public).timestamps == (TIME,)
            continue
        with pytest.raises(SignatureError, match="of another signature"):
            check_evidence(material, signed, ROOT, key=key.public)


def test_an_envelope_with_two_signatures_and_one_entry() -> None:
    first, second = SigningKey(), SigningKey()
    message = Envelope(PAYLOAD, IN_TOTO, ()).signed_bytes
    signatures = first.sign(message), second.sign(message)
    envelope = Envelope(PAYLOAD, IN_TOTO, signatures)
    body = dsse_1(PAYLOAD, signatures[0], Verifier.of_key(first))
    material = Bundle.parse(
        json.dumps(
            {
                **WORLD.sign(key=first, rekor=None, stamps=[]),
                "verificationMaterial": {"publicKey": {}, "tlogEntries": [WORLD.rekor_1.add(body)]},
            }
        ).encode()
    ).material
    for key, signature, valid in ((first, signatures[0], True), (second, signatures[1], False)):
        signed = SignedContent(signature, message, "sha256", envelope)
        if valid:
            check_evidence(material, signed, ROOT, key=key.public)
            continue
        with pytest.raises(SignatureError, match="about another signature"):
            check_evidence(material, signed, ROOT, key=key.public)


def test_what_works_by_key_loads_no_package_for_certificates() -> None:
    """These packages take 45 ms to load, and need not be installed. Errors name what is missing."""
    key = SigningKey()
    document: Any = WORLD.sign(key=key, rekor=1)
    code = f"""
import json, sys
sys.modules["cryptography.x509.verification"] = sys.modules["rfc3161_client"] = None
from containerd_lite.trust import PublicKey, TrustRoot
from containerd_lite.trust.bundles import Bundle
from containerd_lite.trust.evidence import SignedContent, check_evidence
bundle = Bundle.parse(json.dumps({document!r}).encode())
envelope = bundle.envelope
signed = SignedContent(envelope.signatures[0], envelope.signed_bytes, "by key", envelope)
root, key = TrustRoot.parse({WORLD.trusted_root_json()!r}), PublicKey({key.der!r})
assert check_evidence(bundle.material, signed, root, key=key).log_indexes
assert not [name for name in sys.modules if name.startswith("containerd_lite.trust.pki.")]
from containerd_lite.errors import FailedPrecondition
from containerd_lite.trust import pki
del sys.modules["cryptography.x509.verification"]  # which newer releases load with the next line
import cryptography.x509
sys.modules["cryptography.x509.verification"] = None
for call, package in (
    ("check_timestamp", "rfc3161-client>=1.0.6"), ("check_certificate", "cryptography>=45")
):
    try:
        getattr(pki, call)
    except FailedPrecondition as error:
        assert package in error.message, error
        assert "containerd-lite[trust]" in error.remedy
    else:
        raise AssertionError(call)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=50)
