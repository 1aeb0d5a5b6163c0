"""An image of a daemon, as users handle it.

What lives here: the object, and reading what its name stands for.  What may not: fetching.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from ..errors import InvalidArgument
from ..oci import media_types
from ..oci.config import ImageConfig
from ..oci.descriptor import Descriptor
from ..oci.document import MAX_DOCUMENT
from ..oci.manifest import Index, Manifest, parse
from ..oci.platform import Platform
from ..services.diff import DiffService
from ..services.images import ImageRecord, ImageService
from ..services.snapshots import FindSnapshots
from ..store.protocol import ContentStore, read_blob
from .fetch import Job
from .platforms import find_manifest
from .unpack import Unpacker


@dataclass(frozen=True)
class ImageServices:
    """The services that an image needs, all of one namespace."""

    images: ImageService
    store: ContentStore
    snapshots: FindSnapshots
    differ: DiffService
    platform: Platform


class Image:
    """A name in a namespace, and the content that it stood for when this object was made."""

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
        return self._manifest

    @cached_property
    def _manifest(self) -> Manifest:
        def read(target: Descriptor) -> Manifest | Index:
            return parse(read_blob(self._services.store, target, MAX_DOCUMENT), target.media_type)

        return find_manifest(self.name, self.target, self._services.platform, read)

    def config(self) -> ImageConfig:
        """The image config.  Raises ``InvalidArgument`` for an artifact that is no image."""
        return self._config

    @cached_property
    def _config(self) -> ImageConfig:
        target = self._manifest.config
        if not media_types.is_config(target.media_type):
            raise InvalidArgument(f"{self.name} is no image: it is {target.media_type}")
        return ImageConfig.parse(read_blob(self._services.store, target, MAX_DOCUMENT))

    def rootfs(self) -> tuple[str, ...]:
        """The diff IDs of the layers, bottom first."""
        return self._config.diff_ids

    def size(self) -> int:
        """Bytes of the manifest's config and layers, as they were fetched."""
        return sum(child.size for child in self._manifest.children)

    def is_unpacked(self, snapshotter: str | None = None) -> bool:
        """Whether its snapshots are there, in the default snapshotter unless one is named."""
        return self._unpacker(snapshotter).find(self._config) is not None

    def unpack(self, snapshotter: str | None = None) -> str:
        """Make its snapshots, if they are not there; returns the top one's name, a chain ID.

        Raises ``DiffIDMismatch``.
        """
        unpacker = self._unpacker(snapshotter)
        top = unpacker.find(self._config)
        return unpacker.unpack(self._manifest, self._config) if top is None else top

    def _unpacker(self, snapshotter: str | None) -> Unpacker:
        services = self._services
        snapshots = services.snapshots(snapshotter)
        return Unpacker(services.store, snapshots, services.differ, Job())

    def delete(self, *, sync: bool = False) -> None:
        """Remove the name; ``sync`` collects garbage before it returns.  Raises ``NotFound``."""
        self._services.images.delete(self.name, sync=sync)

    def __repr__(self) -> str:
        return f"<Image {self.name} {self.target.digest[:19]}>"
