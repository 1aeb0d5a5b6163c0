"""The root filesystem of a container: a new snapshot, an existing snapshot, or a folder."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import InvalidArgument, NotFound
from ..images import files
from ..images.image import Image
from ..oci.spec.fields import Spec, section
from ..records import record
from .runtime_backend import RuntimeBackend
from .spec.options import ContainerOptions

if TYPE_CHECKING:
    from ..services.snapshots import SnapshotService

#: Labels of a snapshot (containerd's core/snapshots). The value of a label is a list of items
#: ``container:host:size`` with commas between the items.
_UID_MAPPING = "containerd.io/snapshot/uidmapping"
_GID_MAPPING = "containerd.io/snapshot/gidmapping"


@record(frozen=True)
class Rootfs:
    """The snapshot of a container.

    Attributes:
        snapshotter: The name of the snapshotter.
        key: The key of the snapshot, ``""`` if the container has no snapshot.
        snapshots: The snapshots service, if ``of`` has made the snapshot, else ``None``.
    """

    snapshotter: str = ""
    key: str = ""
    snapshots: SnapshotService | None = None

    @classmethod
    def of(
        cls, backend: RuntimeBackend, id: str, image: Image | None, options: ContainerOptions
    ) -> Rootfs:
        """Return the snapshot of a new container.

        If the option ``snapshot`` names an existing snapshot, return this snapshot. Otherwise, if
        there is an image, make a snapshot whose parent is the image's top snapshot, and whose key
        is the container's id. Without an image, the container has no snapshot, and its root
        filesystem is a folder.

        Raises:
            AlreadyExists: A snapshot with the container's id as its key exists.
            NotFound: The snapshot that the option names does not exist.
            InvalidArgument: The maps of a user namespace lack id 0, or the owner of a file.
            Unimplemented: The snapshotter can neither map ids nor get a copy of the files.
        """
        key, snapshotter = options.get("snapshot"), options.get("snapshotter")
        if key is not None:
            snapshots = backend.snapshots(snapshotter)
            snapshots.stat(key)
            return cls(snapshots.snapshotter, key)
        if image is None:
            return cls()
        snapshots = backend.snapshots(snapshotter)
        parent = image.unpack(snapshots.snapshotter)
        _create(backend, snapshots, id, parent, options)
        return cls(snapshots.snapshotter, id, snapshots)

    def remove(self) -> None:
        """Remove the snapshot if ``of`` has made it."""
        if self.snapshots is not None:
            self.snapshots.remove(self.key)


def set_rootfs(spec: Spec, image: Image | None, options: ContainerOptions) -> None:
    """Set the spec's root path to the folder in the option ``rootfs``, if the option is given.

    Raises:
        InvalidArgument: The options name no root filesystem, or the option ``rootfs`` is not valid.
    """
    folder = options.get("rootfs")
    if folder is None:
        if image is None and options.get("snapshot") is None and options.get("spec") is None:
            raise InvalidArgument(
                "the container has no root filesystem",
                remedy="Give image=, snapshot= or rootfs=",
            )
        return
    path = os.fspath(folder)
    if image is not None or options.get("snapshot") is not None:
        raise InvalidArgument("rootfs= cannot be combined with image= or snapshot=")
    if path and not os.path.isabs(path):
        raise InvalidArgument(f"rootfs={path!r} is not an absolute path")
    if path:
        section(spec, "root")["path"] = path


def _create(
    backend: RuntimeBackend,
    snapshots: SnapshotService,
    id: str,
    parent: str,
    options: ContainerOptions,
) -> None:
    """Make the snapshot. In a user namespace, its files belong to ids of the namespace.

    A snapshotter that cannot map ids gets a parent with other owners, which all containers with the
    same maps share. Only the first of them has to make it.
    """
    create = snapshots.view if options.get("view") else snapshots.prepare
    uids, gids = options.get("uid_map") or (), options.get("gid_map") or ()
    if not uids and not gids:
        create(id, parent)
        return
    labels = {
        _UID_MAPPING: _id_map_text(uids, "uid_map"),
        _GID_MAPPING: _id_map_text(gids, "gid_map"),
    }
    if snapshots.can_remap(several=max(len(uids), len(gids)) > 1):
        create(id, parent, labels)
        return
    remapped = files.remapped_name(parent, uids, gids)
    try:
        create(id, remapped)
    except NotFound:
        images = backend.images
        with images.keeping():
            files.write_remapped(
                images.snapshot_layers(snapshots.snapshotter),
                images.store,
                parent=parent,
                uids=uids,
                gids=gids,
            )
            create(id, remapped)


def _id_map_text(ids: Sequence[tuple[int, int, int]], option: str) -> str:
    if not any(inside == 0 for inside, _, _ in ids):
        raise InvalidArgument(
            f"{option} does not map id 0 of the container",
            remedy="Add an item for id 0, such as (0, 100000, 1)",
        )
    return ",".join(f"{inside}:{outside}:{size}" for inside, outside, size in ids)
