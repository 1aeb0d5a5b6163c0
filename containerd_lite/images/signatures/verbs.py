"""The verb ``verify_signatures`` of clients and layouts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ... import images
from ..base import Verbs

if TYPE_CHECKING:
    from ...trust.verdict import Verdict
    from ..image import Image
    from ..resolver import Resolver
    from .policies import PolicyLike


class SignatureVerbs(Verbs):
    """The verbs for signatures of images."""

    def verify_signatures(
        self,
        source: str | Image,
        policy: PolicyLike | None = None,
        *,
        platform: str | Sequence[str] | None = None,
        resolver: Resolver | None = None,
    ) -> Verdict:
        """Verify the signatures of an image against a policy, without pulling the image.

        Args:
            source: The reference of an image in a registry; its signatures are looked for in the
                registry. Or an ``Image`` of the store; its signatures are looked for in the store.
                They are there if the image was pulled with ``referrers``, or imported with its
                signatures.
            policy: The policy, or the path of its file. It applies together with the policy of the
                client. Default: the policy of the client.
            platform: The platforms that are verified if the policy wants a signature of each
                platform. Default: all.
            resolver: As for ``pull``.

        Returns:
            What was verified, by whose signatures, and by which rule.

        Raises:
            Unsigned: The image has no signature.
            Untrusted: The signatures do not meet the policy. ``rejected`` says why.
            SignatureError: No rule of the policy applies to the image, or a rule rejects it.
            SignaturesUnavailable: The registry failed, so it is unknown whether there are
                signatures.
            NotFound: The image does not exist.
            InvalidArgument: There is no policy, or an argument is invalid.
        """
        return images.verify_signatures(
            self._images, source, policy, platform=platform, resolver=resolver
        )
