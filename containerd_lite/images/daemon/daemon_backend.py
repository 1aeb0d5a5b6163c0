"""The images of a daemon's namespace."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from ...errors import ContainerdError, is_away
from ...oci.platform import Platform, parse_or_default
from ...services.access import Services
from ...services.lease_keeping import RESUME_EXPIRES, keeping, restore
from ...store.daemon import DaemonStore
from .. import daemon, unpack, upkeep
from ..image_backend import ImageBackend, Replacer
from ..names import DaemonNames

if TYPE_CHECKING:
    from ...services.diff import DiffService
    from ...services.snapshots import SnapshotService
    from ..job import Job
    from ..unpack.unpack import Unpacker
    from .by_daemon import DaemonTransfers

#: How long a daemon that went away may take to come back (seconds).
_RESTART_TIMEOUT = 30.0


class DaemonBackend(ImageBackend):
    """The image names, content, snapshots and leases of one namespace."""

    has_snapshots = True

    def __init__(
        self,
        services: Services,
        *,
        platform: Platform | str | None = None,
        snapshotter: str | None = None,
    ) -> None:
        """``platform`` is this machine's unless given, ``snapshotter`` the services' default.

        Raises ``InvalidArgument``.
        """
        self._services = services
        self._snapshotter = snapshotter
        self.names = DaemonNames(services.image_service)
        self.store = DaemonStore(services.content_service)
        self.platform = platform if isinstance(platform, Platform) else parse_or_default(platform)

    def with_defaults(
        self, *, platform: Platform | str | None = None, snapshotter: str | None = None
    ) -> DaemonBackend:
        return DaemonBackend(
            self._services,
            platform=platform or self.platform,
            snapshotter=snapshotter or self._snapshotter,
        )

    def keeping(self, resume: str = "") -> AbstractContextManager[object]:
        if not resume:
            return self._services.lease()
        return keeping(self._services.lease_service, RESUME_EXPIRES, resume)

    def replacer(self) -> Replacer:
        services = self._services
        return upkeep.DaemonReplacer(
            services.content_service, services.lease_service, services.namespace_service
        )

    def snapshots(self, snapshotter: str | None = None) -> SnapshotService:
        return self._services.snapshot_service(snapshotter or self._snapshotter)

    def differ(self) -> DiffService:
        return self._services.diff_service

    def unpacker(self, snapshotter: str | None = None, job: Job | None = None) -> Unpacker:
        return unpack.Unpacker(self.store, self.snapshots(snapshotter), self.differ(), job)

    def can_transfer(self) -> bool:
        return daemon.can_transfer(self._services)

    def transfers(self) -> DaemonTransfers:
        return daemon.DaemonTransfers.of(self._services)

    def is_back(self, error: BaseException) -> bool:
        if is_away(error):
            return self._services.is_serving(timeout=_RESTART_TIMEOUT)
        # Without its lease a write fails in many ways, some of them unknown to the daemon, too.
        return isinstance(error, ContainerdError) and restore(self._services.lease_service)
