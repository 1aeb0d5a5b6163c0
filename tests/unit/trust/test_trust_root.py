"""Trusted roots: periods, keys and what is malformed."""

from __future__ import annotations

import copy
import json
import logging
import pickle
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from containerd_lite.errors import InvalidArgument, NotFound, SignatureError
from containerd_lite.trust.trust_root import TransparencyLog, TrustRoot
from tests.harness.transparency import TIME, RekorLog, SigningKey, b64, trusted_log

SECOND = timedelta(seconds=1)
AUTHORITY: Any = {
    "subject": {"organization": "example", "commonName": "example"},
    "uri": "https://ca.example",
    "certChain": {"certificates": [{"rawBytes": b64(b"issuer")}, {"rawBytes": b64(b"anchor")}]},
    "validFor": {"start": "2025-01-01T00:00:00Z", "end": "2999-12-31T23:59:59.999999999Z"},
}
TRUSTED: Any = {
    "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
    "tlogs": [RekorLog(1).trusted(), RekorLog(2).trusted()],
    "ctlogs": [RekorLog(1, "ct.example").trusted(start=TIME, end=TIME + SECOND)],
    "certificateAuthorities": [AUTHORITY],
    "timestampAuthorities": [{**AUTHORITY, "uri": "https://tsa.example"}],
}


def parse(document: Any) -> TrustRoot:
    return TrustRoot.parse(json.dumps(document).encode())


def changed(path: str, value: Any) -> Any:
    """The trusted root with another value at a path; ``...`` deletes the field."""
    document = place = copy.deepcopy(TRUSTED)
    *folders, name = path.split("/")
    for folder in folders:
        place = place[int(folder) if isinstance(place, list) else folder]
    if value is ...:
        del place[name]
    else:
        place[name] = value
    return document


def test_a_trusted_root_is_read() -> None:
    root = parse(TRUSTED)
    assert [log.names for log in root.logs] == [("rekor.example", "rekor.example")] * 2
    assert [len(log.id) for log in root.logs] == [32, 32]
    (authority,) = root.authorities
    assert authority.certificates == (b"issuer", b"anchor")
    assert root.timestamp_authorities[0].uri == "https://tsa.example"
    assert authority.period.end == datetime(2999, 12, 31, 23, 59, 59, 999999, timezone.utc)


def test_both_ends_of_a_period_belong_to_it() -> None:
    period = parse(TRUSTED).ct_logs[0].period
    covered = [period.covers(TIME + n * SECOND / 2) for n in range(-1, 4)]
    assert covered == [False, True, True, True, False]
    assert parse(TRUSTED).logs[0].period.covers(datetime.max.replace(tzinfo=timezone.utc))


@pytest.mark.parametrize(
    "path",
    [
        "tlogs/0/publicKey/validFor/start",
        "tlogs/0/publicKey/validFor",
        "ctlogs/0/publicKey/validFor/start",
        "certificateAuthorities/0/validFor/start",
        "timestampAuthorities/0/validFor/start",
        "timestampAuthorities/0/validFor",
        "tlogs/0/publicKey",
        "tlogs/0/publicKey/rawBytes",
        "tlogs/0/publicKey/keyDetails",
        "tlogs/0/logId",
        "tlogs/0/logId/keyId",
        "certificateAuthorities/0/certChain",
        "certificateAuthorities/0/certChain/certificates",
        "mediaType",
    ],
)
def test_a_field_that_must_be_there(path: str) -> None:
    """A period without a start is malformed, not without limits."""
    with pytest.raises(InvalidArgument, match="the trusted root"):
        parse(changed(path, ...))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("mediaType", "application/vnd.dev.sigstore.trustedroot.v0.3+json"),
        ("tlogs/0/publicKey/validFor/start", "2025-01-01"),
        ("tlogs/0/publicKey/validFor/start", "2025-02-30T00:00:00Z"),
        ("tlogs/0/publicKey/validFor/start", "2025-01-01T00:00:00+01:00"),
        ("tlogs/0/publicKey/validFor/start", "2025-01-01T00:00:00"),
        ("tlogs/0/publicKey/validFor/end", "2024-12-31T23:59:59Z"),
        ("tlogs/0/publicKey/rawBytes", b64(b"no key")),
        ("tlogs/0/publicKey/rawBytes", b64(SigningKey("p384").der)),
        ("tlogs/0/publicKey/keyDetails", "PKIX_ED25519"),
        ("tlogs/0/publicKey/keyDetails", 5),
        ("tlogs/0/hashAlgorithm", "SHA2_512"),
        ("tlogs/0/public_key", {}),
        ("tlogs/0/publickey", {}),
        ("tlogs/0/publicKey/valid_for", {}),
        ("certificate_authorities", []),
        ("certificateAuthorities/0/valid_for", {}),
        ("certificateAuthorities/0/certChain/Certificates", []),
        ("certificateAuthorities/0/certChain/certificates", []),
        ("certificateAuthorities/0/certChain/certificates", [{"rawBytes": "AA=="}] * 17),
        ("tlogs", [TRUSTED["tlogs"][0]] * 257),
        ("timestampAuthorities", [AUTHORITY] * 257),
    ],
)
def test_what_is_malformed_is_refused(path: str, value: Any) -> None:
    with pytest.raises(InvalidArgument, match="the trusted root"):
        parse(changed(path, value))


