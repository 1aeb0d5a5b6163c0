"""Parses certificates in DER."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

from ...errors import InvalidArgument
from ..extras import needing

with needing("cryptography", "checking a certificate"):
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import Encoding


@contextmanager
def malformed(what: str) -> Iterator[None]:
    """Turn the errors of ``cryptography`` for malformed data into ``InvalidArgument``."""
    try:
        yield
    except (
        ValueError,
        TypeError,
        OverflowError,
        UnsupportedAlgorithm,
        x509.InvalidVersion,
        x509.DuplicateExtension,
        x509.UnsupportedGeneralNameType,
        Warning,  # a program can turn warnings into errors
    ) as error:
        if isinstance(error, InvalidArgument):
            raise
        raise InvalidArgument(f"{what} is malformed ({error})") from None


def load_pem(text: bytes, what: str) -> tuple[bytes, ...]:
    """Return the certificates in a file in DER. There can be other text between them.

    Raises:
        InvalidArgument: The file has no certificate, or a malformed one.
    """
    with malformed(what):
        found = x509.load_pem_x509_certificates(text)
        return tuple(each.public_bytes(Encoding.DER) for each in found)


@lru_cache(maxsize=64)
def load_certificate(der: bytes, what: str = "the certificate") -> x509.Certificate:
    """Return a certificate.

    Raises:
        InvalidArgument: ``der`` is not a certificate.
    """
    with malformed(what):
        certificate = x509.load_der_x509_certificate(der)
        certificate.extensions  # noqa: B018 (their first use parses them)
        return certificate
