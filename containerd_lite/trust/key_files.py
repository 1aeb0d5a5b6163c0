"""Private keys in cosign's files: a PKCS #8 key that a password encrypts.

Source: sigstore's pkg/cryptoutils and go-securesystemslib's encrypted package: scrypt makes a key
from the password, and NaCl's secretbox encrypts with it.
"""

from __future__ import annotations

import json
import os

from ..errors import InvalidArgument, PermissionDenied
from ..oci.document import Document
from .encoding import from_base64, from_pem, to_base64, to_pem
from .extras import needing
from .keys import ENCRYPTED_LABELS, encrypted_label

with needing("cryptography", "a private key"):
    from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

with needing("PyNaCl", "cosign's file of a private key"):
    from nacl.exceptions import CryptoError
    from nacl.secret import SecretBox

#: cosign's parameters of scrypt. They take 64 MiB of memory.
_N, _R, _P = 65536, 8, 1
#: Limits for the parameters in a file: 256 MiB of memory.
_MAX_N, _MAX_R, _MAX_P = 1 << 18, 8, 4
_SALT_SIZE, _NONCE_SIZE, _KEY_SIZE = 32, SecretBox.NONCE_SIZE, SecretBox.KEY_SIZE


def decrypt_key(pem: bytes, password: bytes) -> bytes:
    """Return the private key in a file as DER (PKCS #8).

    Raises:
        InvalidArgument: ``pem`` is not of this form, or its parameters would take too much memory.
        PermissionDenied: The password is wrong.
    """
    what = "the encrypted private key"
    blocks = from_pem(pem, encrypted_label(pem) or ENCRYPTED_LABELS[0], what)
    if len(blocks) != 1:
        raise InvalidArgument(f"{what} has {len(blocks)} blocks instead of one")
    document = Document.parse(blocks[0], what)
    kdf, cipher = document.document("kdf"), document.document("cipher")
    parameters = kdf.document("params") if kdf else None
    if kdf is None or cipher is None or parameters is None:
        raise InvalidArgument(f"{what} has no kdf, params or cipher")
    if (kdf.text("name"), cipher.text("name")) != ("scrypt", "nacl/secretbox"):
        raise InvalidArgument(f"{what} is not encrypted with scrypt and nacl/secretbox")
    n, r, p = (parameters.integer(name) for name in ("N", "r", "p"))
    if not (1 < n <= _MAX_N and n & (n - 1) == 0 and 0 < r <= _MAX_R and 0 < p <= _MAX_P):
        raise InvalidArgument(f"{what} has the parameters N={n} r={r} p={p} of scrypt")
    salt = from_base64(kdf.text("salt", None), f"{what}: salt")
    nonce = from_base64(cipher.text("nonce", None), f"{what}: nonce")
    ciphertext = from_base64(document.text("ciphertext", None), f"{what}: ciphertext")
    if len(salt) != _SALT_SIZE or len(nonce) != _NONCE_SIZE:
        raise InvalidArgument(f"{what} has a salt or a nonce of the wrong size")
    key = Scrypt(salt, _KEY_SIZE, n, r, p).derive(password)
    try:
        return bytes(SecretBox(key).decrypt(ciphertext, nonce))
    except (CryptoError, ValueError):
        raise PermissionDenied(
            "the password of the private key is wrong", remedy="Pass the right password"
        ) from None


def encrypt_key(der: bytes, password: bytes) -> bytes:
    """Return a private key (PKCS #8 in DER) as a file that cosign can read."""
    salt, nonce = os.urandom(_SALT_SIZE), os.urandom(_NONCE_SIZE)
    box = SecretBox(Scrypt(salt, _KEY_SIZE, _N, _R, _P).derive(password))
    document = {
        "kdf": {"name": "scrypt", "params": {"N": _N, "r": _R, "p": _P}, "salt": to_base64(salt)},
        "cipher": {"name": "nacl/secretbox", "nonce": to_base64(nonce)},
        "ciphertext": to_base64(box.encrypt(der, nonce).ciphertext),
    }
    text = json.dumps(document, separators=(",", ":")).encode()
    return to_pem(text, ENCRYPTED_LABELS[0]).encode()
