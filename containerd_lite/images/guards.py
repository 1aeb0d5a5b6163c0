"""Decides whether policies apply to a call, and loads the code for policies only then."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import InvalidArgument
from . import signatures
from .image_backend import ImageBackend

if TYPE_CHECKING:
    from ..registry.registry_access import RegistryOptions
    from ..trust.verdict import Verdict
    from .image import Image
    from .resolver import Resolver
    from .signatures.policies import PolicyLike
    from .signatures.verification import Guard


def guard_for(backend: ImageBackend, policy: PolicyLike | None) -> Guard | None:
    """Return what verifies images; ``None`` if no policy applies.

    Args:
        backend: The backend, whose policies always apply.
        policy: The policy of one call, or the path of its file.

    Raises:
        InvalidArgument: ``policy`` is not a policy.
    """
    own = () if policy is None else (signatures.load_policy(policy),)
    return signatures.Guard((*backend.policies, *own)) if backend.policies or own else None


def verify_signatures(
    backend: ImageBackend,
    source: str | Image,
    policy: PolicyLike | None,
    *,
    platform: str | Sequence[str] | None,
    resolver: Resolver | RegistryOptions | None,
) -> Verdict:
    """Verify the signatures of an image; see ``Client.verify_signatures``."""
    guard = guard_for(backend, policy)
    if guard is None:
        raise InvalidArgument("there is no policy", remedy="Pass a Policy, or the path of its file")
    return signatures.verify_image(backend, source, guard, platform=platform, resolver=resolver)
