"""Images of Docker's schema 1 into images of today, as containerd up to 1.7 converts them.

What lives here: fetching the manifest and the layers that have content, finding out the layers'
diff IDs, writing config and manifest.  What may not: reading the manifest, which is
``oci.schema1``'s; names.
"""

from __future__ import annotations

from contextlib import closing
from typing import Protocol, cast, runtime_checkable

from ...errors import DataLoss, InvalidArgument, NotFound, SizeMismatch
from ...oci import digest as digests
from ...oci import media_types, schema1
from ...oci.content import ContentInfo
from ...oci.descriptor import Descriptor
from ...oci.document import MAX_DOCUMENT
from ...oci.manifest import Manifest
from ...records import record, replace
from ...store.layers import PlainStream, Readable, decompressed
from ...store.protocol import ContentStore
from ..gc_labels import UNCOMPRESSED
from ..job import Job
from ..resolver import Fetcher
from ..walk import Dispatcher
from .convert_manifest import write_manifest, write_reported
from .fetch_blob import fetch_blob

#: Tells of a layer that there is nothing in it.
EMPTY_LAYER = "containerd.io/docker.schema1.empty-layer"

_BUFFER = 256 << 10


@runtime_checkable
class SizedFetcher(Fetcher, Protocol):
    """A fetcher that can tell sizes: manifests of schema 1 do not say those of their layers."""

    def size_of(self, descriptor: Descriptor) -> int:
        """The size of the content in bytes, whatever the descriptor says.  Raises ``NotFound``."""


@record(frozen=True)
class _Layer:
    """A layer in the store; one without content has no place in the image."""

    descriptor: Descriptor
    diff_id: str
    is_empty: bool


def convert(
    fetcher: Fetcher,
    store: ContentStore,
    name: str,
    target: Descriptor,
    job: Job,
    *,
    workers: int = 3,
) -> Descriptor:
    """Fetch an image of schema 1 into the store as an OCI one; returns its manifest.

    The image is to have the label ``CONVERTED`` with ``target``'s digest.  The manifest's
    signatures are not verified, its digest is.  Raises ``InvalidArgument`` for a manifest that
    is not as it should be and for a fetcher that is no ``SizedFetcher``, ``DigestMismatch``,
    ``DataLoss`` for a layer that does not decompress, and what fetcher and store raise.
    """
    if not media_types.may_be_schema1(target.media_type):
        raise InvalidArgument(f"{name} is no manifest of schema 1: it is {target.media_type}")
    if not isinstance(fetcher, SizedFetcher):
        raise InvalidArgument(
            f"{name} is of Docker's schema 1, and its resolver cannot tell the sizes of layers",
            remedy="Give its fetcher a method size_of(descriptor)",
        )
    manifest = _fetch_manifest(fetcher, target)
    layers = _Layers(fetcher, store, job)
    with Dispatcher(layers.bring, workers, job) as work:
        for digest in _to_fetch(manifest):
            work.add(Descriptor(media_types.DOCKER_LAYER_GZIP, digest, 0))
        work.wait()
    return _write(store, manifest, layers.found, job)


def _fetch_manifest(fetcher: Fetcher, target: Descriptor) -> schema1.Schema1:
    """The manifest, verified; how long its signatures are, registries decide afresh each time."""
    if target.media_type == media_types.VAGUE_SCHEMA1:
        target = replace(target, media_type=media_types.DOCKER_SCHEMA1_SIGNED)
    body, buffer = bytearray(), memoryview(bytearray(_BUFFER))
    with closing(fetcher.fetch(target)) as reader:
        while count := reader.readinto(buffer):
            body += buffer[:count]
            if len(body) > MAX_DOCUMENT:
                raise SizeMismatch(
                    f"{target.digest} is larger than the {MAX_DOCUMENT} bytes allowed"
                )
    payload = schema1.payload(bytes(body))
    digests.verify(payload, target.digest, len(payload))
    return schema1.parse(payload)


