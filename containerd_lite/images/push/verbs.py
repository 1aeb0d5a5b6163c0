"""The methods ``push``, ``copy`` and ``tag`` of ``Client`` and ``Layout``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ... import images
from .. import push
from ..base import Verbs

if TYPE_CHECKING:
    from ...oci.descriptor import Descriptor
    from ...progress import ProgressCallback
    from ..image import Image, ImageLike
    from ..resolver import PushResolver
    from ..via import Via


class PushVerbs(Verbs):
    """The verbs that send images to registries or give them other names."""

    def push(
        self,
        ref: str,
        target: ImageLike | None = None,
        *,
        platform: str | Sequence[str] | None = None,
        sparse: bool = False,
        resolver: PushResolver | None = None,
        progress: ProgressCallback | None = None,
        max_concurrent_uploads: int | None = None,
        chunk_size: int | None = None,
        via: Via = "client",
    ) -> Descriptor:
        """Push an image to a registry.

        Content that the registry has is not sent again. Blobs that the store knows from another
        repository of the registry are mounted from there. Foreign layers that are not in the
        store stay at their URLs. A push that fails leaves ``ref`` as it was, and no incomplete
        upload.

        Args:
            ref: The reference to push to.
            target: The image to push. Default: the image called ``ref``.
            platform: One platform or several. From an index, only these platforms are pushed, with
                those of their attestations that are in the store. ``ref`` then refers to a new
                index of them. Default: all platforms, which must be in the store.
            sparse: Whether to push the index unchanged, with the manifests for ``platform`` only.
                Without ``platform``, these are the manifests that the store has completely. Some
                registries refuse such an index.
            resolver: Says where the content goes. Default: a resolver for registries, with the
                credentials of ``docker login``.
            progress: Called with each ``ProgressEvent``. The last event of a blob or manifest is
                ``exists``, ``mounted`` or ``uploaded``.
            max_concurrent_uploads: Blobs to push at a time. Default: 8, of which 4 may be larger
                than 4 MiB.
            chunk_size: Bytes of a chunk, for proxies that limit the size of requests. Default: a
                blob is not divided.
            via: As for ``pull``. The daemon pushes images only by name, and with all platforms.

        Returns:
            The descriptor that ``ref`` refers to now.

        Raises:
            NotFound: The image does not exist, or content is missing in the store. The message
                then names the digests.
            RegistryUnauthorized: The registry refuses access.
            RegistryUnavailable: The registry does not respond, or fails again and again.
            NoMatchingPlatform: The image lacks a wanted platform.
            DigestMismatch: ``ref`` has another digest than what is pushed, or content does not
                match its digest.
            InvalidArgument: ``ref``, another argument or a document of the image is invalid.
        """
        request = push.PushRequest(
            ref=ref,
            target=ref if target is None else target,
            platform=platform,
            sparse=sparse,
            resolver=resolver,
            progress=progress,
            max_concurrent_uploads=max_concurrent_uploads,
            chunk_size=chunk_size,
        )
        return push.push_image(self._images, request, via)

    def copy(
        self,
        source: str,
        target: str,
        *,
        platform: str | Sequence[str] | None = None,
        referrers: bool = False,
        resolver: PushResolver | None = None,
        progress: ProgressCallback | None = None,
        max_concurrent: int | None = None,
        chunk_size: int | None = None,
    ) -> Descriptor:
        """Copy an image from registry to registry.

        The store is not used. Within one registry, blobs are mounted instead of sent.

        Args:
            source: The reference to copy from.
            target: The reference to copy to.
            platform: One platform or several. From an index, only these platforms are copied, with
                their attestations. ``target`` then refers to a new index of them. Default: all
                platforms.
            referrers: Whether to copy the manifests that refer to the image, such as signatures.
            resolver: As for ``push``.
            progress: As for ``push``.
            max_concurrent: As ``max_concurrent_uploads`` for ``push``.
            chunk_size: As for ``push``.

        Returns:
            The descriptor that ``target`` refers to now.

        Raises:
            NotFound: The source registry lacks the image or some of its content.
            RegistryUnauthorized: A registry refuses access.
            RegistryUnavailable: A registry does not respond, or fails again and again.
            NoMatchingPlatform: The image lacks a wanted platform.
            DigestMismatch: ``target`` has another digest than what is pushed, or content does not
                match its digest.
            InvalidArgument: A reference, another argument or a document of the image is invalid.
        """
        request = push.CopyRequest(
            source=source,
            target=target,
            platform=platform,
            referrers=referrers,
            resolver=resolver,
            progress=progress,
            max_concurrent=max_concurrent,
            chunk_size=chunk_size,
        )
        return push.copy_image(request)

    def tag(self, source: ImageLike, name: str) -> Image:
        """Give an image another name, with the labels of the image.

        Args:
            source: The image.
            name: The new name. If it exists, it refers to this image from now on.

        Returns:
            The image under its new name.

        Raises:
            NotFound: The image or its content is missing in the store.
            InvalidArgument: ``name`` is not a valid reference.
            DigestMismatch: ``name`` has another digest than the image.
        """
        return images.tag_image(self._images, source, name)
