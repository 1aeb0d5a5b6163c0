"""Bundles of Sigstore, and the annotations of cosign that have the same content."""

from __future__ import annotations

import json
from typing import Any

import pytest

from containerd_lite.errors import InvalidArgument
from containerd_lite.trust.bundles import Bundle, Material, material_of_annotations
from tests.harness.transparency import (
    RekorLog,
    SigningKey,
    Verifier,
    b64,
    cosign_entry,
    hashedrekord_1,
)

PEM = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"
ENVELOPE: Any = {
    "payload": b64(b"{}"),
    "payloadType": "application/vnd.in-toto+json",
    "signatures": [{"sig": b64(b"signature")}],
}
MESSAGE = {"messageDigest": {"algorithm": "SHA2_256", "digest": b64(b"d" * 32)}}


def entry(version: int = 1) -> Any:
    key = SigningKey()
    return RekorLog(version).add(hashedrekord_1(b"message", b"signature", Verifier.of_key(key)))


def bundle(version: str = "v0.3", **changes: Any) -> Any:
    old = "application/vnd.dev.sigstore.bundle+json;version="
    return {
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json"
        if version == "v0.3"
        else old + version,
        "verificationMaterial": {"publicKey": {"hint": "a hint"}, "tlogEntries": [entry()]},
        "dsseEnvelope": dict(ENVELOPE),
        **changes,
    }


def parse(document: Any) -> Bundle:
    return Bundle.parse(json.dumps(document).encode())


def certificate(version: str) -> Any:
    chain = {"certificates": [{"rawBytes": b64(b"leaf")}, {"rawBytes": b64(b"issuer")}]}
    if version in ("0.1", "0.2"):
        return {"x509CertificateChain": chain}
    return {"certificate": {"rawBytes": b64(b"leaf")}}


@pytest.mark.parametrize("version", ["0.1", "0.2", "0.3", "v0.3"])
def test_each_version_is_read(version: str) -> None:
    document = bundle(version)
    stamps = {"rfc3161Timestamps": [{"signedTimestamp": b64(b"stamp")}]}
    document["verificationMaterial"] = {
        **certificate(version),
        "tlogEntries": [entry()],
        "timestampVerificationData": stamps,
    }
    found = parse(document)
    assert found.material.certificates[0] == b"leaf"
    assert found.material.timestamps == (b"stamp",)
    (logged,) = found.material.entries
    assert (logged.index, logged.kind, logged.version) == (1002, "hashedrekord", "0.0.1")
    assert logged.proof is not None
    assert (logged.proof.index, logged.proof.size) == (2, 4)
    assert found.envelope is not None
    assert found.envelope.signatures == (b"signature",)
    assert found.message_signature is None


def test_a_bundle_of_a_message() -> None:
    document = bundle(messageSignature={"signature": b64(b"s"), **MESSAGE})
    del document["dsseEnvelope"]
    found = parse(document)
    assert found.envelope is None
    assert found.message_signature is not None
    assert (found.message_signature.signature, found.message_signature.hash_name) == (
        b"s",
        "sha256",
    )
    assert found.message_signature.digest == b"d" * 32
    assert found.material.key_hint == "a hint"
    del document["messageSignature"]["messageDigest"]
    assert parse(document).message_signature is not None


def test_an_absent_number_is_zero() -> None:
    """Protocol buffers leave out zeros, as in the first entry of a log."""
    document = bundle()
    logged = document["verificationMaterial"]["tlogEntries"][0]
    for place in (logged, logged["inclusionProof"]):
        del place["logIndex"]
    del logged["inclusionProof"]["hashes"]
    del logged["integratedTime"]
    (found,) = parse(document).material.entries
    assert (found.index, found.integrated_time) == (0, 0)
    assert found.proof is not None
    assert (found.proof.index, found.proof.hashes) == (0, ())


def test_a_bundle_of_version_0_1_may_have_a_promise_alone() -> None:
    document = bundle("0.1")
    logged = document["verificationMaterial"]["tlogEntries"][0]
    del logged["inclusionProof"]["checkpoint"]  # as in bundles of cosign 2.0
    assert parse(document).material.entries[0].proof is None
    del logged["inclusionProof"]
    assert parse(document).material.entries[0].proof is None
    del logged["inclusionPromise"]
    with pytest.raises(InvalidArgument, match="no inclusion proof"):
        parse(document)


