"""Entries of transparency logs: what they are about, and whether the log signed them.

Each test swaps one part of a valid entry for the part of another.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from containerd_lite.errors import ContainerdError, InvalidArgument, SignatureError
from containerd_lite.records import replace
from containerd_lite.trust.bundles import Bundle, LogEntry
from containerd_lite.trust.checked import CheckedEntry
from containerd_lite.trust.dsse import IN_TOTO, Envelope
from containerd_lite.trust.entry_bodies import LoggedSigner
from containerd_lite.trust.log_entries import (
    check_about,
    check_included,
    promised_time,
)
from containerd_lite.trust.signed_content import SignedContent
from containerd_lite.trust.trust_root import TransparencyLog, TrustRoot
from tests.harness.transparency import (
    TIME,
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
    note_line,
)

HOUR = timedelta(hours=1)
PAYLOAD = b'{"a": "statement"}'
KEY, OTHER_KEY = SigningKey(), SigningKey()
ENVELOPE = Envelope(PAYLOAD, IN_TOTO, ())
SIGNATURE = KEY.sign(ENVELOPE.signed_bytes)
SIGNED = SignedContent(
    SIGNATURE,
    ENVELOPE.signed_bytes,
    "by key",
    Envelope(PAYLOAD, IN_TOTO, (SIGNATURE,)),
)
SIGNER = LoggedSigner(KEY.der, is_certificate=False)
VERIFIER = Verifier.of_key(KEY)

#: The body of an entry of each kind, and the version of Rekor that writes it.
BODIES: dict[str, tuple[int, Callable[[], Json]]] = {
    "hashedrekord 0.0.1": (1, lambda: hashedrekord_1(ENVELOPE.signed_bytes, SIGNATURE, VERIFIER)),
    "dsse 0.0.1": (1, lambda: dsse_1(PAYLOAD, SIGNATURE, VERIFIER)),
    "intoto 0.0.2": (1, lambda: intoto_2(PAYLOAD, SIGNATURE, VERIFIER)),
    "hashedrekord 0.0.2": (2, lambda: hashedrekord_2(ENVELOPE.signed_bytes, SIGNATURE, VERIFIER)),
    "dsse 0.0.2": (2, lambda: dsse_2(PAYLOAD, SIGNATURE, VERIFIER)),
}
KINDS = list(BODIES)


def trusted(*logs: Json) -> tuple[TransparencyLog, ...]:
    media_type = "application/vnd.dev.sigstore.trustedroot+json;version=0.1"
    return TrustRoot.parse(canonical({"mediaType": media_type, "tlogs": logs})).logs


def read(entry: Json, version: str = ".v0.3+json") -> LogEntry:
    document = {
        "mediaType": f"application/vnd.dev.sigstore.bundle{version}",
        "verificationMaterial": {"publicKey": {}, "tlogEntries": [entry]},
        "messageSignature": {"signature": b64(SIGNATURE)},
    }
    return Bundle.parse(json.dumps(document).encode()).material.entries[0]


def check(
    entry: Json,
    *logs: Json,
    signed: SignedContent = SIGNED,
    signer: LoggedSigner = SIGNER,
    version: str = ".v0.3+json",
) -> CheckedEntry:
    found = read(entry, version)
    time = promised_time(found, trusted(*logs))
    checked = check_included(found, trusted(*logs), [time or TIME])
    check_about(found, signed, signer)
    assert checked.time == time
    return checked


def add(kind: str, log: RekorLog | None = None) -> tuple[Json, RekorLog]:
    version, body = BODIES[kind]
    log = log or RekorLog(version)
    return log.add(body()), log


@pytest.mark.parametrize("kind", KINDS)
def test_a_valid_entry(kind: str) -> None:
    entry, log = add(kind)
    found = check(entry, log.trusted())
    assert found.log_id == log.id
    assert (found.index, found.time) == ((1002, TIME) if log.version == 1 else (2, None))


@pytest.mark.parametrize("key", ["p256", "p384", "p521", "rsa", "ed25519"])
@pytest.mark.parametrize("kind", ["dsse 0.0.1", "hashedrekord 0.0.2"])
def test_logs_with_other_keys(kind: str, key: Any) -> None:
    entry, log = add(kind, RekorLog(BODIES[kind][0], kind=key))
    check(entry, log.trusted())


def test_an_entry_of_the_kind_intoto_need_not_have_the_payload() -> None:
    log = RekorLog(1)
    entry = log.add(intoto_2(PAYLOAD, SIGNATURE, VERIFIER, with_payload=False))
    check(entry, log.trusted())


def test_an_entry_may_have_the_hash_of_its_key() -> None:
    key = SigningKey("p384")
    signature = key.sign(b"message")
    for log, body in (
        (RekorLog(1), hashedrekord_1(b"message", signature, Verifier.of_key(key), "sha384")),
        (RekorLog(2), hashedrekord_2(b"message", signature, Verifier.of_key(key), "sha384")),
    ):
        signed = SignedContent(signature, b"message")
        check(log.add(body), log.trusted(), signed=signed, signer=LoggedSigner(key.der, False))
        entry, other = read(log.add(body)), SignedContent(signature, b"other")
        with pytest.raises(SignatureError, match="another artifact"):
            check_about(entry, other, LoggedSigner(key.der, False))


def test_a_promise_alone_is_enough_in_version_0_1() -> None:
    entry, log = add("hashedrekord 0.0.1")
    del entry["inclusionProof"]
    found = check(entry, log.trusted(), version="+json;version=0.1")
    assert (found.index, found.time) == (1002, TIME)


def test_a_proof_alone_proves_no_time() -> None:
    entry, log = add("dsse 0.0.1")
    del entry["inclusionPromise"]
    found = check(entry, log.trusted())
    assert found.time is None
    assert found.index == 2  # the index in the tree, because nothing proves the other
    entry["logIndex"] = "99999"
    assert check(entry, log.trusted()).index == 2


# ---- what the entry is about --------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_the_entry_of_another_signature(kind: str) -> None:
    """CVE-2022-36056, CVE-2026-22703: ECDSA has many signatures of the same bytes by one key."""
    entry, log = add(kind)
    again = KEY.sign(ENVELOPE.signed_bytes)
    envelope = Envelope(PAYLOAD, IN_TOTO, (again,))
    signed = SignedContent(again, ENVELOPE.signed_bytes, "by key", envelope)
    with pytest.raises(SignatureError, match="about another signature"):
        check(entry, log.trusted(), signed=signed)


@pytest.mark.parametrize("kind", KINDS)
def test_the_entry_of_another_key(kind: str) -> None:
    entry, log = add(kind)
    for signer in (LoggedSigner(OTHER_KEY.der, False), LoggedSigner(KEY.der, True)):
        with pytest.raises(SignatureError, match="about another key"):
            check(entry, log.trusted(), signer=signer)


@pytest.mark.parametrize("kind", KINDS)
def test_the_entry_of_another_artifact(kind: str) -> None:
    """A log need not have verified what it stores, so all parts must fit."""
    entry, log = add(kind)
    envelope = Envelope(b"{}", IN_TOTO, (SIGNATURE,))
    signed = SignedContent(SIGNATURE, envelope.signed_bytes, "by key", envelope)
    with pytest.raises(SignatureError, match="about another artifact"):
        check(entry, log.trusted(), signed=signed)


@pytest.mark.parametrize("kind", ["dsse 0.0.1", "intoto 0.0.2", "dsse 0.0.2"])
def test_the_entry_of_an_envelope_is_not_about_an_artifact(kind: str) -> None:
    entry, log = add(kind)
    with pytest.raises(SignatureError, match="about another artifact"):
        check(entry, log.trusted(), signed=SignedContent(SIGNATURE, PAYLOAD))


def test_an_entry_with_more_signatures_than_the_envelope() -> None:
    log, body = RekorLog(1), dsse_1(PAYLOAD, SIGNATURE, VERIFIER)
    other = dsse_1(PAYLOAD, b"other", Verifier.of_key(OTHER_KEY))
    body["spec"]["signatures"] += other["spec"]["signatures"]
    with pytest.raises(SignatureError, match="about another artifact"):
        check(log.add(body), log.trusted())
    both = Envelope(PAYLOAD, IN_TOTO, (SIGNATURE, b"other"))
    signed = SignedContent(SIGNATURE, both.signed_bytes, "sha256", both)
    check(log.add(body), log.trusted(), signed=signed)


def test_an_entry_with_the_payload_of_another_type() -> None:
    log, body = RekorLog(1), intoto_2(PAYLOAD, SIGNATURE, VERIFIER)
    body["spec"]["content"]["envelope"]["payloadType"] = "text/plain"
    with pytest.raises(SignatureError, match="about another artifact"):
        check(log.add(body), log.trusted())


def test_only_the_digest_of_an_artifact_is_known() -> None:
    log = RekorLog(1)
    signed = SignedContent(SIGNATURE, None, digest=f"sha256:{SIGNED.digest_by('sha256').hex()}")
    check(log.add(BODIES["hashedrekord 0.0.1"][1]()), log.trusted(), signed=signed)
    other = hashedrekord_1(ENVELOPE.signed_bytes, SIGNATURE, VERIFIER, "sha512")
    with pytest.raises(SignatureError, match="sha512 of the artifact is not known"):
        check(log.add(other), log.trusted(), signed=signed)


# ---- what the log signed ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_the_entry_of_a_log_that_the_root_does_not_have(kind: str) -> None:
    entry, log = add(kind)
    other = RekorLog(log.version)
    with pytest.raises(SignatureError, match="does not have the log"):
        check(entry, other.trusted())
    impostor = {**other.trusted(), "logId": log.trusted()["logId"]}  # another key, the same ID
    with pytest.raises(SignatureError, match="did not sign"):
        check(entry, impostor)
    check(entry, impostor, other.trusted(), log.trusted())  # one of those with this ID signed it


@pytest.mark.parametrize("kind", KINDS)
def test_a_bit_of_the_body_changes(kind: str) -> None:
    entry, log = add(kind)
    body = json.loads(canonical({"x": entry["canonicalizedBody"]}))["x"]
    for changed in (b64(b" ") + body, body[4:], b64(b"{}")):
        with pytest.raises(ContainerdError):
            check({**entry, "canonicalizedBody": changed}, log.trusted())


@pytest.mark.parametrize(
    ("field", "value"), [("integratedTime", "1768478401"), ("logIndex", "1003")]
)
def test_a_promise_covers_time_and_index(field: str, value: str) -> None:
    entry, log = add("dsse 0.0.1")
    assert entry[field] != value
    with pytest.raises(SignatureError, match="did not sign the time"):
        check({**entry, field: value}, log.trusted())


def test_a_time_out_of_range() -> None:
    entry, log = add("dsse 0.0.1")
    entry["integratedTime"] = str(253402300800)
    with pytest.raises(InvalidArgument, match="out of range"):
        check(entry, log.trusted())
    entry["integratedTime"] = "0"
    with pytest.raises(SignatureError):
        check(entry, log.trusted())


@pytest.mark.parametrize("kind", ["hashedrekord 0.0.2", "dsse 0.0.2"])
def test_logs_of_rekor_2_sign_no_times(kind: str) -> None:
    entry, log = add(kind)
    leaf = canonical(BODIES[kind][1]())
    seconds = int(TIME.timestamp())
    promise = {"signedEntryTimestamp": b64(log.promise(leaf, 2, seconds))}
    for more in ({"integratedTime": str(seconds)}, {"inclusionPromise": promise}):
        with pytest.raises(InvalidArgument, match="do not sign"):
            check({**entry, **more}, log.trusted())
    del entry["inclusionProof"]
    with pytest.raises(InvalidArgument):
        check({**entry, "inclusionPromise": promise}, log.trusted(), version="+json;version=0.1")


@pytest.mark.parametrize(
    ("start", "end", "valid"),
    [
        (-HOUR, HOUR, True),
        (0 * HOUR, 0 * HOUR, True),  # both ends belong to the period
        (HOUR, 2 * HOUR, False),
        (-2 * HOUR, -HOUR, False),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_a_log_was_in_use_at_the_time_of_the_signature(
    kind: str, start: timedelta, end: timedelta, valid: bool
) -> None:
    entry, log = add(kind)
    period = {"start": TIME + start, "end": TIME + end}
    if valid:
        check(entry, log.trusted(**period))
        return
    with pytest.raises(SignatureError, match="not in use"):
        check(entry, log.trusted(**period))


def test_a_promised_time_is_in_the_period_of_the_log() -> None:
    """Even if another time is."""
    entry, log = add("dsse 0.0.1")
    period = {"start": TIME + HOUR}
    with pytest.raises(SignatureError, match="not in use"):
        promised_time(read(entry), trusted(log.trusted(**period)))


def test_an_entry_without_promise_and_proof() -> None:
    """Bundles have no such entries, but nothing else must accept them."""
    entry, log = add("dsse 0.0.1")
    bare = replace(read(entry), promise=b"", proof=None)
    assert promised_time(bare, trusted(log.trusted())) is None
    with pytest.raises(SignatureError, match="no inclusion proof"):
        check_included(bare, trusted(log.trusted()), [TIME])


def proof_of(entry: Json) -> Json:
    proof: Json = entry["inclusionProof"]
    return proof


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("hashes", lambda found: found[:-1]),
        ("hashes", lambda found: found[1:]),
        ("hashes", lambda found: found[::-1]),
        ("hashes", lambda found: [*found, found[-1]]),
        ("hashes", lambda found: []),
        ("hashes", lambda found: [b64(b"\x00" * 32), *found[1:]]),
        ("logIndex", lambda found: "0"),
        ("logIndex", lambda found: "3"),
        ("logIndex", lambda found: "4"),
        ("logIndex", lambda found: str(2**63 - 1)),
        ("treeSize", lambda found: "0"),
        ("treeSize", lambda found: "3"),
        ("treeSize", lambda found: "5"),
        ("treeSize", lambda found: str(2**63 - 1)),
        ("rootHash", lambda found: b64(b"\x00" * 32)),
    ],
)
@pytest.mark.parametrize("kind", ["dsse 0.0.1", "hashedrekord 0.0.2"])
def test_a_changed_proof(kind: str, field: str, change: Callable[[Any], Any]) -> None:
    entry, log = add(kind)
    proof_of(entry)[field] = change(proof_of(entry)[field])
    with pytest.raises(SignatureError):
        check(entry, log.trusted())


@pytest.mark.parametrize("kind", ["dsse 0.0.1", "hashedrekord 0.0.2"])
def test_the_proof_of_another_entry(kind: str) -> None:
    entry, log = add(kind)
    entry["inclusionProof"] = log.proof(0)
    if log.version == 2:
        entry["logIndex"] = "0"
    with pytest.raises(SignatureError, match="does not contain"):
        check(entry, log.trusted())


def test_the_index_of_an_entry_of_rekor_2_is_the_index_of_its_proof() -> None:
    entry, log = add("hashedrekord 0.0.2")
    entry["logIndex"] = "3"
    with pytest.raises(SignatureError, match="different indexes"):
        check(entry, log.trusted())


# ---- checkpoints --------------------------------------------------------------------------------


def with_checkpoint(entry: Json, text: str) -> Json:
    entry = copy.deepcopy(entry)
    proof_of(entry)["checkpoint"]["envelope"] = text
    return entry


@pytest.mark.parametrize("kind", ["dsse 0.0.1", "hashedrekord 0.0.2"])
def test_a_later_checkpoint_of_the_log(kind: str) -> None:
    """The checkpoint is valid, but it is of another tree than the proof."""
    entry, log = add(kind)
    add(kind, log)
    with pytest.raises(SignatureError, match="does not belong to its checkpoint"):
        check(with_checkpoint(entry, log.checkpoint()), log.trusted())


@pytest.mark.parametrize("kind", ["dsse 0.0.1", "hashedrekord 0.0.2"])
def test_the_checkpoint_of_another_log(kind: str) -> None:
    entry, log = add(kind)
    other = RekorLog(log.version, "other.example")
    other.leaves = log.leaves
    for known in ([log.trusted()], [log.trusted(), other.trusted()]):
        with pytest.raises(SignatureError):
            check(with_checkpoint(entry, other.checkpoint()), *known)


@pytest.mark.parametrize("kind", ["dsse 0.0.1", "hashedrekord 0.0.2"])
def test_the_name_of_the_signature_is_the_name_of_the_log(kind: str) -> None:
    entry, log = add(kind)
    with pytest.raises(SignatureError, match="did not sign the checkpoint"):
        check(with_checkpoint(entry, log.checkpoint(name="other.example")), log.trusted())


def test_the_origin_of_rekor_2_is_the_host_of_the_log() -> None:
    entry, log = add("hashedrekord 0.0.2")
    text = log.checkpoint(origin="other.example", name="other.example")
    with pytest.raises(SignatureError, match=r"by 'other\.example', not by https://rekor\.example"):
        check(with_checkpoint(entry, text), log.trusted())


def test_the_hint_of_the_signature_is_that_of_the_log() -> None:
    entry, log = add("hashedrekord 0.0.2")
    lines = log.checkpoint().split("\n")
    signature = log.key.sign("\n".join([*lines[:3], ""]).encode())
    text = "\n".join([*lines[:4], note_line(log.host, b"hint", signature)])
    with pytest.raises(SignatureError, match="did not sign the checkpoint"):
        check(with_checkpoint(entry, text), log.trusted())


def test_the_origin_of_rekor_1_may_differ_from_the_host_of_the_log() -> None:
    """By default, all instances have the name of the public instance. The key decides."""
    entry, log = add("dsse 0.0.1")
    check(entry, {**log.trusted(), "baseUrl": "https://other.example"})


@pytest.mark.parametrize(
    "more",
    [
        note_line("witness.example", b"wwww", b"x" * 72),
        note_line("rekor.example", b"wwww", b"x" * 72),  # the log's name, but another key
        note_line("witness.example", b"wwww", b"x" * 72) * 5,
    ],
)
@pytest.mark.parametrize("kind", ["dsse 0.0.1", "hashedrekord 0.0.2"])
def test_other_signatures_do_not_matter(kind: str, more: str) -> None:
    entry, log = add(kind)
    check(with_checkpoint(entry, log.checkpoint(more=more)), log.trusted())
    check(with_checkpoint(entry, log.checkpoint() + more), log.trusted())


def test_a_second_signature_by_the_log_must_be_valid_too() -> None:
    entry, log = add("hashedrekord 0.0.2")
    bad = note_line(log.host, log.id[:4], b"x" * 64)
    with pytest.raises(SignatureError, match="did not sign the checkpoint"):
        check(with_checkpoint(entry, log.checkpoint(more=bad)), log.trusted())


# ---- malformed bodies ---------------------------------------------------------------------------


def leaves_of(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all fields of a document."""
    found = [path] if path else []
    if isinstance(value, dict):
        for name, inner in value.items():
            found += leaves_of(inner, (*path, name))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            found += leaves_of(inner, (*path, number))
    return found


