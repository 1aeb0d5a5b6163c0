"""Whatever a trusted signer signs, or a trusted log has, counts only for what it says.

The documents of ``test_signatures`` are changed after they were signed; these are changed before.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import pytest

from containerd_lite.errors import ContainerdError
from containerd_lite.oci.reference import Reference
from containerd_lite.trust import Policy, Rule, VerifiedSignature, enforce
from containerd_lite.trust.dsse import IN_TOTO, Envelope
from containerd_lite.trust.simple_signing import PAYLOAD_TYPE
from containerd_lite.trust.statements import COSIGN_SIGN, STATEMENT_TYPES
from tests.fuzz import mutating
from tests.fuzz.signed import BUNDLE, DIGEST, OTHER_DIGEST, TARGET, Original, readings, statement
from tests.harness import signatures
from tests.harness.authority import World, signature_of
from tests.harness.repositories import MemoryRepository
from tests.harness.signatures import SIGNATURE, SIMPLE_SIGNING
from tests.harness.transparency import (
    Json,
    RekorLog,
    SigningKey,
    Verifier,
    b64,
    canonical,
    dsse_1,
    dsse_2,
    hashedrekord_1,
    hashedrekord_2,
    intoto_2,
)

Count = Callable[[int, int], int]

REFERENCE = Reference.parse("registry.example/app:1")
KEY, WORLD = SigningKey(), World()
HEX = DIGEST.partition(":")[2]


def verified(original: Original, rule: Rule) -> VerifiedSignature | None:
    """The signature, if it counts. An untyped error fails the test."""
    repository = MemoryRepository()
    tag = signatures.tag(DIGEST) if original.suffix else ""
    repository.add(original.manifest, tag)
    try:
        verdict = enforce([Policy({"**": rule})], repository, REFERENCE, TARGET)
    except ContainerdError:
        return None
    (found,) = verdict.signatures
    return found


def bundle(payload: bytes, **options: Any) -> Original:
    options = {"rekor": None, "stamps": [], **options}
    return Original(BUNDLE, canonical(WORLD.sign(payload=payload, key=KEY, **options)))


def changed(old: bytes, others: list[bytes], dice: Random) -> bytes:
    """Another document; what cannot be encoded cannot be signed."""
    while True:
        try:
            return mutating.mutate_bytes(old, dice, others)
        except UnicodeEncodeError:
            continue


def test_payloads(count: Count) -> None:
    rule, accepted = Rule(keys=[KEY.public]), 0
    old = signatures.payload(DIGEST, "registry.example/app:1", stage="release")
    others = [signatures.payload(OTHER_DIGEST, "registry.example/other")]
    for number in range(count(500, 6_000)):
        body = changed(old, others, Random(f"payload {number}"))
        annotations = {SIGNATURE: b64(KEY.sign(body))}
        found = verified(Original(SIMPLE_SIGNING, body, annotations, "sig"), rule)
        if found is None:
            continue
        accepted += 1
        for critical in (document["critical"] for document in readings(body)):
            assert critical.keys() == {"identity", "image", "type"}
            assert critical["type"] == PAYLOAD_TYPE
            assert critical["image"] == {"docker-manifest-digest": DIGEST}
            assert (critical["identity"].get("docker-reference") or "") == found.reference
        optional = json.loads(body).get("optional") or {}
        assert found.annotations == {k: v for k, v in optional.items() if isinstance(v, str)}
    assert accepted


def test_statements(count: Count) -> None:
    rule, accepted = Rule(keys=[KEY.public]), 0
    for number in range(count(500, 6_000)):
        dice = Random(f"statement {number}")
        payload = changed(statement(DIGEST), [statement(OTHER_DIGEST, "x", a="b")], dice)
        found = verified(bundle(payload), rule)
        if found is None:
            continue
        accepted += 1
        for document in readings(payload):
            assert document["_type"] in STATEMENT_TYPES
            assert document["predicatetype"] == COSIGN_SIGN
            subject = _subject(document)
            assert found.reference == (subject.get("name") or "")
        annotations = _subject(json.loads(payload)).get("annotations") or {}
        # As in Go, null is an empty string.
        assert found.annotations == {name: value or "" for name, value in annotations.items()}
    assert accepted


def _subject(document: Any) -> Any:
    """The subject that is the image."""
    return next(
        each for each in document["subject"] if (each.get("digest") or {}).get("sha256") == HEX
    )


# ---- log entries ---------------------------------------------------------------------------------

PAYLOAD = statement(DIGEST)
MESSAGE = Envelope(PAYLOAD, IN_TOTO, ()).signed_bytes
Body = Callable[[bytes, Verifier], Json]
#: The kinds of entries, the version of Rekor, and where signature, key and digest are.
BODIES: dict[str, tuple[int, Body, tuple[str, str, str]]] = {
    "hashedrekord 0.0.1": (
        1,
        lambda signature, verifier: hashedrekord_1(MESSAGE, signature, verifier),
        ("signature.content", "signature.publickey.content", "data.hash.value"),
    ),
    "dsse 0.0.1": (
        1,
        lambda signature, verifier: dsse_1(PAYLOAD, signature, verifier),
        ("signatures.*.signature", "signatures.*.verifier", "payloadhash.value"),
    ),
    "intoto 0.0.2": (
        1,
        lambda signature, verifier: intoto_2(PAYLOAD, signature, verifier),
        (
            "content.envelope.signatures.*.sig",
            "content.envelope.signatures.*.publickey",
            "content.payloadhash.value",
        ),
    ),
    "hashedrekord 0.0.2": (
        2,
        lambda signature, verifier: hashedrekord_2(MESSAGE, signature, verifier),
        (
            "hashedrekordv002.signature.content",
            "hashedrekordv002.signature.verifier.publickey.rawbytes",
            "hashedrekordv002.data.digest",
        ),
    ),
    "dsse 0.0.2": (
        2,
        lambda signature, verifier: dsse_2(PAYLOAD, signature, verifier),
        (
            "dssev002.signatures.*.content",
            "dssev002.signatures.*.verifier.publickey.rawbytes",
            "dssev002.payloadhash.digest",
        ),
    ),
}


@pytest.mark.parametrize("kind", BODIES)
def test_bodies_of_log_entries(kind: str, count: Count) -> None:
    """The log has the changed body: its proof, checkpoint and promise are valid."""
    version, make, paths = BODIES[kind]
    log: RekorLog = WORLD.rekor_1 if version == 1 else WORLD.rekor_2
    rule = Rule(keys=[KEY.public], trust_root=WORLD.trusted_root(), log=True)
    document = WORLD.sign(payload=PAYLOAD, key=KEY, rekor=None, stamps=[])
    signature, stranger = signature_of(document), SigningKey()
    body = make(signature, Verifier.of_key(KEY))
    others = [
        canonical(make(each.sign(MESSAGE), Verifier.of_key(each))) for each in (KEY, stranger)
    ]
    accepted, known = 0, len(log.leaves)
    for number in range(count(200, 1_400)):
        leaf = changed(canonical(body), others, Random(f"{kind} {number}"))
        document["verificationMaterial"]["tlogEntries"] = [log.add(body, leaf=leaf)]
        del log.leaves[known:]
        found = verified(Original(BUNDLE, canonical(document)), rule)
        if found is None:
            continue
        accepted += 1
        for entry in readings(leaf):
            assert (entry["kind"], entry["apiversion"]) == tuple(kind.split())
            found_signatures, keys, digests = (set(_values(entry["spec"], path)) for path in paths)
            assert signature in {_plain(each, kind) for each in found_signatures}
            assert KEY.der in {_der(base64.b64decode(each)) for each in keys}
            sha256 = hashlib.sha256(PAYLOAD if "payloadhash" in paths[2] else MESSAGE)
            assert digests in ({sha256.hexdigest()}, {b64(sha256.digest())})
    assert accepted


def _der(key: bytes) -> bytes:
    """A key in DER, or in PEM, with white space between the lines."""
    words = key.split()
    return base64.b64decode(b"".join(words[3:-3])) if words[0] == b"-----BEGIN" else key


def _plain(text: str, kind: str) -> bytes:
    """The bytes of a signature, which is base64, and base64 of base64 in the kind ``intoto``."""
    data = base64.b64decode(text)
    return base64.b64decode(data) if kind.startswith("intoto") else data


def _values(value: Any, path: str) -> Iterator[str]:
    """The values at a path of a document."""
    if not path:
        yield value
        return
    step, _, rest = path.partition(".")
    for each in value if step == "*" else [value[step]]:
        yield from _values(each, rest)