def _to_fetch(manifest: schema1.Schema1) -> list[str]:
    """The blobs, oldest first, but for those of which every step says that nothing is in them."""
    wanted = (step.blob for step in manifest.steps if not step.history.empty_layer)
    return list(dict.fromkeys(wanted))


class _Layers:
    """Brings layers, several at once, and keeps what was found out about them, by digest."""

    def __init__(self, fetcher: SizedFetcher, store: ContentStore, job: Job) -> None:
        self._fetcher = fetcher
        self._store = store
        self._job = job
        self.found: dict[str, _Layer] = {}

    def bring(self, wanted: Descriptor) -> tuple[()]:
        layer = replace(wanted, size=self._size_of(wanted))
        fetch_blob(self._fetcher, self._store, layer, {}, self._job)
        found = _known(layer, self._store.info(layer.digest)) or self._examined(layer)
        self.found[layer.digest] = found
        return ()

    def _size_of(self, wanted: Descriptor) -> int:
        try:
            return self._store.info(wanted.digest).size
        except NotFound:
            return self._fetcher.size_of(wanted)

    def _examined(self, layer: Descriptor) -> _Layer:
        try:
            with closing(self._store.reader(layer.digest)) as file:
                diff_id, is_empty = self._content(PlainStream(cast(Readable, file)))
        except DataLoss as error:
            raise DataLoss(f"layer {layer.digest}: {error.message}") from error
        labels = {UNCOMPRESSED: diff_id, EMPTY_LAYER: str(is_empty).lower()}
        self._store.update(layer.digest, labels)
        return _layer(layer, diff_id, is_empty)

    def _content(self, stream: PlainStream) -> tuple[str, bool]:
        """The diff ID, and whether there is nothing but zeros, of which ends of tars are made."""
        content, is_empty = digests.hasher(), True
        plain, buffer = decompressed(stream), memoryview(bytearray(_BUFFER))
        while count := plain.readinto(buffer):
            self._job.check()
            content.update(buffer[:count])
            is_empty = is_empty and not bytes(buffer[:count]).strip(b"\0")
        return f"sha256:{content.hexdigest()}", is_empty


def _known(layer: Descriptor, info: ContentInfo) -> _Layer | None:
    """What an earlier conversion found out, and left in the labels; it is checked at unpacking."""
    diff_id, empty = info.labels.get(UNCOMPRESSED, ""), info.labels.get(EMPTY_LAYER)
    if empty not in ("true", "false") or not digests.is_digest(diff_id):
        return None
    return _layer(layer, diff_id, empty == "true")


def _layer(layer: Descriptor, diff_id: str, is_empty: bool) -> _Layer:
    if diff_id == layer.digest:
        layer = replace(layer, media_type=media_types.DOCKER_LAYER)
    return _Layer(layer, diff_id, is_empty)


def _write(
    store: ContentStore, manifest: schema1.Schema1, found: dict[str, _Layer], job: Job
) -> Descriptor:
    """Config and manifest, to the bytes that containerd makes of them."""
    empty = {step.blob: True for step in manifest.steps}
    empty |= {digest: layer.is_empty for digest, layer in found.items()}
    for step in manifest.steps:
        if step.history.empty_layer and not empty[step.blob]:
            raise InvalidArgument(f"the history calls {step.blob} empty, which it is not")
    layers = [found[step.blob] for step in manifest.steps if not empty[step.blob]]
    value = manifest.config([layer.diff_id for layer in layers], empty)
    config = write_reported(store, media_types.OCI_CONFIG, value, job)
    made = Manifest(media_types.OCI_MANIFEST, config, tuple(one.descriptor for one in layers))
    document = {
        "schemaVersion": 2,
        "config": config.to_json(),
        "layers": [layer.to_json() for layer in made.layers],
    }
    return write_manifest(store, media_types.OCI_MANIFEST, document, made, job)