@pytest.mark.parametrize("version", ["0.2", "0.3", "v0.3"])
def test_later_versions_need_a_proof_with_a_checkpoint(version: str) -> None:
    document = bundle(version)
    logged = document["verificationMaterial"]["tlogEntries"][0]
    del logged["inclusionProof"]["checkpoint"]
    with pytest.raises(InvalidArgument):
        parse(document)
    del logged["inclusionProof"]
    with pytest.raises(InvalidArgument, match="no inclusion proof with a checkpoint"):
        parse(document)


@pytest.mark.parametrize(
    "media_type",
    [
        "",
        "application/json",
        "application/vnd.dev.sigstore.bundle+json",
        "application/vnd.dev.sigstore.bundle+json;version=0.4",
        "application/vnd.dev.sigstore.bundle+json; version=0.3",
        "application/vnd.dev.sigstore.bundle.v0.2+json",
        "application/vnd.dev.sigstore.bundle.v0.4+json",
        "Application/vnd.dev.sigstore.bundle.v0.3+json",
    ],
)
def test_an_unknown_version_is_refused(media_type: str) -> None:
    with pytest.raises(InvalidArgument):
        parse(bundle(mediaType=media_type))


@pytest.mark.parametrize(
    ("version", "content"), [("0.1", "v0.3"), ("0.2", "v0.3"), ("0.3", "0.2"), ("v0.3", "0.1")]
)
def test_chains_belong_to_older_versions_and_certificates_to_newer_ones(
    version: str, content: str
) -> None:
    with pytest.raises(InvalidArgument, match="unknown field"):
        parse(bundle(version, verificationMaterial=certificate(content)))


def changed(path: str, value: Any) -> Any:
    """A bundle with another value at a path; ``...`` deletes the field."""
    document = place = bundle()
    *folders, name = path.split("/")
    for folder in folders:
        place = place[int(folder) if folder.isdigit() else folder]
    if value is ...:
        del place[name]
    else:
        place[name] = value
    return document


ENTRY = "verificationMaterial/tlogEntries/0"
PROOF = f"{ENTRY}/inclusionProof"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("mediaType", ...),
        ("verificationMaterial", ...),
        ("dsseEnvelope", ...),
        ("messageSignature", {"signature": b64(b"s")}),  # two contents
        ("verification_material", {}),
        ("unknown", None),
        ("verificationMaterial/publicKey", ...),
        ("verificationMaterial/certificate", {"rawBytes": b64(b"leaf")}),  # two contents
        ("verificationMaterial/tlog_entries", []),
        ("verificationMaterial/publicKey", {"hint": "x" * 257}),
        ("verificationMaterial/publicKey", {"hint": "x", "rawBytes": "AA=="}),
        ("dsseEnvelope/signatures", []),
        ("dsseEnvelope/signatures", ENVELOPE["signatures"] * 2),
        ("dsseEnvelope/signatures", [{"sig": ""}]),
        ("dsseEnvelope/signatures", [{"sig": b64(b"x" * (16 << 10) + b"x")}]),
        ("dsseEnvelope/signatures", [{"sig": b64(b"s"), "cert": "more"}]),
        ("dsseEnvelope/unknown", 1),
        (f"{ENTRY}/logIndex", 5),
        (f"{ENTRY}/logIndex", "-1"),
        (f"{ENTRY}/logIndex", "05"),
        (f"{ENTRY}/logIndex", "5.0"),
        (f"{ENTRY}/logIndex", "\u0665"),
        (f"{ENTRY}/logIndex", str(2**63)),
        (f"{ENTRY}/logId", ...),
        (f"{ENTRY}/logId", {"keyId": b64(b"x" * 31)}),
        (f"{ENTRY}/logId/keyId", "_" * 43 + "="),
        (f"{ENTRY}/log_index", "5"),
        (f"{ENTRY}/kindVersion", ...),
        (f"{ENTRY}/kindVersion/version", ...),
        (f"{ENTRY}/integratedTime", "1e3"),
        (f"{ENTRY}/canonicalizedBody", ...),
        (f"{ENTRY}/inclusionPromise", {}),
        (f"{PROOF}/treeSize", 4),
        (f"{PROOF}/treeSize", "-4"),
        (f"{PROOF}/rootHash", b64(b"x" * 33)),
        (f"{PROOF}/hashes", [b64(b"x" * 31)]),
        (f"{PROOF}/hashes", [b64(b"x" * 32)] * 64),
        (f"{PROOF}/hashes", "AAAA"),
        (f"{PROOF}/checkpoint", {}),
        (f"{PROOF}/checkpoint", {"envelope": "x" * (64 << 10) + "x"}),
        ("verificationMaterial/timestampVerificationData", {"rfc3161Timestamps": [{}]}),
        ("verificationMaterial/timestampVerificationData", {"rfc3161_timestamps": []}),
    ],
)
def test_what_is_malformed_is_refused(path: str, value: Any) -> None:
    with pytest.raises(InvalidArgument, match="the bundle"):
        parse(changed(path, value))


