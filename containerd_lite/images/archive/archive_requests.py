"""What is asked of an import, and of an export."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import BinaryIO

from ...progress import ProgressCallback
from ...records import record
from ..image import ImageLike
from ..image_backend import ImageBackend
from ..platforms import Platforms, only_one
from .intake import StrPath


@record(frozen=True)
class ImportRequest:
    """The arguments of ``Client.import_images``, which says what they mean."""

    source: StrPath | BinaryIO
    ref: str | None = None
    platform: str | Sequence[str] | None = None
    all_platforms: bool = False
    unpack: bool = False
    snapshotter: str | None = None
    labels: Mapping[str, str] | None = None
    skip_missing: bool = False
    progress: ProgressCallback | None = None
    max_concurrent: int = 3

    @property
    def one_platform(self) -> str | None:
        """The platform asked for, where it is one alone: the images are looked at as that one's."""
        return only_one(self.platform)

    def platforms(self, backend: ImageBackend) -> Platforms:
        return Platforms.of(self.platform, self.all_platforms, backend.platform)


@record(frozen=True)
class ExportRequest:
    """The arguments of ``Client.export_images``, which says what they mean."""

    target: StrPath | BinaryIO
    images: Sequence[ImageLike]
    platform: str | Sequence[str] | None = None
    all_platforms: bool = False
    skip_docker_manifest: bool = False
    without: Sequence[ImageLike] = ()
    progress: ProgressCallback | None = None

    @property
    def one_platform(self) -> str | None:
        """As ``ImportRequest.one_platform``."""
        return only_one(self.platform)

    @property
    def is_chosen(self) -> bool:
        """Whether the platforms were asked for."""
        return self.platform is not None

    def platforms(self, backend: ImageBackend) -> Platforms:
        return Platforms.of(self.platform, self.all_platforms, backend.platform)
