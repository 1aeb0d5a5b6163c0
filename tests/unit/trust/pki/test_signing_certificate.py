"""Certificates of signers: the path at every signed time, the profile, and the identity."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier

from containerd_lite.errors import ContainerdError, InvalidArgument, SignatureError
from containerd_lite.trust.certificates import CLAIMS, CertificateIdentity
from containerd_lite.trust.evidence import CheckedEvidence
from tests.harness import der
from tests.harness.authority import (
    CODE_SIGNING,
    DAY,
    EMAIL,
    FULCIO,
    ISSUER,
    MINUTE,
    TIME_STAMPING,
    Issuer,
    World,
    as_version,
    check_bundle,
    extension,
    key_usage,
    needs_pki,
    signature_of,
    trusted_authority,
)
from tests.harness.transparency import TIME, SigningKey, b64

pytestmark = needs_pki

SECOND = timedelta(seconds=1)
WORLD = World()
ROOT = WORLD.trusted_root()
URI = "https://github.com/team/app/.github/workflows/release.yml@refs/heads/main"


def sign(**options: Any) -> CheckedEvidence:
    """Sign and verify with a certificate that ``options`` change."""
    return check_bundle(WORLD.sign(**options), ROOT)


def root_of(*authorities: Any) -> Any:
    return WORLD.trusted_root(certificateAuthorities=list(authorities))


@pytest.mark.parametrize("is_message", [False, True])
@pytest.mark.parametrize("rekor", [1, 2, None])
def test_a_valid_signature(rekor: int | None, is_message: bool) -> None:
    found = sign(rekor=rekor, is_message=is_message)
    assert found.identity == CertificateIdentity("someone@example.com", "email", ISSUER)
    assert found.times == (TIME,)
    assert len(found.log_indexes) == (1 if rekor else 0)
    assert found.timestamps == (() if rekor == 1 else (TIME,))


@pytest.mark.parametrize("version", ["0.1", "0.2"])
def test_older_bundles_have_a_chain(version: str) -> None:
    document = as_version(WORLD.sign(rekor=1), version, WORLD.ca.der)
    assert check_bundle(document, ROOT).identity is not None


@pytest.mark.parametrize("kind", ["p256", "p384", "p521", "rsa"])
def test_each_kind_of_key(kind: Any) -> None:
    key = SigningKey(kind)
    assert sign(key=key, certificate=WORLD.certify(key)).key == key.public


def test_the_certificate_of_another_key() -> None:
    """The same identity, but a key that did not sign."""
    document = WORLD.sign(rekor=1)
    other = WORLD.certify(SigningKey())
    document["verificationMaterial"]["certificate"]["rawBytes"] = b64(other)
    with pytest.raises(SignatureError, match="the signature is not by the key"):
        check_bundle(document, ROOT)


def test_another_certificate_of_the_same_key() -> None:
    """The log entry is of the certificate, so it names the identity."""
    key = SigningKey()
    document = WORLD.sign(rekor=1, key=key, certificate=WORLD.certify(key))
    other = WORLD.certify(key, x509.RFC822Name("other@example.com"))
    document["verificationMaterial"]["certificate"]["rawBytes"] = b64(other)
    with pytest.raises(SignatureError, match="the log entry is about another key or certificate"):
        check_bundle(document, ROOT)


@pytest.mark.parametrize("certificate", [b"", b"no certificate", b"\x30\x03\x02\x01\x01"])
def test_a_malformed_certificate(certificate: bytes) -> None:
    document = WORLD.sign()
    document["verificationMaterial"]["certificate"]["rawBytes"] = b64(certificate)
    with pytest.raises(InvalidArgument):
        check_bundle(document, ROOT)


def test_a_bit_of_the_certificate_changes() -> None:
    document = WORLD.sign()
    place = document["verificationMaterial"]["certificate"]
    certificate = WORLD.certify(SigningKey())
    for position in range(0, len(certificate), 7):
        flipped = bytearray(certificate)
        flipped[position] ^= 0x10
        place["rawBytes"] = b64(bytes(flipped))
        with pytest.raises(ContainerdError):
            check_bundle(document, ROOT)


# ---- times --------------------------------------------------------------------------------------


def test_nothing_proves_the_time() -> None:
    with pytest.raises(SignatureError, match="proves when the signature was made"):
        sign(rekor=2, stamps=[])
    with pytest.raises(SignatureError, match="proves when the signature was made"):
        sign(rekor=None, stamps=[])


def test_a_time_without_a_promise_is_not_signed() -> None:
    document = WORLD.sign(rekor=1)
    (entry,) = document["verificationMaterial"]["tlogEntries"]
    del entry["inclusionPromise"]
    with pytest.raises(SignatureError, match="proves when the signature was made"):
        check_bundle(document, ROOT)


def test_a_time_without_a_promise_does_not_matter_beside_a_timestamp() -> None:
    document = WORLD.sign(rekor=1)
    material = document["verificationMaterial"]
    (entry,) = material["tlogEntries"]
    del entry["inclusionPromise"]
    entry["integratedTime"] = str(int((TIME + DAY).timestamp()))
    stamp = b64(WORLD.tsa.stamp(signature_of(document)))
    material["timestampVerificationData"] = {"rfc3161Timestamps": [{"signedTimestamp": stamp}]}
    assert check_bundle(document, ROOT).times == (TIME,)


@pytest.mark.parametrize("rekor", [1, 2])
@pytest.mark.parametrize(
    ("start", "end", "valid"),
    [
        (-MINUTE, MINUTE, True),
        (0 * MINUTE, 0 * MINUTE, True),  # both ends belong to the period
        (SECOND, MINUTE, False),
        (-MINUTE, -SECOND, False),
    ],
)
def test_the_certificate_is_valid_at_the_time(
    rekor: int, start: timedelta, end: timedelta, valid: bool
) -> None:
    period = {"start": TIME + start, "end": TIME + end}
    if valid:
        sign(rekor=rekor, **period)
        return
    with pytest.raises(SignatureError, match="cert is not valid at validation time"):
        sign(rekor=rekor, **period)


def test_a_certificate_that_is_valid_today_only() -> None:
    """Today's clock does not matter."""
    now = datetime.now(timezone.utc).replace(microsecond=0)
    with pytest.raises(SignatureError, match="cert is not valid at validation time"):
        sign(rekor=1, start=now - MINUTE, end=now + DAY)


