"""Saves containers as images, and restores containers from such images.

The format is that of containerd's Go client. The daemon saves the processes with CRIU, which must
be installed on the daemon's machine.

A checkpoint image is an index. The list ``manifests`` of the index has the parts of the checkpoint.
The parts are CRIU's tar, the container's spec, the container's image, a layer with the changes to
the root filesystem, and the options of the runtime. The annotations of the index name the image,
the runtime and the snapshotter of the container.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from itertools import islice

from ..arguments import check_instance
from ..errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from ..images.gc_labels import numbered_labels
from ..images.image import Image
from ..oci import media_types
from ..oci.descriptor import Descriptor
from ..oci.document import MAX_DOCUMENT, Document
from ..oci.manifest import Index
from ..oci.spec.privileges import beyond_default
from ..printable import quoted
from ..records import replace
from ..services._types import AnyValue, runtime_spec
from ..services.containers import ContainerRecord
from ..store.blob_writes import indented_json
from ..store.documents import read_document
from ..store.protocol import ContentStore, read_blob
from ..undo import Undo
from . import network
from .record import StoredContainer, checkpoint_options
from .runtime_backend import RuntimeBackend

_PREFIX = "application/vnd.containerd.container."
#: Media type of CRIU's tar, which has the saved processes.
TASK = _PREFIX + "criu.checkpoint.criu.tar"
#: Media types of the container's spec, of the checkpoint's options and of the runtime's options.
_SPEC = _PREFIX + "checkpoint.config.v1+proto"
_OPTIONS = _PREFIX + "checkpoint.options.v1+proto"
_RUNTIME_OPTIONS = _PREFIX + "checkpoint.runtime.options+proto"
#: Annotations of the index with the names of the image, of the runtime and of the snapshotter.
_IMAGE_NAME = "org.opencontainers.image.ref.name"
_RUNTIME = "io.containerd.checkpoint.runtime"
_SNAPSHOTTER = "io.containerd.checkpoint.snapshotter"
#: The maximum number of fields that an error message names.
_MAX_NAMED = 5


def save(
    container: StoredContainer, name: str, *, task: bool, image: bool, rw: bool, exit: bool
) -> Image:
    """Save a container as an image; see ``Container.checkpoint``."""
    check_instance("name", name, str, "the name of the new image")
    backend, info = container.backend, container.info
    images, store, platform = backend.images, backend.images.store, backend.images.platform
    with suppress(NotFound):
        images.names.get(name)
        raise AlreadyExists(f"image {name} already exists", remedy="Choose another name")
    with images.keeping():
        parts: list[Descriptor] = []
        if image:
            parts.append(container.image().target)
        if task:
            options = checkpoint_options({"exit": exit, "file_locks": True})
            parts += backend.tasks.checkpoint(container.id, options)
            parts.append(store.put(options.message(), media_type=_OPTIONS))
        if info.runtime_options is not None:
            message = info.runtime_options.message()
            parts.append(store.put(message, media_type=_RUNTIME_OPTIONS))
        if rw:
            layers = images.snapshot_layers(info.snapshotter)
            parts.append(layers.write_changes(info.snapshot_key, task=container.id))
        if info.spec is not None and not any(part.media_type == _SPEC for part in parts):
            parts.append(store.put(info.spec.message(), media_type=_SPEC))
        parts = [part if part.platform else replace(part, platform=platform) for part in parts]
        index = _write_index(store, parts, info)
        record = images.names.put(name, index)
    return Image(images, record)


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
    descriptor = store.put(indented_json(value), media_type=media_types.OCI_INDEX)
    store.update(descriptor.digest, numbered_labels(parts))
    return descriptor


# ---- restoring a checkpoint ----------------------------------------------------------------


class Checkpoint:
    """The parts of a checkpoint image."""

    def __init__(self, image: Image, store: ContentStore) -> None:
        """Read the index of the image.

        Raises:
            InvalidArgument: The image is not a checkpoint.
            NotFound: The index is not in the store.
        """
        document = read_document(store, image.target)
        if not isinstance(document, Index) or _RUNTIME not in document.annotations:
            raise InvalidArgument(
                f"image {image.name} is not a checkpoint of a container",
                remedy="Use an image that Container.checkpoint or ctr made",
            )
        self.name = image.name
        self._store = store
        self._index = document

    @property
    def image_name(self) -> str:
        """The name of the image that the container was created from, ``""`` if it is unknown."""
        return self._index.annotations.get(_IMAGE_NAME, "")

    @property
    def runtime(self) -> str:
        """The name of the container's runtime."""
        return self._index.annotations[_RUNTIME]

    @property
    def snapshotter(self) -> str:
        """The name of the container's snapshotter, ``""`` if it is unknown."""
        return self._index.annotations.get(_SNAPSHOTTER, "")

    def task(self) -> Descriptor:
        """Return the descriptor of CRIU's tar. Raise ``NotFound`` if the image has no such tar."""
        descriptor = self._find(TASK)
        if descriptor is None:
            raise NotFound(f"checkpoint image {self.name} does not contain processes")
        return descriptor

    def changes(self) -> Descriptor:
        """Return the layer with the changes to the root filesystem.

        Raise ``NotFound`` if the image has no such layer.
        """
        for part in self._index.manifests:
            if media_types.is_layer(part.media_type):
                return part
        raise NotFound(
            f"checkpoint image {self.name} does not contain the changes to the root filesystem"
        )

    def spec(self) -> AnyValue:
        """Return the runtime spec. Raise ``NotFound`` if the image has no runtime spec."""
        spec = self._read(_SPEC)
        if spec is None:
            raise NotFound(
                f"checkpoint image {self.name} does not contain the container's spec",
                remedy="Save the container again with Container.checkpoint",
            )
        return spec

    def runtime_options(self) -> AnyValue | None:
        """Return the options of the runtime, or ``None`` if the image has no such options."""
        return self._read(_RUNTIME_OPTIONS)

    def _find(self, media_type: str) -> Descriptor | None:
        return next((p for p in self._index.manifests if p.media_type == media_type), None)

    def _read(self, media_type: str) -> AnyValue | None:
        descriptor = self._find(media_type)
        if descriptor is None:
            return None
        return AnyValue.parse(read_blob(self._store, descriptor, MAX_DOCUMENT))


