"""Files of root filesystems that nobody mounts.

What lives here: looking a path up through an image's layers, as an overlay of them shows it, and
through a layer that the daemon makes of a snapshot.  What may not: what the files say.
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
from ...store.tar import rooted
from .layer_tree import MAX_HOPS, File, Folder, Lost, Node, Symlink, Wanted, follow, read_tree

#: How often layers are read anew for what a link in another one leads to.
_MAX_ROUNDS = 4
#: The label by which content is known for this process' own.
_MARK = "containerd-lite/files"


def read_layer_files(
    store: ContentStore, layers: Sequence[Descriptor], names: Sequence[str]
) -> dict[str, bytes | None]:
    """Regular files of the root filesystem that ``layers``, bottom first, make; ``None`` for what
    is not there, or is no file.

    Links are followed within the root.  From the top down, only as many layers are read as it
    takes, and each once, unless a link leads to what it was not asked for.

    Raises ``ResourceExhausted`` for a file of more than 4 MiB, ``FailedPrecondition`` for a layer
    that cannot be read here, ``NotFound`` for one whose content is not there.
    """
    files = _LayerFiles(store, layers, names)
    for _ in range(_MAX_ROUNDS):
        found = {name: files.find(name) for name in names}
        if not files.has_more_to_ask():
            return {name: _data(name, file) for name, file in found.items()}
    raise ResourceExhausted("the layers' links lead through each other too often")


def read_snapshot_files(
    snapshots: SnapshotService,
    differ: DiffService,
    store: ContentStore,
    key: str,
    names: Sequence[str],
) -> dict[str, bytes | None]:
    """As ``read_layer_files``, out of a snapshot of any kind: the daemon writes it down as a layer.

    To be called under a lease, which takes what is left if this process dies.  Raises
    ``NotFound``, ``ResourceExhausted``.
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
    """The files of what the daemon would mount.

    Of two that ask for the same at once, only one has made the content that both read; it may
    have removed it before the other comes to it, which asks again.
    """
    mark = os.urandom(8).hex()
    upper = [read_only(mount) for mount in mounts]
    for is_last in (False, False, True):
        layer = differ.diff((), upper, media_type=media_types.OCI_LAYER, labels={_MARK: mark})
        try:
            return read_layer_files(store, [layer], names)
        except NotFound:
            if is_last:
                raise
        finally:
            with suppress(NotFound):
                if store.info(layer.digest).labels.get(_MARK) == mark:
                    store.delete(layer.digest)
    raise AssertionError("unreachable")


def read_only(mount: Mount) -> Mount:
    """A mount that shows the same; an overlay's work may be going on in a running container."""
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
    """Paths through layers, of which the upper ones are read first, and the lower ones perhaps
    not at all."""

    def __init__(
        self, store: ContentStore, layers: Sequence[Descriptor], names: Sequence[str]
    ) -> None:
        self._store = store
        self._layers = layers[::-1]
        self._wanted = Wanted()
        for name in names:
            self._wanted.add(rooted(name))
        self._asked = self._wanted.copy()
        self._trees: list[Folder] = []

    def has_more_to_ask(self) -> bool:
        """Whether what was found may be wrong, for the layers were not asked for all of it; they
        are read anew then."""
        if self._asked == self._wanted:
            return False
        self._asked = self._wanted.copy()
        self._trees.clear()
        return True

    def find(self, name: str) -> File | Lost | None:
        """What file there is under a name, as far as the layers were asked."""
        done: list[str] = []
        todo = rooted(name).split("/")[::-1]
        hops = 0
        while todo:
            part = todo.pop()
            if part == "..":
                del done[-1:]
            if part in ("", ".", ".."):
                continue
            node = self._node([*done, part])
            if isinstance(node, Symlink) and hops < MAX_HOPS:
                hops += 1
                done = follow(done, node.target, todo)
            elif isinstance(node, Folder):
                done.append(part)
            else:
                return self._file(node) if not any(todo) else None
        return None

    def _file(self, node: Node | None) -> File | Lost | None:
        if isinstance(node, File | Lost):
            self._wanted.add(node.path)
            return node
        return None

    def _node(self, path: list[str]) -> Node | None:
        """What an overlay shows at a path, whose folder it shows as one."""
        self._wanted.parts.update(path)
        for place in range(len(self._layers)):
            node, is_decided = _walk(self._tree(place), path)
            if is_decided:
                return node
        return None

    def _tree(self, place: int) -> Folder:
        if place == len(self._trees):
            self._trees.append(self._read(self._layers[place]))
        return self._trees[place]

    def _read(self, layer: Descriptor) -> Folder:
        if not media_types.is_archive(layer.media_type):
            raise FailedPrecondition(
                f"{layer.digest} is {layer.media_type}, which is not read here"
            )
        with closing(self._store.reader(layer.digest)) as file:
            return read_tree(decompressed(PlainStream(file)), self._asked)


def _walk(tree: Folder, path: list[str]) -> tuple[Node | None, bool]:
    """What one layer has at a path, and whether it hides what lower layers have there."""
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
            f"a layer has a hard link to {quoted(file.path)}, but not the file"
        )
    if file.is_sparse:
        raise FailedPrecondition(f"{quoted(name)} has holes, which are not read here")
    return file.data
