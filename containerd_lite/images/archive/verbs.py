"""The verbs that import and export archives, for ``Client`` and ``Layout``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, BinaryIO

from ... import limits
from .. import archive
from ..base import Verbs

if TYPE_CHECKING:
    from ...operation import CancelToken
    from ...progress import ProgressCallback
    from ..image import Image, ImageLike
    from ..signatures.policies import PolicyLike
    from ..via import Via


class ArchiveVerbs(Verbs):
    """The verbs that import images from archives and export images to archives."""

    def import_images(
        self,
        source: str | os.PathLike[str] | BinaryIO,
        *,
        ref: str | None = None,
        translate_name: Callable[[str], str] | None = None,
        platform: str | Sequence[str] | None = None,
        all_platforms: bool = False,
        unpack: bool = False,
        snapshotter: str | None = None,
        labels: Mapping[str, str] | None = None,
        skip_missing: bool = False,
        progress: ProgressCallback | None = None,
        max_concurrent: int = 3,
        policy: PolicyLike | None = None,
        via: Via = "client",
        timeout: float | None = None,
        cancel: CancelToken | None = None,
    ) -> list[Image]:
        """Import the images of an archive into the store, and name them.

        The source is an OCI image layout, or an archive that ``docker save`` has written. A source
        that is both is read as an OCI image layout. An archive can be compressed with gzip or zstd.
        An image that gets no name is skipped. An image of an archive from ``docker save`` whose
        config has no diff IDs is imported, but cannot be unpacked. The logger
        ``containerd_lite.images`` then gets a warning.

        Args:
            source: The path of an archive, the path of a folder with an OCI image layout, or a
                binary file such as ``sys.stdin.buffer``. A binary file is read once, from its
                current position. ``timeout`` and ``cancel`` end a wait for a pipe, a socket without
                TLS or a terminal, but no call of a method of another class than Python's own.
            ref: A name for images that have no full name in the archive. If an image has only a
                tag, its name consists of the repository of ``ref`` and this tag. If no image gets a
                name from the archive, and exactly one image has neither a name nor a tag, this
                image is named ``ref``. An image is skipped if its annotation
                ``org.opencontainers.image.ref.name`` contains a full name from another repository,
                as with ``ctr images import --base-name``. A name in the annotation
                ``io.containerd.image.name`` is always used. Default: images without a full name are
                skipped.
            translate_name: Instead of ``ref``, a function that chooses the names of images that
                have no name in the annotation ``io.containerd.image.name``. It gets the annotation
                ``org.opencontainers.image.ref.name``, or ``""`` if it is absent, and returns the
                full name of the image, or ``""`` to skip the image. ``lambda tag:
                f"example.org/app:{tag}"`` sets a prefix, and ``lambda name: name`` keeps the names
                as they are.
            platform: One platform (``"linux/arm/v7"``) or several. The archive and the store
                together must have all content for these platforms. An image without these platforms
                is skipped if another image has them. Default: the client's platform.
            all_platforms: Whether to import all platforms. The archive and the store together must
                then have the content of all platforms.
            unpack: Whether to unpack the layers into snapshots. With ``all_platforms``, only the
                client's platform is unpacked.
            snapshotter: The snapshotter to unpack into. Default: the client's snapshotter.
            labels: Labels of the image names. Default: an existing name keeps its labels.
            skip_missing: Whether to import images even if content is missing.
            progress: As for ``pull``. The total is known at once if ``source`` is a folder, or a
                regular file that is not compressed; otherwise when the archive has been read.
            max_concurrent: How many blobs to read in parallel from a folder, or from a regular
                file that is not compressed.
            policy: As for ``pull``. The signatures must be in the archive, as referrers, or under
                cosign's tags. No image gets a name unless all images meet the policies. The daemon
                cannot apply policies.
            via: Whether this process or the daemon does the work, as for ``pull``. If the daemon
                does the work, it receives the whole archive. An image without a full name then gets
                a name that begins with ``import-`` and the date.
            timeout: As for ``pull``.
            cancel: As for ``pull``.

        Returns:
            The images that the import has named.

        Raises:
            Cancelled: The token was cancelled, or the client was closed.
            DeadlineExceeded: The call took longer than ``timeout``.
            InvalidArgument: The archive or an argument is not valid, or the archive has no image
                with a name.
            NotFound: Content is missing. The message lists the digests of the missing content.
            NoMatchingPlatform: No image has the wanted platforms.
            DigestMismatch: A blob does not match the digest in its name or in the config.
            SizeMismatch: A blob does not have the size in its descriptor.
            DataLoss: The archive is cut off.
            ResourceExhausted: The archive decompresses to more than 250 times its size, and to
                more than 1 GiB.
            FailedPrecondition: This Python cannot read zstd, or ``unpack`` is set for a ``Layout``.
            SignatureError: A policy does not accept an image of the archive.

        If the import fails with one of these errors, it has not named any image.
        """
        request = archive.ImportRequest(
            source=source,
            ref=ref,
            translate_name=translate_name,
            platform=platform,
            all_platforms=all_platforms,
            unpack=unpack,
            snapshotter=snapshotter,
            labels=labels,
            skip_missing=skip_missing,
            progress=progress,
            max_concurrent=limits.parallel("max_concurrent", max_concurrent),
            policy=policy,
        )
        with self._operation("import", timeout, cancel):
            return archive.import_archive(self._images, request, via)

    def export_images(
        self,
        target: str | os.PathLike[str] | BinaryIO,
        *images: ImageLike,
        platform: str | Sequence[str] | None = None,
        all_platforms: bool = False,
        skip_docker_manifest: bool = False,
        without: Iterable[ImageLike] = (),
        skip_missing: bool = False,
        progress: ProgressCallback | None = None,
        via: Via = "client",
        timeout: float | None = None,
        cancel: CancelToken | None = None,
    ) -> None:
        """Write images to an archive, which is an OCI image layout that Docker can load, too.

        The bytes of the archive depend only on the images, not on the store. No registry is needed.

        An index is written unchanged, even if the content of only some platforms is written.
        Foreign layers, which have URLs and need not be in registries, are not written. Every blob
        is verified.

        Args:
            target: A path or a binary file. A file at the path is replaced when the archive is
                complete. ``timeout`` and ``cancel`` end a wait for a binary file as for
                ``import_images``.
            *images: The images, as ``Image``, name or descriptor. An image that is passed as a
                descriptor gets no name in the archive.
            platform: The platforms whose content is written: one (``"linux/arm/v7"``) or several.
                Default: the client's platform.
            all_platforms: Whether to write the content of all platforms.
            skip_docker_manifest: Whether to leave out ``manifest.json``, which Docker reads.
            without: Images or digests that the recipient already has. The configs and layers of
                these images are left out, but not their manifests and indexes.
            skip_missing: Whether to export an image even if the store does not have the content of
                all wanted platforms. A platform without complete content is then left out: its
                config and its layers and, if the store lacks it, its manifest. The index stays
                unchanged. At least one platform of each image must be complete.
            progress: As for ``pull``.
            via: Whether this process or the daemon does the work, as for ``pull``. Archives that
                the daemon writes can differ although the images are the same.
            timeout: As for ``pull``.
            cancel: As for ``pull``.

        Raises:
            Cancelled: The token was cancelled, or the client was closed.
            DeadlineExceeded: The call took longer than ``timeout``.
            NotFound: No image has this name, or content is missing. The message lists the digests
                of the missing content.
            NoMatchingPlatform: An image lacks a wanted platform.
            InvalidArgument: No image is passed, or an argument is not valid.
            DigestMismatch: A blob in the store does not match its digest.
            SizeMismatch: A blob in the store does not have the size in its descriptor.

        After an error, a file at a path is unchanged, but a binary file can contain the beginning
        of the archive.

        Source: containerd's core/images/archive/exporter.go.
        """
        request = archive.ExportRequest(
            target=target,
            images=images,
            platform=platform,
            all_platforms=all_platforms,
            skip_docker_manifest=skip_docker_manifest,
            without=(without,) if isinstance(without, str) else tuple(without),
            progress=progress,
            skip_missing=skip_missing,
        )
        with self._operation("export", timeout, cancel):
            archive.export_archive(self._images, request, via)
