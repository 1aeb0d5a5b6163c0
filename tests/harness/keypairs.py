"""Keys of the tests' own, by the package ``cryptography``."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from containerd_lite.trust import PublicKey

_CURVES = {
    "ecdsa-p256": (ec.SECP256R1, "P-256", 32),
    "ecdsa-p384": (ec.SECP384R1, "P-384", 48),
    "ecdsa-p521": (ec.SECP521R1, "P-521", 66),
}


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


@dataclass(frozen=True)
class KeyPair:
    """A private key, and what belongs to it."""

    algorithm: str
    private: Any

    @classmethod
    def generate(cls, algorithm: str = "ecdsa-p256") -> KeyPair:
        if algorithm == "rsa":
            return cls(algorithm, rsa.generate_private_key(65537, 2048))
        if algorithm == "ed25519":
            return cls(algorithm, ed25519.Ed25519PrivateKey.generate())
        return cls(algorithm, ec.generate_private_key(_CURVES[algorithm][0]()))

    @property
    def public(self) -> PublicKey:
        der = self.private.public_key().public_bytes(
            Encoding.DER, PublicFormat.SubjectPublicKeyInfo
        )
        return PublicKey(der)

    @property
    def private_pem(self) -> bytes:
        found: bytes = self.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return found

    def sign(self, message: bytes, hash_name: str = "sha256") -> bytes:
        found: bytes
        kind = {"sha256": hashes.SHA256(), "sha384": hashes.SHA384(), "sha512": hashes.SHA512()}
        if self.algorithm == "ed25519":
            found = self.private.sign(message)
        elif self.algorithm == "rsa":
            found = self.private.sign(message, padding.PKCS1v15(), kind[hash_name])
        else:
            found = self.private.sign(message, ec.ECDSA(kind[hash_name]))
        return found

    def jwk(self) -> str:
        """The public key as a JSON Web Key."""
        key = self.private.public_key()
        if self.algorithm == "ed25519":
            raw = key.public_bytes(Encoding.Raw, PublicFormat.Raw)
            return json.dumps({"kty": "OKP", "crv": "Ed25519", "x": _base64url(raw)})
        numbers = key.public_numbers()
        if self.algorithm == "rsa":
            parts = {"n": _base64url(numbers.n.to_bytes(256, "big")), "e": "AQAB"}
            return json.dumps({"kty": "RSA", **parts})
        _, name, size = _CURVES[self.algorithm]
        x, y = (_base64url(each.to_bytes(size, "big")) for each in (numbers.x, numbers.y))
        return json.dumps({"kty": "EC", "crv": name, "x": x, "y": y})
