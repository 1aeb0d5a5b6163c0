"""The cases of Sigstore's public conformance suite (``bundle-verify``), made with our authority.

Each case has the name that it has there. A name that ends in ``_fail`` must be refused. Names of
older and newer releases of the suite are included. The judge covers the cases of its command line
and of the contents of statements.
"""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from containerd_lite.errors import InvalidArgument, SignatureError
from containerd_lite.trust.bundles import Bundle
from containerd_lite.trust.dsse import IN_TOTO, Envelope
from containerd_lite.trust.keys import PublicKey
from containerd_lite.trust.trust_root import TrustRoot
from tests.harness.authority import (
    DAY,
    MINUTE,
    PAYLOAD,
    CTLog,
    Issuer,
    TimestampAuthority,
    World,
    as_version,
    check_bundle,
    needs_pki,
    signature_of,
    trusted_authority,
)
from tests.harness.transparency import (
    TIME,
    Json,
    SigningKey,
    Verifier,
    b64,
    hashedrekord_1,
    hashedrekord_2,
    intoto_2,
    note_line,
)

pytestmark = needs_pki

SECOND = timedelta(seconds=1)
W = World()
KEY = SigningKey()
WITNESS = note_line("witness.example", b"wwww", b"w" * 72)
CHAIN = [W.ca.certificate, W.root.certificate]


class Case:
    """A bundle, and how it is verified."""

    def __init__(self, document: Json, **options: Any) -> None:
        self.document = copy.deepcopy(document)
        self.key: PublicKey | None = options.pop("key", None)
        self.artifact: bytes = options.pop("artifact", b"artifact")
        self.root: Json = options

    def check(self) -> None:
        root: TrustRoot = W.trusted_root(**self.root)
        check_bundle(self.document, root, key=self.key, artifact=self.artifact)

    def change(self, path: str, value: Any) -> Case:
        """Set the value at a path. A function gets the old value; ``...`` deletes it."""
        place: Any = self.document
        *folders, name = [int(step) if step.isdigit() else step for step in path.split("/")]
        for folder in folders:
            place = place[folder]
        if value is ...:
            del place[name]
        else:
            place[name] = value(place[name]) if callable(value) else value
        return self


MATERIAL = "verificationMaterial"
ENTRY = f"{MATERIAL}/tlogEntries/0"
PROOF = f"{ENTRY}/inclusionProof"
NOTE = f"{PROOF}/checkpoint/envelope"
STAMP = f"{MATERIAL}/timestampVerificationData/rfc3161Timestamps/0/signedTimestamp"


def v1(version: str = "", **options: Any) -> Case:
    """A signature of an artifact with an entry of Rekor v1."""
    document = W.sign(rekor=1, is_message=True, **options)
    return Case(as_version(document, version) if version else document)


def v2(**options: Any) -> Case:
    return Case(W.sign(rekor=2, is_message=True, **options))


def dsse(rekor: int = 1, **options: Any) -> Case:
    return Case(W.sign(rekor=rekor, **options))


def intoto(**options: Any) -> Case:
    return Case(as_version(W.sign(rekor=1, kind="intoto 0.0.2", **options), "0.2"))


def managed(**options: Any) -> Case:
    return Case(W.sign(rekor=1, is_message=True, key=KEY), key=KEY.public, **options)


def with_root(case: Case, **root: Any) -> Case:
    case.root.update(root)
    return case


def line(number: int, text: str | None) -> Callable[[str], str]:
    """Replace or remove a line of a checkpoint."""

    def change(note: str) -> str:
        lines = note.split("\n")
        lines[number : number + 1] = [] if text is None else [text]
        return "\n".join(lines)

    return change


def swapped(first: Case, second: Case, *paths: str) -> Case:
    """The first bundle with parts of the second."""
    for path in paths:
        found: Any = second.document
        for step in path.split("/"):
            found = found[int(step) if step.isdigit() else step]
        first.change(path, found)
    return first


