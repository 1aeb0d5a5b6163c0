"""Images in a daemon or in a folder: the class ``Image``, and functions to find and tag images."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

from ..errors import InvalidArgument, NotFound
from ..limits import refused
from ..oci import digest as digests
from ..oci import media_types
from ..oci.config import ImageConfig, chain_ids
from ..oci.descriptor import Descriptor
from ..oci.document import MAX_DOCUMENT
from ..oci.image_record import EXPIRE, ImageRecord, check_name, stands_for_other
from ..oci.manifest import Index, Manifest
from ..oci.platform import Platform
from ..printable import printable
from ..store.documents import read_document
from ..store.protocol import read_blob
from .image_backend import ImageBackend
from .names import find, name_of
from .platforms import Platforms, find_manifest
from .usage import measure_usage

if TYPE_CHECKING:
    from ..trust.verdict import Verdict

#: An image as an argument of a verb: an ``Image``, the name of an image, or the descriptor of a
#: manifest or index.
ImageLike: TypeAlias = "Image | Descriptor | str"


class Image:
    """An image: a name, and the content that the name referred to when this object was made.

    Attributes:
        backend: The backend that stores the image.
        info: The image's name, target and labels.
        is_lazy: Whether the pull that returned this object has skipped layers, because the
            snapshotter fetches these layers itself, or has them in its cache.
        is_by_daemon: Whether the daemon's Transfer service has done the pull that returned this
            object.
        verdict: What the verification of signatures found, if a policy applied to the pull or the
            import that returned this object; otherwise ``None``.
    """

    def __init__(
        self,
        backend: ImageBackend,
        info: ImageRecord,
        *,
        is_lazy: bool = False,
        is_by_daemon: bool = False,
        verdict: Verdict | None = None,
    ) -> None:
        self.backend = backend
        self.info = info
        self.is_lazy = is_lazy
        self.is_by_daemon = is_by_daemon
        self.verdict = verdict
        #: The manifests and indexes that were read, by digest and media type.
        self._documents: dict[tuple[str, str], Manifest | Index] = {}

    @property
    def name(self) -> str:
        """The image's name in the store."""
        return self.info.name

    @property
    def target(self) -> Descriptor:
        """The descriptor of the manifest or index that the name refers to."""
        return self.info.target

    @property
    def labels(self) -> dict[str, str]:
        """The labels of the name; empty in a ``Layout``."""
        return self.info.labels

    def holds_other_digest(self) -> bool:
        """Return whether the name holds a digest, but refers to other content.

        The CRI plugin names an image after the digest of its config. This name counts as right.
        """
        if not stands_for_other(self.name, self.target, self.labels):
            return False
        return not (digests.is_digest(self.name) and self._has_config(self.name))

    def _has_config(self, digest: str) -> bool:
        with suppress(NotFound, InvalidArgument):
            return self._manifest.config.digest == digest
        return False

    def manifest(self) -> Manifest:
        """Return the manifest for the client's platform.

        Raises:
            NoMatchingPlatform: The image has no manifest for this platform.
            NotFound: The store lacks the manifest or an index.
        """
        return self._manifest

    @cached_property
    def _manifest(self) -> Manifest:
        return find_manifest(self.name, self.target, self.backend.platform, self._read)

    def _read(self, target: Descriptor) -> Manifest | Index:
        """Return a manifest or index; read it once."""
        key = target.digest, target.media_type
        if key not in self._documents:
            self._documents[key] = read_document(self.backend.store, target)
        return self._documents[key]

    def config(self) -> ImageConfig:
        """Return the image config for the client's platform.

        Raises:
            InvalidArgument: This is an artifact, not an image.
            NoMatchingPlatform: The image has no manifest for this platform.
            NotFound: The store lacks the config, the manifest or an index.
        """
        return self._config

    @cached_property
    def _config(self) -> ImageConfig:
        target = self._manifest.config
        if not media_types.is_config(target.media_type):
            raise InvalidArgument(
                f"{self.name} is not an image: its config has media type {target.media_type}"
            )
        return ImageConfig.parse(read_blob(self.backend.store, target, MAX_DOCUMENT))

    def expect(self, platforms: Platforms | None = None) -> None:
        """Check that the image has every wanted platform.

        If the image has no index, the check passes if the manifest matches one of the platforms.

        Args:
            platforms: The wanted platforms. Default: the client's platform.

        Raises:
            NoMatchingPlatform: The image lacks a wanted platform.
        """
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

    @property
    def platform(self) -> Platform:
        """The platform that the image config states, for the manifest of the client's platform.

        Raises:
            InvalidArgument: This is an artifact, not an image.
            NoMatchingPlatform: The image has no manifest for the client's platform.
            NotFound: The store lacks the config, the manifest or an index.
        """
        return self._config.platform

    def rootfs(self) -> tuple[str, ...]:
        """Return the diff IDs of the layers, bottom first."""
        return self._config.diff_ids

    def size(self) -> int:
        """Return the total size of the config and the layers in bytes.

        For a compressed layer, the compressed size counts.
        """
        return sum(child.size for child in self._manifest.children)

    def usage(self, *, snapshots: bool = False) -> int:
        """Return how many bytes of disk the image uses.

        The content of all platforms counts, as far as the store has it, and each blob once. Images
        can share blobs and snapshots, so the sum over several images can be larger than their
        usage of the disk.

        Args:
            snapshots: Whether the image's snapshots count, too, in all snapshotters that have the
                image. A ``Layout`` has no snapshots. Default: only the content counts.

        Returns:
            The usage in bytes: the sizes of the manifests, configs and layers as they are stored,
            and the sizes of the snapshots as the snapshotter measures them.

        Raises:
            InvalidArgument: A manifest or index is not valid.

        Source: ``image.Usage`` in containerd's client/image.go, which counts only the top snapshot.
        """
        return measure_usage(self.backend, self.target, snapshots)

    def is_unpacked(self, snapshotter: str | None = None) -> bool:
        """Return whether the snapshots of the image exist.

        Args:
            snapshotter: The snapshotter to check. Default: the client's snapshotter.

        Raises:
            FailedPrecondition: The image is in a ``Layout``, which has no snapshots.
        """
        return top_snapshot(self.backend, self._config, snapshotter) is not None

    def unpack(self, snapshotter: str | None = None) -> str:
        """Make the snapshots of the image, unless they exist.

        Args:
            snapshotter: The snapshotter to use. Default: the client's snapshotter.

        Returns:
            The name of the top snapshot, a chain ID; ``""`` if the image has no layers.

        Raises:
            DiffIDMismatch: A layer does not have the diff ID that the config lists.
            InvalidArgument: The config and the manifest have different numbers of layers.
            FailedPrecondition: The image is in a ``Layout``, which has no snapshots.
        """
        top = top_snapshot(self.backend, self._config, snapshotter)
        if top:
            return top
        # If the image has layers but its config has no diff IDs, the unpacker raises an error.
        manifest, unpacker = self._manifest, self.backend.unpacker(snapshotter)
        with self.backend.keeping():
            return unpacker.unpack(manifest.image_layers, manifest.config, self._config).top

    def tag(self, name: str) -> Image:
        """Give the image another name, in addition to its own.

        Args:
            name: The new name. If the name exists already, it is changed to refer to this image.

        Returns:
            The image with its new name.

        Raises:
            NotFound: The store lacks the image's manifest or index.
            InvalidArgument: ``name`` is not a valid reference.
            DigestMismatch: ``name`` contains a digest that is not the image's digest.
        """
        return tag_image(self.backend, self, name)

    def delete(self, *, sync: bool = False) -> None:
        """Delete the name of the image.

        Args:
            sync: Whether the daemon collects garbage before the call returns.

        Raises:
            NotFound: The name does not exist.
        """
        self.backend.names.delete(self.name, sync=sync)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Image) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)

    @property
    def _identity(self) -> tuple[object, ...]:
        return self.backend.store.identity, self.name, self.target

    def __repr__(self) -> str:
        return f"<Image {printable(self.name)} {self.target.digest[:19]}>"


