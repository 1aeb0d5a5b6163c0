"""Has the daemon write snapshots as layers, and unpack a layer into a snapshot that is in use.

The module ``images.unpack`` unpacks the layers of images. Each of them becomes a snapshot.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress

from ...errors import ContainerdError, NotFound, Unimplemented
from ...interrupt import shielded
from ...oci import media_types
from ...oci.descriptor import Descriptor
from ...records import replace
from ...services._types import Mount
from ...services.activations import activated, remaining_mounts
from ...services.diff import DiffService
from ...services.mount_options import needs_daemon, read_only
from ...services.mounts import Activation, MountService
from ...services.snapshots import SnapshotInfo, SnapshotService


class SnapshotLayers:
    """Converts between snapshots of one snapshotter and layers, with the daemon's differ.

    The client needs no rights on the daemon's machine. The caller must call the methods within a
    lease.

    The daemon's differ makes only mounts that the kernel can make alone. Given other mounts, it
    fails, or writes an empty layer. So the daemon's mount manager makes them before.

    Args:
        snapshots: The service of the snapshotter.
        differ: The daemon's differ.
        mounts: The mounts service.
    """

    def __init__(
        self, snapshots: SnapshotService, differ: DiffService, mounts: MountService
    ) -> None:
        self.snapshots = snapshots
        self.differ = differ
        self._mounts = mounts

    def write(
        self, key: str, labels: Mapping[str, str] | None = None, *, task: str = ""
    ) -> Descriptor:
        """Write all files of a snapshot as an uncompressed layer.

        Args:
            key: The key of the snapshot, or its name if it is committed.
            labels: The labels of the layer's content. Default: none.
            task: The id of the container whose task may be using the snapshot. Default: no task
                uses the snapshot.

        Raises:
            NotFound: The snapshot does not exist.
            Unimplemented: The daemon cannot mount the snapshot.
        """
        with self._shown(self.snapshots.stat(key), task) as upper:
            return self.differ.diff((), upper, media_type=media_types.OCI_LAYER, labels=labels)

    def write_changes(self, key: str, media_type: str = "", *, task: str = "") -> Descriptor:
        """Write the difference between a snapshot and its parent as a layer.

        Args:
            key: The key of the snapshot, or its name if it is committed.
            media_type: The media type of the layer. Default: a layer compressed with gzip.
            task: The id of the container whose task may be using the snapshot. Default: no task
                uses the snapshot.

        Raises:
            NotFound: The snapshot does not exist.
            Unimplemented: The daemon cannot mount the snapshot.
        """
        info = self.snapshots.stat(key)
        ref = f"changes-{key}-{os.urandom(8).hex()}"
        with self._view(info.parent) as lower, self._shown(info, task) as upper:
            return self.differ.diff(lower, upper, media_type=media_type, ref=ref)

    def apply(self, layer: Descriptor, key: str) -> None:
        """Unpack a layer on top of the files that an active snapshot shows.

        Args:
            layer: The layer, such as one that ``write_changes`` returned.
            key: The key of the snapshot. No task uses the snapshot.

        Raises:
            NotFound: The snapshot or the layer does not exist.
            Unimplemented: The daemon cannot mount the snapshot.
        """
        mounts = self.snapshots.mounts(key)
        if not any(map(needs_daemon, mounts)):
            self.differ.apply(layer, map(_hidden_upper, mounts))
            return
        with activated(self._mounts, mounts, is_read_only=False) as activation:
            self.differ.apply(layer, map(_hidden_upper, remaining_mounts(activation)))

    def _shown(
        self, snapshot: SnapshotInfo, task: str = ""
    ) -> AbstractContextManager[Sequence[Mount]]:
        """Return a context manager that gives read-only mounts of a snapshot to the differ."""
        if snapshot.kind == "committed":
            return self._view(snapshot.name)
        return self._mountable(self.snapshots.mounts(snapshot.name), task)

    @contextmanager
    def _view(self, name: str) -> Iterator[Sequence[Mount]]:
        """Yield read-only mounts of a committed snapshot; without a name, of an empty folder."""
        view = f"{name}-view-{os.urandom(8).hex()}"
        mounts = self.snapshots.view(view, name)
        try:
            with self._mountable(mounts) as shown:
                yield shown
        finally:
            with shielded(), suppress(ContainerdError):
                self.snapshots.remove(view)

    @contextmanager
    def _mountable(self, mounts: tuple[Mount, ...], task: str = "") -> Iterator[Sequence[Mount]]:
        """Yield read-only mounts of the same files that the kernel can make alone."""
        shown = mounts
        with ExitStack() as stack:
            if (active := self._active(mounts, task)) is not None:
                shown = remaining_mounts(active)
            elif any(map(needs_daemon, mounts)):
                try:
                    made = activated(self._mounts, mounts, is_read_only=True)
                    shown = remaining_mounts(stack.enter_context(made))
                except Unimplemented:
                    # A differ of 2.1, which has no mount manager, can make mounts of EROFS.
                    if any("/" in mount.type for mount in mounts):
                        raise
            yield tuple(map(read_only, shown))

    def _active(self, mounts: Sequence[Mount], task: str) -> Activation | None:
        """Return the activation of a task if the mounts must not be made a second time.

        Two mounts of one block device would corrupt the filesystem of a running container.
        """
        if task and any(mount.type.startswith("mkfs/") for mount in mounts):
            with suppress(NotFound):
                return self._mounts.info(task)
        return None


def _hidden_upper(mount: Mount) -> Mount:
    """Return the same mount, but hide from the EROFS differ that its snapshotter made it.

    The EROFS differ would make the layer the content of the snapshot, which then has no effect. It
    looks for a file beside the upper directory, and with a slash after the path, in that directory.
    """
    options = (f"{o}/" if o.startswith("upperdir=") else o for o in mount.options)
    return replace(mount, options=tuple(options))
