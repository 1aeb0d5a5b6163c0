"""Pull and fetch, as ``Client`` and ``Layout`` have them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from .. import pull
from ..base import Verbs

if TYPE_CHECKING:
    from ...progress import ProgressCallback
    from ..image import Image
    from ..resolver import Resolver
    from ..via import Via
    from ..walk import Handler, WrapHandler


class PullVerbs(Verbs):
    """From registries into the store."""

    def pull(
        self,
        ref: str,
        *,
        platform: str | Sequence[str] | None = None,
        all_platforms: bool = False,
        attestations: bool = False,
        referrers: bool = False,
        unpack: bool = True,
        snapshotter: str | None = None,
        resolver: Resolver | None = None,
        handlers: Sequence[Handler] = (),
        wrap_handler: WrapHandler | None = None,
        convert_schema1: bool = False,
        labels: Mapping[str, str] | None = None,
        progress: ProgressCallback | None = None,
        max_concurrent_downloads: int | None = None,
        resume: bool = False,
        via: Via = "client",
    ) -> Image:
        """Fetch an image, unpack it where there are snapshots, and give it its name.

        ``platform`` is one (``"linux/arm/v7"``) or several, this client's unless given.  An index
        is kept whole, with the content of these; ``attestations`` brings theirs, ``referrers``
        what refers to it.  What is fetched is unpacked, of all platforms the client's own.
        ``resolver`` says where content comes from: registries, with docker's credentials, unless
        given.  ``handlers`` and ``wrap_handler`` decide what is fetched (``images.walk``, and
        ``images.cri_labels`` for lazy snapshotters); ``convert_schema1`` makes an image of
        Docker's schema 1.  ``labels`` are the name's.  A daemon that restarts is waited for.
        ``max_concurrent_downloads`` blobs come at a time; unless given eight, and of those above
        4 MiB four: as long as lines are quick fewer, if they are unpacked.

        A pull that fails leaves no name and no content; with ``resume`` content is kept for a
        week, by the caller's lease if it is within one, and the next such pull fetches what is
        missing; of two at once one waits for the other.  ``via="daemon"`` has its transfer
        service do it (since 1.7), ``"auto"`` where that knows all that is asked.  Raises
        ``NotFound``, ``RegistryUnauthorized``, ``RegistryUnavailable``, ``NoMatchingPlatform``,
        ``DigestMismatch``, ``DiffIDMismatch``, ``InvalidArgument``.
        """
        request = pull.PullRequest(
            ref=ref,
            platform=platform,
            all_platforms=all_platforms,
            attestations=attestations,
            referrers=referrers,
            unpack=unpack,
            snapshotter=snapshotter,
            resolver=resolver,
            handlers=handlers,
            wrap_handler=wrap_handler,
            convert_schema1=convert_schema1,
            labels=labels,
            progress=progress,
            max_concurrent_downloads=max_concurrent_downloads,
            resume=resume,
        )
        return pull.pull_image(self._images, request, via)

    def fetch(
        self,
        ref: str,
        *,
        platform: str | Sequence[str] | None = None,
        attestations: bool = False,
        referrers: bool = False,
        resolver: Resolver | None = None,
        handlers: Sequence[Handler] = (),
        wrap_handler: WrapHandler | None = None,
        labels: Mapping[str, str] | None = None,
        progress: ProgressCallback | None = None,
        max_concurrent_downloads: int | None = None,
        resume: bool = False,
    ) -> Image:
        """As ``pull`` without unpacking; of all platforms unless some are named."""
        return self.pull(
            ref,
            platform=platform,
            all_platforms=platform is None,
            attestations=attestations,
            referrers=referrers,
            unpack=False,
            resolver=resolver,
            handlers=handlers,
            wrap_handler=wrap_handler,
            labels=labels,
            progress=progress,
            max_concurrent_downloads=max_concurrent_downloads,
            resume=resume,
        )