@pytest.mark.parametrize("rekor", [1, 2])
def test_each_time_matters(rekor: int) -> None:
    """A second timestamp, after the end of the certificate, speaks against the signature."""
    document = WORLD.sign(rekor=rekor)
    signature = signature_of(document)
    times = (TIME, TIME + MINUTE, TIME + 10 * MINUTE)
    stamps = [{"signedTimestamp": b64(WORLD.tsa.stamp(signature, time))} for time in times]
    data = document["verificationMaterial"]["timestampVerificationData"] = {}
    data["rfc3161Timestamps"] = stamps[1:2]
    assert TIME + MINUTE in check_bundle(document, ROOT).times
    data["rfc3161Timestamps"] = stamps
    with pytest.raises(SignatureError, match="cert is not valid at validation time"):
        check_bundle(document, ROOT)


@pytest.mark.parametrize(
    ("start", "end"),
    [(-DAY, -MINUTE), (MINUTE, DAY)],
)
def test_an_issuer_that_is_not_valid_at_the_time(start: timedelta, end: timedelta) -> None:
    """CVE-2026-24122: the certificate is valid, but an intermediate certificate is not."""
    period: Any = {"start": TIME + start, "end": TIME + end}
    ca = Issuer("issuing", WORLD.root, **period)
    root = root_of(trusted_authority("ca", [ca.certificate, WORLD.root.certificate]))
    with pytest.raises(SignatureError, match="cert is not valid at validation time"):
        check_bundle(WORLD.sign(ca=ca), root)
    anchor = Issuer("root", **period)
    ca = Issuer("issuing", anchor)
    root = root_of(trusted_authority("ca", [ca.certificate, anchor.certificate]))
    with pytest.raises(SignatureError, match="cert is not valid at validation time"):
        check_bundle(WORLD.sign(ca=ca), root)


