"""An image, as users handle it, in a daemon or in a folder.

What lives here: the object, and reading what its name stands for.  What may not: fetching.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TypeAlias

from ..errors import InvalidArgument
from ..oci import media_types
from ..oci.config import ImageConfig, chain_ids
from ..oci.descriptor import Descriptor
from ..oci.document import MAX_DOCUMENT
from ..oci.image_record import ImageRecord
from ..oci.manifest import Index, Manifest
from ..store.documents import read_document
from ..store.protocol import read_blob
from .image_backend import ImageBackend
from .names import find, name_of
from .platforms import Platforms, find_manifest

#: The ways to name an image to a verb: the object, its name, or the descriptor of its content.
ImageLike: TypeAlias = "Image | Descriptor | str"


class Image:
    """A name, and the content that it stood for when this object was made.

    ``is_lazy`` is true after a pull in which a snapshotter made the snapshots of layers without
    their content.
    """

    def __init__(
        self, backend: ImageBackend, record: ImageRecord, *, is_lazy: bool = False
    ) -> None:
        #: Where it is kept.
        self.backend = backend
        self.record = record
        self.is_lazy = is_lazy

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
        return find_manifest(self.name, self.target, self.backend.platform, self._read)

    def _read(self, target: Descriptor) -> Manifest | Index:
        return read_document(self.backend.store, target)

    def config(self) -> ImageConfig:
        """The image config.  Raises ``InvalidArgument`` for an artifact that is no image."""
        return self._config

    @cached_property
    def _config(self) -> ImageConfig:
        target = self._manifest.config
        if not media_types.is_config(target.media_type):
            raise InvalidArgument(f"{self.name} is no image: it is {target.media_type}")
        return ImageConfig.parse(read_blob(self.backend.store, target, MAX_DOCUMENT))

    def expect(self, platforms: Platforms | None = None) -> None:
        """Raises ``NoMatchingPlatform`` where it has not got ``platforms``, the client's unless
        given, or as one manifest none of them."""
        if media_types.is_manifest(self.target.media_type):
            config = self._manifest.config
            if media_types.is_config(config.media_type):
                wanted = platforms or Platforms((self.backend.platform,))
                wanted.expect(self._config.platform, self.name)
        elif platforms is None:
            _ = self._manifest
        else:
            document = self._read(self.target)
            if isinstance(document, Index):
                platforms.choose(document, self.name)

    def rootfs(self) -> tuple[str, ...]:
        """The diff IDs of the layers, bottom first."""
        return self._config.diff_ids

    def size(self) -> int:
        """Bytes of the manifest's config and layers, as they were fetched."""
        return sum(child.size for child in self._manifest.children)

    def is_unpacked(self, snapshotter: str | None = None) -> bool:
        """Whether its snapshots are there, in the default snapshotter unless one is named."""
        return top_snapshot(self.backend, self._config, snapshotter) is not None

    def unpack(self, snapshotter: str | None = None) -> str:
        """Make its snapshots, if they are not there; returns the top one's name, a chain ID.

        Raises ``DiffIDMismatch``, ``FailedPrecondition`` where there are no snapshotters.
        """
        top = top_snapshot(self.backend, self._config, snapshotter)
        if top is not None:
            return top
        manifest, unpacker = self._manifest, self.backend.unpacker(snapshotter)
        with self.backend.keeping():
            return unpacker.unpack(manifest.layers, manifest.config, self._config).top

    def tag(self, name: str) -> Image:
        """Give it a further name, which stands for it from now on.

        Raises ``NotFound`` if its content is gone, ``InvalidArgument`` for a name that cannot
        be, ``DigestMismatch`` for one with the digest of something else.
        """
        return tag_image(self.backend, self, name)

    def delete(self, *, sync: bool = False) -> None:
        """Remove the name; ``sync`` collects garbage before it returns.  Raises ``NotFound``."""
        self.backend.names.delete(self.name, sync=sync)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Image) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)

    @property
    def _identity(self) -> tuple[object, ...]:
        return self.backend.store.identity, self.name, self.target

    def __repr__(self) -> str:
        return f"<Image {self.name} {self.target.digest[:19]}>"


def top_snapshot(
    backend: ImageBackend, config: ImageConfig, snapshotter: str | None = None
) -> str | None:
    """The name of an image's top snapshot, ``""`` without layers, ``None`` if it is not there.

    With it those below are there, too.
    """
    snapshots = backend.snapshots(snapshotter)
    top = next(reversed(chain_ids(config.diff_ids)), "")
    return top if not top or snapshots.find(top) is not None else None


def find_image(backend: ImageBackend, name: str) -> Image:
    """As ``Client.get_image``."""
    return Image(backend, find(backend.names, name))


def list_images(backend: ImageBackend, *filters: str) -> list[Image]:
    """As ``Client.list_images``."""
    return [Image(backend, record) for record in backend.names.list(*filters)]


def tag_image(
    backend: ImageBackend,
    source: ImageLike,
    name: str,
    labels: Mapping[str, str] | None = None,
) -> Image:
    """As ``Client.tag``; ``labels`` are the image's own unless given."""
    if isinstance(source, str):
        source = find_image(backend, source)
    target = source if isinstance(source, Descriptor) else source.target
    if labels is None and isinstance(source, Image):
        labels = source.labels
    backend.store.info(target.digest)  # a name for what is not here would be of no use
    return Image(backend, backend.names.put(name_of(target, name), target, labels))


def expect_named(backend: ImageBackend, source: ImageLike, verb: str) -> Image:
    """An image with a name, which the daemon needs.  Raises ``InvalidArgument``, ``NotFound``."""
    if isinstance(source, Descriptor):
        raise InvalidArgument(f"the daemon {verb} images by their names", remedy="Tag it first")
    return find_image(backend, source) if isinstance(source, str) else source


def name_and_target(backend: ImageBackend, source: ImageLike) -> tuple[str, Descriptor]:
    """The name of an image, ``""`` for a bare descriptor, and what it stands for.

    Raises ``NotFound`` for a name that is not there.
    """
    if isinstance(source, Descriptor):
        return "", source
    found = find(backend.names, source) if isinstance(source, str) else source
    return found.name, found.target