def twice(rekor: int, *paths: str, kind: str = "") -> Case:
    """The bundle of one signature with parts of a second one by the same key and certificate."""
    key = SigningKey()
    options = {"key": key, "certificate": W.certify(key), "kind": kind}
    first, second = dsse(rekor, **options), dsse(rekor, **options)
    if "dsseEnvelope" in paths:  # a valid signature of another payload
        payload, message = b"{}", Envelope(b"{}", IN_TOTO, ()).signed_bytes
        second.change("dsseEnvelope/payload", b64(payload))
        signature = key.sign(message)
        second.change("dsseEnvelope/signatures/0/sig", b64(signature))
        if rekor == 2:
            second.change(STAMP, b64(W.tsa.stamp(signature)))
    return swapped(first, second, *paths)


def entry_of(rekor: int, message: bytes, *, of_other: str = "") -> Case:
    """A valid entry of another artifact, signature or certificate."""
    case = v1() if rekor == 1 else v2()
    certificate = case.document[MATERIAL]["certificate"]["rawBytes"]
    if of_other == "certificate":
        certificate = b64(W.certify(SigningKey()))
    signature = signature_of(case.document)
    if of_other == "signature":
        signature = SigningKey().sign(message)
    verifier = Verifier(base64.b64decode(certificate), "CERTIFICATE", "PKIX_ECDSA_P256_SHA_256")
    make, log = (hashedrekord_1, W.rekor_1) if rekor == 1 else (hashedrekord_2, W.rekor_2)
    return case.change(ENTRY, log.add(make(message, signature, verifier)))


def stamped_by(tsa: TimestampAuthority, *, known: bool = True, **options: Any) -> Case:
    """A bundle with a timestamp of another authority."""
    period = options.pop("period", {})
    case = v2()
    case.change(STAMP, b64(tsa.stamp(signature_of(case.document), **options)))
    trusted = [W.tsa.trusted(), *([tsa.trusted(**period)] if known else [])]
    return with_root(case, timestampAuthorities=trusted)


def after(case: Case, time: timedelta) -> Case:
    """A second timestamp, at another time."""
    data = case.document[MATERIAL]["timestampVerificationData"]["rfc3161Timestamps"]
    stamp = W.tsa.stamp(signature_of(case.document), TIME + time)
    data.append({"signedTimestamp": b64(stamp)})
    return case


def trusted_logs(**period: Any) -> list[Json]:
    return [W.rekor_1.trusted(**period), W.rekor_2.trusted(**period)]


def without_start() -> list[Json]:
    logs = trusted_logs()
    del logs[1]["publicKey"]["validFor"]["start"]
    return logs


def decoy() -> Json:
    other = Issuer("root 2")
    return trusted_authority(
        "ca2.example", [Issuer("issuing", other).certificate, other.certificate]
    )


def renamed(note: str) -> str:
    """The checkpoint with another name before the log's signature."""
    return note.replace(f"\u2014 {W.rekor_2.host}", "\u2014 other.example")


def old_proof() -> Case:
    """A proof of the tree before the entry was added."""
    proof = W.rekor_1.proof(0)
    return v1().change(PROOF, proof)


def foreign(**options: Any) -> Case:
    return Case(World().sign(is_message=True, **options))


def flip(text: str) -> str:
    data = bytearray(base64.b64decode(text))
    data[-1] ^= 1
    return b64(bytes(data))


def flip_signature(note: str) -> str:
    head, _, signature = note.rstrip("\n").rpartition(" ")
    return f"{head} {flip(signature)}\n"


def with_hint(note: str) -> str:
    head, _, signature = note.rstrip("\n").rpartition(" ")
    return f"{head} {b64(b'hint' + base64.b64decode(signature)[4:])}\n"


def canonical_intoto() -> Case:
    case = Case(W.sign(rekor=1, key=KEY), key=KEY.public)
    signature = signature_of(case.document)
    body = intoto_2(PAYLOAD, signature, Verifier.of_key(KEY), with_payload=False)
    return case.change(ENTRY, W.rekor_1.add(body))


