"""The arguments of a fetch of missing content and of a repair."""

from __future__ import annotations

from collections.abc import Sequence

from ...progress import ProgressCallback
from ...records import record
from ..image_backend import ImageBackend
from ..platforms import Platforms
from ..resolver import Resolver


@record(frozen=True)
class FetchRequest:
    """The arguments of ``Client.fetch_missing`` and ``Client.repair``."""

    ref: str | None = None
    platform: str | Sequence[str] | None = None
    all_platforms: bool = False
    resolver: Resolver | None = None
    progress: ProgressCallback | None = None
    max_concurrent_downloads: int = 3

    def platforms(self, backend: ImageBackend) -> Platforms:
        return Platforms.of(self.platform, self.all_platforms, backend.platform)