#: Parts that nothing can be compared with, or that need not be there.
FREE: dict[str, list[tuple[Any, ...]]] = {
    "dsse 0.0.1": [("spec", "envelopeHash")],
    "intoto 0.0.2": [("spec", "content", "hash"), ("spec", "content", "envelope", "payload")],
}


def is_free(kind: str, path: tuple[Any, ...]) -> bool:
    prefixes = FREE.get(kind, [])
    return path[-1:] == ("keyDetails",) or any(path[: len(each)] == each for each in prefixes)


@pytest.mark.parametrize("kind", KINDS)
def test_each_field_of_a_body_must_be_there_and_have_its_type(kind: str) -> None:
    version, body = BODIES[kind]
    paths = leaves_of(body())
    assert len(paths) > 8
    for path in paths:
        if is_free(kind, path):
            continue
        for value in (..., 5, {"more": 1}, "\u00e4", [["x"]]):
            document = place = body()
            for step in path[:-1]:
                place = place[step]
            if value is ...:
                del place[path[-1]]
            else:
                place[path[-1]] = value
            log = RekorLog(version)
            entry = log.add({"kind": "x", "apiVersion": "x", **document})
            entry["kindVersion"] = dict(zip(("kind", "version"), kind.split(), strict=True))
            with pytest.raises((InvalidArgument, SignatureError)):
                check(entry, log.trusted())


