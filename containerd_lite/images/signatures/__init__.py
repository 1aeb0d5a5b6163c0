"""Finds, fetches and verifies the signatures of images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...lazy import lazy_names

if TYPE_CHECKING:
    from .archived import ArchivedSignatures as ArchivedSignatures
    from .policies import PolicyLike as PolicyLike
    from .policies import load_policy as load_policy
    from .verification import Guard as Guard
    from .verification import verify_by_resolver as verify_by_resolver
    from .verification import verify_image as verify_image

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "archived": ["ArchivedSignatures"],
        "policies": ["PolicyLike", "load_policy"],
        "verification": ["Guard", "verify_by_resolver", "verify_image"],
    },
)
