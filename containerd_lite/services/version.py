"""containerd.services.version.v1: which daemon this is."""

from __future__ import annotations

from ..records import record
from ._base import Service


@record(frozen=True)
class Version:
    """The daemon's version and the revision that it was built from."""

    version: str
    revision: str


class VersionService(Service):
    """The version service; it needs no namespace."""

    _name = "containerd.services.version.v1.Version"

    def version(self) -> Version:
        reply = self._call("Version")
        return Version(reply.version, reply.revision)
