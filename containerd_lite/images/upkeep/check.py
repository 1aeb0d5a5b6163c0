"""Finds out which content of an image is missing in the store.

The module ``verify`` finds content that does not match its digest.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...errors import DataLoss, NotFound
from ...oci import media_types
from ...oci.config import ImageConfig
from ...oci.descriptor import Descriptor
from ...oci.document import MAX_DOCUMENT
from ...oci.manifest import Index, Manifest, parse
from ...oci.platform import Platform
from ...printable import printable
from ...records import field, record
from ...store.protocol import read_blob
from ..image import ImageLike, name_and_target, top_snapshot
from ..image_backend import ImageBackend
from ..platforms import Platforms, wanted_children
from ..walk import walk


@record(frozen=True)
class PlatformCheck:
    """The present and the missing content of one manifest.

    Attributes:
        platform: The platform in the index, or else the platform in the config. ``None`` if both
            are unknown.
        manifest: The manifest's descriptor.
        missing: The missing content: the manifest itself, or the missing config and layers.
        present: The number of bytes of the config and the layers that the store has.
        total: The number of bytes of the config and all layers. 0 if the manifest is missing.
        is_unpacked: Whether the snapshots exist. ``None`` if the config is missing, if the manifest
            is not that of a container image, or if the backend has no snapshots.
    """

    platform: Platform | None
    manifest: Descriptor
    missing: tuple[Descriptor, ...] = ()
    present: int = 0
    total: int = 0
    is_unpacked: bool | None = None

    @property
    def is_complete(self) -> bool:
        """Whether the store has all content of the manifest."""
        return not self.missing

    def __repr__(self) -> str:
        text = _summary(self.missing)
        if self.is_unpacked:
            text = f"{text}, unpacked"
        return printable(f"<PlatformCheck {self.platform or self.manifest.digest[:19]} {text}>")


@record(frozen=True)
class CheckReport:
    """The present and the missing content of an image.

    Attributes:
        name: The image's name. If a descriptor was checked, this is the descriptor's digest.
        target: The descriptor of the image's manifest or index.
        platforms: A report for each wanted manifest.
        missing: All missing content, with each digest only once.
    """

    name: str
    target: Descriptor
    platforms: tuple[PlatformCheck, ...]
    missing: tuple[Descriptor, ...]

    @property
    def is_complete(self) -> bool:
        """Whether the store has all wanted content of the image."""
        return not self.missing

    def __repr__(self) -> str:
        return f"<CheckReport {printable(self.name)} {_summary(self.missing)}>"


def _summary(missing: Sequence[Descriptor]) -> str:
    if not missing:
        return "complete"
    return f"lacks {len(missing)} ({sum(blob.size for blob in missing)} bytes)"


def check_image(
    backend: ImageBackend,
    source: ImageLike,
    *,
    platform: str | Sequence[str] | None = None,
    all_platforms: bool = False,
) -> CheckReport:
    """Report the missing content of an image; see ``Client.check``."""
    name, target = name_and_target(backend, source)
    platforms = Platforms.of(platform, all_platforms, backend.platform)
    return check_target(backend, name or target.digest, target, platforms)


def check_target(
    backend: ImageBackend, name: str, target: Descriptor, platforms: Platforms
) -> CheckReport:
    """Report the missing content of the image with this target; see ``Client.check``."""
    check = _Check(backend, name, target, platforms)
    below = tuple(walk(check.children, target))
    missing = {item.digest: item for item in below if item.digest not in check.present}
    manifests = (item for item in below if media_types.is_manifest(item.media_type))
    entries = tuple(map(check.manifest, manifests))
    return CheckReport(name, target, entries, tuple(missing.values()))


@record
class _Check:
    """The check of one image.

    Attributes:
        backend: The backend of the image.
        name: The image's name, for error messages.
        target: The descriptor of the image's manifest or index.
        platforms: The wanted platforms.
        present: The digests of all content in the store.
    """

    backend: ImageBackend
    name: str
    target: Descriptor
    platforms: Platforms
    present: set[str] = field(init=False)
    _documents: dict[str, Manifest | Index] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # One listing needs fewer calls than a query for each blob: an image can have 120 layers.
        self.present = {info.digest for info in self.backend.store.walk()}

    def children(self, descriptor: Descriptor) -> Sequence[Descriptor]:
        """Return the wanted children of a document in the store. ``walk`` calls this method."""
        if descriptor.digest not in self.present:
            return ()
        if not media_types.is_document(descriptor.media_type):
            return ()
        document = parse(self._read(descriptor), descriptor.media_type, exact=False)
        self._documents[descriptor.digest] = document
        is_root = descriptor == self.target
        return wanted_children(document, self.platforms, self.name, is_root=is_root)

    def _read(self, descriptor: Descriptor) -> bytes:
        try:
            return read_blob(self.backend.store, descriptor, MAX_DOCUMENT)
        except (DataLoss, NotFound) as error:  # the store lists the blob, but cannot read it
            error.remedy = "Repair the image"
            raise

    def manifest(self, descriptor: Descriptor) -> PlatformCheck:
        """Return the report of a manifest that the walk has found."""
        document = self._documents.get(descriptor.digest)
        if not isinstance(document, Manifest):
            return PlatformCheck(descriptor.platform, descriptor, (descriptor,))
        children = {child.digest: child for child in document.children}
        missing = tuple(child for child in children.values() if child.digest not in self.present)
        total = sum(child.size for child in children.values())
        platform, is_unpacked = self._config(descriptor, document.config)
        return PlatformCheck(
            descriptor.platform or platform,
            descriptor,
            missing,
            present=total - sum(child.size for child in missing),
            total=total,
            is_unpacked=is_unpacked,
        )

    def _config(
        self, manifest: Descriptor, target: Descriptor
    ) -> tuple[Platform | None, bool | None]:
        """Return the config's platform, and whether the snapshots exist.

        A value is ``None`` if it is unknown.
        """
        is_attestation = media_types.is_attestation(manifest.media_type, manifest.annotations)
        is_config = media_types.is_config(target.media_type) and not is_attestation
        if not is_config or target.digest not in self.present:
            return None, None
        config = ImageConfig.parse(self._read(target))
        if not self.backend.has_snapshots:
            return config.platform, None
        return config.platform, top_snapshot(self.backend, config) is not None