def test_a_trusted_root_is_at_most_4_mib() -> None:
    with pytest.raises(InvalidArgument, match="more than the 4194304 allowed"):
        TrustRoot.parse(b" " * ((4 << 20) + 1))


def test_unknown_fields_are_ignored() -> None:
    parse(changed("operator", "example"))
    parse(changed("tlogs/0/unknown", 1))
    parse(changed("tlogs/0/un_known", 1))


@pytest.mark.parametrize("kind", ["p256", "p384", "p521", "rsa", "ed25519"])
def test_the_key_details_say_how_a_log_signs(kind: Any) -> None:
    key = SigningKey(kind)
    (log,) = parse(changed("tlogs", [trusted_log(key, "https://x", b"id" * 16)])).logs
    assert log.verifies(key.sign(b"message"), b"message")
    assert not log.verifies(key.sign(b"message"), b"other")
    if kind == "p384":
        assert not log.verifies(key.sign(b"message", "sha256"), b"message")


@pytest.mark.parametrize("details", ["PKIX_RSA_PSS_2048_SHA256", "ML_DSA_65", "PKIX_ED25519_PH"])
def test_a_key_of_an_unknown_type_is_an_error_where_it_is_used(details: str) -> None:
    """Roots list keys of former logs, which must not make all other keys useless."""
    log = parse(changed("tlogs/0/publicKey/keyDetails", details)).logs[0]
    assert log.key is None
    with pytest.raises(SignatureError, match=details):
        log.verifies(b"signature", b"message")


def test_the_id_of_a_log_in_checkpoints() -> None:
    stated = parse(changed("tlogs/0/checkpointKeyId", {"keyId": b64(b"abcd")})).logs[0]
    assert stated.hint == b"abcd"
    plain = parse(TRUSTED).logs[0]
    assert plain.hint == plain.id[:4]


@pytest.mark.parametrize(
    ("url", "names"),
    [
        ("https://log.example", ("log.example", "log.example")),
        ("log.example", ("log.example", "log.example")),
        ("http://localhost:8000/path", ("localhost:8000", "localhost")),
        ("http://[::1]:80", ("[::1]:80", "[::1]")),
        ("", ()),
        ("https://user@log.example", ()),
    ],
)
def test_the_names_of_a_log(url: str, names: tuple[str, ...]) -> None:
    log: TransparencyLog = parse(changed("tlogs/0/baseUrl", url)).logs[0]
    assert log.names == names


def test_a_trusted_root_can_be_pickled_and_compared() -> None:
    root = parse(TRUSTED)
    copied = pickle.loads(pickle.dumps(root))
    assert copied == root
    assert hash(copied) == hash(root)
    assert parse(changed("tlogs", [])) != root


def test_loading_warns_if_a_trusted_root_covers_no_signatures_of_today(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "trusted_root.json"
    path.write_text(json.dumps(changed("ctlogs", [])))
    with caplog.at_level(logging.WARNING, logger="containerd_lite"):
        assert TrustRoot.load(path).is_current(TIME)
    assert not caplog.messages
    path.write_text(json.dumps(TRUSTED))
    with caplog.at_level(logging.WARNING, logger="containerd_lite"):
        root = TrustRoot.load(str(path))
    assert f"{path} covers no signatures of today" in caplog.messages[-1]
    assert root.is_current(TIME + SECOND)
    assert not root.is_current(TIME + 2 * SECOND)
    assert not parse({"mediaType": TRUSTED["mediaType"]}).is_current(TIME)
    with pytest.raises(NotFound):
        TrustRoot.load(tmp_path / "absent")
    path.write_text("{}")
    with pytest.raises(InvalidArgument, match=str(path)):
        TrustRoot.load(path)