def top_snapshot(
    backend: ImageBackend, config: ImageConfig, snapshotter: str | None = None
) -> str | None:
    """Return the name of an image's top snapshot, or ``None`` if this snapshot does not exist.

    The name is ``""`` if the image has no layers. If the top snapshot exists, all lower snapshots
    exist, too.
    """
    snapshots = backend.snapshots(snapshotter)
    top = next(reversed(chain_ids(config.diff_ids)), "")
    return top if not top or snapshots.find(top) is not None else None


def find_image(backend: ImageBackend, name: str) -> Image:
    """Return the image with a full or familiar name; see ``Client.get_image``.

    Another program can let a name that holds a digest refer to other content.

    Raises:
        NotFound: No image has this name.
        DigestMismatch: The name holds a digest, but refers to other content.
    """
    image = Image(backend, find(backend.names, name))
    if image.holds_other_digest():
        check_name(image.name, image.target, image.labels)
    return image


def list_images(backend: ImageBackend, *filters: str) -> list[Image]:
    """Return all images, or the images that match a filter; see ``Client.list_images``."""
    return [Image(backend, record) for record in backend.names.list(*filters)]


def tag_image(
    backend: ImageBackend,
    source: ImageLike,
    name: str,
    labels: Mapping[str, str] | None = None,
) -> Image:
    """Give an image another name; see ``Client.tag``.

    Args:
        backend: The backend that stores the image.
        source: The image.
        name: The new name.
        labels: The labels of the new name. Default: the labels of the image, without the time at
            which its name expires.

    Returns:
        The image with its new name.

    Raises:
        NotFound: No image has the name ``source``, or the store lacks the image's manifest or
            index.
        InvalidArgument: ``name`` is not a valid reference.
        DigestMismatch: ``name`` contains a digest that is not the image's digest.
    """
    if not isinstance(source, Descriptor):
        source = as_image(backend, source)
    target = source if isinstance(source, Descriptor) else source.target
    if labels is None and isinstance(source, Image):
        # The new name must not expire together with a temporary name of the same image.
        labels = {key: value for key, value in source.labels.items() if key != EXPIRE}
    backend.store.info(target.digest)  # info() raises NotFound if the store lacks the content
    return Image(backend, backend.names.put(name_of(target, name), target, labels))


