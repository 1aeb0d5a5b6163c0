"""Push, copy and tag, as ``Client`` and ``Layout`` have them."""

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
    """From the store, or from elsewhere, to registries; and names."""

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
        """Push an image to where ``ref`` says; returns what ``ref`` stands for there now.

        ``target`` is what to push, the image called ``ref`` unless given.  All of it has to be
        in the store.  Of an index ``platform``, one or several, pushes an index of those alone,
        with such of their attestations as are in the store.  ``sparse`` leaves the index as it
        is, and pushes of its manifests those for ``platform``, or those that the store has whole;
        not every registry takes that.

        What the registry has is not sent again; what another of its repositories has, as far as
        the store knows, is mounted from there.  Foreign layers that are not in the store stay
        where their URLs are.  ``chunk_size`` (bytes) sends blobs in pieces, for proxies that
        allow no more at once.  ``max_concurrent_uploads`` blobs go at a time; unless given eight,
        and of those above 4 MiB four.  ``progress`` is called with
        ``ProgressEvent``s: for each blob and manifest ``exists``, ``mounted`` or ``uploaded`` in
        the end.

        ``resolver`` says where content goes: to registries, with docker's credentials, unless
        given.  ``via`` is as for ``pull``; the daemon pushes images alone, by their names, with
        all that the index names.  A push that fails leaves ``ref`` as it was, and no upload
        half-way.  Raises ``NotFound`` with the digests that are missing, ``RegistryUnauthorized``,
        ``RegistryUnavailable``, ``NoMatchingPlatform``, ``DigestMismatch``, ``InvalidArgument``.
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
        """Copy an image from registry to registry; returns what ``target`` stands for now.

        Nothing of it comes into the store.  All platforms are copied, or of an index those of
        ``platform``, with their attestations: then ``target`` is an index of these alone.
        ``referrers`` brings what refers to the image, such as signatures.  Within one registry
        blobs are mounted, and no byte of them moves.  ``max_concurrent`` is as
        ``max_concurrent_uploads`` of ``push``, as are other arguments and errors.
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
        """Let ``name`` stand for an image from now on, in place of what it stood for.

        It has the labels that the image has.  Raises ``NotFound`` for a name, or content, that
        is not here, ``InvalidArgument`` for a name that cannot be, and ``DigestMismatch`` for one
        with another digest.
        """
        return images.tag_image(self._images, source, name)
