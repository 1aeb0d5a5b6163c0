"""Finds, fetches, verifies and makes the signatures of images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...lazy import lazy_names

if TYPE_CHECKING:
    from .archived import ArchivedSignatures as ArchivedSignatures
    from .policies import PolicyLike as PolicyLike
    from .policies import load_policy as load_policy
    from .referring import ReferringManifest as ReferringManifest
    from .referring import find_referring as find_referring
    from .services import SigningServices as SigningServices
    from .sign import AttachedSignature as AttachedSignature
    from .sign import SignRequest as SignRequest
    from .sign import attest_by_resolver as attest_by_resolver
    from .sign import attest_reference as attest_reference
    from .sign import sign_by_resolver as sign_by_resolver
    from .sign import sign_reference as sign_reference
    from .sign import sign_request as sign_request
    from .sign import sign_target as sign_target
    from .verification import Guard as Guard
    from .verification import verify_by_resolver as verify_by_resolver
    from .verification import verify_image as verify_image

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "archived": ["ArchivedSignatures"],
        "policies": ["PolicyLike", "load_policy"],
        "referring": ["ReferringManifest", "find_referring"],
        "services": ["SigningServices"],
        "sign": [
            "AttachedSignature",
            "SignRequest",
            "attest_by_resolver",
            "attest_reference",
            "sign_by_resolver",
            "sign_reference",
            "sign_request",
            "sign_target",
        ],
        "verification": ["Guard", "verify_by_resolver", "verify_image"],
    },
)
