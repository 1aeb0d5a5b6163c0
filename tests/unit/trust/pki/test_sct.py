"""Signed certificate timestamps: the log's promise to list a certificate."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from containerd_lite.errors import SignatureError
from tests.harness.authority import (
    CODE_SIGNING,
    EMAIL,
    ISSUER,
    MINUTE,
    CTLog,
    Issuer,
    World,
    check_bundle,
    extension,
    key_usage,
    name_of,
    needs_pki,
    sct_list,
)
from tests.harness.transparency import TIME, SigningKey, b64

pytestmark = needs_pki

WORLD = World()
ROOT = WORLD.trusted_root()


def check(root: Any = ROOT, **options: Any) -> None:
    check_bundle(WORLD.sign(**options), root)


def test_a_certificate_without_an_sct() -> None:
    with pytest.raises(SignatureError, match="it has no SCT"):
        check(with_sct=False)


@pytest.mark.parametrize("extensions", [b"", bytes.fromhex("0000050000000007"), b"x" * 300])
def test_an_sct_with_extensions(extensions: bytes) -> None:
    """Static certificate logs state the index of the certificate."""
    check(sct_extensions=extensions)


def test_the_extensions_are_signed() -> None:
    key = SigningKey()
    good = WORLD.certify(key, sct_extensions=b"extension")
    document = WORLD.sign(key=key, certificate=good.replace(b"extension", b"Extension"))
    with pytest.raises(SignatureError):
        check_bundle(document, ROOT)


def test_the_sct_of_a_log_that_the_root_does_not_have() -> None:
    other = CTLog()
    with pytest.raises(SignatureError, match=f"does not have the log {other.id.hex()}"):
        check(ct=other)
    with pytest.raises(SignatureError, match="does not have the log"):
        check(WORLD.trusted_root(ctlogs=[]))
    check(WORLD.trusted_root(ctlogs=[WORLD.ct.trusted(), other.trusted()]), ct=other)


def test_the_sct_of_another_log_with_the_same_id() -> None:
    other = CTLog()
    other.id = WORLD.ct.id
    with pytest.raises(SignatureError, match=r"its SCT is not by the log https://ct\.example"):
        check(ct=other)


def test_a_transparency_log_is_not_a_certificate_log() -> None:
    root = WORLD.trusted_root(
        tlogs=[WORLD.rekor_1.trusted(), WORLD.rekor_2.trusted(), WORLD.ct.trusted()], ctlogs=[]
    )
    with pytest.raises(SignatureError, match="does not have the log"):
        check(root)


def test_the_sct_of_a_certificate_by_another_issuer() -> None:
    """The log lists an issuer's key with each certificate."""
    with pytest.raises(SignatureError, match="its SCT is not by the log"):
        check(sct_issuer=Issuer("issuing"))


@pytest.mark.parametrize(
    ("period", "valid"),
    [
        ({"start": TIME - MINUTE, "end": TIME - MINUTE}, True),
        ({"start": TIME}, False),
        ({"end": TIME - 2 * MINUTE}, False),
    ],
)
def test_the_log_was_in_use_at_the_time_of_the_sct(
    period: dict[str, datetime], valid: bool
) -> None:
    root = WORLD.trusted_root(ctlogs=[WORLD.ct.trusted(**period)])
    if valid:
        check(root)
        return
    with pytest.raises(SignatureError, match="was not in use"):
        check(root)


def with_scts(key: SigningKey, make: Any) -> bytes:
    """A certificate with the SCTs that ``make`` returns for a precertificate."""
    parts: list[tuple[x509.ExtensionType, bool]] = [
        (key_usage(), True),
        (x509.ExtendedKeyUsage([CODE_SIGNING]), False),
        (x509.SubjectAlternativeName([EMAIL]), True),
        extension(8, ISSUER),
    ]
    plain = WORLD.ca.issue(key, name_of(""), parts, serial=7)
    stamps = make(plain.tbs_certificate_bytes)
    full = WORLD.ca.issue(key, name_of(""), [*parts, (sct_list(*stamps), False)], serial=7)
    return full.public_bytes(Encoding.DER)


def test_one_of_several_scts_is_enough() -> None:
    other = CTLog("other.example")

    def make(tbs: bytes) -> list[bytes]:
        return [log.sct(tbs, WORLD.ca.key.der) for log in (other, WORLD.ct)]

    key = SigningKey()
    document = WORLD.sign(key=key, certificate=with_scts(key, make))
    check_bundle(document, ROOT)
    with pytest.raises(SignatureError, match="does not have the log"):
        check_bundle(document, WORLD.trusted_root(ctlogs=[CTLog().trusted()]))


@pytest.mark.parametrize("count", [32, 33])
def test_a_certificate_has_at_most_32_scts(count: int) -> None:
    def make(tbs: bytes) -> list[bytes]:
        times = [TIME - timedelta(seconds=number) for number in range(count)]
        return [WORLD.ct.sct(tbs, WORLD.ca.key.der, time) for time in times]

    key = SigningKey()
    document = WORLD.sign(key=key, certificate=with_scts(key, make))
    if count == 32:
        check_bundle(document, ROOT)
        return
    with pytest.raises(SignatureError, match="more than 32 SCTs"):
        check_bundle(document, ROOT)


@pytest.mark.parametrize("stamps", [[], [b""], [b"\x00" * 10]])
def test_malformed_scts(stamps: list[bytes]) -> None:
    key = SigningKey()
    document = WORLD.sign(key=key, certificate=with_scts(key, lambda tbs: stamps))
    with pytest.raises(Exception, match=r"malformed|it has no SCT"):
        check_bundle(document, ROOT)


def test_the_sct_of_another_certificate() -> None:
    key = SigningKey()
    certificate = with_scts(key, lambda tbs: [WORLD.ct.sct(tbs + b"x", WORLD.ca.key.der)])
    document = WORLD.sign(key=key, certificate=certificate)
    assert b64(certificate) in str(document)
    with pytest.raises(SignatureError, match="its SCT is not by the log"):
        check_bundle(document, ROOT)