@pytest.mark.parametrize(
    ("period", "valid"),
    [
        ({"start": TIME, "end": TIME}, True),
        ({"start": TIME + SECOND}, False),
        ({"start": TIME - DAY, "end": TIME - SECOND}, False),
    ],
)
def test_the_authority_was_in_use(period: dict[str, datetime], valid: bool) -> None:
    chain = [WORLD.ca.certificate, WORLD.root.certificate]
    root = root_of(trusted_authority("ca.example", chain, **period))
    document = WORLD.sign()
    if valid:
        check_bundle(document, root)
        return
    with pytest.raises(SignatureError, match=r"https://ca\.example was not in use"):
        check_bundle(document, root)


# ---- paths --------------------------------------------------------------------------------------


def test_an_authority_that_the_root_does_not_have() -> None:
    other = Issuer("issuing", Issuer("root"))  # the same names, but other keys
    with pytest.raises(SignatureError, match="no authority of the trusted root"):
        sign(ca=other)
    with pytest.raises(SignatureError, match="it lists none"):
        check_bundle(WORLD.sign(), root_of())


def test_authorities_with_the_same_name() -> None:
    """As after a rotation of keys. The path and the SCT have the issuer that signed."""
    document = WORLD.sign()
    issuers = Issuer("issuing", WORLD.root), WORLD.ca, Issuer("issuing", WORLD.root)
    chains = [[each.certificate, WORLD.root.certificate] for each in issuers]
    check_bundle(document, root_of(*(trusted_authority("ca", chain) for chain in chains)))


def test_longer_and_shorter_chains() -> None:
    middle = Issuer("middle", WORLD.root)
    ca = Issuer("issuing 2", middle)
    chain = [ca.certificate, middle.certificate, WORLD.root.certificate]
    check_bundle(WORLD.sign(ca=ca), root_of(trusted_authority("ca", chain)))
    anchor = trusted_authority("ca", [WORLD.ca.certificate])  # not self-signed
    check_bundle(WORLD.sign(), root_of(anchor))
    alone = trusted_authority("ca", [WORLD.root.certificate])
    check_bundle(WORLD.sign(ca=WORLD.root), root_of(alone))


def test_only_the_trusted_root_lists_issuers() -> None:
    """An issuer in the bundle does not count, even if it has a valid path to the anchor."""
    other = Issuer("other", WORLD.root)
    document = as_version(WORLD.sign(ca=other, rekor=1), "0.2", other.der)
    with pytest.raises(SignatureError, match="no authority of the trusted root"):
        check_bundle(document, ROOT)


def test_a_bundle_with_a_root_certificate() -> None:
    document = as_version(WORLD.sign(rekor=1), "0.2", WORLD.ca.der, WORLD.root.der)
    with pytest.raises(InvalidArgument, match="the bundle contains a root certificate"):
        check_bundle(document, ROOT)


def test_an_issuer_that_is_no_authority() -> None:
    for changes in ({"is_ca": False}, {"usages": [TIME_STAMPING]}):
        ca = Issuer("issuing", WORLD.root, **changes)
        root = root_of(trusted_authority("ca", [ca.certificate, WORLD.root.certificate]))
        with pytest.raises(SignatureError, match="no authority of the trusted root"):
            check_bundle(WORLD.sign(ca=ca), root)
    plain = Issuer("issuing", WORLD.root, usages=[])  # without limits on usage
    root = root_of(trusted_authority("ca", [plain.certificate, WORLD.root.certificate]))
    check_bundle(WORLD.sign(ca=plain), root)


