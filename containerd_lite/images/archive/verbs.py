"""The verbs that import and export archives, for ``Client`` and ``Layout``."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, BinaryIO

from .. import archive
from ..base import Verbs

if TYPE_CHECKING:
    from ...progress import ProgressCallback
    from ..image import Image, ImageLike
    from ..via import Via


class ArchiveVerbs(Verbs):
    """The verbs that move images between the store and archives."""

    def import_images(
        self,
        source: str | os.PathLike[str] | BinaryIO,
        *,
        ref: str | None = None,
        platform: str | Sequence[str] | None = None,
        all_platforms: bool = False,
        unpack: bool = False,
        snapshotter: str | None = None,
        labels: Mapping[str, str] | None = None,
        skip_missing: bool = False,
        progress: ProgressCallback | None = None,
        max_concurrent: int = 3,
        via: Via = "client",
    ) -> list[Image]:
        """Import the images of an archive into the store, and give them their names.

        The source is an OCI image layout, or an archive that ``docker save`` has written. A source
        that is both is read as an OCI image layout. An archive can be compressed with gzip or zstd.
        An image that gets no name is skipped.

        Args:
            source: The path of an archive, the path of a folder with an OCI image layout, or a
                binary file such as ``sys.stdin.buffer``. A binary file is read once, from its
                current position.
            ref: A name for images that have no full name in the archive. If an image has only a
                tag, its name consists of the repository of ``ref`` and this tag. If no image gets a
                name in this way, and exactly one image has neither a name nor a tag, this image is
                named ``ref``. If ``org.opencontainers.image.ref.name`` contains a full name from
                another repository, the image is skipped, as with ``ctr images import --base-name``.
                A name in ``io.containerd.image.name`` is always used. Default: images without a
                full name are skipped.
            platform: One platform (``"linux/arm/v7"``) or several. The archive and the store
                together must have all content for these platforms. An image without these platforms
                is skipped if another image has them. Default: the client's platform.
            all_platforms: Whether to import all platforms, whose content must then be complete.
            unpack: Whether to make snapshots. With ``all_platforms``, only the client's platform
                is unpacked.
            snapshotter: The snapshotter to unpack into. Default: the client's snapshotter.
            labels: Labels of the image names. Default: an existing name keeps its labels.
            skip_missing: Whether to import images even if content is missing.
            progress: A function that is called with each ``ProgressEvent``.
            max_concurrent: How many blobs to read in parallel from a folder, or from a regular
                file that is not compressed.
            via: Whether this process or the daemon does the work, as for ``pull``. The daemon
                receives the whole archive. If an image has no full name, the daemon makes a name
                that begins with ``import-`` and the date.

        Returns:
            The images that the import has named.

        Raises:
            InvalidArgument: The archive is not valid or has no image with a name, or an argument
                is not valid.
            NotFound: Content is missing; the error lists the digests.
            NoMatchingPlatform: No image has the wanted platforms.
            DigestMismatch: A blob does not match the digest in its name or in the config.
            SizeMismatch: A blob does not have the size in its descriptor.
            DataLoss: The archive is cut off.
            ResourceExhausted: The archive decompresses to more than 250 times its size, and to
                more than 1 GiB.
            FailedPrecondition: This Python cannot read zstd. Or ``unpack`` is set for a ``Layout``.

        If one of these errors is raised, no image has been named.
        """
        request = archive.ImportRequest(
            source=source,
            ref=ref,
            platform=platform,
            all_platforms=all_platforms,
            unpack=unpack,
            snapshotter=snapshotter,
            labels=labels,
            skip_missing=skip_missing,
            progress=progress,
            max_concurrent=max_concurrent,
        )
        return archive.import_archive(self._images, request, via)

    def export_images(
        self,
        target: str | os.PathLike[str] | BinaryIO,
        *images: ImageLike,
        platform: str | Sequence[str] | None = None,
        all_platforms: bool = False,
        skip_docker_manifest: bool = False,
        without: Iterable[ImageLike] = (),
        progress: ProgressCallback | None = None,
        via: Via = "client",
    ) -> None:
        """Write images to an archive, which is an OCI image layout that Docker can load, too.

        The bytes of the archive depend only on the images, not on the store. No registry is needed.

        An index is written unchanged, even if only the content of some platforms is written.
        Foreign layers, which have URLs and need not be in registries, are left out. Every blob is
        verified.

        Args:
            target: A path or a binary file. A file at the path is replaced when the archive is
                complete.
            *images: The images, as ``Image``, name or descriptor. The archive contains no name for
                a descriptor.
            platform: One platform (``"linux/arm/v7"``) or several, whose content is written.
                Default: the client's platform.
            all_platforms: Whether to write the content of all platforms.
            skip_docker_manifest: Whether to leave out ``manifest.json``, which Docker reads.
            without: Images or digests that the recipient already has. The configs and layers of
                these images are left out, but not their manifests and indexes.
            progress: A function that is called with each ``ProgressEvent``.
            via: Whether this process or the daemon does the work, as for ``pull``. The daemon can
                write different archives for the same images.

        Raises:
            NotFound: No image has this name, or content is missing; the error lists the digests.
            NoMatchingPlatform: An image lacks a wanted platform.
            InvalidArgument: No image is passed, or an argument is not valid.
            DigestMismatch: A blob in the store does not match its digest.
            SizeMismatch: A blob in the store does not have the size in its descriptor.

        After an error, the file at a path is unchanged. A binary file then contains the beginning
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
        )
        archive.export_archive(self._images, request, via)
