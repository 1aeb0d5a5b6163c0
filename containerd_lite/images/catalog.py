"""The images of one namespace of a daemon.

What lives here: pulling one into it, and finding those that it has.  What may not: registries,
beyond handing a resolver to the pipeline.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from ..errors import AlreadyExists, InvalidArgument, NotFound, Unavailable
from ..oci.descriptor import Descriptor
from ..oci.platform import default, parse
from ..oci.reference import Reference
from ..progress import ProgressCallback
from ..services.diff import DiffService
from ..services.images import ImageRecord, ImageService
from ..services.snapshots import FindSnapshots
from ..store.protocol import ContentStore
from .fetch import Job
from .image import Image, ImageServices
from .pull import Pull
from .resolver import Resolver, using
from .unpack import Unpacker

#: Create and update lose against somebody who deletes and creates; not this often in a row.
_MOST_TRIES = 10


class Catalog:
    """Images by name; ``platform`` is written like ``linux/arm64``, this machine's if ``None``."""

    def __init__(
        self,
        images: ImageService,
        store: ContentStore,
        snapshots: FindSnapshots,
        differ: DiffService,
        platform: str | None = None,
    ) -> None:
        wanted = default() if platform is None else parse(platform)
        self._services = ImageServices(images, store, snapshots, differ, wanted)

    def pull(
        self,
        ref: str,
        *,
        unpack: bool,
        resolver: Resolver | None,
        labels: Mapping[str, str] | None,
        progress: ProgressCallback | None,
        max_concurrent_downloads: int,
    ) -> Image:
        """As ``Client.pull``, under the lease that the caller holds."""
        services = self._services
        job = Job(progress)
        consume = None
        if unpack:
            snapshots = services.snapshots(None)
            consume = Unpacker(services.store, snapshots, services.differ, job).unpack
        with using(resolver, job.tell) as source:
            pull = Pull(
                source,
                services.store,
                platform=services.platform,
                job=job,
                max_concurrent_downloads=max_concurrent_downloads,
            )
            pulled = pull.run(ref, consume)
        return Image(services, self._name(pulled.name, pulled.target, labels or {}))

    def _name(self, name: str, target: Descriptor, labels: Mapping[str, str]) -> ImageRecord:
        """Create the image, or point it at ``target``; another client may do either meanwhile."""
        images = self._services.images
        for _ in range(_MOST_TRIES):
            with suppress(AlreadyExists):
                return images.create(name, target, labels)
            with suppress(NotFound):
                return images.update(name, target, labels)
        raise Unavailable(f"image {name} is made and removed all the time by somebody else")

    def get(self, name: str) -> Image:
        """By its full or familiar name.  Raises ``NotFound``."""
        names = [name]
        with suppress(InvalidArgument):
            names.append(str(Reference.parse(name)))
        for candidate in dict.fromkeys(names):
            with suppress(NotFound):
                return Image(self._services, self._services.images.get(candidate))
        raise NotFound(
            f"there is no image {names[-1]!r} in this namespace",
            operation="Images.Get",
            remedy="Pull it, or look in another namespace, such as k8s.io or moby",
        )

    def list(self, *filters: str) -> list[Image]:
        return [Image(self._services, found) for found in self._services.images.list(*filters)]
