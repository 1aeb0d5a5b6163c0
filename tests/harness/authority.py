"""An authority of the tests' own: what Sigstore's Fulcio, CT log and timestamp authority issue.

``World`` has all of them, two transparency logs, and their trusted root. It signs as cosign does.
All times are around ``TIME``, which is in the past: what is valid is valid at that time.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import importlib.util
import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import cryptography
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, load_der_public_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from containerd_lite.trust.bundles import Bundle
from containerd_lite.trust.dsse import IN_TOTO, Envelope
from containerd_lite.trust.evidence import CheckedEvidence, SignedContent, check_evidence
from containerd_lite.trust.keys import PublicKey
from containerd_lite.trust.trust_root import TrustRoot
from tests.harness import der, transparency
from tests.harness.transparency import (
    TIME,
    Json,
    RekorLog,
    SigningKey,
    Verifier,
    b64,
    canonical,
    trusted_log,
    zulu,
)

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
ISSUER = "https://issuer.example"
EMAIL = x509.RFC822Name("someone@example.com")
FULCIO = "1.3.6.1.4.1.57264.1"
SCT_LIST = ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")
CODE_SIGNING, TIME_STAMPING = ExtendedKeyUsageOID.CODE_SIGNING, ExtendedKeyUsageOID.TIME_STAMPING

#: What is signed: a statement, or an artifact.
PAYLOAD = canonical(
    {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"digest": {"sha256": hashlib.sha256(b"artifact").hexdigest()}}],
        "predicateType": "https://sigstore.dev/cosign/sign/v1",
        "predicate": {},
    }
)
ARTIFACT = b"artifact"

#: Whether the packages for keyless signatures are here, which check certificates and timestamps.
HAS_PKI = (
    int(cryptography.__version__.partition(".")[0]) >= 45
    and importlib.util.find_spec("rfc3161_client") is not None
)
#: Marks tests of what these packages do.
needs_pki = pytest.mark.skipif(
    not HAS_PKI, reason="keyless signatures need cryptography>=45 and rfc3161-client"
)


def name_of(common_name: str) -> x509.Name:
    parts = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)] if common_name else []
    return x509.Name(parts)


def key_usage(*, signs: bool = True, is_ca: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_ca,
        crl_sign=is_ca,
        encipher_only=False,
        decipher_only=False,
    )


_KEY_USAGE = key_usage()


def extension(number: int, text: str) -> tuple[x509.ExtensionType, bool]:
    """An extension of Fulcio's: raw text up to number 6, then in DER."""
    value = text.encode() if number <= 6 else der.utf8_string(text)
    return x509.UnrecognizedExtension(ObjectIdentifier(f"{FULCIO}.{number}"), value), False


class Issuer:
    """A certificate authority: a key with a certificate, which issues certificates."""

    def __init__(self, name: str, parent: Issuer | None = None, **changes: Any) -> None:
        self.name = name_of(name)
        self.key = SigningKey(changes.pop("kind", "p256"))
        period = {"start": TIME - 365 * DAY, "end": TIME + 365 * DAY}
        usages = changes.pop("usages", [CODE_SIGNING] if parent else [])
        self.certificate = (parent or self).issue(
            self.key,
            self.name,
            [
                (x509.BasicConstraints(changes.pop("is_ca", True), None), True),
                (key_usage(is_ca=True), True),
                *([(x509.ExtendedKeyUsage(usages), False)] if usages else []),
            ],
            **{**period, **changes},
        )
        self.der = self.certificate.public_bytes(Encoding.DER)

    def issue(
        self,
        key: SigningKey,
        subject: x509.Name,
        extensions: Sequence[tuple[x509.ExtensionType, bool]],
        *,
        start: datetime = TIME - MINUTE,
        end: datetime = TIME + 9 * MINUTE,
        serial: int = 0,
    ) -> x509.Certificate:
        own: Any = load_der_public_key(self.key.der)
        subject_key: Any = load_der_public_key(key.der)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(subject_key)
            .serial_number(serial or x509.random_serial_number())
            .not_valid_before(start.replace(tzinfo=None))
            .not_valid_after(end.replace(tzinfo=None))
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(own), False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(subject_key), False)
        )
        for value, critical in extensions:
            builder = builder.add_extension(value, critical)
        return builder.sign(self.key.private, hashes.SHA256())


