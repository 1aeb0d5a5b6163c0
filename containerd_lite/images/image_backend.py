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
    """Where images are kept.

    ``Client`` works on a ``DaemonBackend``, ``Layout`` on a ``LayoutBackend``.  A backend without
    a daemon has no snapshots and no transfers; the methods for these are written for it here.
    """

    #: Whether images can be unpacked.
    has_snapshots = False
    #: What images are called.
    names: Names
    #: Their content.
    store: ContentStore
    #: The platform that an image is looked at for.
    platform: Platform

    @abstractmethod
    def with_defaults(
        self, *, platform: Platform | str | None = None, snapshotter: str | None = None
    ) -> Self:
        """This backend with another platform and snapshotter for images that it finds or makes.

        What is ``None`` stays.  Raises ``InvalidArgument``.
        """

    @abstractmethod
    def keeping(self, resume: str = "") -> AbstractContextManager[object]:
        """Keeps what is written within the block from garbage collection, and tidies up after it.

        A block that fails takes what it wrote with it, unless ``resume`` names what a later
        block of the same name goes on with.
        """

    @abstractmethod
    def replacer(self) -> Replacer:
        """For the repair of broken content."""

    def snapshots(self, snapshotter: str | None = None) -> SnapshotService:
        """The snapshots of a snapshotter, the default one unless it is named.

        Raises ``FailedPrecondition`` for a folder; so do ``differ`` and ``unpacker``.
        """
        raise _no_snapshots()

    def differ(self) -> DiffService:
        """Writes down as a layer what snapshots differ in."""
        raise _no_snapshots()

    def unpacker(self, snapshotter: str | None = None, job: Job | None = None) -> Unpacker:
        """Makes snapshots of layers."""
        raise _no_snapshots()

    def can_transfer(self) -> bool:
        """Whether there is a daemon that moves images itself."""
        return False

    def transfers(self) -> DaemonTransfers:
        """The daemon's own transfers.  Raises ``FailedPrecondition`` for a folder."""
        raise FailedPrecondition(
            "a layout has no daemon to do it", remedy="Leave via= out, or use a Client"
        )

    def is_back(self, error: BaseException) -> bool:
        """Whether what failed by ``error`` may be tried again: the daemon, or its lease, was gone
        and has come back."""
        return False


def _no_snapshots() -> FailedPrecondition:
    return FailedPrecondition(
        "a layout has no snapshots to unpack into",
        remedy="Pull or import the image into a containerd",
    )
