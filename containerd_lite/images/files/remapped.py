"""Makes a copy of a snapshot in which all files belong to the ids of a user namespace.

A snapshotter that cannot map the owners of files needs a copy of the files with other owners. The
daemon writes the snapshot as a layer, this module changes the owners in the layer, and the daemon
unpacks the layer. The client needs no rights on the daemon's machine. Files keep their
capabilities. The daemon writes no other extended attributes into a layer.
"""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import BinaryIO, cast

from ...errors import AlreadyExists, DataLoss, InvalidArgument, Unimplemented
from ...oci import media_types
from ...oci.descriptor import Descriptor
from ...printable import quoted
from ...records import replace
from ...services._types import Mount
from ...store.protocol import ContentStore, Writer
from ...undo import Undo
from .snapshot_layers import SnapshotLayers

#: The first id in the container, the first id on the machine, and the number of ids.
IdMap = tuple[int, int, int]
#: The pax records whose values change.
_CHANGED = ("uid", "gid", "path", "linkpath")


def remapped_name(parent: str, uids: Sequence[IdMap], gids: Sequence[IdMap]) -> str:
    """Return the name of the committed copy of a snapshot. Go's client uses the same name.

    Source: containerd's client/snapshotter_opts_unix.go.
    """
    maps = {"UidMap": _to_json(uids), "GidMap": _to_json(gids)}
    text = json.dumps({"Parent": parent, "IDMap": maps}, separators=(",", ":"))
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _to_json(ids: Sequence[IdMap]) -> list[dict[str, int]]:
    names = ("containerID", "hostID", "size")
    return [dict(zip(names, item, strict=True)) for item in sorted(ids, key=lambda item: item[0])]


def write_remapped(
    layers: SnapshotLayers,
    store: ContentStore,
    parent: str,
    uids: Sequence[IdMap],
    gids: Sequence[IdMap],
) -> None:
    """Commit the copy of a snapshot under its ``remapped_name``.

    The caller must run this function within a lease.

    Args:
        layers: Has the daemon write snapshots as layers.
        store: The daemon's content store.
        parent: The name of the committed snapshot.
        uids: The map of uids.
        gids: The map of gids.

    Raises:
        InvalidArgument: The maps lack the owner of a file.
        NotFound: The snapshot does not exist.
        Unimplemented: The snapshotter's mounts are not bind mounts of folders.
    """
    snapshots, name = layers.snapshots, remapped_name(parent, uids, gids)
    copy = f"{name}-remap-{os.urandom(8).hex()}"
    mounts = snapshots.prepare(copy)
    with Undo(lambda: snapshots.remove(copy)):
        outer, folder = _outer(mounts, snapshots.snapshotter)
        original = layers.write(parent)
        with store.reader(original.digest) as reader, Undo(lambda: store.abort(copy)):
            layer = _write_layer(
                store, copy, lambda file: _change_owners(reader, file, folder, uids, gids)
            )
        layers.differ.apply(layer, [outer])
        with suppress(AlreadyExists):
            snapshots.commit(name, copy)
            return
    snapshots.remove(copy)


def _outer(mounts: Sequence[Mount], snapshotter: str) -> tuple[Mount, str]:
    """Return a mount of the folder that contains the root folder, and the root folder's name.

    The daemon leaves out a layer's entry for the root folder, so it cannot change the owner of a
    mount's root. In the returned mount, the root folder is an ordinary folder.
    """
    if len(mounts) != 1 or mounts[0].type != "bind":
        raise Unimplemented(
            f"snapshotter {snapshotter} cannot map ids for a user namespace",
            remedy="Use the snapshotter overlayfs or native",
        )
    outer, _, folder = mounts[0].source.rpartition("/")
    return replace(mounts[0], source=outer), folder


class _Hashed:
    """A file that passes its bytes on to a writer, and computes their digest."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self.sha256, self.size = hashlib.sha256(), 0

    def write(self, data: bytes) -> int:
        self.sha256.update(data)
        self.size += len(data)
        return self._writer.write(data)


def _write_layer(store: ContentStore, ref: str, fill: Callable[[BinaryIO], object]) -> Descriptor:
    with store.writer(ref) as writer:
        file = _Hashed(writer)
        fill(cast(BinaryIO, file))
        with suppress(AlreadyExists):  # another container with these maps starts at the same time
            writer.commit()
    return Descriptor(media_types.OCI_LAYER, f"sha256:{file.sha256.hexdigest()}", file.size)


def _change_owners(
    reader: BinaryIO,
    writer: BinaryIO,
    folder: str,
    uids: Sequence[IdMap],
    gids: Sequence[IdMap],
) -> None:
    """Copy a tar archive into a folder of a tar archive, and map the owners of its entries."""
    try:
        with (
            tarfile.open(fileobj=reader, mode="r|", encoding="utf-8") as source,
            tarfile.open(
                fileobj=writer, mode="w|", format=tarfile.PAX_FORMAT, encoding="utf-8"
            ) as target,
        ):
            # All root folders have this owner and mode. No layer can change them.
            root = tarfile.TarInfo(folder)
            root.type, root.mode, root.mtime = tarfile.DIRTYPE, 0o755, int(time.time())
            root.uid, root.gid = _mapped(0, uids, "uid", "/"), _mapped(0, gids, "gid", "/")
            target.addfile(root)
            for entry in source:
                entry.uid = _mapped(entry.uid, uids, "uid", entry.name)
                entry.gid = _mapped(entry.gid, gids, "gid", entry.name)
                data = source.extractfile(entry) if entry.isreg() else None
                entry.name = f"{folder}/{entry.name}"
                if entry.islnk():
                    entry.linkname = f"{folder}/{entry.linkname}"
                # tarfile would prefer these records to the fields that were changed above.
                entry.pax_headers = {
                    key: value for key, value in entry.pax_headers.items() if key not in _CHANGED
                }
                target.addfile(entry, data)
                # Each entry would stay in memory.
                source.members, target.members = [], []  # type: ignore[attr-defined]
    except tarfile.TarError as error:
        raise DataLoss(f"the daemon wrote a layer that cannot be read: {error}") from error


def _mapped(id: int, ids: Sequence[IdMap], kind: str, name: str) -> int:
    for inside, outside, size in ids:
        if inside <= id < inside + size:
            return outside + id - inside
    raise InvalidArgument(
        f"file {quoted(name)} belongs to {kind} {id}, which {kind}_map does not map",
        remedy=f"Add an item for {id} to {kind}_map",
    )