class CTLog:
    """A log of certificates."""

    def __init__(self, host: str = "ct.example") -> None:
        self.host = host
        self.key = SigningKey()
        self.id = hashlib.sha256(self.key.der).digest()

    def trusted(self, **period: datetime) -> Json:
        return trusted_log(self.key, f"https://{self.host}", self.id, **period)

    def sct(
        self,
        precertificate: bytes,
        issuer_key: bytes,
        time: datetime = TIME - MINUTE,
        extensions: bytes = b"",
    ) -> bytes:
        """A signed timestamp of a certificate (RFC 6962, section 3.2)."""
        milliseconds = int(time.timestamp() * 1000).to_bytes(8, "big")
        more = len(extensions).to_bytes(2, "big") + extensions
        signed = (
            b"\x00\x00"
            + milliseconds
            + b"\x00\x01"
            + hashlib.sha256(issuer_key).digest()
            + len(precertificate).to_bytes(3, "big")
            + precertificate
            + more
        )
        signature = self.key.sign(signed)
        algorithm = b"\x04\x03"  # SHA-256 and ECDSA
        size = len(signature).to_bytes(2, "big")
        return b"\x00" + self.id + milliseconds + more + algorithm + size + signature


def sct_list(*stamps: bytes) -> x509.ExtensionType:
    items = b"".join(len(each).to_bytes(2, "big") + each for each in stamps)
    value = der.octet_string(len(items).to_bytes(2, "big") + items)
    return x509.UnrecognizedExtension(SCT_LIST, value)


class TimestampAuthority:
    """A timestamp authority with a root certificate and a certificate for timestamps."""

    def __init__(self, host: str = "tsa.example", *, chain: int = 2, **changes: Any) -> None:
        self.host = host
        self.key = SigningKey(changes.pop("kind", "p256"))
        issuers = [Issuer(f"{host} root")]
        for number in range(chain - 2):
            issuers.append(Issuer(f"{host} {number}", issuers[-1], usages=[TIME_STAMPING]))
        usage = (x509.ExtendedKeyUsage(changes.pop("usages", [TIME_STAMPING])), True)
        usages = [(usage[0], changes.pop("critical", True))]
        period = {"start": TIME - 30 * DAY, "end": TIME + 30 * DAY}
        self.certificate = issuers[-1].issue(
            self.key,
            name_of(f"{host} signer"),
            [(key_usage(), True), *usages],
            **{**period, **changes},
        )
        self.issuers = issuers

    def trusted(self, *, with_signer: bool = True, **period: datetime) -> Json:
        chain = [self.certificate] if with_signer else []
        chain += [each.certificate for each in reversed(self.issuers)]
        return trusted_authority(self.host, chain, **period)

    def stamp(
        self,
        message: bytes,
        time: datetime = TIME,
        *,
        embed: bool = False,
        status: int = 0,
        hash_name: str = "sha256",
        signers: int = 1,
    ) -> bytes:
        """A response of the authority (RFC 3161, section 2.4.2)."""
        oid = {
            "sha1": "1.3.14.3.2.26",
            "sha256": "2.16.840.1.101.3.4.2.1",
            "sha512": "2.16.840.1.101.3.4.2.3",
        }
        imprint = der.sequence(
            der.sequence(der.object_identifier(oid[hash_name]), der.null()),
            der.octet_string(hashlib.new(hash_name, message).digest()),
        )
        info = der.sequence(
            der.integer(1),
            der.object_identifier("1.2.3.4"),
            imprint,
            der.integer(7),
            der.generalized_time(time),
        )
        sha256 = der.sequence(der.object_identifier(oid["sha256"]), der.null())
        kind = der.object_identifier("1.2.840.113549.1.9.16.1.4")
        signed = der.sequence(
            der.integer(3),
            der.set_of(sha256),
            der.sequence(kind, der.explicit(0, der.octet_string(info))),
            *([der.explicit(0, self.certificate.public_bytes(Encoding.DER))] if embed else []),
            der.set_of(*(self._signer_info(info, kind, sha256) for _ in range(signers))),
        )
        content = der.object_identifier("1.2.840.113549.1.7.2")
        token = der.sequence(content, der.explicit(0, signed))
        return der.sequence(der.sequence(der.integer(status)), token)

    def _signer_info(self, info: bytes, kind: bytes, sha256: bytes) -> bytes:
        digest = hashlib.sha256(info).digest()
        attributes = [
            der.sequence(der.object_identifier("1.2.840.113549.1.9.3"), der.set_of(kind)),
            der.sequence(
                der.object_identifier("1.2.840.113549.1.9.4"),
                der.set_of(der.octet_string(digest)),
            ),
        ]
        signature = self.key.sign(der.set_of(*attributes), "sha256")
        return der.sequence(
            der.integer(1),
            der.sequence(
                self.certificate.issuer.public_bytes(), der.integer(self.certificate.serial_number)
            ),
            sha256,
            der.explicit(0, *sorted(attributes)),
            der.sequence(der.object_identifier("1.2.840.10045.4.3.2")),  # ECDSA with SHA-256
            der.octet_string(signature),
        )


