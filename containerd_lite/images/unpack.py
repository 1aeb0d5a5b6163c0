"""Layers into snapshots, by the daemon's own differ.

What lives here: chain IDs to snapshots, bottom up, those that a snapshotter makes without content,
and clean-up of a snapshot half made.  What may not: reading layers; decompression is the daemon's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
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
from ..services._types import Mount
from ..services.diff import DiffService
from ..services.snapshots import SnapshotInfo, SnapshotService
from ..store.protocol import ContentStore
from .job import Job
from .labels import SNAPSHOT, UNCOMPRESSED

#: Tells a snapshotter which committed snapshot this one is to become.
_SNAPSHOT_REF = "containerd.io/snapshot.ref"
#: A layer's annotations that a snapshotter is told (pkg/snapshotters).
_INHERITED = "containerd.io/snapshot/"
#: By this label snapshotters tell that they will fetch the content of a snapshot themselves.
_REMOTE = "containerd.io/snapshot/remote"
#: As often may a snapshot be there for the one who prepares it, and not for the one who looks.
_MOST_TRIES = 3


@dataclass(frozen=True)
class Unpacked:
    """The top snapshot's name, a chain ID, ``""`` without layers; whether any is lazy: made by
    the snapshotter without the layer's content."""

    top: str
    is_lazy: bool = False


#: Told the layers from a place on, which are needed now; waits for none.
Need = Callable[[Sequence[Descriptor]], object]
#: Waits until a layer's content is there.
WaitFor = Callable[[Descriptor], object]


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
        layers: Sequence[Descriptor],
        config_target: Descriptor,
        config: ImageConfig,
        need: Need = lambda layers: None,
        wait_for: WaitFor = lambda layer: None,
    ) -> Unpacked:
        """Make the snapshots of an image, whose config ``config_target`` names.

        ``need`` is told layers that are to be fetched, ``wait_for`` is called before one is
        unpacked.  Raises ``InvalidArgument`` if config and manifest disagree,
        ``DiffIDMismatch``.
        """
        if len(layers) != len(config.diff_ids):
            raise InvalidArgument(
                f"the manifest has {len(layers)} layers, its config names "
                f"{len(config.diff_ids)} diff IDs",
                remedy="The image is broken; build it again",
            )
        top, is_lazy, are_coming = "", False, False
        chain = chain_ids(config.diff_ids)
        for place, (layer, name) in enumerate(zip(layers, chain, strict=True)):
            self._job.check()
            made = self._find(name) or self._prepare(layer, name, top)
            if isinstance(made, SnapshotInfo):
                is_remote = self._is_remote(made, layer)
                is_lazy = is_lazy or is_remote
                if not is_remote:
                    need(layers[place : place + 1])
            else:
                if not are_coming:
                    need(layers[place:])
                are_coming = True
                self._apply(layer, config.diff_ids[place], name, made, wait_for)
            self._job.report("unpacked", layer.digest, layer.size, layer.size)
            top = name
        if top:
            label = {f"{SNAPSHOT}.{self._snapshots.snapshotter}": top}
            self._store.update(config_target.digest, label)
        return Unpacked(top, is_lazy)

    def find(self, config: ImageConfig) -> str | None:
        """The top snapshot's name if it is there, and with it those below; ``""``: no layers."""
        top = next(reversed(chain_ids(config.diff_ids)), "")
        return top if not top or self._find(top) else None

    def _find(self, name: str) -> SnapshotInfo | None:
        with suppress(NotFound):
            found = self._snapshots.stat(name)
            return found if found.kind == "committed" else None
        return None

    def _is_remote(self, snapshot: SnapshotInfo, layer: Descriptor) -> bool:
        """Whether the snapshot stands without the layer's content, and is meant to."""
        if _REMOTE not in snapshot.labels:
            return False
        with suppress(NotFound):
            self._store.info(layer.digest)
            return False
        return True

    def _prepare(self, layer: Descriptor, name: str, parent: str) -> SnapshotInfo | _Prepared:
        """A snapshot to unpack into; or the one that is there, for somebody has been quicker, or
        the snapshotter has it from elsewhere."""
        inherited = {k: v for k, v in layer.annotations.items() if k.startswith(_INHERITED)}
        labels = {**inherited, _SNAPSHOT_REF: name}
        for _ in range(_MOST_TRIES):
            key = f"extract-{time.time_ns() % 1_000_000_000}-{token_urlsafe(3)} {name}"
            try:
                return _Prepared(key, self._snapshots.prepare(key, parent, labels), labels)
            except AlreadyExists:
                found = self._find(name)
                if found is not None:
                    return found
        raise AlreadyExists(f"snapshot {name} is there, and is not, {_MOST_TRIES} times in a row")

    def _apply(
        self,
        layer: Descriptor,
        diff_id: str,
        name: str,
        prepared: _Prepared,
        wait_for: WaitFor,
    ) -> None:
        try:
            wait_for(layer)
            self._job.check()
            self._job.report("unpacking", layer.digest, 0, layer.size)
            applied = self._differ.apply(layer, prepared.mounts)
            if applied.digest != diff_id:
                raise DiffIDMismatch(
                    f"layer {layer.digest} unpacks to {applied.digest}; the config says {diff_id}",
                    remedy="The image is broken or forged; do not run it",
                )
            self._snapshots.commit(name, prepared.key, prepared.labels)
        except BaseException as error:
            self._remove(prepared.key)
            if not isinstance(error, AlreadyExists):  # then somebody else was quicker
                raise
        self._store.update(layer.digest, {UNCOMPRESSED: diff_id})

    def _remove(self, key: str) -> None:
        """Leave nothing half-made; never hide the error that led here."""
        with suppress(ContainerdError):
            self._snapshots.remove(key)


@dataclass(frozen=True)
class _Prepared:
    """An active snapshot that a layer goes into; ``labels`` become those of the committed one."""

    key: str
    mounts: tuple[Mount, ...]
    labels: Mapping[str, str]
