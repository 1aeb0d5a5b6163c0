"""Asks the daemon to write the difference between a snapshot and its parent as a layer."""

from __future__ import annotations

import os
from contextlib import suppress

from ...errors import ContainerdError
from ...oci.descriptor import Descriptor
from ...services._types import Mount
from ...services.diff import DiffService
from ...services.mount_options import read_only
from ...services.snapshots import SnapshotService


def write_changes(
    snapshots: SnapshotService, differ: DiffService, key: str, media_type: str = ""
) -> Descriptor:
    """Ask the daemon to write the difference between a snapshot and its parent as a layer.

    The caller must run this function within a lease.

    Args:
        snapshots: The service of the snapshotter that has the snapshot.
        differ: The daemon's differ.
        key: The key of the snapshot.
        media_type: The media type of the layer. Default: a layer compressed with gzip.

    Raises:
        NotFound: The snapshot does not exist.
    """
    info = snapshots.stat(key)
    suffix = os.urandom(8).hex()
    views: list[str] = []

    def view(name: str, parent: str) -> tuple[Mount, ...]:
        views.append(f"{name}-view-{suffix}")
        return snapshots.view(views[-1], parent)

    try:
        lower = view(f"{key}-parent", info.parent)
        upper = snapshots.mounts(key) if info.kind == "active" else view(key, key)
        shown = [read_only(mount) for mount in upper]
        return differ.diff(lower, shown, media_type=media_type, ref=f"changes-{key}-{suffix}")
    finally:
        for name in views:
            with suppress(ContainerdError):
                snapshots.remove(name)
