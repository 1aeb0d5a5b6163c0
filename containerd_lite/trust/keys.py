"""Public keys, and the signatures that they verify.

The keys are ECDSA on P-256, P-384 and P-521, RSA with PKCS #1 v1.5, and Ed25519, as in cosign.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal, TypeAlias

from ..errors import InvalidArgument
from ..oci.document import Document
from .encoding import from_base64url, to_base64
from .extras import needing
from .files import read_file

with needing("cryptography", "a public key"):
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        PublicFormat,
        load_der_public_key,
        load_pem_public_key,
    )

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

#: ``"sha256"`` for all keys, as in cosign's tag form, or the hash that fits the key, as in bundles:
#: SHA-384 for P-384, SHA-512 for P-521, otherwise SHA-256.
HashRule = Literal["sha256", "by key"]
Algorithm = Literal["ecdsa-p256", "ecdsa-p384", "ecdsa-p521", "rsa", "ed25519"]
StrPath: TypeAlias = str | os.PathLike[str]

#: Sizes of RSA keys in bits. Shorter keys are weak; a verification with a longer key is slow.
_RSA_BITS = range(2048, 8192 + 1)
#: The maximum size of a key file in bytes.
MAX_KEY_FILE = 64 << 10
#: The labels of encrypted private keys in PEM. cosign 1 and skopeo write the second.
ENCRYPTED_LABELS = ("ENCRYPTED SIGSTORE PRIVATE KEY", "ENCRYPTED COSIGN PRIVATE KEY")

_CURVES: Mapping[str, Algorithm] = {
    "secp256r1": "ecdsa-p256",
    "secp384r1": "ecdsa-p384",
    "secp521r1": "ecdsa-p521",
}
_HASH_OF_KEY: Mapping[Algorithm, str] = {"ecdsa-p384": "sha384", "ecdsa-p521": "sha512"}
_HASHES: Mapping[str, Callable[[], hashes.HashAlgorithm]] = {
    "sha256": hashes.SHA256,
    "sha384": hashes.SHA384,
    "sha512": hashes.SHA512,
}
_JWK_CURVES: Mapping[str, Callable[[], ec.EllipticCurve]] = {
    "P-256": ec.SECP256R1,
    "P-384": ec.SECP384R1,
    "P-521": ec.SECP521R1,
}
_JWK_FIELDS = ("kty", "crv", "x", "y", "n", "e", "d", "k", "use", "alg", "kid", "key_ops")


class PublicKey:
    """A public key. Two keys are equal if their DER encodings are equal. Keys can be pickled.

    Args:
        der: The key as DER, in the form ``SubjectPublicKeyInfo`` (RFC 5280, section 4.1).

    Attributes:
        der: The key as DER.
        algorithm: The algorithm, such as ``"ecdsa-p256"`` or ``"rsa"``.

    Raises:
        InvalidArgument: ``der`` is not a key, or this package does not support this kind of key.
    """

    def __init__(self, der: bytes) -> None:
        try:
            self._key = load_der_public_key(der)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise InvalidArgument("this is not a public key in DER") from None
        self.der = _to_der(self._key)
        if self.der != der:
            raise InvalidArgument("this is not a public key in canonical DER")
        self.algorithm: Algorithm = _algorithm(self._key)

    @classmethod
    def from_pem(cls, pem: str | bytes) -> PublicKey:
        """Read a key in PEM (``-----BEGIN PUBLIC KEY-----``).

        Raises:
            InvalidArgument: ``pem`` is not one public key.
        """
        data = pem.encode() if isinstance(pem, str) else pem
        if b"PRIVATE KEY-----" in data:
            raise InvalidArgument(
                "this is a private key", remedy="Pass the public key, such as cosign.pub"
            )
        if data.count(b"-----BEGIN ") != 1:
            raise InvalidArgument("a key in PEM has one block -----BEGIN PUBLIC KEY-----")
        try:
            key = load_pem_public_key(data)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise InvalidArgument("this is not a public key in PEM") from None
        return cls(_to_der(key))

    @classmethod
    def from_jwk(cls, jwk: str | bytes | Mapping[str, object]) -> PublicKey:
        """Read a JSON Web Key (RFC 7517) of the type ``EC``, ``RSA`` or ``OKP``.

        Raises:
            InvalidArgument: ``jwk`` is not a public key.
        """
        what = "the JSON Web Key"
        if isinstance(jwk, Mapping):
            document = Document.of(dict(jwk), what)
        else:
            document = Document.parse(jwk.encode() if isinstance(jwk, str) else jwk, what)
        document.check_case(_JWK_FIELDS)
        if document.has("d") or document.has("k"):
            raise InvalidArgument(f"{what} is a private key", remedy="Pass the public key")
        try:
            key = _key_of_jwk(document)
        except InvalidArgument:
            raise
        except (ValueError, UnsupportedAlgorithm):
            raise InvalidArgument(f"{what} is not a valid key") from None
        return cls(_to_der(key))

    @classmethod
    def from_file(cls, path: StrPath) -> PublicKey:
        """Read a file of at most 64 KiB with a key in PEM, or with a JSON Web Key.

        Raises:
            NotFound: The file does not exist.
            InvalidArgument: The file is not a public key.
        """
        data = read_file(path, "the key", MAX_KEY_FILE)
        try:
            return cls.from_jwk(data) if data.lstrip().startswith(b"{") else cls.from_pem(data)
        except InvalidArgument as error:
            raise InvalidArgument(
                f"{os.fspath(path)}: {error.message}", remedy=error.remedy
            ) from None

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of ``der``, as ``"sha256:..."``."""
        return f"sha256:{hashlib.sha256(self.der).hexdigest()}"

    @property
    def hint(self) -> str:
        """The SHA-256 of ``der`` in base64, as Sigstore bundles name a key."""
        return to_base64(hashlib.sha256(self.der).digest())

    def to_pem(self) -> str:
        """Return the key in PEM."""
        return self._key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    def hash_name(self, rule: HashRule) -> str:
        """Return the name of the hash that a signature with this key uses (``"sha256"``)."""
        return _HASH_OF_KEY.get(self.algorithm, "sha256") if rule == "by key" else "sha256"

    def verifies(self, signature: bytes, message: bytes, rule: HashRule = "sha256") -> bool:
        """Return whether ``signature`` is this key's signature of ``message``."""
        if isinstance(self._key, ed25519.Ed25519PublicKey):
            try:
                self._key.verify(signature, message)
            except InvalidSignature:
                return False
            return True
        name = self.hash_name(rule)
        return self.verifies_digest(signature, hashlib.new(name, message).digest(), name)

    def verifies_digest(self, signature: bytes, digest: bytes, hash_name: str) -> bool:
        """Return whether ``signature`` is this key's signature of a message with this digest.

        The result is false for Ed25519, which signs messages, not digests.
        """
        key, hashed = self._key, utils.Prehashed(_HASHES[hash_name]())
        try:
            if isinstance(key, ec.EllipticCurvePublicKey):
                key.verify(signature, digest, ec.ECDSA(hashed))
            elif isinstance(key, rsa.RSAPublicKey):
                key.verify(signature, digest, padding.PKCS1v15(), hashed)
            else:
                return False
        except (InvalidSignature, ValueError):  # ValueError: the digest has another size
            return False
        return True

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PublicKey) and other.der == self.der

    def __hash__(self) -> int:
        return hash(self.der)

    def __reduce__(self) -> tuple[object, ...]:
        return PublicKey, (self.der,)

    def __repr__(self) -> str:
        return f"<PublicKey {self.algorithm} {self.fingerprint[:19]}...>"


