"""The verbs ``check``, ``fetch_missing``, ``verify`` and ``repair`` of clients and layouts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ... import limits
from ...printable import quoted
from .. import upkeep
from ..base import Verbs

if TYPE_CHECKING:
    from ...oci.descriptor import Descriptor
    from ...operation import CancelToken
    from ...progress import ProgressCallback
    from ...registry.registry_access import RegistryCredentials, RegistryOptions
    from ..image import ImageLike
    from ..resolver import Resolver
    from ..signatures.policies import PolicyLike
    from .check import CheckReport
    from .repair import RepairReport
    from .verify import VerifyReport


class UpkeepVerbs(Verbs):
    """The verbs that find missing or broken content, and fetch it."""

    def check(
        self,
        source: ImageLike,
        *,
        platform: str | Sequence[str] | None = None,
        all_platforms: bool = False,
        timeout: float | None = None,
        cancel: CancelToken | None = None,
    ) -> CheckReport:
        """Report which content of an image is missing in the store, like ``ctr images check``.

        The check sends no request to a registry, and does not hash content. The children of a
        missing manifest are unknown, so they are not counted.

        Args:
            source: The image.
            platform: One platform or several. Default: the client's platform.
            all_platforms: Whether to check all platforms that the index lists.
            timeout: As for ``pull``.
            cancel: As for ``pull``.

        Returns:
            A report for each wanted manifest, and a list of all missing content.

        Raises:
            Cancelled: The token was cancelled, or the client was closed.
            DeadlineExceeded: The call took longer than ``timeout``.
            NotFound: No image has this name.
            NoMatchingPlatform: The image lacks a wanted platform.
            DataLoss: A manifest or index is broken; ``repair`` replaces it.
        """
        with self._operation(f"check of {quoted(source)}", timeout, cancel):
            return upkeep.check_image(
                self._images, source, platform=platform, all_platforms=all_platforms
            )

    def fetch_missing(
        self,
        source: ImageLike,
        *,
        ref: str | None = None,
        platform: str | Sequence[str] | None = None,
        all_platforms: bool = False,
        resolver: Resolver | None = None,
        registry: RegistryOptions | None = None,
        credentials: RegistryCredentials | None = None,
        plain_http: bool | None = None,
        progress: ProgressCallback | None = None,
        max_concurrent_downloads: int = 3,
        policy: PolicyLike | None = None,
        timeout: float | None = None,
        cancel: CancelToken | None = None,
    ) -> tuple[Descriptor, ...]:
        """Fetch the content of an image that ``check`` reports as missing.

        If an image was pulled for one platform, this method can add other platforms. Content is
        fetched by its digest, so it does not matter what the name refers to in the registry now.
        Nothing is unpacked. After a failure, a daemon deletes the content that this call has
        fetched.

        Args:
            source: The image.
            ref: The reference to fetch from. Default: the image's name.
            platform: One platform or several. Default: the client's platform.
            all_platforms: Whether to fetch all platforms that the index lists.
            resolver: As for ``pull``.
            registry: As for ``pull``.
            credentials: As for ``pull``.
            plain_http: As for ``pull``.
            progress: As for ``pull``.
            max_concurrent_downloads: How many blobs to fetch at a time.
            policy: As for ``pull``. The policies apply only if content must be fetched.
            timeout: As for ``pull``.
            cancel: As for ``pull``.

        Returns:
            The descriptors of the content that was fetched.

        Raises:
            Cancelled: The token was cancelled, or the client was closed.
            DeadlineExceeded: The call took longer than ``timeout``.
            NotFound: No image has this name, or the registry lacks some content of the image.
            RegistryUnauthorized: The registry refuses access.
            RegistryUnavailable: The registry does not respond, or fails again and again.
            NoMatchingPlatform: The image lacks a wanted platform.
            DigestMismatch: Content does not match its digest.
            DataLoss: A manifest or index in the store is broken.
            InvalidArgument: Content must be fetched, but the reference to fetch from is missing or
                invalid. The reference is missing if ``source`` is a descriptor and ``ref`` is not
                given.
            SignatureError: A policy does not accept the image.
        """
        request = upkeep.FetchRequest(
            ref=ref,
            platform=platform,
            all_platforms=all_platforms,
            resolver=self._registry(resolver, registry, credentials, plain_http),
            progress=progress,
            max_concurrent_downloads=limits.parallel(
                "max_concurrent_downloads", max_concurrent_downloads
            ),
            policy=policy,
        )
        with self._operation(f"fetch of what {quoted(source)} lacks", timeout, cancel):
            return upkeep.fetch_missing(self._images, source, request)

    def verify(
        self,
        *sources: ImageLike,
        progress: ProgressCallback | None = None,
        timeout: float | None = None,
        cancel: CancelToken | None = None,
    ) -> VerifyReport:
        """Hash content in the store, and report the broken content.

        Content is broken if it does not match its digest, or cannot be read. Missing content is not
        reported (see ``check``). The children of a broken manifest are unknown, so they are not
        hashed. A daemon records the size of each blob, and serves only this number of bytes. So
        ``verify`` cannot find bytes that were appended to the file of a blob.

        Args:
            *sources: The images whose content is hashed. Default: all content of the store.
            progress: As for ``pull``.
            timeout: As for ``pull``.
            cancel: As for ``pull``.

        Returns:
            How many blobs and bytes were hashed, and which blobs are broken.

        Raises:
            Cancelled: The token was cancelled, or the client was closed.
            DeadlineExceeded: The call took longer than ``timeout``.
            NotFound: No image has this name.
        """
        with self._operation("verify", timeout, cancel):
            return upkeep.verify_images(self._images, sources, progress)

    def repair(
        self,
        *sources: ImageLike,
        ref: str | None = None,
        platform: str | Sequence[str] | None = None,
        all_platforms: bool = False,
        resolver: Resolver | None = None,
        registry: RegistryOptions | None = None,
        credentials: RegistryCredentials | None = None,
        plain_http: bool | None = None,
        progress: ProgressCallback | None = None,
        max_concurrent_downloads: int = 3,
        policy: PolicyLike | None = None,
        timeout: float | None = None,
        cancel: CancelToken | None = None,
    ) -> RepairReport:
        """Verify images, replace broken content, and fetch missing content.

        Broken content is replaced for all platforms. Missing content is fetched only for the wanted
        platforms. Content is fetched by its digest.

        The broken bytes are deleted only after the good bytes have been fetched. If the good bytes
        cannot be fetched, nothing changes. A repaired blob keeps its labels, and the content that
        the labels refer to is not deleted. A daemon has one copy of a blob for all namespaces, so
        the blob is repaired in all namespaces. Snapshots do not change.

        Args:
            *sources: The images to repair. Default: all images. With this default, content that no
                image refers to is verified, too, but it cannot be repaired.
            ref: The reference to fetch from. Default: the name of each image.
            platform: One platform or several. Default: the client's platform.
            all_platforms: Whether to fetch the missing content of all platforms that the index
                lists.
            resolver: As for ``pull``.
            registry: As for ``pull``.
            credentials: As for ``pull``.
            plain_http: As for ``pull``.
            progress: As for ``pull``. ``overall.total`` is known before the first blob is verified,
                unless a manifest or an index is missing or broken.
            max_concurrent_downloads: How many blobs to fetch at a time.
            policy: As for ``pull``. The policies apply only if content must be fetched.
            timeout: As for ``pull``.
            cancel: As for ``pull``.

        Returns:
            How many blobs were checked, and which were repaired or fetched.

        Raises:
            Cancelled: The token was cancelled, or the client was closed.
            DeadlineExceeded: The call took longer than ``timeout``.
            DataLoss: Some content could not be repaired. All other content is sound now. ``joined``
                contains an error for each blob that is still broken or missing.
            NotFound: No image has this name.
            NoMatchingPlatform: An image in ``sources`` lacks a wanted platform.
            SignatureError: A policy does not accept an image in ``sources``.
        """
        request = upkeep.FetchRequest(
            ref=ref,
            platform=platform,
            all_platforms=all_platforms,
            resolver=self._registry(resolver, registry, credentials, plain_http),
            progress=progress,
            max_concurrent_downloads=limits.parallel(
                "max_concurrent_downloads", max_concurrent_downloads
            ),
            policy=policy,
        )
        with self._operation("repair", timeout, cancel):
            return upkeep.repair_images(self._images, sources, request)
