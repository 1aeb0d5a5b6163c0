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
