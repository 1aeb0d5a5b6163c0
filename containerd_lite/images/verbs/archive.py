"""Import and export."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, BinaryIO, cast

from ...errors import InvalidArgument
from .base import Verbs, falling_back, only

if TYPE_CHECKING:
    from ...oci.platform import Platform
    from ...progress import ProgressCallback
    from ..exporter import ExportOptions
    from ..image import Image, ImageServices
    from ..job import Job
    from ..platforms import Platforms
    from .base import Source, Via


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
        from ..importer import ImportOptions, import_archive
        from ..job import Job
        from ..platforms import Platforms

        services = self._image_services(snapshotter, only(platform))
        wanted = Platforms.of(platform, all_platforms, services.platform)
        is_path = isinstance(source, str | os.PathLike)
        is_folder = is_path and os.path.isdir(cast("str", source))
        if self._is_for_daemon(via, ref=ref, skip_missing=skip_missing, folders=is_folder):
            usual = services.platform if unpack else None
            with falling_back(via if is_path else "daemon"):  # a pipe is read once
                return self._import_by_daemon(
                    services, source, wanted, usual, snapshotter, labels, Job(progress)
                )
        options = ImportOptions(
            wanted, ref, skip_missing, unpack, snapshotter, labels, max_concurrent
        )
        with self._keeping():
            return import_archive(services, source, options, Job(progress))

    def _import_by_daemon(
        self,
        services: ImageServices,
        source: str | os.PathLike[str] | BinaryIO,
        platforms: Platforms,
        unpack: Platform | None,
        snapshotter: str | None,
        labels: Mapping[str, str] | None,
        job: Job,
    ) -> list[Image]:
        from ..taken import Taken

        with ExitStack() as stack:
            stack.enter_context(self._keeping())
            taken = Taken(services)
            taken.remember_all()
            if isinstance(source, str | os.PathLike):
                source = stack.enter_context(open(source, "rb"))
            names = self._transfers().import_stream(
                source,
                platforms=platforms,
                unpack=unpack,
                snapshotter=snapshotter or "",
                labels=labels,
                job=job,
            )
            return taken.accept(names, platforms, is_whole=False)

    def export_images(
        self,
        target: str | os.PathLike[str] | BinaryIO,
        *images: Source,
        platform: str | Sequence[str] | None = None,
        all_platforms: bool = False,
        skip_docker_manifest: bool = False,
        without: Iterable[Source] = (),
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
        from ...oci.descriptor import Descriptor
        from ..exporter import ExportOptions, export_archive
        from ..job import Job
        from ..platforms import Platforms

        services = self._image_services(None, only(platform))
        wanted = Platforms.of(platform, all_platforms, services.platform)
        others = (without,) if isinstance(without, str) else tuple(without)
        options = ExportOptions(wanted, platform is not None, skip_docker_manifest, others)
        if via == "auto" and any(isinstance(one, Descriptor) for one in images):
            via = "client"  # the daemon exports what has a name
        by_daemon = self._is_for_daemon(via, without=options.without)
        with self._keeping():
            if by_daemon:
                with falling_back(via):
                    return self._export_by_daemon(services, target, images, options, Job(progress))
            export_archive(services, target, images, options, Job(progress))

    def _export_by_daemon(
        self,
        services: ImageServices,
        target: str | os.PathLike[str] | BinaryIO,
        images: Sequence[Source],
        options: ExportOptions,
        job: Job,
    ) -> None:
        from ...oci import media_types
        from ..image import Image
        from ..names import find
        from ..target import writing_to

        names = []
        for one in images:
            image = Image(services, find(services.names, one)) if isinstance(one, str) else one
            if not isinstance(image, Image):
                raise InvalidArgument("the daemon exports what has a name", remedy="Tag it first")
            if options.is_chosen or media_types.is_index(image.target.media_type):
                image.expect(options.platforms)
            names.append(image.name)
        with writing_to(target) as file:
            self._transfers().export_stream(
                file,
                names,
                platforms=options.platforms,
                skip_manifest_json=options.skip_docker_manifest,
                job=job,
            )
