"""The version service, containerd.services.version.v1."""

from __future__ import annotations

from ..records import record
from ._base import Service


@record(frozen=True)
class Version:
    """The version and the source revision of the daemon."""

    version: str
    revision: str


class VersionService(Service):
    """The daemon's version. This service needs no namespace."""

    _name = "containerd.services.version.v1.Version"

    def version(self) -> Version:
        """Return the daemon's version."""
        response = self._call("Version")
        return Version(response.version, response.revision)
