"""Finds the ids of the users of an image or of a snapshot in its passwd and group files."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress

from ...errors import FailedPrecondition, InvalidArgument, NotFound
from ...images import files as image_files
from ...images.files.snapshot_layers import SnapshotLayers
from ...images.image import Image
from ...oci import media_types
from ...oci.config import chain_ids
from ...store.protocol import ContentStore
from .kept_users import Files, UserFileCache
from .users import GROUP, PASSWD, User, consists_of_ids, find_user

#: The passwd and group files of the images that this process has used.
_cache = UserFileCache()


class ImageUsers:
    """The users of an image.

    The passwd and group files are read from the image's layers. If this client cannot read the
    layers, the daemon reads the files from the image's snapshot.

    Args:
        image: The image.
    """

    def __init__(self, image: Image) -> None:
        self._image = image

    def find(self, user: str | None, groups: Sequence[str] = ()) -> User:
        """Return the ids of a user; see ``find_user``.

        Args:
            user: The user, as a name or an id. ``None`` means the user of the image's config.
            groups: Names or gids of further supplementary groups. Default: none.

        Raises:
            InvalidArgument: An id is not valid, or the client has no daemon and a layer is not
                valid.
            NotFound: The files do not contain the user's name or a group's name, or the client has
                no daemon and a layer is missing.
            FailedPrecondition: The client has no daemon, and cannot read a layer of the image.
            ResourceExhausted: A file is larger than 4 MiB.
        """
        own = self._image.config().user
        user = own if user is None else user
        if user != own and consists_of_ids(user, groups):
            return find_user(None, None, user, groups)
        return find_user(*self._files(), user, groups, is_images=user == own)

    def _files(self) -> Files:
        store = self._image.backend.store
        manifest = self._image.manifest()
        files = _cache.get(store, manifest)
        if files is None:
            try:
                found = image_files.read_layer_files(store, manifest.image_layers, (PASSWD, GROUP))
                files = found[PASSWD], found[GROUP]
            except (FailedPrecondition, InvalidArgument, NotFound):
                if not self._image.backend.has_snapshots:
                    raise
                files = self._unpacked_files()
            _cache.put(store, manifest, files)
        return files

    def _unpacked_files(self) -> Files:
        backend = self._image.backend
        layers = backend.snapshot_layers()
        with backend.keeping():
            top = self._image.unpack(layers.snapshots.snapshotter)
            return _read_snapshot(layers, backend.store, top)


class SnapshotUsers:
    """The users of a container's root filesystem.

    The container may have changed the passwd and group files of its image.

    Args:
        layers: Has the daemon write snapshots of the container's snapshotter as layers.
        store: The daemon's content store.
        key: The key of the container's snapshot.
        keeping: A context manager that holds a lease while the daemon writes layers.
        image: The container's image. If the image is the parent of the snapshot, the daemon writes
            only the changes since the image, and not the whole filesystem. Default: none.
        container: The container's id. Default: the snapshot is not in use.
    """

    def __init__(
        self,
        layers: SnapshotLayers,
        store: ContentStore,
        key: str,
        keeping: AbstractContextManager[object],
        image: Image | None = None,
        container: str = "",
    ) -> None:
        self._layers, self._store, self._key = layers, store, key
        self._container = container
        self._keeping = keeping
        self._image = image

    def find(self, user: str, groups: Sequence[str] = ()) -> User:
        """Return the ids of a user; see ``find_user``.

        The daemon writes the filesystem as a layer, and this client reads the files from the layer.
        If the image is the parent of the snapshot, the layer has only the changes since the image.
        If the image is not the parent, the layer has all files of the snapshot.

        Args:
            user: The user, as a name or an id.
            groups: Names or gids of further supplementary groups. Default: none.

        Raises:
            InvalidArgument: An id is not valid.
            NotFound: The files do not contain the user's name or a group's name, or the snapshot
                does not exist.
            FailedPrecondition: This client cannot read a file, for instance because the file is
                sparse.
            ResourceExhausted: A file is larger than 4 MiB.
        """
        if consists_of_ids(user, groups):
            return find_user(None, None, user, groups)
        with self._keeping:
            return find_user(*self._files(), user, groups)

    def _files(self) -> Files:
        if self._image is not None:
            with suppress(FailedPrecondition, InvalidArgument, NotFound):
                top = chain_ids(self._image.rootfs())[-1:]
                if top == (self._layers.snapshots.stat(self._key).parent,):
                    changed = self._layers.write_changes(
                        self._key, media_types.OCI_LAYER, task=self._container
                    )
                    layers = (*self._image.manifest().image_layers, changed)
                    found = image_files.read_layer_files(self._store, layers, (PASSWD, GROUP))
                    return found[PASSWD], found[GROUP]
        return _read_snapshot(self._layers, self._store, self._key, self._container)


def _read_snapshot(
    layers: SnapshotLayers, store: ContentStore, key: str, container: str = ""
) -> Files:
    found = image_files.read_snapshot_files(layers, store, key, (PASSWD, GROUP), task=container)
    return found[PASSWD], found[GROUP]
