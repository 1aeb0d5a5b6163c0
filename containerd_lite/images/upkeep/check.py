"""What of an image is here, and fetching what is not.

What lives here: the report, and the walk that fetches only what is missing.  What may not: whether
it is what its digest says (``verify``); leases.
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
from ...records import field, record
from ...store.protocol import read_blob
from ..image import ImageLike, name_and_target, top_snapshot
from ..image_backend import ImageBackend
from ..platforms import Platforms, wanted_children
from ..walk import walk


@record(frozen=True)
class PlatformCheck:
    """What is here of one manifest.

    ``platform`` is the index's word or else the config's.  ``present`` of ``total`` bytes of
    config and layers are here; ``total`` is 0 where the manifest itself is missing.
    ``is_unpacked`` is ``None`` where it cannot be told: there are no snapshots, or no config.
    """

    platform: Platform | None
    manifest: Descriptor
    missing: tuple[Descriptor, ...] = ()
    present: int = 0
    total: int = 0
    is_unpacked: bool | None = None

    @property
    def is_complete(self) -> bool:
        return not self.missing

    def __repr__(self) -> str:
        said = _told(self.missing)
        if self.is_unpacked:
            said = f"{said}, unpacked"
        return f"<PlatformCheck {self.platform or self.manifest.digest[:19]} {said}>"


@record(frozen=True)
class CheckReport:
    """What is here of an image: of each manifest that is wanted, and all that is ``missing``."""

    name: str
    target: Descriptor
    platforms: tuple[PlatformCheck, ...]
    missing: tuple[Descriptor, ...]

    @property
    def is_complete(self) -> bool:
        return not self.missing

    def __repr__(self) -> str:
        return f"<CheckReport {self.name} {_told(self.missing)}>"


def _told(missing: Sequence[Descriptor]) -> str:
    if not missing:
        return "complete"
    return f"lacks {len(missing)} ({sum(one.size for one in missing)} bytes)"


def check_image(
    backend: ImageBackend,
    source: ImageLike,
    *,
    platform: str | Sequence[str] | None = None,
    all_platforms: bool = False,
) -> CheckReport:
    """As ``Client.check``."""
    name, target = name_and_target(backend, source)
    platforms = Platforms.of(platform, all_platforms, backend.platform)
    return check_target(backend, name or target.digest, target, platforms)


def check_target(
    backend: ImageBackend, name: str, target: Descriptor, platforms: Platforms
) -> CheckReport:
    """As ``Client.check``, of what ``name`` stands for."""
    found = _Check(backend, name, target, platforms)
    below = tuple(walk(found.children, target))
    missing = {one.digest: one for one in below if one.digest not in found.present}
    manifests = (one for one in below if media_types.is_manifest(one.media_type))
    entries = tuple(map(found.manifest, manifests))
    return CheckReport(name, target, entries, tuple(missing.values()))


@record
class _Check:
    backend: ImageBackend
    name: str
    target: Descriptor
    platforms: Platforms
    present: set[str] = field(init=False)
    _documents: dict[str, Manifest | Index] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # One listing: asking for each of 120 layers would take 120 calls.
        self.present = {info.digest for info in self.backend.store.walk()}

    def children(self, descriptor: Descriptor) -> Sequence[Descriptor]:
        if descriptor.digest not in self.present:
            return ()
        if not media_types.is_document(descriptor.media_type):
            return ()
        document = parse(self._read(descriptor), descriptor.media_type)
        self._documents[descriptor.digest] = document
        is_root = descriptor == self.target
        return wanted_children(document, self.platforms, self.name, is_root=is_root)

    def _read(self, descriptor: Descriptor) -> bytes:
        try:
            return read_blob(self.backend.store, descriptor, MAX_DOCUMENT)
        except (DataLoss, NotFound) as error:  # the listing has it
            error.remedy = "Repair the image"
            raise

    def manifest(self, descriptor: Descriptor) -> PlatformCheck:
        document = self._documents.get(descriptor.digest)
        if not isinstance(document, Manifest):
            return PlatformCheck(descriptor.platform, descriptor, (descriptor,))
        each = {child.digest: child for child in document.children}
        missing = tuple(child for child in each.values() if child.digest not in self.present)
        total = sum(child.size for child in each.values())
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
        """The platform that the config names, and whether its snapshots are there."""
        is_attestation = media_types.is_attestation(manifest.media_type, manifest.annotations)
        is_config = media_types.is_config(target.media_type) and not is_attestation
        if not is_config or target.digest not in self.present:
            return None, None
        config = ImageConfig.parse(self._read(target))
        if not self.backend.has_snapshots:
            return config.platform, None
        return config.platform, top_snapshot(self.backend, config) is not None
