"""Layers into snapshots, by the daemon's own differ.

What lives here: chain IDs to snapshots, bottom up, and clean-up of a snapshot half made.  What may
not: reading layers; decompression is the daemon's.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from secrets import token_urlsafe

from ..errors import (
    AlreadyExists,
    ContainerdError,
    DiffIDMismatch,
    InvalidArgument,
    NotFound,
)
from ..oci.config import ImageConfig, chain_ids
from ..oci.descriptor import Descriptor
from ..oci.manifest import Manifest
from ..services.diff import DiffService
from ..services.snapshots import SnapshotService
from ..store.protocol import ContentStore
from .fetch import Job
from .labels import SNAPSHOT, UNCOMPRESSED

#: Tells a snapshotter which committed snapshot this one is to become.
_SNAPSHOT_REF = "containerd.io/snapshot.ref"


class Unpacker:
    """Unpacks images into one snapshotter."""

    def __init__(
        self, store: ContentStore, snapshots: SnapshotService, differ: DiffService, job: Job
    ) -> None:
        self._store = store
        self._snapshots = snapshots
        self._differ = differ
        self._job = job

    def unpack(
        self,
        manifest: Manifest,
        config: ImageConfig,
        wait_for: Callable[[int], None] = lambda place: None,
    ) -> str:
        """Make the snapshots of an image; returns the top one's name, its chain ID.

        ``wait_for`` is called with the place of each layer before it is unpacked.  Raises
        ``InvalidArgument`` if config and manifest disagree, ``DiffIDMismatch``.
        """
        if len(manifest.layers) != len(config.diff_ids):
            raise InvalidArgument(
                f"the manifest has {len(manifest.layers)} layers, its config names "
                f"{len(config.diff_ids)} diff IDs",
                remedy="The image is broken; build it again",
            )
        parent = ""
        chain = chain_ids(config.diff_ids)
        for place, (layer, name) in enumerate(zip(manifest.layers, chain, strict=True)):
            wait_for(place)
            self._job.check()
            if not self._has(name):
                self._job.report("unpacking", layer.digest, 0, layer.size)
                self._apply(layer, config.diff_ids[place], name, parent)
            self._store.update(layer.digest, {UNCOMPRESSED: config.diff_ids[place]})
            self._job.report("unpacked", layer.digest, layer.size, layer.size)
            parent = name
        if parent:
            label = {f"{SNAPSHOT}.{self._snapshots.snapshotter}": parent}
            self._store.update(manifest.config.digest, label)
        return parent

    def find(self, config: ImageConfig) -> str | None:
        """The top snapshot's name if it is there, and with it those below; ``""``: no layers."""
        top = next(reversed(chain_ids(config.diff_ids)), "")
        return top if not top or self._has(top) else None

    def _has(self, name: str) -> bool:
        try:
            return self._snapshots.stat(name).kind == "committed"
        except NotFound:
            return False

    def _apply(self, layer: Descriptor, diff_id: str, name: str, parent: str) -> None:
        key = f"extract-{time.time_ns() % 1_000_000_000}-{token_urlsafe(3)} {name}"
        try:
            mounts = self._snapshots.prepare(key, parent, {_SNAPSHOT_REF: name})
        except AlreadyExists:
            if self._has(name):
                return  # somebody else, or a remote snapshotter, has made it in between
            raise
        try:
            applied = self._differ.apply(layer, mounts)
            if applied.digest != diff_id:
                raise DiffIDMismatch(
                    f"layer {layer.digest} unpacks to {applied.digest}; the config says {diff_id}",
                    remedy="The image is broken or forged; do not run it",
                )
            self._snapshots.commit(name, key)
        except BaseException as error:
            self._remove(key)
            if not isinstance(error, AlreadyExists):  # then somebody else was quicker
                raise

    def _remove(self, key: str) -> None:
        """Leave nothing half-made; never hide the error that led here."""
        with suppress(ContainerdError):
            self._snapshots.remove(key)
