"""Check, fetch what is missing, verify and repair, as ``Client`` and ``Layout`` have them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .. import upkeep
from ..base import Verbs

if TYPE_CHECKING:
    from ...oci.descriptor import Descriptor
    from ...progress import ProgressCallback
    from ..image import ImageLike
    from ..resolver import Resolver
    from .check import CheckReport
    from .repair import RepairReport
    from .verify import VerifyReport


class UpkeepVerbs(Verbs):
    """Whether what should be here is here, and is what it should be."""

    def check(
        self,
        source: ImageLike,
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
        request = upkeep.FetchRequest(
            ref=ref,
            platform=platform,
            all_platforms=all_platforms,
            resolver=resolver,
            progress=progress,
            max_concurrent_downloads=max_concurrent_downloads,
        )
        return upkeep.fetch_missing(self._images, source, request)

    def verify(self, *sources: ImageLike, progress: ProgressCallback | None = None) -> VerifyReport:
        """Hash what is here and compare; all content, or what ``sources`` refer to if given.

        Names the digests whose bytes are others, or cannot be read.  What is missing is for
        ``check`` to tell, and what a broken manifest refers to is not known.  A daemon serves
        as many bytes as it has on record: what a disk has put behind them does not show.
        ``progress`` is called with ``ProgressEvent``s.  Raises ``NotFound`` for a name that is
        not there.
        """
        return upkeep.verify_images(self._images, sources, progress)

    def repair(
        self,
        *sources: ImageLike,
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
        request = upkeep.FetchRequest(
            ref=ref,
            platform=platform,
            all_platforms=all_platforms,
            resolver=resolver,
            progress=progress,
            max_concurrent_downloads=max_concurrent_downloads,
        )
        return upkeep.repair_images(self._images, sources, request)
