"""New key pairs, in cosign's files."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

from .extras import needing
from .key_files import decrypt_key, encrypt_key
from .keys import encrypted_label
from .signers import Signer

with needing("cryptography", "a private key"):
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        PublicFormat,
        load_der_private_key,
        load_pem_private_key,
    )

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes


class KeyFiles(NamedTuple):
    """A new key pair.

    Attributes:
        private: cosign's file of the private key, encrypted.
        public: The public key in PEM.
    """

    private: bytes
    public: bytes

    def __repr__(self) -> str:
        return f"<KeyFiles {hashlib.sha256(self.public).hexdigest()[:12]}>"


def generate_key(password: str | bytes) -> KeyFiles:
    """Make an ECDSA key on P-256, as ``cosign generate-key-pair`` does.

    Args:
        password: The password that encrypts the private key. It can be empty.

    Returns:
        The contents of the two files.
    """
    return _files_of(ec.generate_private_key(ec.SECP256R1()), password)


def import_key(
    pem: bytes, password: str | bytes, *, old_password: str | bytes | None = None
) -> KeyFiles:
    """Encrypt an existing private key, as ``cosign import-key-pair`` does.

    Args:
        pem: The key in PEM: PKCS #8, PKCS #1 or SEC 1.
        password: The password that encrypts the new file.
        old_password: The password of ``pem``. Default: it has none.

    Raises:
        InvalidArgument: ``pem`` is not a private key, or not of a supported kind.
        PermissionDenied: ``old_password`` is wrong or missing.
    """
    Signer.from_pem(pem, old_password)
    secret = old_password.encode() if isinstance(old_password, str) else old_password
    if encrypted_label(pem):
        der = decrypt_key(pem, secret or b"")
        return _files_of(load_der_private_key(der, None), password)
    return _files_of(load_pem_private_key(pem, secret), password)


def _files_of(key: PrivateKeyTypes, password: str | bytes) -> KeyFiles:
    der = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    secret = password.encode() if isinstance(password, str) else password
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return KeyFiles(encrypt_key(der, secret), public)
