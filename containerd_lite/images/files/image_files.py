"""Reads files of root filesystems without mounting these filesystems.

This module looks up a path in the layers of an image. The result is the same as in an overlay mount
of the layers. To look up a path in a snapshot, this module first asks the daemon to write the
snapshot as one layer.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import closing, suppress

from ...deadline import Deadline
from ...errors import (
    DeadlineExceeded,
    FailedPrecondition,
    NotFound,
    ResourceExhausted,
)
from ...interrupt import shielded
from ...oci import media_types
from ...oci.descriptor import Descriptor
from ...printable import quoted
from ...records import field, record
from ...store.layers import PlainStream, decompressed
from ...store.protocol import ContentStore
from ...store.tar import below_root
from .layer_tree import (
    MAX_HOPS,
    BrokenLink,
    File,
    Folder,
    Node,
    Steps,
    Symlink,
    Wanted,
    names_in,
    read_tree,
)
from .snapshot_layers import SnapshotLayers

#: The maximum number of times that all layers are read. The layers are read again if a link leads
#: to a path that was not wanted in the last round.
_MAX_ROUNDS = 4
#: The maximum number of seconds for reading the layers of an image. In this time,
#: zlib decompresses some 90 GB.
_MAX_SECONDS = 300
#: Label of a layer that the daemon writes for this module. The value identifies the call that
#: requested the layer. Only this call deletes the layer.
_OWNER = "containerd-lite/files"


def read_layer_files(
    store: ContentStore, layers: Sequence[Descriptor], names: Sequence[str]
) -> dict[str, bytes | None]:
    """Return the content of regular files in the root filesystem that ``layers`` form.

    Links are followed, but never out of the root filesystem. Layers are read from the top down,
    until the result for each file is known. Each layer is read at most once, unless a link leads to
    a path that is not in ``names``.

    Args:
        store: The content store that has the layers.
        layers: The layers, bottom first.
        names: The paths of the files.

    Returns:
        The content of each file; ``None`` for a path that does not exist or is not a regular file.

    Raises:
        ResourceExhausted: A file is larger than 4 MiB, or the layers have too many links.
        DeadlineExceeded: The layers take more than 5 minutes to read.
        FailedPrecondition: This function does not support the format of a layer or a file.
        InvalidArgument: A layer is not a tar archive.
        DataLoss: A layer is cut off.
        NotFound: The content of a layer is missing.
    """
    files = _LayerFiles(store, layers, names, Deadline(_MAX_SECONDS))
    for _ in range(_MAX_ROUNDS):
        found = {name: files.find(name) for name in names}
        if not files.must_read_again():
            return {name: _data(name, file) for name, file in found.items()}
    raise ResourceExhausted("the layers must be read too many times to follow their links")


def read_snapshot_files(
    layers: SnapshotLayers, store: ContentStore, key: str, names: Sequence[str], *, task: str = ""
) -> dict[str, bytes | None]:
    """Return the content of regular files in a snapshot of any kind; see ``read_layer_files``.

    The daemon writes the snapshot as a layer. The caller must run this function within a
    lease. If this process dies, the daemon deletes the layer when the lease expires.

    Two calls can ask the daemon to write the same layer at the same time. Only one of these calls
    owns the layer. The owner can delete the layer before the other call has read it. In this case,
    the other call asks the daemon to write the layer again.

    Args:
        layers: Has the daemon write snapshots as layers.
        store: The daemon's content store.
        key: The key of the snapshot, or its name if it is committed.
        names: The paths of the files.
        task: The id of the container whose task may be using the snapshot. Default: no task uses
            the snapshot.

    Raises:
        NotFound: The snapshot does not exist.
        ResourceExhausted: A file is larger than 4 MiB, or the snapshot has too many links.
        FailedPrecondition: This function does not support the format of a file.
        Unimplemented: The daemon cannot mount the snapshot.
    """
    owner = os.urandom(8).hex()
    for is_last in (False, False, True):
        layer = layers.write(key, {_OWNER: owner}, task=task)
        try:
            return read_layer_files(store, [layer], names)
        except NotFound:
            if is_last:
                raise
        finally:
            with shielded(), suppress(NotFound):
                if store.info(layer.digest).labels.get(_OWNER) == owner:
                    store.delete(layer.digest)
    raise AssertionError("unreachable")


@record
class _OverlayFolder:
    """A folder that an overlay of the layers shows.

    Attributes:
        parent: The parent; ``None`` for the root.
        name: The name in the parent.
        layers: What the layers have here, from the top layer down, as far as a lookup needed them:
            the folder in the layer, and whether the layer hides lower layers.
    """

    parent: _OverlayFolder | None = None
    name: str = ""
    layers: list[tuple[Folder | None, bool]] = field(default_factory=list)


class _LayerFiles:
    """Looks up paths in layers, from the top down; reads a layer only when a lookup needs it."""

    def __init__(
        self,
        store: ContentStore,
        layers: Sequence[Descriptor],
        names: Sequence[str],
        deadline: Deadline,
    ) -> None:
        self._store = store
        self._layers = layers[::-1]
        self._deadline = deadline
        self._steps = Steps()
        self._wanted = Wanted()
        for name in names:
            self._wanted.add(below_root(name))
        #: The value of ``_wanted`` when the layers below ``_root`` were read.
        self._read_for = self._wanted.copy()
        self._root = _OverlayFolder()

    def must_read_again(self) -> bool:
        """Return whether results of ``find`` can be wrong, so that the layers must be read again.

        Results can be wrong if a link led to a path that was not wanted when the layers were read.
        """
        if self._read_for == self._wanted:
            return False
        self._read_for = self._wanted.copy()
        self._root = _OverlayFolder()
        return True

    def find(self, name: str) -> File | BrokenLink | None:
        """Return the file at a path; the result is final if ``must_read_again`` returns false."""
        place = self._root
        rest = below_root(name).split("/")[::-1]
        hops = 0
        while rest:
            part = rest.pop()
            if part == "..":
                place = place.parent or place
            if part in ("", ".", ".."):
                continue
            node = self._node(place, part)
            if isinstance(node, Symlink) and hops < MAX_HOPS:
                hops += 1
                if node.target.startswith("/"):
                    place = self._root
                rest.extend(names_in(node.target, self._steps))
            elif isinstance(node, Folder):
                place = _OverlayFolder(place, part)
            else:
                return self._file(node) if not any(rest) else None
        return None

    def _file(self, node: Node | None) -> File | BrokenLink | None:
        if isinstance(node, File | BrokenLink):
            self._wanted.add(node.path)
            return node
        return None

    def _node(self, place: _OverlayFolder, name: str) -> Node | None:
        """Return the node that an overlay of the layers shows at a name in a folder."""
        self._wanted.parts.add(name)
        for number in range(len(self._layers)):
            self._look_into(place, number)
            folder, hides = place.layers[number]
            found = folder.children.get(name) if folder is not None else None
            if found is not None or hides:
                return found
        return None

    def _look_into(self, place: _OverlayFolder, number: int) -> None:
        """Make ``place.layers`` long enough for a layer's number."""
        short: list[_OverlayFolder] = []
        current: _OverlayFolder | None = place
        while current is not None and len(current.layers) <= number:
            short.append(current)
            current = current.parent
        for current in reversed(short):
            for layer in range(len(current.layers), number + 1):
                self._steps.take(1)
                current.layers.append(self._folder(current, layer))

    def _folder(self, place: _OverlayFolder, number: int) -> tuple[Folder | None, bool]:
        """Return the folder in a layer, and whether the layer hides lower layers there."""
        if place.parent is None:
            root = self._read_layer(self._layers[number])
            return root, root.opaque
        above, hides = place.parent.layers[number]
        found = above.children.get(place.name) if above is not None else None
        if isinstance(found, Folder):
            return found, hides or found.opaque
        return None, hides or found is not None

    def _read_layer(self, layer: Descriptor) -> Folder:
        if not media_types.is_archive(layer.media_type):
            raise FailedPrecondition(
                f"layer {layer.digest} has media type {layer.media_type}, which is not supported"
            )
        with closing(self._store.reader(layer.digest)) as file:
            plain = decompressed(PlainStream(file))
            return read_tree(
                PlainStream(_Timed(plain, self._deadline)), self._read_for, self._steps
            )


class _Timed:
    """A stream that raises ``DeadlineExceeded`` once a deadline has passed.

    Args:
        stream: The stream to read.
        deadline: The deadline.
    """

    def __init__(self, stream: PlainStream, deadline: Deadline) -> None:
        self._stream = stream
        self._deadline = deadline

    def readinto(self, buffer: memoryview) -> int:
        """Read bytes into ``buffer``, and return the number of bytes read; 0 at the end."""
        if self._deadline.expired:
            raise DeadlineExceeded(
                "the image's layers take too long to read",
                remedy="Pass user= as numbers, such as 1000:1000",
            )
        return self._stream.readinto(buffer)


def _data(name: str, file: File | BrokenLink | None) -> bytes | None:
    if file is None:
        return None
    if isinstance(file, BrokenLink):
        raise FailedPrecondition(
            f"a layer has a hard link to {quoted(file.path)}, but does not have that file"
        )
    if file.is_sparse:
        raise FailedPrecondition(f"{quoted(name)} is a sparse file, which is not supported")
    return file.data
