"""The methods ``push``, ``copy`` and ``tag`` of ``Client`` and ``Layout``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ... import images, limits
from ...printable import quoted
from .. import push, signatures
from ..base import Verbs

if TYPE_CHECKING:
    from ...oci.descriptor import Descriptor
    from ...operation import CancelToken
    from ...progress import ProgressCallback
    from ...registry.registry_access import RegistryCredentials, RegistryOptions
    from ...trust.signers import Signer
    from ..image import Image, ImageLike
    from ..resolver import PushResolver
    from ..signatures.policies import PolicyLike
    from ..signatures.sign import SignRequest
    from ..via import Via


class PushVerbs(Verbs):
    """The verbs that push, copy and tag images."""

    def push(
        self,
        ref: str,
        target: ImageLike | None = None,
        *,
        platform: str | Sequence[str] | None = None,
        sparse: bool = False,
        resolver: PushResolver | None = None,
        registry: RegistryOptions | None = None,
        credentials: RegistryCredentials | None = None,
        plain_http: bool | None = None,
        progress: ProgressCallback | None = None,
        max_concurrent_uploads: int | None = None,
        chunk_size: int | None = None,
        sign: Signer | SignRequest | None = None,
        via: Via = "client",
        timeout: float | None = None,
        cancel: CancelToken | None = None,
    ) -> Descriptor:
        """Push an image to a registry.

        Content that the registry has is not sent again. If labels in the store say that another
        repository of the registry has a blob, the push tries to mount the blob from that
        repository. Foreign layers that are not in the store are not pushed, because clients fetch
        them from their URLs. A push that fails does not change the image that ``ref`` refers to,
        and leaves no incomplete upload.

        Args:
            ref: The reference to push to.
            target: The image to push. Default: the image called ``ref``.
            platform: One platform or several. If the image has an index, a new index with only the
                entries for these platforms is pushed. Attestations of these platforms are included
                if the store has them. Default: all platforms. The store must then have the content
                of all platforms, unless ``sparse`` is set.
            sparse: Whether to push the index unchanged, although only the manifests for
                ``platform`` are pushed. A sparse push without ``platform`` skips manifests whose
                content is incomplete in the store. Some registries refuse an index whose manifests
                are missing.
            resolver: Determines where the content is sent. Default: a resolver for registries, with
                the credentials of ``docker login``.
            registry: As for ``pull``.
            credentials: As for ``pull``.
            plain_http: As for ``pull``.
            progress: As for ``pull``. The last event of a blob or manifest is ``exists``,
                ``mounted`` or ``uploaded``.
            max_concurrent_uploads: How many blobs to push at a time. Default: 8 blobs, of which at
                most 4 are larger than 4 MiB.
            chunk_size: Bytes per chunk of a blob, for proxies that limit the size of requests.
                Default: a blob is not divided into chunks.
            sign: The key that signs the image, with the forms and manifests of ``Client.sign``; a
                ``SignRequest`` for others. The signatures are pushed before ``ref`` refers to the
                image, so a client that waits for the tag never finds the image unsigned. If a
                signature cannot be pushed, ``ref`` stays as it is.
            via: As for ``pull``. The daemon cannot push a descriptor, and always pushes all
                platforms.
            timeout: As for ``pull``.
            cancel: As for ``pull``.

        Returns:
            The descriptor that ``ref`` refers to now.

        Raises:
            Cancelled: The token was cancelled, or the client was closed.
            DeadlineExceeded: The call took longer than ``timeout``.
            NotFound: The image does not exist, or the store lacks content. The message lists the
                digests of the missing content.
            RegistryUnauthorized: The registry refuses access.
            RegistryUnavailable: The registry does not respond, or fails again and again.
            NoMatchingPlatform: The image lacks a wanted platform.
            DigestMismatch: ``ref`` contains a digest that is not the digest of the pushed root, or
                content does not match its digest.
            InvalidArgument: ``ref``, another argument or a document of the image is invalid.
        """
        request = push.PushRequest(
            ref=ref,
            target=ref if target is None else target,
            platform=platform,
            sparse=sparse,
            resolver=self._registry(resolver, registry, credentials, plain_http),
            progress=progress,
            max_concurrent_uploads=limits.parallel(
                "max_concurrent_uploads", max_concurrent_uploads
            ),
            chunk_size=limits.count("chunk_size", chunk_size),
            sign=None if sign is None else signatures.sign_request(sign),
        )
        with self._operation(f"push to {quoted(ref)}", timeout, cancel):
            return push.push_image(self._images, request, via)

    def copy(
        self,
        source: str,
        target: str,
        *,
        platform: str | Sequence[str] | None = None,
        referrers: bool = False,
        resolver: PushResolver | None = None,
        registry: RegistryOptions | None = None,
        credentials: RegistryCredentials | None = None,
        plain_http: bool | None = None,
        progress: ProgressCallback | None = None,
        max_concurrent: int | None = None,
        chunk_size: int | None = None,
        policy: PolicyLike | None = None,
        timeout: float | None = None,
        cancel: CancelToken | None = None,
    ) -> Descriptor:
        """Copy an image from registry to registry.

        The store is not used. Within one registry, blobs that the registry can mount are not
        transferred.

        Args:
            source: The reference to copy from.
            target: The reference to copy to.
            platform: One platform or several. If the image has an index, ``target`` gets a new
                index with only the entries for these platforms and for their attestations. Default:
                all platforms.
            referrers: Whether to copy the manifests that refer to the image, such as signatures.
            resolver: As for ``push``.
            registry: As for ``pull``.
            credentials: As for ``pull``.
            plain_http: As for ``pull``.
            progress: As for ``push``.
            max_concurrent: How many blobs to copy at a time. Default: as for ``push``.
            chunk_size: As for ``push``.
            policy: As for ``pull``. Nothing is copied unless the source meets the policies.
            timeout: As for ``pull``.
            cancel: As for ``pull``.

        Returns:
            The descriptor that ``target`` refers to now.

        Raises:
            Cancelled: The token was cancelled, or the client was closed.
            DeadlineExceeded: The call took longer than ``timeout``.
            NotFound: The source registry lacks the image or some of its content.
            RegistryUnauthorized: A registry refuses access.
            RegistryUnavailable: A registry does not respond, or fails again and again.
            NoMatchingPlatform: The image lacks a wanted platform.
            DigestMismatch: ``target`` contains a digest that is not the digest of the pushed root,
                or content does not match its digest.
            InvalidArgument: A reference, another argument or a document of the image is invalid.
            SignatureError: A policy does not accept the source.
        """
        request = push.CopyRequest(
            source=source,
            target=target,
            platform=platform,
            referrers=referrers,
            resolver=self._registry(resolver, registry, credentials, plain_http),
            progress=progress,
            max_concurrent=limits.parallel("max_concurrent", max_concurrent),
            chunk_size=limits.count("chunk_size", chunk_size),
            policy=policy,
        )
        with self._operation(f"copy of {quoted(source)} to {quoted(target)}", timeout, cancel):
            return push.copy_image(self._images, request)

    def tag(self, source: ImageLike, name: str) -> Image:
        """Give an image another name, and copy the image's labels to this name.

        Args:
            source: The image.
            name: The new name. If the name already exists, it then refers to this image.

        Returns:
            The image with its new name.

        Raises:
            NotFound: The store lacks the image, or the image's manifest or index.
            InvalidArgument: ``name`` is not a valid reference.
            DigestMismatch: ``name`` contains a digest that is not the image's digest.
        """
        return images.tag_image(self._images, source, name)
