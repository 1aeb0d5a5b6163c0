"""The version service, containerd.services.version.v1."""

from __future__ import annotations

from ..records import record
from ._base import Service
from .releases import RELEASES, Release
from .since import release_of


@record(frozen=True)
class Version:
    """The version and the source revision of the daemon."""

    version: str
    revision: str

    @property
    def release(self) -> Release | None:
        """The daemon's release, with its end of life, or ``None`` if it is not in ``RELEASES``."""
        return RELEASES.get(self._numbers)

    @property
    def is_newer_than_known(self) -> bool:
        """Whether the daemon is newer than all releases that this package knows."""
        return self._numbers > max(RELEASES)

    @property
    def _numbers(self) -> tuple[int, ...]:
        return release_of(self.version)


class VersionService(Service):
    """The daemon's version. This service needs no namespace."""

    _name = "containerd.services.version.v1.Version"

    def version(self) -> Version:
        """Return the daemon's version."""
        response = self._call("Version")
        return Version(response.version, response.revision)
