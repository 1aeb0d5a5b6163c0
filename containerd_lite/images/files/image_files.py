"""Reads files of root filesystems without mounting them.

A path is looked up in an image's layers, with the result that an overlay of them would show. The
daemon writes a snapshot as a layer, in which the path is then looked up.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import closing, suppress

from ...errors import ContainerdError, FailedPrecondition, NotFound, ResourceExhausted
from ...oci import media_types
from ...oci.descriptor import Descriptor
from ...oci.document import quoted
from ...records import replace
from ...services._types import Mount
from ...services.diff import DiffService
from ...services.snapshots import SnapshotService
from ...store.layers import PlainStream, decompressed
from ...store.protocol import ContentStore
from ...store.tar import below_root
from .layer_tree import MAX_HOPS, File, Folder, Lost, Node, Symlink, Wanted, follow, read_tree

#: How often layers may be read. They are read again if a link leads to a path in another layer.
_MAX_ROUNDS = 4
#: Label of a layer that the daemon writes for this module. Its value names the call that had the
#: layer written, and may delete it.
_OWNER = "containerd-lite/files"


def read_layer_files(
    store: ContentStore, layers: Sequence[Descriptor], names: Sequence[str]
) -> dict[str, bytes | None]:
    """Return regular files of the root filesystem that ``layers`` form.

    Links are followed within the root. Layers are read from the top down, and only until all
    files are decided. Each layer is read once, unless a link leads to another path.

    Args:
        store: The content store that has the layers.
        layers: The layers, bottom first.
        names: The paths of the files.

    Returns:
        The content of each file; ``None`` for a path that does not exist or is not a regular file.

    Raises:
        ResourceExhausted: A file has more than 4 MiB, or there are too many links.
        FailedPrecondition: A layer or a file has a form that cannot be read here.
        InvalidArgument: A layer is not a tar archive.
        DataLoss: A layer is cut off.
        NotFound: The content of a layer is missing.
    """
    files = _LayerFiles(store, layers, names)
    for _ in range(_MAX_ROUNDS):
        found = {name: files.find(name) for name in names}
        if not files.must_read_again():
            return {name: _data(name, file) for name, file in found.items()}
    raise ResourceExhausted("the layers' links lead from layer to layer too many times")


def read_snapshot_files(
    snapshots: SnapshotService,
    differ: DiffService,
    store: ContentStore,
    key: str,
    names: Sequence[str],
) -> dict[str, bytes | None]:
    """Return regular files of a snapshot of any kind; see ``read_layer_files``.

    The daemon writes the snapshot as a layer. The caller must hold a lease, which lets the daemon
    delete the layer even if this process dies.

    Raises:
        NotFound: The snapshot does not exist.
        ResourceExhausted: A file has more than 4 MiB, or there are too many links.
        FailedPrecondition: A file has a form that cannot be read here.
    """
    id = f"lite-files-{os.urandom(8).hex()}"
    is_committed = snapshots.stat(key).kind == "committed"
    mounts = snapshots.view(id, key) if is_committed else snapshots.mounts(key)
    try:
        return _read_mounts(differ, store, mounts, names)
    finally:
        if is_committed:
            with suppress(ContainerdError):
                snapshots.remove(id)


def _read_mounts(
    differ: DiffService, store: ContentStore, mounts: Sequence[Mount], names: Sequence[str]
) -> dict[str, bytes | None]:
    """Return files of the root filesystem that ``mounts`` would show.

    If two calls have the daemon write the same layer at once, only one of them owns it. The owner
    may delete the layer before the other call has read it. The other call then has the daemon
    write the layer again.
    """
    owner = os.urandom(8).hex()
    upper = [read_only(mount) for mount in mounts]
    for is_last in (False, False, True):
        layer = differ.diff((), upper, media_type=media_types.OCI_LAYER, labels={_OWNER: owner})
        try:
            return read_layer_files(store, [layer], names)
        except NotFound:
            if is_last:
                raise
        finally:
            with suppress(NotFound):
                if store.info(layer.digest).labels.get(_OWNER) == owner:
                    store.delete(layer.digest)
    raise AssertionError("unreachable")


def read_only(mount: Mount) -> Mount:
    """Return a mount that shows the same files without the work directory of an overlay.

    A running container may be using that directory.
    """
    options = dict(option.partition("=")[::2] for option in mount.options)
    if mount.type != "overlay" or "upperdir" not in options:
        return mount
    del options["workdir"]
    options["lowerdir"] = f"{options.pop('upperdir')}:{options['lowerdir']}"
    return replace(
        mount,
        options=tuple(f"{name}={value}" if value else name for name, value in options.items()),
    )


class _LayerFiles:
    """Looks up paths in layers, from the top down; reads a layer only when it is needed."""

    def __init__(
        self, store: ContentStore, layers: Sequence[Descriptor], names: Sequence[str]
    ) -> None:
        self._store = store
        self._layers = layers[::-1]
        self._wanted = Wanted()
        for name in names:
            self._wanted.add(below_root(name))
        #: The value of ``_wanted`` when the layers in ``_trees`` were read.
        self._read_for = self._wanted.copy()
        self._trees: list[Folder] = []

    def must_read_again(self) -> bool:
        """Return whether the results of ``find`` may be wrong and the layers must be read again.

        This is so if a link led to a path that was not wanted when the layers were read.
        """
        if self._read_for == self._wanted:
            return False
        self._read_for = self._wanted.copy()
        self._trees.clear()
        return True

    def find(self, name: str) -> File | Lost | None:
        """Return the file at a path; the result may be wrong if ``must_read_again`` is true."""
        folder: list[str] = []
        rest = below_root(name).split("/")[::-1]
        hops = 0
        while rest:
            part = rest.pop()
            if part == "..":
                del folder[-1:]
            if part in ("", ".", ".."):
                continue
            node = self._node([*folder, part])
            if isinstance(node, Symlink) and hops < MAX_HOPS:
                hops += 1
                folder = follow(folder, node.target, rest)
            elif isinstance(node, Folder):
                folder.append(part)
            else:
                return self._file(node) if not any(rest) else None
        return None

    def _file(self, node: Node | None) -> File | Lost | None:
        if isinstance(node, File | Lost):
            self._wanted.add(node.path)
            return node
        return None

    def _node(self, path: list[str]) -> Node | None:
        """Return the node that an overlay shows at a path whose parent is a folder there."""
        self._wanted.parts.update(path)
        for number in range(len(self._layers)):
            node, is_decided = _look_up(self._tree(number), path)
            if is_decided:
                return node
        return None

    def _tree(self, number: int) -> Folder:
        if number == len(self._trees):
            self._trees.append(self._read_layer(self._layers[number]))
        return self._trees[number]

    def _read_layer(self, layer: Descriptor) -> Folder:
        if not media_types.is_archive(layer.media_type):
            raise FailedPrecondition(
                f"layer {layer.digest} is {layer.media_type}, which cannot be read here"
            )
        with closing(self._store.reader(layer.digest)) as file:
            return read_tree(decompressed(PlainStream(file)), self._read_for)


def _look_up(tree: Folder, path: list[str]) -> tuple[Node | None, bool]:
    """Return the node of one layer at a path, and whether the layer hides lower layers there."""
    node = tree
    is_opaque = tree.opaque
    for name in path[:-1]:
        child = node.children.get(name)
        if not isinstance(child, Folder):
            return None, is_opaque or child is not None
        node = child
        is_opaque |= node.opaque
    found = node.children.get(path[-1])
    return found, is_opaque or found is not None


def _data(name: str, file: File | Lost | None) -> bytes | None:
    if file is None:
        return None
    if isinstance(file, Lost):
        raise FailedPrecondition(
            f"a layer has a hard link to {quoted(file.path)}, but does not have that file"
        )
    if file.is_sparse:
        raise FailedPrecondition(f"{quoted(name)} is a sparse file, which cannot be read here")
    return file.data