def trusted_authority(host: str, chain: Sequence[x509.Certificate], **period: datetime) -> Json:
    """An authority as a trusted root lists it."""
    limits = {"start": TIME - 365 * DAY, **period}
    return {
        "uri": f"https://{host}",
        "certChain": {
            "certificates": [{"rawBytes": b64(each.public_bytes(Encoding.DER))} for each in chain]
        },
        "validFor": {name: zulu(time) for name, time in limits.items()},
    }


class World:
    """All authorities and logs of an instance of Sigstore."""

    def __init__(self) -> None:
        self.root = Issuer("root")
        self.ca = Issuer("issuing", self.root)
        self.ct = CTLog()
        self.tsa = TimestampAuthority()
        self.rekor_1 = RekorLog(1)
        self.rekor_2 = RekorLog(2, "log2.example")

    def trusted_root(self, **changes: Any) -> TrustRoot:
        return TrustRoot.parse(self.trusted_root_json(**changes))

    def trusted_root_json(self, **changes: Any) -> bytes:
        document = {
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [self.rekor_1.trusted(), self.rekor_2.trusted()],
            "ctlogs": [self.ct.trusted()],
            "certificateAuthorities": [
                trusted_authority("ca.example", [self.ca.certificate, self.root.certificate])
            ],
            "timestampAuthorities": [self.tsa.trusted()],
            **changes,
        }
        return json.dumps(document).encode()

    def certify(
        self,
        key: SigningKey,
        *names: x509.GeneralName,
        ca: Issuer | None = None,
        ct: CTLog | None = None,
        sct_issuer: Issuer | None = None,
        sct_time: datetime = TIME - MINUTE,
        sct_extensions: bytes = b"",
        with_sct: bool = True,
        extensions: Sequence[tuple[x509.ExtensionType, bool]] | None = None,
        usages: Sequence[ObjectIdentifier] = (CODE_SIGNING,),
        usage: x509.KeyUsage | None = _KEY_USAGE,
        **period: Any,
    ) -> bytes:
        """A certificate as Fulcio issues it, in DER."""
        issuer = ca or self.ca
        serial = x509.random_serial_number()
        parts: list[tuple[x509.ExtensionType, bool]] = [
            *([(usage, True)] if usage else []),
            *([(x509.ExtendedKeyUsage(usages), False)] if usages else []),
            (x509.SubjectAlternativeName(names or [EMAIL]), True),
            *([extension(1, ISSUER), extension(8, ISSUER)] if extensions is None else extensions),
        ]
        plain = issuer.issue(key, name_of(""), parts, serial=serial, **period)
        if not with_sct:
            return plain.public_bytes(Encoding.DER)
        stamp = (ct or self.ct).sct(
            plain.tbs_certificate_bytes,
            (sct_issuer or issuer).key.der,
            sct_time,
            sct_extensions,
        )
        parts.append((sct_list(stamp), False))
        full = issuer.issue(key, name_of(""), parts, serial=serial, **period)
        return full.public_bytes(Encoding.DER)

    def sign(
        self,
        *,
        rekor: int | None = 2,
        kind: str = "",
        is_message: bool = False,
        payload: bytes = PAYLOAD,
        key: SigningKey | None = None,
        certificate: bytes | None = None,
        stamps: Sequence[bytes] | None = None,
        time: datetime = TIME,
        **certified: Any,
    ) -> Json:
        """A bundle as cosign writes it, of version 0.3.

        Args:
            rekor: The version of the log that has an entry of the signature.
            kind: The kind and version of the entry. Default: what cosign writes.
            is_message: Whether the bundle has a signature of ``ARTIFACT``, not a statement.
            payload: The statement.
            key: The signer's own key. Default: a key that the authority certified.
            certificate: The certificate. Default: one that is valid at ``TIME``.
            stamps: Timestamps. Default: one with Rekor v2, none with Rekor v1.
            time: The time of the log entry and of the timestamp.
            certified: Arguments of ``certify``.
        """
        signer = key or SigningKey()
        message = ARTIFACT if is_message else Envelope(payload, IN_TOTO, ()).signed_bytes
        signature = signer.sign(message)
        material: Json = {"publicKey": {"hint": signer.public.hint}}
        verifier = Verifier.of_key(signer)
        if key is None or certificate or certified:
            certificate = certificate or self.certify(signer, **certified)
            material = {"certificate": {"rawBytes": b64(certificate)}}
            verifier = Verifier(certificate, "CERTIFICATE", signer.details)
        if rekor:
            log = self.rekor_1 if rekor == 1 else self.rekor_2
            default = "hashedrekord 0.0.1" if is_message else "dsse 0.0.1"
            name, _, version = (
                kind or (default if rekor == 1 else "hashedrekord 0.0.2")
            ).partition(" ")
            make = getattr(transparency, f"{name}_{version[-1]}")
            logged = message if name == "hashedrekord" else payload
            more = [signer.hash_name] if name == "hashedrekord" else []
            material["tlogEntries"] = [log.add(make(logged, signature, verifier, *more), time)]
        if stamps is None:
            stamps = [self.tsa.stamp(signature, time)] if rekor != 1 else []
        if stamps:
            found = [{"signedTimestamp": b64(each)} for each in stamps]
            material["timestampVerificationData"] = {"rfc3161Timestamps": found}
        content: Json = {
            "dsseEnvelope": {
                "payload": b64(payload),
                "payloadType": IN_TOTO,
                "signatures": [{"sig": b64(signature)}],
            }
        }
        if is_message:
            digest = {"algorithm": "SHA2_256", "digest": b64(hashlib.sha256(ARTIFACT).digest())}
            content = {"messageSignature": {"messageDigest": digest, "signature": b64(signature)}}
        return {
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": material,
            **content,
        }


