"""Timestamps (RFC 3161): of the signature, by an authority of the trusted root, in its time."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from containerd_lite.errors import ContainerdError, InvalidArgument, SignatureError
from tests.harness import der
from tests.harness.authority import (
    DAY,
    MINUTE,
    TIME_STAMPING,
    TimestampAuthority,
    World,
    key_usage,
    name_of,
    needs_pki,
)
from tests.harness.transparency import TIME

pytestmark = needs_pki

SECOND = timedelta(seconds=1)
SIGNATURE = b"a signature"
WORLD = World()
TSA = WORLD.tsa


def check(token: bytes, *trusted: Any, stamped: bytes = SIGNATURE) -> datetime:
    from containerd_lite.trust.pki import check_timestamp

    root = WORLD.trusted_root(timestampAuthorities=list(trusted or [TSA.trusted()]))
    return check_timestamp(token, stamped, root.timestamp_authorities)


@pytest.mark.parametrize("embed", [False, True])
@pytest.mark.parametrize("chain", [2, 3, 4])
def test_a_valid_timestamp(chain: int, embed: bool) -> None:
    tsa = TimestampAuthority(chain=chain)
    assert check(tsa.stamp(SIGNATURE, embed=embed), tsa.trusted()) == TIME


def test_the_trusted_root_may_leave_the_signer_to_the_timestamp() -> None:
    for chain in (2, 3):
        tsa = TimestampAuthority(chain=chain)
        trusted = tsa.trusted(with_signer=False)
        assert check(tsa.stamp(SIGNATURE, embed=True), trusted) == TIME
        with pytest.raises(SignatureError, match="no authority of the trusted root"):
            check(tsa.stamp(SIGNATURE), trusted)


def test_a_time_with_a_fraction() -> None:
    """The whole second counts, as in certificates."""
    assert check(TSA.stamp(SIGNATURE, TIME + SECOND / 4)) == TIME


@pytest.mark.parametrize("hash_name", ["sha256", "sha512"])
def test_each_hash(hash_name: str) -> None:
    assert check(TSA.stamp(SIGNATURE, hash_name=hash_name)) == TIME


def test_sha1_is_too_weak() -> None:
    with pytest.raises(InvalidArgument, match="unknown hash"):
        check(TSA.stamp(SIGNATURE, hash_name="sha1"))


def test_the_timestamp_of_another_signature() -> None:
    with pytest.raises(SignatureError, match="of another signature"):
        check(TSA.stamp(b"another"))


@pytest.mark.parametrize("embed", [False, True])
def test_an_authority_that_the_root_does_not_have(embed: bool) -> None:
    other = TimestampAuthority()  # the same names, but other keys
    token = other.stamp(SIGNATURE, embed=embed)
    with pytest.raises(SignatureError, match="no authority of the trusted root"):
        check(token)
    assert check(token, TSA.trusted(), other.trusted()) == TIME


@pytest.mark.parametrize("status", [1, 2, 3, 4, 5, 6])
def test_a_response_that_grants_nothing(status: int) -> None:
    with pytest.raises(SignatureError, match=f"answered with the status {status}"):
        check(TSA.stamp(SIGNATURE, status=status))


@pytest.mark.parametrize(
    ("period", "valid"),
    [
        ({"start": TIME, "end": TIME}, True),
        ({"start": TIME + SECOND}, False),
        ({"end": TIME - SECOND}, False),
    ],
)
def test_the_authority_was_in_use(period: Any, valid: bool) -> None:
    token = TSA.stamp(SIGNATURE)
    if valid:
        assert check(token, TSA.trusted(**period)) == TIME
        return
    with pytest.raises(SignatureError, match=r"https://tsa\.example was not in use"):
        check(token, TSA.trusted(**period))


def test_the_period_of_another_authority_does_not_count() -> None:
    other = TimestampAuthority("other.example")
    with pytest.raises(SignatureError, match="no authority of the trusted root"):
        check(TSA.stamp(SIGNATURE), TSA.trusted(end=TIME - SECOND), other.trusted())
    with pytest.raises(SignatureError, match="no authority of the trusted root"):
        check(TSA.stamp(SIGNATURE), other.trusted(), TSA.trusted(end=TIME - SECOND))


@pytest.mark.parametrize(
    ("start", "end", "valid"),
    [(-DAY, DAY, True), (-DAY, -MINUTE, False), (MINUTE, DAY, False)],
)
@pytest.mark.parametrize("embed", [False, True])
def test_the_certificate_is_valid_at_the_time(
    start: timedelta, end: timedelta, valid: bool, embed: bool
) -> None:
    """Today's clock does not matter: all these certificates have ended."""
    tsa = TimestampAuthority(start=TIME + start, end=TIME + end)
    token = tsa.stamp(SIGNATURE, embed=embed)
    if valid:
        assert check(token, tsa.trusted()) == TIME
        return
    with pytest.raises(SignatureError, match="was not valid at its time"):
        check(token, tsa.trusted())


