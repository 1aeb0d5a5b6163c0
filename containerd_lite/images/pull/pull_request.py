"""The arguments of a pull."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from ...arguments import check_types
from ...errors import InvalidArgument
from ...progress import ProgressCallback
from ...records import record
from ...registry.registry_access import RegistryOptions, only_for_client
from ..image_backend import ImageBackend
from ..names import full_name
from ..platforms import Platforms
from ..resolver import Resolver
from ..walk import Handler, WrapHandler

if TYPE_CHECKING:
    from ..signatures.policies import PolicyLike


@record(frozen=True)
class PullRequest:
    """The arguments of one call of ``Client.pull``."""

    ref: str
    platform: str | Sequence[str] | None = None
    all_platforms: bool = False
    all_metadata: bool = False
    attestations: bool = False
    referrers: bool = False
    unpack: bool = True
    discard_layers: bool = False
    snapshotter: str | None = None
    resolver: Resolver | RegistryOptions | None = None
    handlers: Sequence[Handler] = ()
    wrap_handler: WrapHandler | None = None
    convert_schema1: bool = False
    labels: Mapping[str, str] | None = None
    progress: ProgressCallback | None = None
    max_concurrent_downloads: int | None = None
    max_concurrent_unpacks: int | None = None
    resume: bool = False
    policy: PolicyLike | None = None

    def __post_init__(self) -> None:
        check_types(vars(self))
        if self.discard_layers and not self.unpack:
            raise InvalidArgument(
                "discard_layers= needs unpack=True: nothing would have the layers' files",
                remedy="Leave discard_layers= out",
            )

    def lease(self, backend: ImageBackend) -> str:
        """Return the name of the lease that this pull shares with the pulls that resume it.

        The name is ``""`` if ``resume`` is false.
        """
        if not self.resume:
            return ""
        name = self.ref
        with suppress(InvalidArgument):  # a custom resolver can accept any name
            name = full_name(name)
        platforms = sorted(map(str, self.platforms(backend).wanted or ("all",)))
        return f"{name} {platforms} {self.snapshotter}"

    def platforms(self, backend: ImageBackend) -> Platforms:
        """Return the platforms to fetch.

        Raises:
            InvalidArgument: A platform is invalid, or both ``platform`` and ``all_platforms``
                are given.
        """
        return Platforms.of(
            self.platform, self.all_platforms, backend.platform, attestations=self.attestations
        )

    def only_for_client(self) -> dict[str, object]:
        """Return the name and value of each option that the Transfer service does not support."""
        return {
            "attestations": self.attestations and not self.all_platforms,
            "referrers": self.referrers,
            **only_for_client(self.resolver),
            "handlers": self.handlers,
            "wrap_handler": self.wrap_handler,
            "convert_schema1": self.convert_schema1,
            "discard_layers": self.discard_layers,
            "max_concurrent_downloads": self.max_concurrent_downloads,
            "max_concurrent_unpacks": self.max_concurrent_unpacks,
            "resume": self.resume,
        }