def as_version(document: Json, version: str, *more: bytes) -> Json:
    """The same bundle in version 0.1 or 0.2, with more certificates in the chain."""
    document = copy.deepcopy(document)
    document["mediaType"] = f"application/vnd.dev.sigstore.bundle+json;version={version}"
    material = document["verificationMaterial"]
    leaf = material.pop("certificate", None)
    if leaf:
        chain = [leaf, *({"rawBytes": b64(each)} for each in more)]
        material["x509CertificateChain"] = {"certificates": chain}
    return document


def signature_of(document: Json) -> bytes:
    """The signature in a bundle."""
    message, envelope = document.get("messageSignature"), document.get("dsseEnvelope")
    text = message["signature"] if message else envelope["signatures"][0]["sig"]  # type: ignore[index]
    return base64.b64decode(text)


def check_bundle(
    document: Json,
    root: TrustRoot | None,
    *,
    key: PublicKey | None = None,
    artifact: bytes = ARTIFACT,
) -> CheckedEvidence:
    """Parse a bundle, and verify it as the signature of ``artifact`` or of its own payload."""
    bundle = Bundle.parse(json.dumps(document).encode())
    if bundle.envelope is not None:
        envelope = bundle.envelope
        signed = SignedContent(envelope.signatures[0], envelope.signed_bytes, "by key", envelope)
    else:
        assert bundle.message_signature is not None
        digest = f"sha256:{hashlib.sha256(artifact).hexdigest()}"
        signed = SignedContent.of_digest(bundle.message_signature, digest)
    return check_evidence(bundle.material, signed, root, key=key)
