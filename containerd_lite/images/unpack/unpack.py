"""Unpacks images into snapshots.

The module ``image_unpacking`` decides which layers are unpacked, in which order, and whether in
parallel. The module ``existing`` finds the snapshots that exist, and ``apply`` unpacks one layer.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from ...debug import LoggedStep
from ...errors import FailedPrecondition, InvalidArgument
from ...oci.config import ImageConfig, chain_ids
from ...oci.descriptor import Descriptor
from ...records import record
from ...services.diff import DiffService
from ...services.leases import LeaseService
from ...services.snapshots import SnapshotService
from ..gc_labels import SNAPSHOT
from ..job import Job
from ..known_content import KnownContent
from .apply import Applier, Step, WaitFor
from .image_unpacking import ImageUnpacking, Need

_LOGGER = logging.getLogger(__package__)
#: How many layers to unpack in parallel by default.
_USUAL_CONCURRENT = 3


@record(frozen=True)
class Unpacked:
    """The result of unpacking an image.

    Attributes:
        top: The name of the top snapshot, a chain ID; ``""`` if the image has no layers.
        is_lazy: Whether the unpacker has skipped layers that the store lacks, because the
            snapshotter fetches these layers itself or has their content.
    """

    top: str
    is_lazy: bool = False


class Unpacker:
    """Unpacks images into one snapshotter.

    Args:
        content: The content store that has the layers.
        snapshots: The service of the snapshotter.
        differ: The daemon's differ.
        leases: The leases service of the namespace. The lease of the surrounding block holds the
            snapshots that exist already. Default: garbage collection can delete these snapshots,
            and the unpacker then makes them again.
        job: The job that unpacking is part of. Default: a new job.
        max_concurrent: How many layers to unpack in parallel if the snapshotter can set the parent
            of a snapshot at commit. With other snapshotters, layers are unpacked one by one.
            Default: 3.
        needs_all: Whether the layers of existing snapshots must be fetched, too.
    """

    def __init__(
        self,
        content: KnownContent,
        snapshots: SnapshotService,
        differ: DiffService,
        leases: LeaseService | None = None,
        job: Job | None = None,
        max_concurrent: int | None = None,
        *,
        needs_all: bool = True,
    ) -> None:
        self._content = content
        self._snapshots = snapshots
        self._job = job or Job()
        self._applier = Applier(content, snapshots, differ, self._job, leases)
        self._max_concurrent = max_concurrent or _USUAL_CONCURRENT
        self._needs_all = needs_all

    def unpack(
        self,
        layers: Sequence[Descriptor],
        config_target: Descriptor,
        config: ImageConfig,
        need: Need = lambda layers: None,
        wait_for: WaitFor = lambda layer: None,
    ) -> Unpacked:
        """Make the snapshots of an image.

        If a layer cannot be unpacked, the layers below it are still unpacked. When this method
        raises an error, its threads have ended, and it has removed its active snapshots.

        Args:
            layers: The layers, bottom first.
            config_target: The descriptor of the image config.
            config: The image config.
            need: A function that is called with the layers that must be fetched.
            wait_for: A function that waits until a layer is in the store. Several threads call
                this function, each before it unpacks a layer.

        Returns:
            The name of the top snapshot, and whether layers were skipped.

        Raises:
            InvalidArgument: The config and the manifest have different numbers of layers.
            FailedPrecondition: The image needs a feature that the snapshotter lacks, such as EROFS
                layers.
            DiffIDMismatch: A layer does not have the diff ID that the config lists.
        """
        if len(layers) != len(config.diff_ids):
            raise InvalidArgument(
                f"the manifest has {len(layers)} layers, but the config has "
                f"{len(config.diff_ids)} diff IDs",
                remedy="Build the image again: it is broken",
            )
        if config.platform.os_features and not self._snapshots.supports(config.platform):
            raise FailedPrecondition(
                f"snapshotter {self._snapshots.snapshotter} does not support the image's platform, "
                f"{config.platform}",
                remedy="Choose a snapshotter that lists this platform (ctr plugins ls --detailed), "
                "or pull the image for a platform without these features",
            )
        chain = chain_ids(config.diff_ids)
        steps = list(map(Step, layers, config.diff_ids, chain, ("", *chain)))
        if not steps:
            return Unpacked("")
        # This label is set first, because it may be the only protection of existing snapshots from
        # garbage collection. If a config has the label and the lease holds the config, the lease
        # holds the snapshot, too.
        top, key = steps[-1].name, f"{SNAPSHOT}.{self._snapshots.snapshotter}"
        is_held = self._content.label(config_target.digest, key) == top
        self._content.update(config_target.digest, {key: top})
        with LoggedStep(_LOGGER, "unpack %d layers into %s", len(steps), top):
            unpacking = ImageUnpacking(
                steps,
                self._applier,
                self._job,
                need,
                wait_for,
                needs_all=self._needs_all,
                is_top_held=is_held,
            )
            unpacking.run(self._max_concurrent)
        return Unpacked(top, unpacking.is_lazy)