def objects_of(value: Any) -> list[Any]:
    """All JSON objects in a document."""
    found = [value] if isinstance(value, dict) else []
    for inner in value.values() if isinstance(value, dict) else value:
        found += objects_of(inner) if isinstance(inner, dict | list) else []
    return found


@pytest.mark.parametrize("version", ["0.2", "v0.3", "a message"])
def test_an_unknown_field_anywhere(version: str) -> None:
    """Other readers understand fields in snake case, so this one must not ignore them."""
    document = bundle("v0.3" if version == "a message" else version)
    stamps = {"rfc3161Timestamps": [{"signedTimestamp": b64(b"stamp")}]}
    document["verificationMaterial"] = {
        **(document["verificationMaterial"] if version == "a message" else certificate(version)),
        "tlogEntries": [entry()],
        "timestampVerificationData": stamps,
    }
    if version == "a message":
        del document["dsseEnvelope"]
        document["messageSignature"] = {"signature": b64(b"s"), **MESSAGE}
    document = json.loads(json.dumps(document))
    parse(document)
    places = objects_of(document)
    assert len(places) >= 12
    for place in places:
        place["un_known"] = None
        with pytest.raises(InvalidArgument, match="unknown field 'un_known'"):
            parse(document)
        del place["un_known"]


def test_an_unknown_field_in_an_annotation() -> None:
    for name in ("bundle", "rfc3161timestamp"):
        document = json.loads(cosign_annotations()[f"dev.sigstore.cosign/{name}"])
        for place in objects_of(document):
            place["unknown"] = None
            with pytest.raises(InvalidArgument, match="unknown field 'unknown'"):
                material_of_annotations(cosign_annotations(**{name: json.dumps(document)}))
            del place["unknown"]


def test_two_spellings_of_a_field_are_refused() -> None:
    body = json.dumps(bundle()).encode()
    for text in (
        body.replace(b'"dsseEnvelope"', b'"dsseenvelope"'),
        body.replace(b'"payload":', b'"payload": "e30=", "payload":'),
        body.replace(b'"logIndex"', b'"LogIndex"', 1),
    ):
        assert text != body
        with pytest.raises(InvalidArgument):
            Bundle.parse(text)


def test_a_message_signature_states_a_known_hash() -> None:
    for digest in ({"algorithm": "SHA1"}, {"algorithm": "SHA2_256", "digest": ""}, {}):
        document = bundle(messageSignature={"signature": b64(b"s"), "messageDigest": digest})
        del document["dsseEnvelope"]
        with pytest.raises(InvalidArgument):
            parse(document)


# ---- bounds (TRUST: CVE-2024-45395) -------------------------------------------------------------


@pytest.mark.parametrize("count", [32, 33])
def test_a_bundle_has_at_most_32_entries_and_32_timestamps(count: int) -> None:
    key, log = SigningKey(), RekorLog(1)
    entries = [
        log.add(hashedrekord_1(b"%d" % number, b"signature", Verifier.of_key(key)))
        for number in range(count)
    ]
    stamps = [{"signedTimestamp": b64(b"%d" % number)} for number in range(count)]
    for field, value in (
        ("tlogEntries", entries),
        ("timestampVerificationData", {"rfc3161Timestamps": stamps}),
    ):
        document = bundle(verificationMaterial={"publicKey": {}, field: value})
        if count == 32:
            parse(document)
            continue
        with pytest.raises(InvalidArgument, match="more than the 32 allowed"):
            parse(document)


def test_what_occurs_twice_is_refused() -> None:
    """Otherwise, one entry could count for two."""
    logged = entry()
    copy = {**logged, "logIndex": "7"}
    for entries in ([logged, logged], [logged, copy]):
        with pytest.raises(InvalidArgument, match="occurs twice"):
            parse(bundle(verificationMaterial={"publicKey": {}, "tlogEntries": entries}))
    with pytest.raises(InvalidArgument, match="occurs twice"):
        Material(timestamps=(b"a", b"b", b"a"))


