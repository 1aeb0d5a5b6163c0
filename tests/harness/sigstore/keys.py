"""The keys and certificates of a sigstore, made for one run."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from ..images import Json
from ..tls import Authority, Pair, openssl

PASSWORD = "fulcio"
START = "2020-01-01T00:00:00Z"
"""Since when the trusted root trusts everything. The certificates begin later."""


@dataclass(frozen=True)
class Chain:
    """A certificate with its key, and the file of its chain: the certificate first, a root last."""

    pair: Pair
    path: Path

    @property
    def trusted(self) -> Json:
        """The chain as a trusted root has it."""
        certificates = [{"rawBytes": _base64(der)} for der in _ders(self.path)]
        return {"certChain": {"certificates": certificates}, "validFor": {"start": START}}


@dataclass(frozen=True)
class LogKey:
    """The key of a log: the files of the private key and of the public key, in PEM."""

    private: Path
    public: Path

    def trusted(self, url: str, origin: str = "") -> Json:
        """Return the log as a trusted root has it; a log with an Ed25519 key has an origin."""
        (der,) = _ders(self.public)
        identity, details = der, "PKIX_ECDSA_P256_SHA_256"
        if origin:
            identity, details = f"{origin}\n".encode() + b"\1" + der[-32:], "PKIX_ED25519"
        return {
            "baseUrl": url,
            "hashAlgorithm": "SHA2_256",
            "publicKey": {
                "rawBytes": _base64(der),
                "keyDetails": details,
                "validFor": {"start": START},
            },
            "logId": {"keyId": _base64(hashlib.sha256(identity).digest())},
        }


class Keys:
    """All keys, in a folder."""

    def __init__(self, folder: Path) -> None:
        """Make them."""
        self._folder = folder
        self.fulcio = self._chain(
            "fulcio",
            "basicConstraints=critical,CA:TRUE,pathlen:0",
            "keyUsage=critical,keyCertSign",
            "extendedKeyUsage=codeSigning",
        )
        encrypted = folder / "fulcio-encrypted.key"
        source = ("-in", str(self.fulcio.pair.key), "-out", str(encrypted))
        openssl("pkey", *source, "-aes256", "-passout", f"pass:{PASSWORD}")
        self.fulcio_key = encrypted
        self.timestamps = self._chain(
            "timestamps",
            "basicConstraints=critical,CA:FALSE",
            "keyUsage=critical,digitalSignature",
            "extendedKeyUsage=critical,timeStamping",
        )
        p256 = ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
        self.ct = self._log("ct", *p256)
        sec1 = folder / "ct-sec1.key"
        openssl("ec", "-in", str(self.ct.private), "-out", str(sec1))
        self.ct_sec1 = sec1
        self.rekor = self._log("rekor", "-algorithm", "ED25519")
        self.rekor_v1 = self._log("rekor-v1", *p256)

    def _chain(self, name: str, *extensions: str) -> Chain:
        root = Authority(self._folder, f"{name}-root")
        pair = root.sign(name, *extensions)
        path = self._folder / f"{name}-chain.pem"
        path.write_bytes(pair.certificate.read_bytes() + root.certificate.read_bytes())
        return Chain(pair, path)

    def _log(self, name: str, *algorithm: str) -> LogKey:
        key = LogKey(self._folder / f"{name}.key", self._folder / f"{name}.pub")
        openssl("genpkey", *algorithm, "-out", str(key.private))
        openssl("pkey", "-in", str(key.private), "-pubout", "-out", str(key.public))
        return key


def _ders(path: Path) -> list[bytes]:
    """Return the contents of a PEM file."""
    bodies = re.findall(r"-----BEGIN [A-Z ]+-----(.*?)-----END", path.read_text(), re.S)
    return [base64.b64decode(body) for body in bodies]


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
