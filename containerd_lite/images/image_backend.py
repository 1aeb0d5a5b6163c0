"""The backend of all verbs for images: names, content and snapshots of a daemon or a folder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

from ..errors import FailedPrecondition

if TYPE_CHECKING:
    from typing_extensions import Self

    from ..locks import PerProcess
    from ..oci.platform import Platform
    from ..registry import HostCache
    from ..registry.registry_access import RegistryOptions
    from ..services.snapshots import SnapshotService
    from ..store.protocol import ContentStore, Writer
    from ..trust.policy import Policy
    from .daemon.by_daemon import DaemonTransfers
    from .files.snapshot_layers import SnapshotLayers
    from .job import Job
    from .known_content import KnownContent
    from .names import Names
    from .unpack.unpack import Unpacker


class Replacer(Protocol):
    """Replaces blobs whose content in the store is broken."""

    def replacing_writer(self, ref: str, *, size: int, expected: str) -> Writer:
        """Begin or resume the write of a blob; the commit replaces the broken content."""


class ImageBackend(ABC):
    """A store of images: their names, their content and their snapshots.

    ``Client`` works on a ``DaemonBackend``, ``Layout`` on a ``LayoutBackend``. A backend without
    a daemon has no snapshots and no Transfer service. In this class, the methods for snapshots and
    for transfers raise ``FailedPrecondition``.
    """

    #: Whether images can be unpacked.
    has_snapshots = False
    #: The policies that all images must meet before they get a name in the store.
    policies: tuple[Policy, ...] = ()
    #: The names of the images.
    names: Names
    #: The content of the images.
    store: ContentStore
    #: The platform whose manifest is used if an image has several manifests.
    platform: Platform
    #: How to reach registries. ``None`` means the defaults of ``RegistryOptions``.
    registry: RegistryOptions | None = None
    #: The connections to registries that the verbs of a process keep.
    host_caches: PerProcess[HostCache]

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.store!r}>"

    @abstractmethod
    def with_defaults(
        self, *, platform: Platform | str | None = None, snapshotter: str | None = None
    ) -> Self:
        """Return a backend for the same images with other defaults.

        Args:
            platform: The new default platform. Default: the platform of this backend.
            snapshotter: The new default snapshotter. Default: the snapshotter of this backend.

        Raises:
            InvalidArgument: ``platform`` is not a platform.
        """

    @abstractmethod
    def keeping(self, resume: str = "") -> AbstractContextManager[object]:
        """Return a context manager that protects the content that its block writes.

        Garbage collection does not delete this content during the block. After a failed block, the
        daemon's garbage collection deletes the content. If ``resume`` is given, the content stays
        after a failed block, and a later block with the same ``resume`` can use the content.
        """

    @abstractmethod
    def replacer(self) -> Replacer:
        """Return the replacer of broken blobs."""

    def snapshots(self, snapshotter: str | None = None) -> SnapshotService:
        """Return the snapshot service of a snapshotter.

        Args:
            snapshotter: The name of the snapshotter. Default: the default snapshotter.

        Raises:
            FailedPrecondition: The backend has no snapshots.
        """
        raise _no_snapshots()

    def snapshot_layers(self, snapshotter: str | None = None) -> SnapshotLayers:
        """Return an object that has the daemon write snapshots as layers.

        Args:
            snapshotter: The name of the snapshotter. Default: the default snapshotter.

        Raises:
            FailedPrecondition: The backend has no snapshots.
        """
        raise _no_snapshots()

    def unpacker(
        self,
        snapshotter: str | None = None,
        job: Job | None = None,
        content: KnownContent | None = None,
        max_concurrent: int | None = None,
        *,
        needs_all: bool = True,
    ) -> Unpacker:
        """Return an unpacker, which makes snapshots from layers.

        Args:
            snapshotter: The snapshotter to unpack into. Default: the default snapshotter.
            job: The job that unpacking is part of. Default: a new job.
            content: What the caller knows about the content of the store. Default: nothing.
            max_concurrent: How many layers to unpack at a time; see ``Unpacker``.
            needs_all: Whether the store must have all layers; see ``Unpacker``.

        Raises:
            FailedPrecondition: The backend has no snapshots.
        """
        raise _no_snapshots()

    def can_transfer(self) -> bool:
        """Return whether the backend has a daemon that can transfer images itself."""
        return False

    def transfers(self) -> DaemonTransfers:
        """Return an object through which the daemon pulls, pushes, imports and exports images.

        Raises:
            FailedPrecondition: The backend has no daemon.
        """
        raise FailedPrecondition(
            "a layout has no daemon to transfer images", remedy="Leave via= out, or use a Client"
        )

    def is_back(self, error: BaseException) -> bool:
        """Return whether the caller should repeat the work that failed with ``error``.

        The caller should repeat the work if the daemon has restarted, or if a deleted lease has
        been restored.
        """
        return False


def _no_snapshots() -> FailedPrecondition:
    return FailedPrecondition(
        "a layout has no snapshots to unpack into",
        remedy="Pull or import the image into a containerd daemon",
    )