def test_sizes_are_bounded() -> None:
    large = {"certificate": {"rawBytes": b64(b"x" * ((64 << 10) + 1))}}
    with pytest.raises(InvalidArgument, match="more than the 65536 allowed"):
        parse(bundle(verificationMaterial=large))
    stamps = {"rfc3161Timestamps": [{"signedTimestamp": b64(b"x" * ((64 << 10) + 1))}]}
    with pytest.raises(InvalidArgument, match="more than the 65536 allowed"):
        parse(bundle(verificationMaterial={"publicKey": {}, "timestampVerificationData": stamps}))
    with pytest.raises(InvalidArgument, match="more than the 25165824 allowed"):
        Bundle.parse(b" " * ((24 << 20) + 1))
    with pytest.raises(InvalidArgument, match="more than the 2097152 allowed"):
        material_of_annotations(cosign_annotations(chain=PEM + " " * (2 << 20)))
    with pytest.raises(InvalidArgument, match="x509CertificateChain has no certificate"):
        parse(bundle("0.2", verificationMaterial={"x509CertificateChain": {}}))
    chain = {"certificates": [{"rawBytes": b64(b"%d" % number)} for number in range(17)]}
    with pytest.raises(InvalidArgument, match="17 certificates"):
        parse(bundle("0.2", verificationMaterial={"x509CertificateChain": chain}))


# ---- cosign's annotations -----------------------------------------------------------------------


def cosign_annotations(**changes: str | None) -> dict[str, str]:
    logged = RekorLog(1).add(
        hashedrekord_1(b"message", b"signature", Verifier.of_key(SigningKey()))
    )
    found = {
        "certificate": PEM,
        "chain": PEM * 2,
        "bundle": cosign_entry(logged),
        "rfc3161timestamp": json.dumps({"SignedRFC3161Timestamp": b64(b"stamp")}),
        **changes,
    }
    return {f"dev.sigstore.cosign/{name}": text for name, text in found.items() if text is not None}


def test_the_annotations_of_cosign_are_read() -> None:
    found = material_of_annotations(cosign_annotations())
    assert found.certificates == (b"\x30\x00",)  # the chain comes from the trusted root alone
    assert found.timestamps == (b"stamp",)
    (logged,) = found.entries
    assert (logged.index, logged.kind, logged.version) == (1002, "hashedrekord", "0.0.1")
    assert logged.promise
    assert logged.proof is None


def test_annotations_may_be_absent_or_empty() -> None:
    assert material_of_annotations({"other": "annotation"}) == Material()
    empty = {"certificate": "", "chain": "", "bundle": "", "rfc3161timestamp": ""}
    assert material_of_annotations(cosign_annotations(**empty)) == Material()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("certificate", "no PEM"),
        ("certificate", PEM * 2),
        ("certificate", PEM.replace("CERTIFICATE", "PUBLIC KEY")),
        ("certificate", PEM + "more"),
        ("certificate", PEM.replace("MAA=", "M\ud800A=")),
        ("chain", "no PEM"),
        ("chain", PEM * 17),
        ("bundle", "{}"),
        ("bundle", '{"SignedEntryTimestamp": "AA==", "Payload": {"body": "e30="}}'),
        ("bundle", "{"),
        ("rfc3161timestamp", '{"SignedRFC3161Timestamp": "-"}'),
        ("rfc3161timestamp", '{"signedRFC3161Timestamp": "AA=="}'),
        ("rfc3161timestamp", '{"SignedRFC3161Timestamp": "AA==", "more": 1}'),
    ],
)
def test_malformed_annotations_are_refused(name: str, text: str) -> None:
    with pytest.raises(InvalidArgument, match=rf"dev\.sigstore\.cosign/{name}"):
        material_of_annotations(cosign_annotations(**{name: text}))


@pytest.mark.parametrize(
    ("field", "value"),
    [("logID", "AB" * 32), ("logID", "ab"), ("logIndex", -1), ("logIndex", "1"), ("body", "e30=")],
)
def test_a_malformed_entry_in_an_annotation_is_refused(field: str, value: Any) -> None:
    document = json.loads(cosign_annotations()["dev.sigstore.cosign/bundle"])
    document["Payload"][field] = value
    with pytest.raises(InvalidArgument, match=r"dev\.sigstore\.cosign/bundle"):
        material_of_annotations(cosign_annotations(bundle=json.dumps(document)))
