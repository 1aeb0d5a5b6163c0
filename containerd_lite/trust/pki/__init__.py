"""Checks certificates and timestamps, with optional packages that by-key checks do not need."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...lazy import lazy_names

if TYPE_CHECKING:
    from .parsing import load_pem as load_pem
    from .signing_certificate import CheckedCertificate as CheckedCertificate
    from .signing_certificate import check_certificate as check_certificate
    from .timestamps import check_timestamp as check_timestamp

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "parsing": ["load_pem"],
        "signing_certificate": ["CheckedCertificate", "check_certificate"],
        "timestamps": ["check_timestamp"],
    },
)