def test_a_certificate_of_another_signer_is_no_authority() -> None:
    """Whoever has a certificate must not issue others with its key."""
    key = SigningKey()
    fake = Issuer.__new__(Issuer)
    fake.key = key
    fake.certificate = x509.load_der_x509_certificate(WORLD.certify(key))
    fake.name = fake.certificate.subject
    document = as_version(WORLD.sign(ca=fake, rekor=1), "0.2")
    with pytest.raises(SignatureError):
        check_bundle(document, ROOT)


def test_the_authority_itself_does_not_sign() -> None:
    document = WORLD.sign(key=WORLD.ca.key, certificate=WORLD.ca.der)
    with pytest.raises(SignatureError):
        check_bundle(document, ROOT)


# ---- the profile --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("usages", "valid"),
    [
        ([CODE_SIGNING], True),
        ([CODE_SIGNING, ExtendedKeyUsageOID.CLIENT_AUTH], True),
        ([], False),
        ([ExtendedKeyUsageOID.CLIENT_AUTH], False),
        ([ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE], False),
        ([TIME_STAMPING], False),
    ],
)
def test_the_key_is_for_signing_code(usages: list[ObjectIdentifier], valid: bool) -> None:
    if valid:
        sign(usages=usages)
        return
    with pytest.raises(SignatureError, match="no authority of the trusted root"):
        sign(usages=usages)


def test_the_key_is_for_signatures() -> None:
    with pytest.raises(SignatureError, match="is not for signatures"):
        sign(usage=key_usage(signs=False))
    with pytest.raises(SignatureError, match="does not state the usage"):
        sign(usage=None)
    with pytest.raises(SignatureError, match="no authority of the trusted root"):
        sign(usage=key_usage(is_ca=True))


def test_an_unknown_critical_extension() -> None:
    value = x509.UnrecognizedExtension(ObjectIdentifier("1.2.3.4"), b"\x05\x00")
    extensions = [extension(8, ISSUER)]
    found = sign(extensions=[*extensions, (value, False)]).identity
    assert found is not None
    assert found.claims == {}
    with pytest.raises(SignatureError, match="no authority of the trusted root"):
        sign(extensions=[*extensions, (value, True)])


# ---- the identity -------------------------------------------------------------------------------


def other_name(text: bytes, oid: str = f"{FULCIO}.7") -> x509.OtherName:
    return x509.OtherName(ObjectIdentifier(oid), text)


@pytest.mark.parametrize(
    ("name", "subject", "kind"),
    [
        (EMAIL, "someone@example.com", "email"),
        (x509.RFC822Name("Some.One@Example.com"), "Some.One@Example.com", "email"),
        (x509.UniformResourceIdentifier(URI), URI, "uri"),
        (other_name(der.utf8_string("someone!example")), "someone!example", "username"),
        (other_name(der.utf8_string("\u00e4" * 100)), "\u00e4" * 100, "username"),
    ],
)
def test_the_subject(name: x509.GeneralName, subject: str, kind: str) -> None:
    key = SigningKey()
    found = sign(key=key, certificate=WORLD.certify(key, name)).identity
    assert found == CertificateIdentity(subject, kind, ISSUER)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        ([x509.DNSName("example.com")], "unknown kind of name"),
        ([x509.RegisteredID(ObjectIdentifier("1.2.3"))], "unknown kind of name"),
        (
            [other_name(der.utf8_string("someone"), "1.3.6.1.4.1.311.20.2.3")],
            "unknown kind of name",
        ),
        ([other_name(der.octet_string(b"someone"))], "not a UTF8String"),
        ([other_name(der.der(0x0C, b"\xff\xfe"))], "malformed"),
        ([other_name(der.utf8_string(""))], "without a name"),
        ([EMAIL, x509.UniformResourceIdentifier(URI)], "2 signers instead of one"),
        ([EMAIL, EMAIL], "2 signers instead of one"),
    ],
)
def test_a_subject_that_does_not_count(names: list[x509.GeneralName], reason: str) -> None:
    key = SigningKey()
    with pytest.raises((SignatureError, InvalidArgument), match=reason):
        sign(key=key, certificate=WORLD.certify(key, *names))


