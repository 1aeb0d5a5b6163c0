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

        The source is an OCI image layout, or an archive that ``docker save`` has written. If it
        is both, it is read as an OCI layout. It may be compressed with gzip or zstd. An image
        that gets no name is skipped.

        Args:
            source: The path of an archive, the path of a folder with an OCI image layout, or a
                binary file such as ``sys.stdin.buffer``. A binary file is read once, from its
                current position.
            ref: A name for images that have no full name in the archive. An image that has only
                a tag gets the repository of ``ref`` and this tag. If no image gets a name in this
                way, a single image without name and tag gets ``ref``. An image whose full name is
                in ``org.opencontainers.image.ref.name`` is skipped if it is of another
                repository, as with ``ctr images import --base-name``. A name in
                ``io.containerd.image.name`` is always used. Default: only images with a full name
                get one.
            platform: One platform (``"linux/arm/v7"``) or several. Their content must be
                complete in the archive and the store together. An image without these platforms
                is skipped if another image has them. Default: the client's.
            all_platforms: Whether the content of all platforms must be complete, and is kept.
            unpack: Whether to make snapshots. With ``all_platforms`` only the client's platform
                is unpacked.
            snapshotter: The snapshotter to unpack into. Default: the client's.
            labels: Labels of the image names. Default: an existing name keeps its labels.
            skip_missing: Whether to import images whose content is not complete.
            progress: Called with each progress event.
            max_concurrent: How many blobs to read in parallel from a folder, or from a regular
                file that is not compressed.
            via: Whether this process or the daemon does the work, as for ``pull``. The daemon
                receives the whole archive. It gives images without a full name a name that
                begins with ``import-`` and the date.

        Returns:
            The images that got names.

        Raises:
            InvalidArgument: The archive is not valid or has no image with a name, or an argument
                is not valid.
            NotFound: Content is missing; the error lists the digests.
            NoMatchingPlatform: No image has the platforms.
            DigestMismatch: A blob does not have the digest that its name or the config says.
            SizeMismatch: A blob does not have the size that its descriptor says.
            DataLoss: The archive is cut off.
            ResourceExhausted: The archive decompresses to more than 250 times its size, and to
                more than 1 GiB.
            FailedPrecondition: This Python cannot read zstd, or a ``Layout`` is asked to unpack.

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
        """Write images to an archive, an OCI image layout that Docker can load, too.

        The same images always make the same archive, byte for byte, in any store. No registry is
        needed.

        An index is written unchanged, even if only the content of some platforms is written.
        Foreign layers, which have URLs and need not be in registries, are left out. Every blob is
        verified.

        Args:
            target: A path or a binary file. The file of a path is replaced when the archive is
                complete.
            *images: Images, their names, or descriptors. A descriptor gets no name in the
                archive.
            platform: One platform (``"linux/arm/v7"``) or several, whose content is written.
                Default: the client's.
            all_platforms: Whether to write the content of all platforms.
            skip_docker_manifest: Whether to leave out ``manifest.json``, which Docker reads.
            without: Images or digests that the recipient already has. Their configs and layers
                are left out. Manifests and indexes are written if ``images`` refer to them.
            progress: Called with each progress event.
            via: Whether this process or the daemon does the work, as for ``pull``. An archive
                from the daemon need not be the same each time.

        Raises:
            NotFound: No image has this name, or content is missing; the error lists the digests.
            NoMatchingPlatform: An image does not have the platforms.
            InvalidArgument: No image is given, or an argument is not valid.
            DigestMismatch: A blob in the store is broken.
            SizeMismatch: A blob in the store is broken.

        After an error the file of a path is as it was before. A binary file has the beginning of
        the archive.

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
