"""The arguments of ``fetch_missing`` and ``repair``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...arguments import check_types
from ...progress import ProgressCallback
from ...records import record
from ...registry.registry_access import RegistryOptions
from ..image_backend import ImageBackend
from ..platforms import Platforms
from ..resolver import Resolver

if TYPE_CHECKING:
    from ..signatures.policies import PolicyLike


@record(frozen=True)
class FetchRequest:
    """The arguments of ``Client.fetch_missing`` and ``Client.repair``; see their docstrings."""

    ref: str | None = None
    platform: str | Sequence[str] | None = None
    all_platforms: bool = False
    resolver: Resolver | RegistryOptions | None = None
    progress: ProgressCallback | None = None
    max_concurrent_downloads: int = 3
    policy: PolicyLike | None = None

    def __post_init__(self) -> None:
        check_types(vars(self))

    def platforms(self, backend: ImageBackend) -> Platforms:
        """Return the platforms to fetch.

        Raises:
            InvalidArgument: A platform is invalid, or both ``platform`` and ``all_platforms``
                are given.
        """
        return Platforms.of(self.platform, self.all_platforms, backend.platform)
