"""The images of a daemon's namespace."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from ...errors import ContainerdError, is_away
from ...oci.platform import Platform, parse_or_default
from ...services.access import Services
from ...services.lease_keeping import RESUME_EXPIRES, keeping, restore_lease
from ...store.daemon import DaemonStore
from .. import daemon, files, unpack, upkeep
from ..image_backend import ImageBackend, Replacer
from ..known_content import KnownContent
from ..names import DaemonNames

if TYPE_CHECKING:
    from ...locks import PerProcess
    from ...registry import HostCache
    from ...registry.registry_access import RegistryOptions
    from ...services.snapshots import SnapshotService
    from ...trust.policy import Policy
    from ..files.snapshot_layers import SnapshotLayers
    from ..job import Job
    from ..unpack.unpack import Unpacker
    from .by_daemon import DaemonTransfers

#: Seconds to wait for a daemon that restarts.
_RESTART_TIMEOUT = 30.0


class DaemonBackend(ImageBackend):
    """The backend for one namespace of a daemon: image names, content, snapshots and leases.

    Args:
        services: The services of the daemon, for one namespace.
        host_caches: The connections to registries that the verbs of a process keep.
        platform: The platform whose manifest is used if an image has several manifests. Default:
            this machine's platform.
        snapshotter: The default snapshotter. Default: the default snapshotter of ``services``.
        policies: The policies that all images must meet.
        registry: How to reach registries.

    Raises:
        InvalidArgument: ``platform`` is not a valid platform.
    """

    has_snapshots = True

    def __init__(
        self,
        services: Services,
        host_caches: PerProcess[HostCache],
        *,
        platform: Platform | str | None = None,
        snapshotter: str | None = None,
        policies: tuple[Policy, ...] = (),
        registry: RegistryOptions | None = None,
    ) -> None:
        self._services = services
        self.policies, self.registry = policies, registry
        self.host_caches = host_caches
        self._snapshotter = snapshotter
        self.names = DaemonNames(services.image_service)
        self.store = DaemonStore(services.content_service)
        self.platform = platform if isinstance(platform, Platform) else parse_or_default(platform)

    def with_defaults(
        self, *, platform: Platform | str | None = None, snapshotter: str | None = None
    ) -> DaemonBackend:
        """Return a backend for the same namespace; see ``ImageBackend.with_defaults``."""
        return DaemonBackend(
            self._services,
            self.host_caches,
            platform=platform or self.platform,
            snapshotter=snapshotter or self._snapshotter,
            policies=self.policies,
            registry=self.registry,
        )

    def keeping(self, resume: str = "") -> AbstractContextManager[object]:
        """Return a context manager that protects written content; see ``ImageBackend.keeping``."""
        if not resume:
            return self._services.lease()
        return keeping(self._services.lease_service, RESUME_EXPIRES, resume)

    def replacer(self) -> Replacer:
        """Return the replacer of broken blobs."""
        services = self._services
        return upkeep.DaemonReplacer(
            services.content_service, services.lease_service, services.namespace_service
        )

    def snapshots(self, snapshotter: str | None = None) -> SnapshotService:
        """Return the snapshot service of a snapshotter; see ``ImageBackend.snapshots``."""
        return self._services.snapshot_service(snapshotter or self._snapshotter)

    def snapshot_layers(self, snapshotter: str | None = None) -> SnapshotLayers:
        """Return an object that writes layers; see ``ImageBackend.snapshot_layers``."""
        services = self._services
        return files.SnapshotLayers(
            self.snapshots(snapshotter), services.diff_service, services.mount_service
        )

    def unpacker(
        self,
        snapshotter: str | None = None,
        job: Job | None = None,
        content: KnownContent | None = None,
        max_concurrent: int | None = None,
        *,
        needs_all: bool = True,
    ) -> Unpacker:
        """Return an unpacker for a snapshotter; see ``ImageBackend.unpacker``."""
        return unpack.Unpacker(
            content or KnownContent(self.store),
            self.snapshots(snapshotter),
            self._services.diff_service,
            self._services.lease_service,
            job,
            max_concurrent=max_concurrent,
            needs_all=needs_all,
        )

    def can_transfer(self) -> bool:
        """Return whether the daemon can transfer images by itself."""
        return daemon.can_transfer(self._services)

    def transfers(self) -> DaemonTransfers:
        """Return an object that lets the daemon pull, push, import and export images."""
        return daemon.DaemonTransfers.of(self._services)

    def is_back(self, error: BaseException) -> bool:
        """Return whether the caller should repeat failed work; see ``ImageBackend.is_back``."""
        if is_away(error):
            return self._services.is_serving(timeout=_RESTART_TIMEOUT)
        # If the lease of a write was deleted, the write can fail with any of many errors, such as
        # Unknown.
        return isinstance(error, ContainerdError) and restore_lease(self._services.lease_service)