@pytest.mark.parametrize(
    "changes",
    [
        {"usages": [ExtendedKeyUsageOID.CODE_SIGNING]},
        {"usages": [TIME_STAMPING, ExtendedKeyUsageOID.CODE_SIGNING]},
        {"usages": [ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]},
        {"critical": False},
    ],
)
@pytest.mark.parametrize("with_signer", [False, True])
def test_the_certificate_is_for_timestamps_alone(changes: Any, with_signer: bool) -> None:
    tsa = TimestampAuthority(**changes)
    with pytest.raises(SignatureError, match="no authority of the trusted root"):
        check(tsa.stamp(SIGNATURE, embed=True), tsa.trusted(with_signer=with_signer))


def test_a_timestamp_with_two_signatures() -> None:
    with pytest.raises(ContainerdError):
        check(TSA.stamp(SIGNATURE, signers=2))


def test_a_timestamp_that_names_another_certificate() -> None:
    """The certificate of another authority, whose key signed, but with the names of the first."""
    other = TimestampAuthority()
    other.certificate = TSA.certificate
    for embed in (False, True):
        with pytest.raises(SignatureError, match="no authority of the trusted root"):
            check(other.stamp(SIGNATURE, embed=embed))


def test_another_certificate_of_the_same_authority() -> None:
    """It counts only if the trusted root does not say which certificate signs."""
    other = TimestampAuthority()
    usage = x509.ExtendedKeyUsage([TIME_STAMPING])
    other.certificate = TSA.issuers[-1].issue(
        other.key, name_of("other"), [(key_usage(), True), (usage, True)]
    )
    token = other.stamp(SIGNATURE, embed=True)
    with pytest.raises(SignatureError, match="no authority of the trusted root"):
        check(token)
    assert check(token, TSA.trusted(with_signer=False)) == TIME


@pytest.mark.parametrize("token", [b"", b"no timestamp", b"\x30\x00", b"\x30\x03\x02\x01\x00"])
def test_a_malformed_timestamp(token: bytes) -> None:
    with pytest.raises(InvalidArgument, match="the timestamp"):
        check(token)


def test_a_response_without_a_token() -> None:
    with pytest.raises(InvalidArgument, match="the timestamp"):
        check(b"\x30\x05\x30\x03\x02\x01\x00")
    with pytest.raises(InvalidArgument, match="the timestamp"):
        check(TSA.stamp(SIGNATURE) + b"\x00")


def test_a_bit_of_a_timestamp_changes() -> None:
    """Only the versions of the structures and the name of the signature's algorithm are free.

    OpenSSL ignores them, and takes the algorithm of the key.
    """
    token = TSA.stamp(SIGNATURE)
    algorithm = der.object_identifier("1.2.840.10045.4.3.2")
    start = token.index(algorithm)
    free = {token.index(der.integer(3)) + 2, *range(start + 2, start + len(algorithm))}
    free.add(token.index(der.sequence(TSA.certificate.issuer.public_bytes())[2:]) - 3)
    for position in range(len(token)):
        changed = bytearray(token)
        changed[position] ^= 0x01
        try:
            assert check(bytes(changed)) == TIME
        except (SignatureError, InvalidArgument):
            continue
        assert position in free
