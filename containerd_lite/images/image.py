"""An image of a daemon, as users handle it.

What lives here: the object, and reading what its name stands for.  What may not: fetching.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import InvalidArgument
from ..oci import media_types
from ..oci.config import ImageConfig, chain_ids
from ..oci.descriptor import Descriptor
from ..oci.document import MAX_DOCUMENT
from ..oci.manifest import Index, Manifest, parse
from ..oci.platform import Platform
from ..services.diff import DiffService
from ..services.images import ImageRecord, ImageService
from ..services.snapshots import SnapshotService
from ..store.protocol import ContentStore, read_blob
from .fetch import Job
from .platforms import find_manifest
from .unpack import Unpacker


@dataclass(frozen=True)
class ImageServices:
    """The services that an image needs, all of one namespace."""

    images: ImageService
    store: ContentStore
    snapshots: SnapshotService
    differ: DiffService
    platform: Platform


class Image:
    """A name in a namespace, and the content that it stands for."""

    def __init__(self, services: ImageServices, record: ImageRecord) -> None:
        self._services = services
        self.record = record

    @property
    def name(self) -> str:
        return self.record.name

    @property
    def target(self) -> Descriptor:
        return self.record.target

    @property
    def labels(self) -> dict[str, str]:
        return self.record.labels

    def manifest(self) -> Manifest:
        """The manifest for the client's platform.

        Raises ``NoMatchingPlatform``, ``NotFound`` where content is missing.
        """

        def read(target: Descriptor) -> Manifest | Index:
            return parse(read_blob(self._services.store, target, MAX_DOCUMENT), target.media_type)

        return find_manifest(self.name, self.target, self._services.platform, read)

    def config(self) -> ImageConfig:
        """The image config.  Raises ``InvalidArgument`` for an artifact that is no image."""
        return self._config(self.manifest())

    def _config(self, manifest: Manifest) -> ImageConfig:
        if not media_types.is_config(manifest.config.media_type):
            raise InvalidArgument(f"{self.name} is no image: it is {manifest.config.media_type}")
        return ImageConfig.parse(read_blob(self._services.store, manifest.config, MAX_DOCUMENT))

    def rootfs(self) -> tuple[str, ...]:
        """The diff IDs of the layers, bottom first."""
        return self.config().diff_ids

    def chain_id(self) -> str:
        """The name of the snapshot of all layers, ``""`` for an image without any."""
        chain = chain_ids(self.rootfs())
        return chain[-1] if chain else ""

    def size(self) -> int:
        """Bytes of the manifest's config and layers, as they were fetched."""
        return sum(child.size for child in self.manifest().children)

    def is_unpacked(self) -> bool:
        return self._unpacker().is_unpacked(self.config())

    def unpack(self) -> str:
        """Make its snapshots; returns the chain ID.  Raises ``DiffIDMismatch``."""
        manifest = self.manifest()
        return self._unpacker().unpack(manifest, self._config(manifest))

    def _unpacker(self) -> Unpacker:
        services = self._services
        return Unpacker(services.store, services.snapshots, services.differ, Job())

    def delete(self, *, sync: bool = False) -> None:
        """Remove the name; ``sync`` collects garbage before it returns.  Raises ``NotFound``."""
        self._services.images.delete(self.name, sync=sync)

    def __repr__(self) -> str:
        return f"<Image {self.name} {self.target.digest[:19]}>"
