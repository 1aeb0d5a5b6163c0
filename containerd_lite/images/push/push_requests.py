"""The arguments of pushes and copies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...arguments import check_types
from ...limits import refused
from ...progress import ProgressCallback
from ...records import record
from ...registry.registry_access import RegistryOptions, only_for_client
from ..image import ImageLike
from ..platforms import Platforms
from ..resolver import PushResolver

if TYPE_CHECKING:
    from ..signatures.policies import PolicyLike
    from ..signatures.sign import SignRequest


@record(frozen=True)
class PushRequest:
    """The arguments of ``Client.push``; see its docstring."""

    ref: str
    target: ImageLike
    platform: str | Sequence[str] | None = None
    sparse: bool = False
    resolver: PushResolver | RegistryOptions | None = None
    progress: ProgressCallback | None = None
    max_concurrent_uploads: int | None = None
    chunk_size: int | None = None
    sign: SignRequest | None = None

    def __post_init__(self) -> None:
        check_types(vars(self))

    @property
    def platforms(self) -> Platforms | None:
        """The platforms to push; ``None`` means all."""
        return _platforms(self.platform)

    def only_for_client(self) -> dict[str, object]:
        """Return the values of the options that the Transfer service does not support, by name."""
        return {
            "platform": self.platform,
            "sparse": self.sparse,
            **only_for_client(self.resolver),
            "max_concurrent_uploads": self.max_concurrent_uploads,
            "chunk_size": self.chunk_size,
            "sign": self.sign,
        }


@record(frozen=True)
class CopyRequest:
    """The arguments of ``Client.copy``; see its docstring."""

    source: str
    target: str
    platform: str | Sequence[str] | None = None
    referrers: bool = False
    resolver: PushResolver | RegistryOptions | None = None
    progress: ProgressCallback | None = None
    max_concurrent: int | None = None
    chunk_size: int | None = None
    policy: PolicyLike | None = None

    def __post_init__(self) -> None:
        check_types(vars(self))
        for name, ref in (("source", self.source), ("target", self.target)):
            if not isinstance(ref, str):
                raise refused(name, ref, "a reference")

    @property
    def platforms(self) -> Platforms | None:
        """The platforms to copy; ``None`` means all."""
        return _platforms(self.platform)


def _platforms(platform: str | Sequence[str] | None) -> Platforms | None:
    return None if platform is None else Platforms.of(platform, attestations=True)