@pytest.mark.parametrize("kind", KINDS)
def test_an_unknown_field_in_a_body(kind: str) -> None:
    version, body = BODIES[kind]
    for path in [(), *leaves_of(body())]:
        document = place = body()
        for step in path:
            place = place[step]
        if isinstance(place, dict) and not is_free(kind, path):
            place["unknown"] = None
            log = RekorLog(version)
            with pytest.raises(InvalidArgument, match="unknown field 'unknown'"):
                check(log.add(document), log.trusted())


@pytest.mark.parametrize(
    "kind", [("hashedrekord", "0.0.3"), ("rekord", "0.0.1"), ("intoto", "0.0.1"), ("dsse", "1")]
)
def test_an_unknown_kind(kind: tuple[str, str]) -> None:
    log = RekorLog(1)
    entry = log.add({"kind": kind[0], "apiVersion": kind[1], "spec": {}})
    with pytest.raises(InvalidArgument, match="unknown kind"):
        check(entry, log.trusted())


@pytest.mark.parametrize("kind", KINDS)
def test_a_bundle_that_states_another_kind_than_the_body(kind: str) -> None:
    entry, log = add(kind)
    for other in KINDS:
        if other != kind:
            entry["kindVersion"] = dict(zip(("kind", "version"), other.split(), strict=True))
            with pytest.raises((InvalidArgument, SignatureError)):
                check(entry, log.trusted())


def test_a_body_with_two_keys() -> None:
    verifier = Verifier.of_key(KEY)
    verifier.pem *= 2
    log = RekorLog(1)
    with pytest.raises(InvalidArgument, match="2 keys or certificates"):
        check(log.add(dsse_1(PAYLOAD, SIGNATURE, verifier)), log.trusted())
    body = hashedrekord_2(PAYLOAD, SIGNATURE, VERIFIER)
    found = body["spec"]["hashedRekordV002"]["signature"]["verifier"]
    found["x509Certificate"] = found["publicKey"]
    log = RekorLog(2)
    with pytest.raises(InvalidArgument, match="instead of one"):
        check(log.add(body), log.trusted())
