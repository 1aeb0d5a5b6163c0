"""The arguments of imports and exports."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, BinaryIO

from ...arguments import check_types
from ...errors import InvalidArgument
from ...progress import ProgressCallback
from ...records import record
from ..image import ImageLike
from ..image_backend import ImageBackend
from ..platforms import Platforms
from .intake import StrPath

if TYPE_CHECKING:
    from ..signatures.policies import PolicyLike


@record(frozen=True)
class ImportRequest:
    """The arguments of ``Client.import_images``; see its docstring."""

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
    policy: PolicyLike | None = None
    translate_name: Callable[[str], str] | None = None

    def __post_init__(self) -> None:
        check_types(vars(self))
        if self.ref is not None and self.translate_name is not None:
            raise InvalidArgument(
                "ref= and translate_name= are both given", remedy="Pass only one of them"
            )

    def platforms(self, backend: ImageBackend) -> Platforms:
        """Return the wanted platforms, by default the backend's platform."""
        return Platforms.of(self.platform, self.all_platforms, backend.platform)


@record(frozen=True)
class ExportRequest:
    """The arguments of ``Client.export_images``; see its docstring."""

    target: StrPath | BinaryIO
    images: Sequence[ImageLike]
    platform: str | Sequence[str] | None = None
    all_platforms: bool = False
    skip_docker_manifest: bool = False
    without: Sequence[ImageLike] = ()
    skip_missing: bool = False
    progress: ProgressCallback | None = None

    def __post_init__(self) -> None:
        check_types(vars(self))

    def platforms(self, backend: ImageBackend) -> Platforms:
        """Return the wanted platforms, by default the backend's platform."""
        return Platforms.of(self.platform, self.all_platforms, backend.platform)
