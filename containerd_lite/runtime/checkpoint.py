"""Containers saved as images, and made again from them.

What lives here: what such an image is made of, as containerd's client writes and reads it.  What
may not: the saving of processes, which takes CRIU beside the daemon.

The image is an index.  In it are what CRIU wrote (a tar), the container's spec, its image, what it
changed in its root filesystem (a layer), and what the runtime was told; annotations name the
image, the runtime and the snapshotter.
"""

from __future__ import annotations

from contextlib import suppress

from ..errors import AlreadyExists, InvalidArgument, NotFound
from ..images import files
from ..images.gc_labels import numbered_labels
from ..images.image import Image
from ..oci import media_types
from ..oci.descriptor import Descriptor
from ..oci.document import MAX_DOCUMENT
from ..oci.manifest import Index
from ..records import replace
from ..services._types import AnyValue
from ..services.containers import ContainerRecord
from ..store.blob_writes import indented_json, write_document
from ..store.documents import read_document
from ..store.protocol import ContentStore, read_blob
from ..undo import Undo
from .record import StoredContainer, checkpoint_options
from .runtime_backend import RuntimeBackend

_KIND = "application/vnd.containerd.container."
#: Processes as CRIU saved them, and the spec and the options of that.
TASK = _KIND + "criu.checkpoint.criu.tar"
_SPEC = _KIND + "checkpoint.config.v1+proto"
_OPTIONS = _KIND + "checkpoint.options.v1+proto"
_RUNTIME_OPTIONS = _KIND + "checkpoint.runtime.options+proto"
_IMAGE_NAME = "org.opencontainers.image.ref.name"
_RUNTIME = "io.containerd.checkpoint.runtime"
_SNAPSHOTTER = "io.containerd.checkpoint.snapshotter"


def save(
    container: StoredContainer, name: str, *, task: bool, image: bool, rw: bool, exit: bool
) -> Image:
    """As ``Container.checkpoint``."""
    backend, info = container.backend, container.info
    images, store, platform = backend.images, backend.images.store, backend.images.platform
    with suppress(NotFound):
        images.names.get(name)
        raise AlreadyExists(f"there is an image {name} already", remedy="Choose another name")
    with images.keeping():
        parts: list[Descriptor] = []
        if image:
            parts.append(container.image().target)
        if task:
            told = checkpoint_options({"exit": exit, "file_locks": True})
            parts += backend.tasks.checkpoint(container.id, told)
            parts.append(_write(store, _OPTIONS, told.message()))
        if info.runtime_options is not None:
            parts.append(_write(store, _RUNTIME_OPTIONS, info.runtime_options.message()))
        if rw:
            snapshots = backend.snapshots(info.snapshotter)
            parts.append(files.write_changes(snapshots, backend.differ, info.snapshot_key))
        if info.spec is not None and not any(part.media_type == _SPEC for part in parts):
            parts.append(_write(store, _SPEC, info.spec.message()))
        parts = [part if part.platform else replace(part, platform=platform) for part in parts]
        index = _write_index(store, parts, info)
        record = images.names.put(name, index)
    return Image(images, record)


def _write(store: ContentStore, media_type: str, body: bytes) -> Descriptor:
    written, _ = write_document(store, media_type, body)
    return written


def _write_index(store: ContentStore, parts: list[Descriptor], info: ContainerRecord) -> Descriptor:
    annotations = {
        _IMAGE_NAME: info.image,
        _RUNTIME: info.runtime,
        _SNAPSHOTTER: info.snapshotter,
    }
    value = {
        "schemaVersion": 2,
        "mediaType": media_types.OCI_INDEX,
        "manifests": [part.to_json() for part in parts],
        "annotations": annotations,
    }
    written = _write(store, media_types.OCI_INDEX, indented_json(value))
    store.update(written.digest, numbered_labels(parts))
    return written


# ---- again ---------------------------------------------------------------------------------


class Checkpoint:
    """What an image holds of a container that was saved as one."""

    def __init__(self, image: Image, store: ContentStore) -> None:
        """Raises ``InvalidArgument`` for an image that is none such, ``NotFound``."""
        document = read_document(store, image.target)
        if not isinstance(document, Index) or _RUNTIME not in document.annotations:
            raise InvalidArgument(
                f"{image.name} is no container that was saved",
                remedy="Name an image that Container.checkpoint or ctr made",
            )
        self.name = image.name
        self._store = store
        self._index = document

    @property
    def image_name(self) -> str:
        return self._index.annotations.get(_IMAGE_NAME, "")

    @property
    def runtime(self) -> str:
        return self._index.annotations[_RUNTIME]

    @property
    def snapshotter(self) -> str:
        return self._index.annotations.get(_SNAPSHOTTER, "")

    def task(self) -> Descriptor:
        """The processes.  Raises ``NotFound`` where they were not saved."""
        found = self._find(TASK)
        if found is None:
            raise NotFound(f"{self.name} was saved without its processes")
        return found

    def changes(self) -> Descriptor:
        """What was changed in the root filesystem.  Raises ``NotFound`` if that was not saved."""
        for part in self._index.manifests:
            if media_types.is_layer(part.media_type):
                return part
        raise NotFound(f"{self.name} was saved without the changes to its root filesystem")

    def spec(self) -> AnyValue:
        """Raises ``NotFound``."""
        found = self._read(_SPEC)
        if found is None:
            raise NotFound(f"{self.name} was saved without its spec", remedy="Save it with task=")
        return found

    def runtime_options(self) -> AnyValue | None:
        return self._read(_RUNTIME_OPTIONS)

    def _find(self, media_type: str) -> Descriptor | None:
        return next((p for p in self._index.manifests if p.media_type == media_type), None)

    def _read(self, media_type: str) -> AnyValue | None:
        found = self._find(media_type)
        if found is None:
            return None
        return AnyValue.parse(read_blob(self._store, found, MAX_DOCUMENT))


def restore(
    backend: RuntimeBackend, id: str, checkpoint: Checkpoint, *, rw: bool
) -> ContainerRecord:
    """Make the record and the snapshot of a container anew; nothing runs yet.

    The caller holds a lease.  Raises ``AlreadyExists``, ``NotFound``.
    """
    image = backend.image(checkpoint.image_name)
    snapshots = backend.snapshots(checkpoint.snapshotter or None)
    mounts = snapshots.prepare(id, image.unpack(snapshots.snapshotter))
    with Undo(lambda: snapshots.remove(id)):
        if rw:
            backend.differ.apply(checkpoint.changes(), mounts)
        return backend.containers.create(
            ContainerRecord(
                id,
                image=image.name,
                runtime=checkpoint.runtime,
                runtime_options=checkpoint.runtime_options(),
                spec=checkpoint.spec(),
                snapshotter=snapshots.snapshotter,
                snapshot_key=id,
            )
        )
