"""Policies of skopeo's format that want certificates (`fulcio`, `pki`): the verdicts are skopeo's.

The authorities are the tests' own, so no server is needed. ``test_keyless.py`` has the real ones.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.harness import images, signatures
from tests.harness.authority import (
    CODE_SIGNING,
    DAY,
    EMAIL,
    HAS_PKI,
    ISSUER,
    MINUTE,
    Issuer,
    World,
    extension,
)
from tests.harness.images import Json
from tests.harness.registry import Registry
from tests.harness.transparency import TIME, RekorLog, SigningKey, Verifier

from .containers import ONE, Case, encoded, payload, policy, promised, push

pytest.importorskip("yaml")
pytestmark = [
    pytest.mark.registry,
    pytest.mark.slow,
    pytest.mark.turns(12),
    pytest.mark.skipif(not HAS_PKI, reason="certificates need cryptography>=45"),
]

NOW = datetime.now(timezone.utc)
WORLD, STRANGER = World(), World()
LOG, OTHER_LOG = RekorLog(1), RekorLog(1)
CERTIFICATE, CHAIN = "dev.sigstore.cosign/certificate", "dev.sigstore.cosign/chain"
SOMEONE, HOST = "someone@example.com", "build.example.com"

#: A company's authority, whose certificates are valid today.
_TODAY: dict[str, Any] = {"start": NOW - DAY, "end": NOW + 30 * DAY}
ROOT = Issuer("company root", **_TODAY)
CA = Issuer("company issuing", ROOT, **_TODAY)
OTHER_ROOT = Issuer("another root", **_TODAY)


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


def pem(*ders: bytes) -> str:
    return "".join(Verifier(der, "CERTIFICATE", "").pem.decode() for der in ders)


@dataclass(frozen=True)
class Signed:
    """A signature with a certificate, and what comes with it."""

    certificate: bytes
    key: SigningKey
    chain: Sequence[bytes] = ()
    log: RekorLog | None = LOG
    #: What the log's entry is about, if not about this signature.
    logged: bytes = b""
    more: tuple[tuple[str, str], ...] = ()

    def layer(self, ref: str) -> tuple[Json, bytes]:
        body = payload(ONE.digest, ref)
        signature = self.key.sign(body, "sha256")
        annotations = {
            signatures.SIGNATURE: base64.b64encode(signature).decode(),
            CERTIFICATE: pem(self.certificate),
            **({CHAIN: pem(*self.chain)} if self.chain else {}),
            **dict(self.more),
        }
        if self.log is not None:
            verifier = Verifier(self.logged or self.certificate, "CERTIFICATE", "")
            annotations |= promised(self.log, body, signature, verifier)
        kind = signatures.SIMPLE_SIGNING
        return {**images.descriptor(kind, body), "annotations": annotations}, body


def by_fulcio(*names: x509.GeneralName, world: World = WORLD, **changes: Any) -> Signed:
    """A signature with a certificate as Fulcio issues it, at ``TIME``."""
    key = SigningKey()
    return Signed(world.certify(key, *names, **changes), key, (world.ca.der, world.root.der))


def by_company(*names: x509.GeneralName, ca: Issuer = CA, **changes: Any) -> Signed:
    """A signature with a certificate of a company, which is valid today."""
    key = SigningKey()
    options = {"with_sct": False, "extensions": [], **_TODAY, **changes}
    return Signed(WORLD.certify(key, *names, ca=ca, **options), key, (ca.der, ROOT.der), log=None)


def certified(kind: str, *logs: RekorLog, **fields: str) -> bytes:
    """A policy that wants a certificate."""
    keys = [encoded(log.key.pem) for log in logs]
    wanted = {"type": "sigstoreSigned", kind: fields}
    return policy({**wanted, "rekorPublicKeyDatas": keys} if keys else wanted)


def fulcio(*roots: Issuer, logs: Sequence[RekorLog] = (LOG,), **fields: str) -> bytes:
    trusted = encoded(pem(*(each.der for each in roots or (WORLD.root,))))
    wanted = {"caData": trusted, "oidcIssuer": ISSUER, "subjectEmail": SOMEONE}
    return certified("fulcio", *logs, **{**wanted, **fields})


def pki(*roots: Issuer, **fields: str) -> bytes:
    trusted = encoded(pem(*(each.der for each in roots or (ROOT,))))
    return certified("pki", **{"caRootsData": trusted, **fields})


def check(case: Case, registry: Registry, name: str, signed: Signed, body: bytes) -> bool:
    ref = f"{registry.host}/certificates/{name}:1"
    push(registry, f"certificates/{name}", signed.layer(ref))
    return case.check(ref, body)


_URI = x509.UniformResourceIdentifier("https://example.com/someone")
_OLD = [extension(1, ISSUER)]
FULCIO: dict[str, tuple[Signed, bool]] = {
    "good": (by_fulcio(), True),
    "without SCT": (by_fulcio(with_sct=False), True),
    "old issuer": (by_fulcio(extensions=_OLD), True),
    "another issuer": (by_fulcio(extensions=[extension(8, ISSUER + "/")]), False),
    "two issuers": (
        by_fulcio(extensions=[extension(1, ISSUER + "/"), extension(8, ISSUER)]),
        False,
    ),
    "no issuer": (by_fulcio(extensions=[]), False),
    "two addresses": (by_fulcio(x509.RFC822Name("else@example.com"), EMAIL), True),
    "an address and a URI": (by_fulcio(_URI, EMAIL), True),
    "another address": (by_fulcio(x509.RFC822Name("else@example.com")), False),
    "another case": (by_fulcio(x509.RFC822Name(SOMEONE.upper())), False),
    "a URI": (by_fulcio(_URI), False),
    "the address as a URI": (by_fulcio(x509.UniformResourceIdentifier(SOMEONE)), False),
    "a stranger": (by_fulcio(world=STRANGER), False),
    "no chain": (replace(by_fulcio(), chain=()), False),
    "the issuer last in the chain": (replace(by_fulcio(), chain=(WORLD.ca.der,)), False),
    "another root in the chain": (
        replace(by_fulcio(), chain=(WORLD.ca.der, STRANGER.root.der)),
        True,
    ),
    "another chain": (replace(by_fulcio(), chain=(STRANGER.ca.der, STRANGER.root.der)), False),
    "a stranger's root in the chain": (
        replace(by_fulcio(world=STRANGER), chain=(STRANGER.ca.der, STRANGER.root.der)),
        False,
    ),
    "by the root": (by_fulcio(ca=WORLD.root), True),
    "expired": (by_fulcio(start=TIME - 9 * MINUTE, end=TIME - MINUTE), False),
    "too early": (by_fulcio(start=TIME + MINUTE, end=TIME + 9 * MINUTE), False),
    "for another usage": (by_fulcio(usages=[ExtendedKeyUsageOID.CLIENT_AUTH]), False),
    "for two usages": (by_fulcio(usages=[ExtendedKeyUsageOID.CLIENT_AUTH, CODE_SIGNING]), True),
    "not in a log": (replace(by_fulcio(), log=None), False),
    "in another log": (replace(by_fulcio(), log=OTHER_LOG), False),
    "another certificate in the log": (
        replace(by_fulcio(), logged=by_fulcio().certificate),
        False,
    ),
    "another key": (replace(by_fulcio(), key=SigningKey()), False),
    "a timestamp": (
        replace(
            by_fulcio(),
            more=(("dev.sigstore.cosign/rfc3161timestamp", '{"SignedRFC3161Timestamp": "AAAA"}'),),
        ),
        True,
    ),
}


@pytest.mark.parametrize("kind", FULCIO)
def test_fulcio(case: Case, registry: Registry, kind: str) -> None:
    signed, expected = FULCIO[kind]
    name = f"fulcio-{list(FULCIO).index(kind)}"
    assert check(case, registry, name, signed, fulcio()) == expected


#: Requirements for the same signature: the authorities, the logs, and other fields.
WANTED: dict[str, tuple[bytes, bool]] = {
    "another issuer": (fulcio(oidcIssuer="https://else.example"), False),
    "another address": (fulcio(subjectEmail="else@example.com"), False),
    "another authority": (fulcio(STRANGER.root), False),
    "two authorities": (fulcio(STRANGER.root, WORLD.root), True),
    "the intermediate as authority": (fulcio(WORLD.ca), True),
    "another log": (fulcio(logs=[OTHER_LOG]), False),
    "two logs": (fulcio(logs=[OTHER_LOG, LOG]), True),
    "not PEM": (fulcio(caData="AAAA"), False),
    "no certificate": (fulcio(caData=encoded(LOG.key.pem)), False),
    "text between": (fulcio(caData=encoded(f"# root\n{pem(WORLD.root.der)}\n# end\n")), True),
}


@pytest.mark.parametrize("kind", WANTED)
def test_requirements_on_fulcio(case: Case, registry: Registry, kind: str) -> None:
    body, expected = WANTED[kind]
    assert check(case, registry, "wanted", by_fulcio(), body) == expected


_HOST, _WILDCARD = x509.DNSName(HOST), x509.DNSName("*.example.com")
_MAIL, _ADDRESS = {"subjectEmail": SOMEONE}, x509.IPAddress(ip_address("192.0.2.7"))
PKI: dict[str, tuple[Signed, bytes, bool]] = {
    "address": (by_company(), pki(**_MAIL), True),
    "another address": (by_company(), pki(subjectEmail="else@example.com"), False),
    "host": (by_company(_HOST), pki(subjectHostname=HOST), True),
    "host in capitals": (by_company(_HOST), pki(subjectHostname=HOST.upper()), True),
    "host with a dot": (by_company(_HOST), pki(subjectHostname=f"{HOST}."), True),
    "another host": (by_company(_HOST), pki(subjectHostname="else.example.com"), False),
    "wildcard": (by_company(_WILDCARD), pki(subjectHostname=HOST), True),
    "wildcard for the host itself": (
        by_company(_WILDCARD),
        pki(subjectHostname="example.com"),
        False,
    ),
    "wildcard for two labels": (by_company(_WILDCARD), pki(subjectHostname=f"a.{HOST}"), False),
    "IP address": (by_company(_ADDRESS), pki(subjectHostname="192.0.2.7"), True),
    "another IP address": (by_company(_ADDRESS), pki(subjectHostname="192.0.2.8"), False),
    "IP address as a host": (
        by_company(x509.DNSName("192.0.2.7")),
        pki(subjectHostname="192.0.2.7"),
        False,
    ),
    "address for a host": (by_company(), pki(subjectHostname="example.com"), False),
    "both": (by_company(_HOST, EMAIL), pki(**_MAIL, subjectHostname=HOST), True),
    "one of both": (by_company(_HOST), pki(**_MAIL, subjectHostname=HOST), False),
    "expired": (by_company(start=NOW - DAY, end=NOW - MINUTE), pki(**_MAIL), False),
    "too early": (by_company(start=NOW + DAY, end=NOW + 2 * DAY), pki(**_MAIL), False),
    "no chain": (replace(by_company(), chain=()), pki(**_MAIL), False),
    "the policy's intermediates": (
        replace(by_company(), chain=()),
        pki(**_MAIL, caIntermediatesData=encoded(pem(CA.der))),
        True,
    ),
    "intermediates of both": (
        by_company(),
        pki(**_MAIL, caIntermediatesData=encoded(pem(WORLD.ca.der))),
        True,
    ),
    "two roots": (by_company(), pki(OTHER_ROOT, ROOT, **_MAIL), True),
    "another root": (by_company(), pki(OTHER_ROOT, **_MAIL), False),
    "for another usage": (
        by_company(usages=[ExtendedKeyUsageOID.CLIENT_AUTH]),
        pki(**_MAIL),
        False,
    ),
    "another key": (replace(by_company(), key=SigningKey()), pki(**_MAIL), False),
    "in an unknown log": (replace(by_company(), log=OTHER_LOG), pki(**_MAIL), True),
    "broken roots": (by_company(), pki(**_MAIL, caRootsData="AAAA"), False),
    "broken intermediates": (by_company(), pki(**_MAIL, caIntermediatesData="AAAA"), False),
}


@pytest.mark.parametrize("kind", PKI)
def test_pki(case: Case, registry: Registry, kind: str) -> None:
    signed, body, expected = PKI[kind]
    name = f"pki-{list(PKI).index(kind)}"
    assert check(case, registry, name, signed, body) == expected


def test_files(case: Case, registry: Registry, tmp_path: Path) -> None:
    """The certificates are read for each verification."""
    paths = {name: str(tmp_path / name) for name in ("caRootsPath", "caIntermediatesPath")}
    body = certified("pki", subjectEmail=SOMEONE, **paths)
    signed = replace(by_company(), chain=())
    assert not check(case, registry, "files", signed, body)
    Path(paths["caRootsPath"]).write_text(pem(ROOT.der))
    Path(paths["caIntermediatesPath"]).write_text(pem(CA.der))
    assert check(case, registry, "files", signed, body)
    body = certified(
        "fulcio",
        LOG,
        caPath=str(tmp_path / "fulcio"),
        oidcIssuer=ISSUER,
        subjectEmail=SOMEONE,
    )
    assert not check(case, registry, "files-2", by_fulcio(), body)
    (tmp_path / "fulcio").write_bytes(WORLD.root.certificate.public_bytes(Encoding.PEM))
    assert check(case, registry, "files-2", by_fulcio(), body)


def test_a_certificate_for_a_key(case: Case, registry: Registry) -> None:
    """A requirement of a key ignores certificates, and the reverse."""
    signed = by_fulcio()
    data = encoded(signed.key.pem)
    assert check(
        case, registry, "by-key", signed, policy({"type": "sigstoreSigned", "keyData": data})
    )
