"""Transparency logs of the tests' own: trees, checkpoints, promises, and entries of Rekor."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from datetime import datetime, timezone
from functools import cache
from typing import Any, Literal

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from containerd_lite.trust import PublicKey

Json = dict[str, Any]
KeyKind = Literal["p256", "p384", "p521", "rsa", "ed25519"]

#: The time of all signatures of the tests: in the past, so that no test depends on today's clock.
TIME = datetime(2026, 1, 15, 12, tzinfo=timezone.utc)

_CURVES: dict[str, Any] = {"p256": ec.SECP256R1, "p384": ec.SECP384R1, "p521": ec.SECP521R1}
_DETAILS = {
    "p256": "PKIX_ECDSA_P256_SHA_256",
    "p384": "PKIX_ECDSA_P384_SHA_384",
    "p521": "PKIX_ECDSA_P521_SHA_512",
    "rsa": "PKIX_RSA_PKCS1V15_2048_SHA256",
    "ed25519": "PKIX_ED25519",
}
_HASH_OF = {"p384": "sha384", "p521": "sha512"}
_HASHES: dict[str, Any] = {
    "sha256": hashes.SHA256,
    "sha384": hashes.SHA384,
    "sha512": hashes.SHA512,
}
_HASH_NAMES = {"sha256": "SHA2_256", "sha384": "SHA2_384", "sha512": "SHA2_512"}


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def zulu(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def canonical(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


@cache
def _rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)  # one for all, because it takes 100 ms


class SigningKey:
    """A private key, and the hash that it signs with by the rules of bundles."""

    def __init__(self, kind: KeyKind = "p256") -> None:
        self.kind = kind
        self.private: Any
        if kind == "rsa":
            self.private = _rsa_key()
        elif kind == "ed25519":
            self.private = ed25519.Ed25519PrivateKey.generate()
        else:
            self.private = ec.generate_private_key(_CURVES[kind]())
        self.der: bytes = self.private.public_key().public_bytes(
            Encoding.DER, PublicFormat.SubjectPublicKeyInfo
        )
        self.public = PublicKey(self.der)
        self.hash_name = _HASH_OF.get(kind, "sha256")
        self.details = _DETAILS[kind]

    def sign(self, message: bytes, hash_name: str = "") -> bytes:
        algorithm = _HASHES[hash_name or self.hash_name]()
        if self.kind == "ed25519":
            signature = self.private.sign(message)
        elif self.kind == "rsa":
            signature = self.private.sign(message, padding.PKCS1v15(), algorithm)
        else:
            signature = self.private.sign(message, ec.ECDSA(algorithm))
        assert isinstance(signature, bytes)
        return signature

    @property
    def pem(self) -> str:
        return self.public.to_pem()


def trusted_log(key: SigningKey, url: str, id: bytes, **period: datetime) -> Json:
    """A log as a trusted root lists it. ``period`` has ``start`` and ``end``."""
    limits = {"start": datetime(2025, 1, 1), **period}
    return {
        "baseUrl": url,
        "hashAlgorithm": "SHA2_256",
        "publicKey": {
            "rawBytes": b64(key.der),
            "keyDetails": key.details,
            "validFor": {name: zulu(time) for name, time in limits.items()},
        },
        "logId": {"keyId": b64(id)},
    }


def subtree(leaves: Sequence[bytes]) -> bytes:
    """The hash of a tree (RFC 6962, section 2.1), as its definition has it."""
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    half = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\x01" + subtree(leaves[:half]) + subtree(leaves[half:])).digest()


def inclusion_path(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """The path of a leaf (RFC 6962, section 2.1.1), as its definition has it."""
    if len(leaves) == 1:
        return []
    half = 1 << (len(leaves) - 1).bit_length() - 1
    if index < half:
        return [*inclusion_path(leaves[:half], index), subtree(leaves[half:])]
    return [*inclusion_path(leaves[half:], index - half), subtree(leaves[:half])]


def note_line(name: str, hint: bytes, signature: bytes) -> str:
    return f"\u2014 {name} {b64(hint + signature)}\n"


class RekorLog:
    """A log. ``version`` is that of Rekor; Rekor v1 promises, v2 does not."""

    def __init__(self, version: int, host: str = "rekor.example", kind: KeyKind | None = None):
        self.version = version
        self.host = host
        self.key = SigningKey(kind or ("p256" if version == 1 else "ed25519"))
        self.origin = f"{host} - 3904496407287907110" if version == 1 else host
        self.leaves = [b"an entry before", b"another"]
        #: How many entries earlier trees of the log have.
        self.before = 1000 if version == 1 else 0
        self.id = hashlib.sha256(self.key.der).digest()
        if version == 2 and self.key.kind == "ed25519":
            self.id = hashlib.sha256(f"{host}\n\x01".encode() + self.key.der[-32:]).digest()

    def trusted(self, **period: datetime) -> Json:
        return trusted_log(self.key, f"https://{self.host}", self.id, **period)

    def checkpoint(self, *, origin: str = "", name: str = "", more: str = "") -> str:
        """The signed checkpoint of the tree as it is now. ``more`` stands before the log's line."""
        text = f"{origin or self.origin}\n{len(self.leaves)}\n{b64(subtree(self.leaves))}\n"
        signature = self.key.sign(text.encode())
        return f"{text}\n{more}" + note_line(name or self.host, self.id[:4], signature)

    def promise(self, body: bytes, index: int, time: int) -> bytes:
        signed = {
            "body": b64(body),
            "integratedTime": time,
            "logID": self.id.hex(),
            "logIndex": index,
        }
        return self.key.sign(canonical(signed))

    def add(self, body: Json, time: datetime = TIME, *, leaf: bytes | None = None) -> Json:
        """Append an entry, and return it as a bundle has it. ``leaf`` is logged in its place."""
        leaf = canonical(body) if leaf is None else leaf
        index = len(self.leaves)
        self.leaves.append(leaf)
        self.leaves.append(b"an entry after")
        entry: Json = {
            "logIndex": str(self.before + index),
            "logId": {"keyId": b64(self.id)},
            "kindVersion": {"kind": body["kind"], "version": body["apiVersion"]},
            "inclusionProof": self.proof(index),
            "canonicalizedBody": b64(leaf),
        }
        if self.version == 1:
            seconds = int(time.timestamp())
            promise = self.promise(leaf, self.before + index, seconds)
            entry["integratedTime"] = str(seconds)
            entry["inclusionPromise"] = {"signedEntryTimestamp": b64(promise)}
        return entry

    def proof(self, index: int) -> Json:
        return {
            "logIndex": str(index),
            "rootHash": b64(subtree(self.leaves)),
            "treeSize": str(len(self.leaves)),
            "hashes": [b64(each) for each in inclusion_path(self.leaves, index)],
            "checkpoint": {"envelope": self.checkpoint()},
        }


