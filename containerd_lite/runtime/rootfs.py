"""The snapshot that a container stands on.

What lives here: preparing it, from an image or from what the user has.  What may not: mounting.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import InvalidArgument, Unimplemented
from ..images.image import Image
from ..oci.spec.fields import Spec, section
from ..records import record
from .runtime_backend import RuntimeBackend
from .spec.options import ContainerOptions

if TYPE_CHECKING:
    from ..services.snapshots import SnapshotService

#: core/snapshots; each is ``container:host:size``, several with commas between.
_UID_MAPPING = "containerd.io/snapshot/uidmapping"
_GID_MAPPING = "containerd.io/snapshot/gidmapping"

#: Ids of a container, those of the machine that they are, and how many.
IdMap = tuple[int, int, int]


@record(frozen=True)
class Rootfs:
    """A snapshot by its key, ``""`` for none; ``snapshots`` removes what was made for it."""

    snapshotter: str = ""
    key: str = ""
    snapshots: SnapshotService | None = None

    @classmethod
    def of(
        cls, backend: RuntimeBackend, id: str, image: Image | None, options: ContainerOptions
    ) -> Rootfs:
        """A snapshot for the container ``id``, on that of its image.

        Without an image it is the one that ``options`` name, or none: then the spec's root is a
        folder.  Raises ``AlreadyExists``, ``NotFound``, ``Unimplemented``.
        """
        given, snapshotter = options.get("snapshot"), options.get("snapshotter")
        if given is not None:
            snapshots = backend.snapshots(snapshotter)
            snapshots.stat(given)
            return cls(snapshots.snapshotter, given)
        if image is None:
            return cls()
        snapshots = backend.snapshots(snapshotter)
        labels = _remapping(snapshots, options)
        parent = image.unpack(snapshots.snapshotter)
        make = snapshots.view if options.get("view") else snapshots.prepare
        make(id, parent, labels)
        return cls(snapshots.snapshotter, id, snapshots)

    def remove(self) -> None:
        """Remove what ``of`` made."""
        if self.snapshots is not None:
            self.snapshots.remove(self.key)


def set_rootfs(spec: Spec, image: Image | None, options: ContainerOptions) -> None:
    """Have a spec's root be the folder that ``options`` name, if there is no image.

    Raises ``InvalidArgument`` where nothing says on what a container is to stand.
    """
    folder = options.get("rootfs")
    if folder is None:
        if image is None and options.get("snapshot") is None and options.get("spec") is None:
            raise InvalidArgument(
                "nothing says what the root filesystem is to be",
                remedy="Give image=, snapshot= or rootfs=",
            )
        return
    path = os.fspath(folder)
    if image is not None or options.get("snapshot") is not None or not os.path.isabs(path):
        raise InvalidArgument(
            f"rootfs={path!r} is to be an absolute path, and all that the container stands on"
        )
    section(spec, "root")["path"] = path


def _remapping(snapshots: SnapshotService, options: ContainerOptions) -> dict[str, str] | None:
    """Labels that have a snapshotter show files under the ids of a user namespace.

    Raises ``Unimplemented`` for a snapshotter that cannot: Go's client then mounts and changes a
    copy, which takes root beside the daemon.
    """
    uids, gids = options.get("uid_map"), options.get("gid_map")
    if not uids and not gids:
        return None
    if not snapshots.can_remap():
        raise Unimplemented(
            f"snapshotter {snapshots.snapshotter} cannot map ids for a user namespace",
            remedy="It takes containerd 2.0, its overlayfs, and a kernel of 5.19 or later",
        )
    return {
        _UID_MAPPING: _mapping(uids or (), "uid_map"),
        _GID_MAPPING: _mapping(gids or (), "gid_map"),
    }


def _mapping(ids: Sequence[IdMap], option: str) -> str:
    if not any(inside == 0 for inside, _, _ in ids):
        raise InvalidArgument(
            f"{option} does not say who is 0 in the container", remedy="Map it, as (0, 100000, 1)"
        )
    return ",".join(f"{inside}:{outside}:{size}" for inside, outside, size in ids)
