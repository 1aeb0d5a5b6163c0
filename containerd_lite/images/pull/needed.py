"""Finds the image of a new container, and pulls it if the caller wants that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

from ...errors import InvalidArgument, NotFound
from ..image import Image, as_image, find_image
from ..image_backend import ImageBackend
from .pull import pull_image
from .pull_request import PullRequest

if TYPE_CHECKING:
    from ..signatures.policies import PolicyLike

#: When to pull an image: ``"never"``; ``"missing"``: if the store lacks its name; ``"always"``.
WhenToPull = Literal["never", "missing", "always"]


def needed_image(
    backend: ImageBackend,
    image: Image | str,
    pull: WhenToPull,
    *,
    policy: PolicyLike | None = None,
    snapshotter: str | None = None,
) -> Image:
    """Return the image of a new container; pull it if ``pull`` says so.

    Args:
        backend: The backend of the image verbs.
        image: The image, or its name.
        pull: When to pull. Other values than ``"never"`` need a name.
        policy: The policy that a pulled image must meet.
        snapshotter: The snapshotter to unpack into. Default: the client's snapshotter.

    Raises:
        NotFound: The image does not exist.
        InvalidArgument: An argument is invalid, or does not fit the others.
        ContainerdError: The pull failed; see ``Client.pull``.
    """
    if pull not in get_args(WhenToPull):
        raise InvalidArgument(f'pull={pull!r} is not "never", "missing" or "always"')
    if pull == "never":
        if policy is not None:
            raise InvalidArgument(
                "policy= needs pull=, because only pulls verify signatures",
                remedy='Pass pull="always", or call verify_signatures first',
            )
        return as_image(backend, image)
    if not isinstance(image, str):
        raise InvalidArgument(f"pull={pull!r} needs the name of the image, not an Image")
    if pull == "missing":
        try:
            return find_image(backend, image)
        except NotFound:
            pass
    return pull_image(
        backend,
        PullRequest(ref=image, snapshotter=snapshotter, policy=policy, resolver=backend.registry),
        "client",
    )
