"""The users of images and of snapshots.

What lives here: where the passwd and group files come from, and keeping them.  What may not: what
they say, and how a file is found.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress

from ...errors import FailedPrecondition, InvalidArgument, NotFound
from ...images import files as image_files
from ...images.image import Image
from ...oci import media_types
from ...oci.config import chain_ids
from ...services.diff import DiffService
from ...services.snapshots import SnapshotService
from ...store.protocol import ContentStore
from .kept_users import Files, KeptUsers
from .users import GROUP, PASSWD, User, find_user, is_told_by_ids

_kept = KeptUsers()


class ImageUsers:
    """The users of an image: its layers have the files, or else its snapshot in the daemon."""

    def __init__(self, image: Image) -> None:
        self._image = image

    def find(self, user: str | None, groups: Sequence[str] = ()) -> User:
        """As ``find_user``; ``None`` is the image's own user.

        Raises what ``find_user`` does, and ``FailedPrecondition`` for layers that cannot be read
        where there is no daemon that can.
        """
        own = self._image.config().user
        user = own if user is None else user
        if user != own and is_told_by_ids(user, groups):
            return find_user(None, None, user, groups)
        return find_user(*self._files(), user, groups, is_images=user == own)

    def _files(self) -> Files:
        store = self._image.backend.store
        manifest = self._image.manifest()
        files = _kept.get(store, manifest)
        if files is None:
            try:
                found = image_files.read_layer_files(store, manifest.layers, (PASSWD, GROUP))
                files = found[PASSWD], found[GROUP]
            except (FailedPrecondition, InvalidArgument, NotFound):
                if not self._image.backend.has_snapshots:
                    raise
                files = self._unpacked_files()
            _kept.put(store, manifest, files)
        return files

    def _unpacked_files(self) -> Files:
        backend = self._image.backend
        snapshots = backend.snapshots()
        with backend.keeping():
            top = self._image.unpack(snapshots.snapshotter)
            return _of_snapshot(snapshots, backend.differ(), backend.store, top)


class SnapshotUsers:
    """The users of a root filesystem that may have been changed: a container's."""

    def __init__(
        self,
        snapshots: SnapshotService,
        differ: DiffService,
        store: ContentStore,
        key: str,
        keeping: AbstractContextManager[object],
        image: Image | None = None,
    ) -> None:
        """``image`` is what the snapshot may stand on, of which less is written down then."""
        self._place = (snapshots, differ, store, key)
        self._keeping = keeping
        self._image = image

    def find(self, user: str, groups: Sequence[str] = ()) -> User:
        """As ``find_user``; the daemon writes the filesystem down for it, under a lease.

        Above the layers of the image, that is only what was changed; but not where the image's
        name stands for another one by now.
        """
        if is_told_by_ids(user, groups):
            return find_user(None, None, user, groups)
        with self._keeping:
            return find_user(*self._files(), user, groups)

    def _files(self) -> Files:
        snapshots, differ, store, key = self._place
        if self._image is not None:
            with suppress(FailedPrecondition, InvalidArgument, NotFound):
                top = chain_ids(self._image.rootfs())[-1:]
                if top == (snapshots.stat(key).parent,):
                    changed = image_files.write_changes(
                        snapshots, differ, key, media_types.OCI_LAYER
                    )
                    layers = (*self._image.manifest().layers, changed)
                    found = image_files.read_layer_files(store, layers, (PASSWD, GROUP))
                    return found[PASSWD], found[GROUP]
        return _of_snapshot(*self._place)


def _of_snapshot(
    snapshots: SnapshotService, differ: DiffService, store: ContentStore, key: str
) -> Files:
    found = image_files.read_snapshot_files(snapshots, differ, store, key, (PASSWD, GROUP))
    return found[PASSWD], found[GROUP]