@pytest.mark.parametrize(
    "value", [b"", der.sequence(), der.sequence(b"\x81\x05abc"), der.sequence(b"\x85\x00")]
)
def test_malformed_subjects(value: bytes) -> None:
    document = WORLD.sign()
    plain = der.sequence(der.der(0x81, b"someone@example.com"))
    certificate = WORLD.certify(SigningKey()).replace(
        der.octet_string(plain), der.octet_string(value)
    )
    document["verificationMaterial"]["certificate"]["rawBytes"] = b64(certificate)
    with pytest.raises((SignatureError, InvalidArgument)):
        check_bundle(document, ROOT)


@pytest.mark.parametrize(
    ("extensions", "issuer"),
    [
        ([extension(8, "https://new"), extension(1, "https://old")], "https://new"),
        ([extension(1, "https://old")], "https://old"),
        *(([extension(8, "x" * size)], "x" * size) for size in (127, 128, 255, 256, 300)),
    ],
)
def test_the_issuer(extensions: Any, issuer: str) -> None:
    found = sign(extensions=extensions).identity
    assert found is not None
    assert found.issuer == issuer


def raw(number: int, value: bytes) -> Any:
    return x509.UnrecognizedExtension(ObjectIdentifier(f"{FULCIO}.{number}"), value), False


@pytest.mark.parametrize(
    ("extensions", "reason"),
    [
        ([], "who identified the signer"),
        ([extension(9, "https://issuer.example")], "who identified the signer"),
        ([extension(8, "")], "who identified the signer"),
        ([raw(8, ISSUER.encode())], "not a UTF8String"),
        ([raw(8, der.utf8_string(ISSUER) + b"x")], "not a UTF8String"),
        ([raw(8, b"")], "not a UTF8String"),
        ([raw(8, b"\x0c")], "not a UTF8String"),
        ([raw(8, b"\x0c\x80")], "not a UTF8String"),
        ([raw(8, b"\x0c\x81\x01x")], "not a UTF8String"),
        ([raw(8, b"\x0c\x82\x00\x80" + b"x" * 0x80)], "not a UTF8String"),
        ([raw(8, b"\x0c\x84\x00\x00\x00\x01x")], "not a UTF8String"),
        ([raw(1, b"\xff\xfe")], "malformed"),
    ],
)
def test_an_issuer_that_does_not_count(extensions: Any, reason: str) -> None:
    with pytest.raises((SignatureError, InvalidArgument), match=reason):
        sign(extensions=extensions)


def test_the_claims_of_a_build() -> None:
    texts = {number: f"text {number}" for number in CLAIMS}
    extensions = [extension(number, text) for number, text in {**texts, 8: ISSUER, 99: "x"}.items()]
    found = sign(extensions=extensions).identity
    assert found is not None
    assert found.claims == {CLAIMS[number]: text for number, text in texts.items()}
    assert {name: found.claims[name].split()[1] for name in found.claims} == {
        "github_workflow_trigger": "2",
        "github_workflow_sha": "3",
        "github_workflow_name": "4",
        "github_workflow_repository": "5",
        "github_workflow_ref": "6",
        "build_signer": "9",
        "build_signer_digest": "10",
        "runner_environment": "11",
        "source_repository": "12",
        "source_repository_digest": "13",
        "source_repository_ref": "14",
        "source_repository_id": "15",
        "source_repository_owner": "16",
        "source_repository_owner_id": "17",
        "build_config": "18",
        "build_config_digest": "19",
        "build_trigger": "20",
        "run_invocation": "21",
        "source_repository_visibility": "22",
        "deployment_environment": "23",
    }