#: A key, the path of its file, or a function that returns the key as an object or in PEM. The
#: function is called for each verification, so it can fetch the key from a key management service.
KeySource: TypeAlias = PublicKey | StrPath | Callable[[], PublicKey | str | bytes]


def load_key(source: KeySource) -> PublicKey:
    """Return the key that ``source`` describes.

    Raises:
        NotFound: The key file does not exist.
        InvalidArgument: The source is not a public key.
    """
    if isinstance(source, PublicKey):
        return source
    if callable(source):
        found = source()
        return found if isinstance(found, PublicKey) else PublicKey.from_pem(found)
    return PublicKey.from_file(source)


def encrypted_label(pem: bytes) -> str:
    """Return the label if a PEM text is cosign's or skopeo's encrypted private key, or ``""``."""
    return next(
        (each for each in ENCRYPTED_LABELS if f"-----BEGIN {each}-----".encode() in pem), ""
    )


def _to_der(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _algorithm(key: PublicKeyTypes) -> Algorithm:
    if isinstance(key, ed25519.Ed25519PublicKey):
        return "ed25519"
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _CURVES:
        return _CURVES[key.curve.name]
    if isinstance(key, rsa.RSAPublicKey) and key.key_size in _RSA_BITS:
        return "rsa"
    raise InvalidArgument(
        "the key is not ECDSA on P-256, P-384 or P-521, RSA with 2048 to 8192 bits, or Ed25519"
    )


def _key_of_jwk(jwk: Document) -> PublicKeyTypes:
    def octets(name: str) -> bytes:
        return from_base64url(jwk.text(name, None), f"{jwk.what}: {name}")

    def number(name: str) -> int:
        return int.from_bytes(octets(name), "big")

    kind, curve = jwk.text("kty", None), jwk.text("crv")
    if kind == "RSA":
        return rsa.RSAPublicNumbers(number("e"), number("n")).public_key()
    if kind == "EC" and curve in _JWK_CURVES:
        group = _JWK_CURVES[curve]()
        return ec.EllipticCurvePublicNumbers(number("x"), number("y"), group).public_key()
    if kind == "OKP" and curve == "Ed25519":
        return ed25519.Ed25519PublicKey.from_public_bytes(octets("x"))
    raise InvalidArgument(f"{jwk.what} is not of the type EC, RSA or OKP with a known curve")