def as_image(backend: ImageBackend, image: Image | str) -> Image:
    """Return an image, or the image with a name.

    Raises:
        NotFound: No image has the name.
        InvalidArgument: ``image`` is neither an image nor a name.
    """
    if isinstance(image, Image):
        return image
    if not isinstance(image, str):
        raise refused("image", image, "an Image, or the name of an image")
    return find_image(backend, image)


def expect_named(backend: ImageBackend, source: ImageLike, verb: str) -> Image:
    """Return ``source`` as an image; refuse a descriptor, which has no name.

    The daemon can find an image only by its name.

    Args:
        backend: The backend that stores the image.
        source: The image.
        verb: The verb for the error message, such as ``"pushes"``.

    Raises:
        InvalidArgument: ``source`` is a descriptor.
        NotFound: No image has the name ``source``.
    """
    if isinstance(source, Descriptor):
        raise InvalidArgument(
            f"the daemon {verb} images only by name", remedy="Give the image a name with tag()"
        )
    return as_image(backend, source)


def name_and_target(backend: ImageBackend, source: ImageLike) -> tuple[str, Descriptor]:
    """Return the name of an image, and the descriptor of its manifest or index.

    If ``source`` is a descriptor, the name is ``""``.

    Raises:
        NotFound: No image has the name ``source``.
    """
    if isinstance(source, Descriptor):
        return "", source
    found = as_image(backend, source)
    return found.name, found.target
