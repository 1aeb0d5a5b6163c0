"""The backend of all verbs for images: names, content and snapshots of a daemon or a folder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

from ..errors import FailedPrecondition

if TYPE_CHECKING:
    from typing_extensions import Self

    from ..oci.platform import Platform
    from ..services.diff import DiffService
    from ..services.snapshots import SnapshotService
    from ..store.protocol import ContentStore, Writer
    from .daemon.by_daemon import DaemonTransfers
    from .job import Job
    from .names import Names
    from .unpack.unpack import Unpacker


class Replacer(Protocol):
    """Replaces blobs whose content in the store is broken."""

    def replacing_writer(self, ref: str, *, size: int, expected: str) -> Writer:
        """Begin or resume a write; the broken content stays until the commit."""


class ImageBackend(ABC):
    """The place where images are kept.

    ``Client`` works on a ``DaemonBackend``, ``Layout`` on a ``LayoutBackend``. A backend without
    a daemon has no snapshots and no transfers: the methods of this class for them raise errors.
    """

    #: Whether images can be unpacked.
    has_snapshots = False
    #: The names of the images.
    names: Names
    #: The content of the images.
    store: ContentStore
    #: The platform whose manifest is used if an image has several.
    platform: Platform

    @abstractmethod
    def with_defaults(
        self, *, platform: Platform | str | None = None, snapshotter: str | None = None
    ) -> Self:
        """Return this backend with another default platform and snapshotter.

        Args:
            platform: Default: this backend's.
            snapshotter: Default: this backend's.

        Raises:
            InvalidArgument: ``platform`` is not a platform.
        """

    @abstractmethod
    def keeping(self, resume: str = "") -> AbstractContextManager[object]:
        """Keep content that the block writes from garbage collection, and clean up after it.

        If the block fails, the content that it wrote is deleted. With ``resume`` the content
        stays, and a later block with the same ``resume`` continues with it.
        """

    @abstractmethod
    def replacer(self) -> Replacer:
        """Return the replacer of broken blobs."""

    def snapshots(self, snapshotter: str | None = None) -> SnapshotService:
        """Return the snapshots of a snapshotter. Default: the default snapshotter.

        Raises:
            FailedPrecondition: The backend has no snapshots.
        """
        raise _no_snapshots()

    def differ(self) -> DiffService:
        """Return the daemon's differ, which writes the changes of a snapshot as a layer.

        Raises:
            FailedPrecondition: The backend has no snapshots.
        """
        raise _no_snapshots()

    def unpacker(self, snapshotter: str | None = None, job: Job | None = None) -> Unpacker:
        """Return an unpacker, which makes snapshots from layers.

        Raises:
            FailedPrecondition: The backend has no snapshots.
        """
        raise _no_snapshots()

    def can_transfer(self) -> bool:
        """Return whether there is a daemon that transfers images itself."""
        return False

    def transfers(self) -> DaemonTransfers:
        """Return the transfers that the daemon does itself.

        Raises:
            FailedPrecondition: The backend has no daemon.
        """
        raise FailedPrecondition(
            "a layout has no daemon to transfer images", remedy="Leave via= out, or use a Client"
        )

    def is_back(self, error: BaseException) -> bool:
        """Return whether work that failed with ``error`` may be tried again.

        It may if the daemon or the lease was gone, and has come back.
        """
        return False


def _no_snapshots() -> FailedPrecondition:
    return FailedPrecondition(
        "a layout has no snapshots to unpack into",
        remedy="Pull or import the image into a containerd",
    )
