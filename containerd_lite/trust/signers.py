"""Private keys that sign images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ..errors import InvalidArgument, PermissionDenied
from .extras import needing
from .files import read_file
from .keys import MAX_KEY_FILE, HashRule, PublicKey, StrPath, encrypted_label

with needing("cryptography", "a private key"):
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        PublicFormat,
        load_der_private_key,
        load_pem_private_key,
    )

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

#: A function that signs bytes: it gets the bytes and the name of the hash (``"sha256"``,
#: ``"sha384"`` or ``"sha512"``), and returns an ECDSA signature in DER, an RSA signature with
#: PKCS #1 v1.5, or an Ed25519 signature of the bytes themselves.
SignFunction = Callable[[bytes, str], bytes]

_HASHES: dict[str, Callable[[], hashes.HashAlgorithm]] = {
    "sha256": hashes.SHA256,
    "sha384": hashes.SHA384,
    "sha512": hashes.SHA512,
}


class Signer:
    """A key that signs images.

    ``repr`` and errors never show the private key. A signer cannot be pickled.

    Args:
        sign: A function that signs, for example in a hardware module or in a cloud's key
            management service.
        public: The public key.
        certificates: The certificate of the key and its chain, in DER. Default: the key has none.

    Attributes:
        public: The public key.
        certificates: The certificate of the key and its chain, in DER.
    """

    def __init__(
        self, sign: SignFunction, public: PublicKey, certificates: Sequence[bytes] = ()
    ) -> None:
        self._sign = sign
        self.public = public
        self.certificates = tuple(certificates)

    def with_certificates(self, certificates: Sequence[bytes]) -> Signer:
        """Return a signer with the same key and with certificates."""
        return Signer(self._sign, self.public, certificates)

    @classmethod
    def from_pem(cls, pem: bytes, password: str | bytes | None = None) -> Signer:
        """Read a private key: cosign's or skopeo's encrypted file, or PKCS #8, PKCS #1 or SEC 1.

        Args:
            pem: The key in PEM.
            password: The password. Default: the key is not encrypted.

        Raises:
            InvalidArgument: ``pem`` is not a private key, or not of a supported kind.
            PermissionDenied: The password is wrong or missing.
        """
        secret = password.encode() if isinstance(password, str) else password
        if encrypted_label(pem):
            from .key_files import decrypt_key  # needs PyNaCl, which other keys do not need

            return cls._of_der(decrypt_key(pem, secret or b""))
        try:
            key = load_pem_private_key(pem, secret)
        except TypeError:
            raise PermissionDenied(
                "the private key is encrypted, or is not encrypted although a password is given",
                remedy="Pass the password only if the key has one",
            ) from None
        except (ValueError, UnsupportedAlgorithm):
            if secret is not None and b"ENCRYPTED" in pem:
                raise PermissionDenied(
                    "the private key is malformed, or the password is wrong",
                    remedy="Pass the right password",
                ) from None
            raise InvalidArgument("this is not a private key in PEM") from None
        return cls._of_key(key)

    @classmethod
    def from_file(cls, path: StrPath, password: str | bytes | None = None) -> Signer:
        """Read the file of a private key, of at most 64 KiB; see ``from_pem``.

        Raises:
            NotFound: The file does not exist.
            InvalidArgument: The file is not a private key.
            PermissionDenied: The password is wrong or missing, or the file cannot be read.
        """
        return cls.from_pem(read_file(path, "the private key", MAX_KEY_FILE), password)

    @classmethod
    def _of_der(cls, der: bytes) -> Signer:
        try:
            return cls._of_key(load_der_private_key(der, None))
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            if isinstance(error, InvalidArgument):
                raise
            raise InvalidArgument("the file does not contain a private key") from None

    @classmethod
    def _of_key(cls, key: PrivateKeyTypes) -> Signer:
        public = PublicKey(
            key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        )

        def sign(message: bytes, hash_name: str) -> bytes:
            algorithm = _HASHES[hash_name]()
            if isinstance(key, ed25519.Ed25519PrivateKey):
                return key.sign(message)
            if isinstance(key, ec.EllipticCurvePrivateKey):
                return key.sign(message, ec.ECDSA(algorithm))
            assert isinstance(key, rsa.RSAPrivateKey)  # PublicKey refuses other kinds
            return key.sign(message, padding.PKCS1v15(), algorithm)

        return cls(sign, public)

    def sign(self, message: bytes, rule: HashRule = "sha256") -> bytes:
        """Return the signature of ``message``.

        Raises:
            InvalidArgument: The function of the caller returned something else than a signature by
                the public key.
        """
        signature = self._sign(message, self.public.hash_name(rule))
        if not self.public.verifies(signature, message, rule):
            raise InvalidArgument(
                f"the signature is not by the key {self.public.fingerprint}",
                remedy="Pass the public key that belongs to the function",
            )
        return signature

    def __repr__(self) -> str:
        return f"<Signer {self.public.algorithm} {self.public.fingerprint[:19]}...>"
