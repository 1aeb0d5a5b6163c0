"""Check, fetch what is missing, verify and repair."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .base import Verbs, target_of

if TYPE_CHECKING:
    from ...oci.descriptor import Descriptor
    from ...progress import ProgressCallback
    from ..check import CheckReport
    from ..image import ImageServices
    from ..repair import Ground, RepairReport
    from ..resolver import Resolver
    from ..verify import VerifyReport
    from .base import Source


class UpkeepVerbs(Verbs):
    """Whether what should be here is here, and is what it should be."""

    def check(
        self,
        source: Source,
        *,
        platform: str | Sequence[str] | None = None,
        all_platforms: bool = False,
    ) -> CheckReport:
        """What of an image is here and what is missing; asks no registry, and hashes nothing.

        ``platform`` is one or several, this client's unless given; ``all_platforms`` is whatever
        an index names.  What a missing manifest refers to is not known, and not counted.
        Raises ``NotFound`` for a name that is not there, ``NoMatchingPlatform``, ``DataLoss``
        for a broken manifest (see ``repair``).  As ``ctr images check``.
        """
        from ..check import check
        from ..platforms import Platforms

        services = self._image_services()
        name, target = _named(services, source)
        platforms = Platforms.of(platform, all_platforms, services.platform)
        return check(services, name or target.digest, target, platforms)

    def fetch_missing(
        self,
        source: Source,
        *,
        ref: str | None = None,
        platform: str | Sequence[str] | None = None,
        all_platforms: bool = False,
        resolver: Resolver | None = None,
        progress: ProgressCallback | None = None,
        max_concurrent_downloads: int = 3,
    ) -> tuple[Descriptor, ...]:
        """Fetch what ``check`` finds missing, and that alone; returns what was fetched.

        An image that was pulled for one platform gets others by this.  Content comes from
        ``ref``, the image's name unless given, by digest: what the name stands for now does not
        matter, ``max_concurrent_downloads`` blobs at a time.  Nothing is unpacked.  ``resolver``
        and ``progress`` are as for ``pull``.  Raises what ``check`` and ``pull`` raise; then a
        daemon drops what was fetched.
        """
        from ..check import LateFetcher, fetch_missing
        from ..job import Job
        from ..platforms import Platforms
        from ..resolver import using
        from ..source import Source

        services = self._image_services()
        name, target = _named(services, source)
        platforms = Platforms.of(platform, all_platforms, services.platform)
        ref, job = ref or name, Job(progress)
        with self._keeping(), using(resolver, job.tell) as found:
            whence = Source(LateFetcher(found, ref), ref, services.store, job)
            return fetch_missing(
                services.store, whence, target, platforms, job, max_concurrent_downloads
            )

    def verify(self, *sources: Source, progress: ProgressCallback | None = None) -> VerifyReport:
        """Hash what is here and compare; all content, or what ``sources`` refer to if given.

        Names the digests whose bytes are others, or cannot be read.  What is missing is for
        ``check`` to tell, and what a broken manifest refers to is not known.  A daemon serves
        as many bytes as it has on record: what a disk has put behind them does not show.
        ``progress`` is called with ``ProgressEvent``s.  Raises ``NotFound`` for a name that is
        not there.
        """
        from ..job import Job
        from ..verify import verify

        services = self._image_services()
        targets = [target_of(services, source) for source in sources] if sources else None
        return verify(services.store, targets, Job(progress))

    def repair(
        self,
        *sources: Source,
        ref: str | None = None,
        platform: str | Sequence[str] | None = None,
        all_platforms: bool = False,
        resolver: Resolver | None = None,
        progress: ProgressCallback | None = None,
        max_concurrent_downloads: int = 3,
    ) -> RepairReport:
        """Verify images, and fetch again what is broken or missing; all images if none is given.

        What is broken is replaced of every platform that is here; what is missing is fetched of
        those wanted (see ``check``).  Content comes from ``ref``, each image's name unless given,
        by digest.  The broken bytes go when the good ones are here, and keep their labels and
        what these keep alive; without the good ones nothing changes.  A daemon keeps one copy of
        a blob for all namespaces: each that has it broken has it whole afterwards.  Snapshots
        are left alone.  ``max_concurrent_downloads`` is as for ``fetch_missing``.

        Raises ``DataLoss`` at the end if something could not be repaired, when all else is; its
        ``joined`` errors say what and why.  That includes, if no image is given, broken content
        that none refers to.  Raises ``NotFound`` and ``NoMatchingPlatform`` as ``check``.
        """
        from ..job import Job
        from ..platforms import Platforms
        from ..repair import Repair
        from ..resolver import using

        services = self._image_services()
        images = [_named(services, source) for source in sources]
        if not sources:
            images = [(found.name, found.target) for found in services.names.list()]
        platforms = Platforms.of(platform, all_platforms, services.platform)
        with self._keeping(), using(resolver, Job(progress).tell) as found:
            repair = Repair(
                services.store,
                self._ground(services),
                found,
                platforms,
                progress,
                max_concurrent_downloads,
            )
            if not sources:
                repair.everything(images)
            for name, target in images if sources else ():
                repair.image(ref or name, target)
        return repair.report()  # not within the block: what has been repaired stays

    def _ground(self, services: ImageServices) -> Ground:
        from ...services.access import Services
        from ...services.content import ContentService
        from ..repair import DaemonGround, FolderGround

        if not isinstance(self, Services):
            return FolderGround(services.store)
        content = ContentService(self._channel, self._context)
        return DaemonGround(content, self.lease_service, self.namespace_service)


def _named(services: ImageServices, source: Source) -> tuple[str, Descriptor]:
    """The name, ``""`` of a descriptor, and what it stands for."""
    from ...oci.descriptor import Descriptor
    from ..names import find

    if isinstance(source, Descriptor):
        return "", source
    found = find(services.names, source) if isinstance(source, str) else source
    return found.name, found.target