def restore(
    backend: RuntimeBackend, id: str, checkpoint: Checkpoint, *, rw: bool, trust: bool
) -> ContainerRecord:
    """Create a container's snapshot and record from a checkpoint, without starting a process.

    The caller must hold a lease. If ``rw`` is true, restore the changes to the root filesystem.

    Raises:
        AlreadyExists: A container or a snapshot with this id exists.
        FailedPrecondition: The checkpoint needs ``trust``.
        NotFound: The checkpoint lacks a part, or the container's image does not exist.
    """
    spec, runtime_options = _without_network_files(checkpoint), checkpoint.runtime_options()
    if not trust:
        _check_trust(backend, checkpoint, spec, runtime_options)
    image = backend.image(checkpoint.image_name)
    snapshots = backend.snapshots(checkpoint.snapshotter or None)
    snapshots.prepare(id, image.unpack(snapshots.snapshotter))
    with Undo(lambda: snapshots.remove(id)):
        if rw:
            layers = backend.images.snapshot_layers(snapshots.snapshotter)
            layers.apply(checkpoint.changes(), id)
        return backend.containers.create(
            ContainerRecord(
                id,
                image=image.name,
                runtime=checkpoint.runtime,
                runtime_options=runtime_options,
                spec=spec,
                snapshotter=snapshots.snapshotter,
                snapshot_key=id,
            )
        )


def _without_network_files(checkpoint: Checkpoint) -> AnyValue:
    """Return the spec without the mounts of the files that the saved container had of its own.

    These files name the networks of the saved container. The restored container is not connected to
    these networks, and the files are removed with the saved container.
    """
    spec = checkpoint.spec()
    fields = Document.parse(spec.value, f"the spec of checkpoint image {checkpoint.name}").fields
    mounts = fields.get("mounts")
    if not isinstance(mounts, list):
        return spec
    kept = [mount for mount in mounts if not _is_network_file(mount)]
    return spec if len(kept) == len(mounts) else runtime_spec({**fields, "mounts": kept})


def _is_network_file(mount: object) -> bool:
    if not isinstance(mount, dict):
        return False
    return network.is_network_file(str(mount.get("source")), str(mount.get("destination")))


def _check_trust(
    backend: RuntimeBackend, checkpoint: Checkpoint, spec: AnyValue, options: AnyValue | None
) -> None:
    """Check that the checkpoint gives the container no more rights than the default spec.

    Raise ``FailedPrecondition`` if it does. The author of such an image could become root on the
    daemon's machine.
    """
    found = [*islice(_untrusted_parts(backend, checkpoint, spec, options), _MAX_NAMED + 1)]
    if found:
        more = ["..."] if len(found) > _MAX_NAMED else []
        raise FailedPrecondition(
            f"checkpoint image {checkpoint.name} gives the container more rights than the default: "
            + "; ".join(found[:_MAX_NAMED] + more),
            remedy="If you trust the author of the image like root, pass trust=True",
        )


def _untrusted_parts(
    backend: RuntimeBackend, checkpoint: Checkpoint, spec: AnyValue, options: AnyValue | None
) -> Iterator[str]:
    if checkpoint.runtime != backend.runtime:
        yield f"runtime {quoted(checkpoint.runtime)}"
    if options is not None and options.value not in (b"", b"{}"):
        yield "options of the runtime"
    if spec.type_url != runtime_spec({}).type_url:
        yield f"spec of type {quoted(spec.type_url)}"
    what = f"the spec of checkpoint image {checkpoint.name}"
    yield from beyond_default(Document.parse(spec.value, what).fields, backend.namespace)
