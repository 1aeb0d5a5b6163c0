"""A key and a certificate for localhost, made when first wanted; it is its own authority."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

from . import Unavailable, debian
from .process import run

_NAMES = "subjectAltName=DNS:localhost,IP:127.0.0.1,IP:127.0.0.2"


@functools.cache
def localhost_pem() -> Path:
    """Return the file that holds both; it is kept in the cache folder, and good for tests only."""
    path = debian.cache() / "localhost.pem"
    if not path.exists():
        openssl = debian.program("openssl", "openssl", "bookworm", prefer_path=True)
        with tempfile.TemporaryDirectory(dir=debian.cache()) as scratch:
            key, certificate = Path(scratch, "key"), Path(scratch, "certificate")
            request = f"req -x509 -newkey rsa:2048 -noenc -batch -days 36500 -addext {_NAMES}"
            outputs = ("-subj", "/CN=localhost", "-keyout", str(key), "-out", str(certificate))
            made = run(
                [*openssl.argv, *request.split(), *outputs],
                timeout=60,
            )
            if made.returncode:
                raise Unavailable(f"openssl made no certificate: {made.stderr.decode()}")
            both = Path(scratch, "both")
            both.write_bytes(key.read_bytes() + certificate.read_bytes())
            both.rename(path)
    return path