def late_stamp(case: Case) -> Case:
    stamp = W.tsa.stamp(signature_of(case.document), TIME + DAY)
    stamps = {"rfc3161Timestamps": [{"signedTimestamp": b64(stamp)}]}
    return case.change(f"{MATERIAL}/timestampVerificationData", stamps)


CASES: dict[str, Callable[[], Case]] = {
    "happy-path-v0.1": lambda: v1("0.1"),
    "happy-path-v0.2": lambda: v1("0.2"),
    "happy-path-v0.3": lambda: v1().change(
        "mediaType", "application/vnd.dev.sigstore.bundle+json;version=0.3"
    ),
    "happy-path-v0.3-new-mediaType": v1,
    "happy-path-intoto-in-dsse-v3": dsse,
    "bundle-empty-certificate-chain_fail": lambda: v1("0.1").change(
        f"{MATERIAL}/x509CertificateChain/certificates", []
    ),
    "bundle-from-wrong-instance_fail": lambda: foreign(rekor=1),
    "bundle-invalid-base64-signature_fail": lambda: v1().change(
        "messageSignature/signature", "not base64!"
    ),
    "bundle-negative-log-index_fail": lambda: v1().change(f"{ENTRY}/logIndex", "-1"),
    "bundle-unknown-version_fail": lambda: v1().change(
        "mediaType", "application/vnd.dev.sigstore.bundle+json;version=99.9"
    ),
    "bundle-with-root-cert_fail": lambda: Case(
        as_version(W.sign(rekor=1, is_message=True), "0.1", W.ca.der, W.root.der)
    ),
    "bundle-with-sct-with-extensions": lambda: v2(sct_extensions=bytes(8)),
    "checkpoint-bad-keyhint_fail": lambda: v1().change(NOTE, lambda note: with_hint(note)),
    "checkpoint-wrong-roothash_fail": lambda: swapped(v1(), v1(), f"{PROOF}/checkpoint"),
    "inclusion-proof-corrupted-hash_fail": lambda: v1().change(f"{PROOF}/hashes/0", flip),
    "invalid-inclusion-proof_fail": old_proof,
    "invalid-checkpoint-signature_fail": lambda: v1().change(NOTE, flip_signature),
    "incorrect-public-key_fail": lambda: v1().change(f"{ENTRY}/canonicalizedBody", b64(b"{}")),
    "integrated-time-in-future_fail": lambda: v1(time=TIME + 300 * DAY),
    "set-invalid-signature_fail": lambda: v1().change(
        f"{ENTRY}/inclusionPromise/signedEntryTimestamp", flip
    ),
    "signature-mismatch_fail": lambda: v1().change("messageSignature/signature", flip),
    "message-digest-mismatch_fail": lambda: v1().change(
        "messageSignature/messageDigest/digest", flip
    ),
    "wrong-material_fail": lambda: Case(W.sign(rekor=1, is_message=True), artifact=b"other"),
    "wrong-hashedrekord-artifact_fail": lambda: entry_of(1, b"other"),
    "wrong-hashedrekord-cert-and-sig_fail": lambda: entry_of(
        1, b"artifact", of_other="certificate"
    ),
    "wrong-hashedrekord-entry_fail": lambda: swapped(v1(), v1(), ENTRY),
    "invalid-ct-key_fail": lambda: with_root(v1(), ctlogs=[CTLog().trusted()]),
    # ---- statements ----
    "dsse-invalid-sig_fail": lambda: dsse().change("dsseEnvelope/signatures/0/sig", flip),
    "dsse-mismatch-envelope_fail": lambda: twice(1, "dsseEnvelope"),
    "dsse-mismatch-sig_fail": lambda: twice(1, "dsseEnvelope/signatures"),
    "dsse-with-hashedrekord-happy-path": lambda: dsse(kind="hashedrekord 0.0.1"),
    "dsse-with-hashedrekord-invalid-sig_fail": lambda: dsse(kind="hashedrekord 0.0.1").change(
        "dsseEnvelope/signatures/0/sig", b64(SigningKey().sign(b"x"))
    ),
    "dsse-with-hashedrekord-mismatch-envelope_fail": lambda: twice(
        1, "dsseEnvelope", kind="hashedrekord 0.0.1"
    ),
    "dsse-with-hashedrekord-mismatch-sig_fail": lambda: twice(
        1, "dsseEnvelope/signatures", kind="hashedrekord 0.0.1"
    ),
    "cve-2022-36056-swapped-tlog-entry_fail": lambda: twice(1, ENTRY),
    "intoto-with-custom-trust-root": intoto,
    "intoto-canonical-log-entry": lambda: canonical_intoto(),
    "intoto-expired-certificate_fail": lambda: intoto(start=TIME - 2 * DAY, end=TIME - DAY),
    "intoto-log-entry-mismatch_fail": lambda: swapped(intoto(), intoto(), ENTRY),
    "intoto-missing-inclusion-proof_fail": lambda: intoto().change(PROOF, ...),
    "intoto-set-outside-signing-cert-validity_fail": lambda: intoto(time=TIME + DAY),
    "intoto-tsa-timestamp-outside-cert-validity_fail": lambda: late_stamp(intoto()),
    # ---- keys ----
    "managed-key-happy-path": managed,
    "managed-key-and-trusted-root": managed,
    "managed-key-no-key_fail": lambda: Case(W.sign(rekor=1, is_message=True, key=KEY)),
    "managed-key-wrong-key_fail": lambda: Case(
        W.sign(rekor=1, is_message=True, key=KEY), key=SigningKey().public
    ),
    # ---- Rekor v2 ----
    "rekor2-happy-path": v2,
    "rekor2-no-inclusion-proof_fail": lambda: v2().change(PROOF, ...),
    "rekor2-no-timestamp_fail": lambda: v2(stamps=[]),
    "rekor2-checkpoint-cosigned": lambda: v2().change(NOTE, lambda note: note + WITNESS),
    "rekor2-checkpoint-multiple-cosigs": lambda: v2().change(
        NOTE, lambda note: note + WITNESS + note_line("other.example/w", b"oooo", b"o" * 72)
    ),
    "rekor2-checkpoint-origin-not-first": lambda: v2().change(NOTE, line(3, f"\n{WITNESS[:-1]}")),
    "rekor2-checkpoint-two-sigs-from-origin": lambda: v2().change(
        NOTE, lambda note: note + note_line(W.rekor_2.host, b"ecds", b"e" * 70)
    ),
    "rekor2-checkpoint-two-sigs-cosigned": lambda: v2().change(
        NOTE, lambda note: note + note_line(W.rekor_2.host, b"ecds", b"e" * 70) + WITNESS
    ),
    "rekor2-checkpoint-missing-origin_fail": lambda: v2().change(NOTE, line(0, None)),
    "rekor2-checkpoint-missing-size_fail": lambda: v2().change(NOTE, line(1, None)),
    "rekor2-checkpoint-missing-root-hash_fail": lambda: v2().change(NOTE, line(2, None)),
    "rekor2-checkpoint-missing-log-signature_fail": lambda: v2().change(NOTE, line(4, None)),
    "rekor2-checkpoint-no-matching-signature_fail": lambda: v2().change(NOTE, renamed),
    "rekor2-dsse-happy-path": lambda: dsse(2),
    "rekor2-dsse-invalid-sig_fail": lambda: swapped(
        dsse(2), dsse(2), "dsseEnvelope/signatures", f"{MATERIAL}/timestampVerificationData"
    ),
    "rekor2-dsse-mismatch-envelope_fail": lambda: twice(
        2, "dsseEnvelope", f"{MATERIAL}/timestampVerificationData"
    ),
    "rekor2-dsse-mismatch-sig_fail": lambda: twice(
        2, "dsseEnvelope/signatures", f"{MATERIAL}/timestampVerificationData"
    ),
    # ---- timestamps ----
    "rekor2-timestamp-with-embedded-cert": lambda: stamped_by(W.tsa, known=False, embed=True),
    "rekor2-timestamp-without-embedded-cert": lambda: stamped_by(W.tsa, known=False),
    "rekor2-timestamp-with-expired-cert-chain": lambda: stamped_by(
        TimestampAuthority(start=TIME - MINUTE, end=TIME + MINUTE)
    ),
    "rekor2-timestamp-outside-tsa-cert-validity_fail": lambda: stamped_by(
        TimestampAuthority(start=TIME - 5 * MINUTE, end=TIME - MINUTE)
    ),
    "rekor2-timestamp-outside-trust-root-tsa-validity_fail": lambda: with_root(
        v2(), timestampAuthorities=[W.tsa.trusted(end=TIME - SECOND)]
    ),
    "rekor2-timestamp-wrong-tsa-validity-borrow_fail": lambda: with_root(
        v2(),
        timestampAuthorities=[
            W.tsa.trusted(end=TIME - SECOND),
            TimestampAuthority("other.example").trusted(),
        ],
    ),
    "rekor2-timestamp-untrusted-tsa-with-embedded-cert_fail": lambda: stamped_by(
        TimestampAuthority(), known=False, embed=True
    ),
    "rekor2-timestamp-untrusted-tsa-without-embedded-cert_fail": lambda: stamped_by(
        TimestampAuthority(), known=False
    ),
    "rekor2-timestamp-payload-mismatch_fail": lambda: swapped(v2(), v2(), STAMP),
    "rekor2-timestamp-with-incorrect-time_fail": lambda: stamped_by(
        W.tsa, known=False, time=TIME + DAY
    ),
    "rekor2-multiple-timestamps-one-outside-cert-validity_fail": lambda: after(v2(), DAY),
    # ---- trusted roots ----
    "sct-duplicate-intermediate-name": lambda: with_root(
        v2(), certificateAuthorities=[decoy(), trusted_authority("ca.example", CHAIN)]
    ),
    "trust-root-tlog-missing-validity-start_fail": lambda: with_root(v2(), tlogs=without_start()),
    "trust-root-tlog-validity-end-inclusive": lambda: with_root(v1(), tlogs=trusted_logs(end=TIME)),
    "trust-root-tsa-validity-end-inclusive": lambda: with_root(
        v2(), timestampAuthorities=[W.tsa.trusted(end=TIME)]
    ),
}


