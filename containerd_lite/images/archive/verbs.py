"""Import and export, as ``Client`` and ``Layout`` have them."""

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
    """Between the store and archives."""

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
        """Bring the images of an archive into the store, and give them their names.

        ``source`` is a file, or a folder with an OCI image layout, by its path, or a binary file
        such as ``sys.stdin.buffer``, which is read once.  It holds an OCI layout or what ``docker
        save`` writes (the layout counts where it is both), plain or compressed by gzip or zstd.
        Of a plain file ``max_concurrent`` blobs are read at a time.

        An image is called as the archive says: by ``io.containerd.image.name`` or a full
        ``org.opencontainers.image.ref.name``, a tag of Docker's made full.  ``ref`` is the
        repository of those that say only a tag, which have no name without it, and of full
        names that are not containerd's own only those in it count (as ``ctr images import
        --base-name``); it is the whole name where one image says nothing.  An image without a
        name is passed over.

        The content for ``platform`` (one or several, this client's unless given) must be there
        at the end, from the archive or from before; the rest of an index is kept with
        ``all_platforms`` only.  With ``skip_missing`` nothing need be there.  Images without any
        for the platform are passed over, if others have one.  ``unpack`` makes snapshots, for
        all platforms of the client's own only; ``labels`` are the names'.  ``via`` is as for
        ``pull``; the daemon is sent the whole archive, and names what has none by the date.

        Raises ``InvalidArgument``, ``NotFound`` with what is missing, ``NoMatchingPlatform``,
        ``DigestMismatch``, ``SizeMismatch``, ``DataLoss`` for an archive that is cut off,
        ``ResourceExhausted`` for one that decompresses to 250 times its size (beyond 1 GiB),
        ``FailedPrecondition`` where zstd cannot be read; then no name is made.
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
        """Write images to one archive, an OCI layout that is Docker's archive, too.

        ``target`` is a path, whose file is replaced when all is written, or a binary file.
        ``images`` are names, images or descriptors, which stay without a name.  The same images
        make the same archive, byte for byte, wherever they are stored.  No registry is asked.

        An index is kept whole, with the content for ``platform`` (one or several, this client's
        unless given), or all it names with ``all_platforms``.  Layers that registries need not
        hold, with URLs, are left out.  ``without`` are images, or digests, that the other side
        has: of these only manifests and indexes that an image refers to are written.
        ``skip_docker_manifest`` leaves ``manifest.json`` out.  ``via`` is as for ``pull``; what
        the daemon writes need not be the same each time.

        Raises ``NotFound`` for a name, or with the digests that are missing,
        ``NoMatchingPlatform``, ``DigestMismatch`` or ``SizeMismatch`` for content that is
        broken: every blob is verified.  Then no file is left; a binary file has what came before.
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