class Verifier:
    """Who an entry says signed: a key or a certificate."""

    def __init__(self, der: bytes, label: str, details: str) -> None:
        self.der = der
        text = base64.encodebytes(der).decode().replace("\n", "")
        lines = "\n".join(text[i : i + 64] for i in range(0, len(text), 64))
        self.pem = f"-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n".encode()
        self._field = "x509Certificate" if label == "CERTIFICATE" else "publicKey"
        self._details = details

    @property
    def version_2(self) -> Json:
        return {self._field: {"rawBytes": b64(self.der)}, "keyDetails": self._details}

    @classmethod
    def of_key(cls, key: SigningKey) -> Verifier:
        return cls(key.der, "PUBLIC KEY", key.details)


def hash_1(name: str, message: bytes) -> Json:
    return {"algorithm": name, "value": hashlib.new(name, message).hexdigest()}


def hash_2(name: str, message: bytes) -> Json:
    return {"algorithm": _HASH_NAMES[name], "digest": b64(hashlib.new(name, message).digest())}


def hashedrekord_1(
    message: bytes, signature: bytes, verifier: Verifier, hash_name: str = "sha256"
) -> Json:
    spec = {
        "data": {"hash": hash_1(hash_name, message)},
        "signature": {"content": b64(signature), "publicKey": {"content": b64(verifier.pem)}},
    }
    return {"apiVersion": "0.0.1", "kind": "hashedrekord", "spec": spec}


def dsse_1(payload: bytes, signature: bytes, verifier: Verifier) -> Json:
    spec = {
        "envelopeHash": hash_1("sha256", b"the envelope in some spacing"),
        "payloadHash": hash_1("sha256", payload),
        "signatures": [{"signature": b64(signature), "verifier": b64(verifier.pem)}],
    }
    return {"apiVersion": "0.0.1", "kind": "dsse", "spec": spec}


def intoto_2(
    payload: bytes, signature: bytes, verifier: Verifier, *, with_payload: bool = True
) -> Json:
    signed = {"publicKey": b64(verifier.pem), "sig": b64(b64(signature).encode())}
    envelope: Json = {"payloadType": "application/vnd.in-toto+json", "signatures": [signed]}
    if with_payload:
        envelope["payload"] = b64(b64(payload).encode())
    content = {
        "envelope": envelope,
        "hash": hash_1("sha256", b"the envelope in some spacing"),
        "payloadHash": hash_1("sha256", payload),
    }
    return {"apiVersion": "0.0.2", "kind": "intoto", "spec": {"content": content}}


def hashedrekord_2(
    message: bytes, signature: bytes, verifier: Verifier, hash_name: str = "sha256"
) -> Json:
    content = {
        "data": hash_2(hash_name, message),
        "signature": {"content": b64(signature), "verifier": verifier.version_2},
    }
    return {"apiVersion": "0.0.2", "kind": "hashedrekord", "spec": {"hashedRekordV002": content}}


def dsse_2(payload: bytes, signature: bytes, verifier: Verifier) -> Json:
    content = {
        "payloadHash": hash_2("sha256", payload),
        "signatures": [{"content": b64(signature), "verifier": verifier.version_2}],
    }
    return {"apiVersion": "0.0.2", "kind": "dsse", "spec": {"dsseV002": content}}


def cosign_entry(entry: Json) -> str:
    """An entry of Rekor v1 as cosign 2 has it in an annotation."""
    payload = {
        "body": entry["canonicalizedBody"],
        "integratedTime": int(entry["integratedTime"]),
        "logIndex": int(entry["logIndex"]),
        "logID": base64.b64decode(entry["logId"]["keyId"]).hex(),
    }
    promise = entry["inclusionPromise"]["signedEntryTimestamp"]
    return json.dumps({"SignedEntryTimestamp": promise, "Payload": payload})