TIME_OF_CERTIFICATE = "cert is not valid at validation time"
OTHER_SIGNATURE = "the log entry is about another signature"
NOT_BY_KEY = "the signature is not by the key"
NO_AUTHORITY = "no authority of the trusted root issued the timestamp"
#: Why each case is refused.
REASONS = {
    "bundle-empty-certificate-chain_fail": "has no certificate",
    "bundle-from-wrong-instance_fail": "the trusted root does not have the log",
    "bundle-invalid-base64-signature_fail": "signature is not base64",
    "bundle-negative-log-index_fail": "'logIndex' is not a number",
    "bundle-unknown-version_fail": "unknown type",
    "bundle-with-root-cert_fail": "contains a root certificate",
    "checkpoint-bad-keyhint_fail": "did not sign the checkpoint",
    "checkpoint-wrong-roothash_fail": "does not belong to its checkpoint",
    "inclusion-proof-corrupted-hash_fail": "does not contain the log entry",
    "invalid-inclusion-proof_fail": "does not contain the log entry",
    "invalid-checkpoint-signature_fail": "did not sign the checkpoint",
    "incorrect-public-key_fail": "did not sign the time",
    "integrated-time-in-future_fail": TIME_OF_CERTIFICATE,
    "set-invalid-signature_fail": "did not sign the time",
    "signature-mismatch_fail": NOT_BY_KEY,
    "message-digest-mismatch_fail": "the bundle is about sha256:",
    "wrong-material_fail": "the bundle is about sha256:",
    "wrong-hashedrekord-artifact_fail": "about another artifact",
    "wrong-hashedrekord-cert-and-sig_fail": "about another key or certificate",
    "wrong-hashedrekord-entry_fail": OTHER_SIGNATURE,
    "invalid-ct-key_fail": "no certificate log promised to list the certificate",
    "dsse-invalid-sig_fail": NOT_BY_KEY,
    "dsse-mismatch-envelope_fail": OTHER_SIGNATURE,
    "dsse-mismatch-sig_fail": OTHER_SIGNATURE,
    "dsse-with-hashedrekord-invalid-sig_fail": NOT_BY_KEY,
    "dsse-with-hashedrekord-mismatch-envelope_fail": OTHER_SIGNATURE,
    "dsse-with-hashedrekord-mismatch-sig_fail": OTHER_SIGNATURE,
    "cve-2022-36056-swapped-tlog-entry_fail": OTHER_SIGNATURE,
    "intoto-expired-certificate_fail": TIME_OF_CERTIFICATE,
    "intoto-log-entry-mismatch_fail": OTHER_SIGNATURE,
    "intoto-missing-inclusion-proof_fail": "no inclusion proof",
    "intoto-set-outside-signing-cert-validity_fail": TIME_OF_CERTIFICATE,
    "intoto-tsa-timestamp-outside-cert-validity_fail": TIME_OF_CERTIFICATE,
    "managed-key-no-key_fail": "the signature has no certificate",
    "managed-key-wrong-key_fail": NOT_BY_KEY,
    "rekor2-no-inclusion-proof_fail": "no inclusion proof",
    "rekor2-no-timestamp_fail": "proves when the signature was made",
    "rekor2-checkpoint-missing-origin_fail": "does not have an origin",
    "rekor2-checkpoint-missing-size_fail": "does not have an origin",
    "rekor2-checkpoint-missing-root-hash_fail": "does not have an origin",
    "rekor2-checkpoint-missing-log-signature_fail": "not a signed note",
    "rekor2-checkpoint-no-matching-signature_fail": "did not sign the checkpoint",
    "rekor2-dsse-invalid-sig_fail": NOT_BY_KEY,
    "rekor2-dsse-mismatch-envelope_fail": OTHER_SIGNATURE,
    "rekor2-dsse-mismatch-sig_fail": OTHER_SIGNATURE,
    "rekor2-timestamp-outside-tsa-cert-validity_fail": NO_AUTHORITY,
    "rekor2-timestamp-outside-trust-root-tsa-validity_fail": "was not in use at the time",
    "rekor2-timestamp-wrong-tsa-validity-borrow_fail": NO_AUTHORITY,
    "rekor2-timestamp-untrusted-tsa-with-embedded-cert_fail": NO_AUTHORITY,
    "rekor2-timestamp-untrusted-tsa-without-embedded-cert_fail": NO_AUTHORITY,
    "rekor2-timestamp-payload-mismatch_fail": "the timestamp is of another signature",
    "rekor2-timestamp-with-incorrect-time_fail": TIME_OF_CERTIFICATE,
    "rekor2-multiple-timestamps-one-outside-cert-validity_fail": TIME_OF_CERTIFICATE,
    "trust-root-tlog-missing-validity-start_fail": "validFor has no start",
}


@pytest.mark.parametrize("name", CASES)
def test_a_case_of_the_conformance_suite(name: str) -> None:
    case = CASES[name]()
    if not name.endswith("_fail"):
        case.check()
        return
    with pytest.raises((InvalidArgument, SignatureError), match=REASONS[name]):
        case.check()


def test_malformed_json() -> None:
    """The case ``bundle-malformed-json_fail``."""
    body = json.dumps(v1().document).encode()
    with pytest.raises(InvalidArgument, match="not valid JSON"):
        Bundle.parse(body[: len(body) // 2])
