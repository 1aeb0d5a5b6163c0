"""The methods ``pull`` and ``fetch`` of ``Client`` and ``Layout``."""

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
    """The verbs that fetch images from registries into the store."""

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

        The index of an image is stored unchanged, with the content of the wanted platforms. If
        the daemon restarts, the pull waits for it and continues. A pull that fails leaves no name.
        Without ``resume``, a daemon then deletes what the pull has fetched.

        Args:
            ref: The image's name (``"busybox"``, ``"ghcr.io/user/app:1"``).
            platform: One platform (``"linux/arm/v7"``) or several. Default: the client's.
            all_platforms: Whether to fetch all platforms.
            attestations: Whether to fetch the attestations of the wanted platforms, too.
            referrers: Whether to fetch the manifests that refer to the image, such as signatures.
            unpack: Whether to make snapshots. With ``all_platforms``, only the client's platform
                is unpacked. A ``Layout`` has no snapshots.
            snapshotter: The snapshotter to unpack into. Default: the client's.
            resolver: Finds and fetches the content. Default: a resolver for registries, with the
                credentials of ``docker login``.
            handlers: Called with each descriptor before it is fetched. They may skip it, or add
                children (module ``images.walk``).
            wrap_handler: Wraps the handler that fetches a descriptor and returns its children.
                ``images.pull.cri_labels`` has one for lazy snapshotters.
            convert_schema1: Whether to convert a Docker schema 1 image. Otherwise it is refused.
            labels: The labels of the name. Default: none.
            progress: Called with each ``ProgressEvent``.
            max_concurrent_downloads: Blobs to fetch at a time. Default: 8, of which 4 may be larger
                than 4 MiB; fewer of these if layers are unpacked and the connection is fast.
            resume: Whether the content of a failed pull is kept for a week, so that the next pull
                with ``resume`` fetches only the rest. Within a lease of the caller, that lease
                keeps the content. Pulls of one image with ``resume`` run one after the other.
            via: ``"client"``; ``"daemon"`` for the daemon's Transfer service (containerd 1.7 or
                later); ``"auto"`` for that service if it supports all arguments.

        Returns:
            The image. Its ``is_lazy`` says whether a snapshotter made snapshots without content.

        Raises:
            NotFound: The registry has no such image, or lacks some of its content.
            RegistryUnauthorized: The registry refuses access.
            RegistryUnavailable: The registry does not respond, or fails again and again.
            NoMatchingPlatform: The image lacks a wanted platform.
            DigestMismatch: Content does not match its digest.
            DiffIDMismatch: A layer does not have the content that the config names.
            InvalidArgument: ``ref``, another argument or a document of the image is invalid.
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
        """Fetch an image without unpacking it.

        Without ``platform``, all platforms are fetched. Otherwise the arguments and the errors are
        those of ``pull``.
        """
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
