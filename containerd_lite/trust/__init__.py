"""Judges signatures of images: policies, keys, certificates, transparency logs and timestamps.

This room decides about bytes. It neither fetches nor stores anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import lazy_names

if TYPE_CHECKING:
    from .certificates import CertificateIdentity as CertificateIdentity
    from .keys import KeySource as KeySource
    from .keys import PublicKey as PublicKey
    from .trust_root import TrustRoot as TrustRoot

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "certificates": ["CertificateIdentity"],
        "keys": ["KeySource", "PublicKey"],
        "trust_root": ["TrustRoot"],
    },
)
