"""Converts images of Docker's schema 1 into OCI images, as containerd up to 1.7 does.

The conversion fetches the manifest and the layers, computes the diff IDs of the layers, and writes
an image config and an OCI manifest. The module ``oci.schema1`` parses the schema 1 manifest.
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
from .convert_manifest import write_and_report, write_manifest
from .fetch_blob import fetch_blob

#: Label of a layer: ``"true"`` if its tar archive has no content, else ``"false"``.
EMPTY_LAYER = "containerd.io/docker.schema1.empty-layer"

_BUFFER = 256 << 10


@runtime_checkable
class SizedFetcher(Fetcher, Protocol):
    """A fetcher that can also find out layer sizes; a schema 1 manifest does not list them."""

    def size_of(self, descriptor: Descriptor) -> int:
        """Return the size of the content in bytes; the size in ``descriptor`` is ignored.

        Raises:
            NotFound: The content does not exist.
        """


@record(frozen=True)
class _Layer:
    """A layer in the store.

    Attributes:
        descriptor: The layer's descriptor.
        diff_id: The digest of the uncompressed layer.
        is_empty: Whether the layer has no content. The converted image omits such a layer.
    """

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
    """Fetch a schema 1 image, and store it as an OCI image; return the OCI manifest's descriptor.

    The caller must give the image the label ``CONVERTED`` with the digest of ``target``. This
    function verifies the digest of the schema 1 manifest, but not the manifest's signatures.

    Raises:
        InvalidArgument: The manifest is invalid, or the fetcher is not a ``SizedFetcher``.
        DigestMismatch: The manifest or a layer does not match its digest.
        DataLoss: A layer cannot be decompressed.
    """
    if not media_types.may_be_schema1(target.media_type):
        raise InvalidArgument(f"{name} is not a schema 1 manifest, but {target.media_type}")
    if not isinstance(fetcher, SizedFetcher):
        raise InvalidArgument(
            f"{name} is a Docker schema 1 image, but the fetcher cannot find out layer sizes",
            remedy="Add a method size_of(descriptor) to the fetcher",
        )
    manifest = _fetch_manifest(fetcher, target)
    layers = _Layers(fetcher, store, job)
    with Dispatcher(layers.fetch, workers, job) as work:
        for digest in _blobs_to_fetch(manifest):
            work.add(Descriptor(media_types.DOCKER_LAYER_GZIP, digest, 0))
        work.wait()
    return _write_image(store, manifest, layers.fetched, job)


def _fetch_manifest(fetcher: Fetcher, target: Descriptor) -> schema1.Schema1:
    """Fetch and verify the manifest.

    The size of the response is not known in advance: registries sign the manifest for each request.
    """
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


def _blobs_to_fetch(manifest: schema1.Schema1) -> list[str]:
    """Return the digests of the layers to fetch, oldest first.

    A layer is skipped if every build step with this layer says that the layer is empty.
    """
    wanted = (step.blob for step in manifest.steps if not step.history.empty_layer)
    return list(dict.fromkeys(wanted))


class _Layers:
    """Fetches and examines layers; several threads can share one object.

    Attributes:
        fetched: The layers that have been fetched and examined, by digest.
    """

    def __init__(self, fetcher: SizedFetcher, store: ContentStore, job: Job) -> None:
        self._fetcher = fetcher
        self._store = store
        self._job = job
        self.fetched: dict[str, _Layer] = {}

    def fetch(self, wanted: Descriptor) -> tuple[()]:
        """Fetch and examine one layer; return no children, because a layer has none."""
        layer = replace(wanted, size=self._size_of(wanted))
        fetch_blob(self._fetcher, self._store, layer, {}, self._job)
        examined = _from_labels(layer, self._store.info(layer.digest)) or self._examine(layer)
        self.fetched[layer.digest] = examined
        return ()

    def _size_of(self, wanted: Descriptor) -> int:
        try:
            return self._store.info(wanted.digest).size
        except NotFound:
            return self._fetcher.size_of(wanted)

    def _examine(self, layer: Descriptor) -> _Layer:
        """Read a layer in the store, find out its diff ID, and record the result in its labels."""
        try:
            with closing(self._store.reader(layer.digest)) as file:
                diff_id, is_empty = self._decompress(PlainStream(cast(Readable, file)))
        except DataLoss as error:
            raise DataLoss(f"layer {layer.digest}: {error.message}") from error
        labels = {UNCOMPRESSED: diff_id, EMPTY_LAYER: str(is_empty).lower()}
        self._store.update(layer.digest, labels)
        return _make_layer(layer, diff_id, is_empty)

    def _decompress(self, stream: PlainStream) -> tuple[str, bool]:
        """Return the diff ID of a layer, and whether the layer is empty.

        An empty layer is a tar archive that consists of zeros only.
        """
        content, is_empty = digests.hasher(), True
        plain, buffer = decompressed(stream), memoryview(bytearray(_BUFFER))
        while count := plain.readinto(buffer):
            self._job.check()
            content.update(buffer[:count])
            is_empty = is_empty and not bytes(buffer[:count]).strip(b"\0")
        return f"sha256:{content.hexdigest()}", is_empty


def _from_labels(layer: Descriptor, info: ContentInfo) -> _Layer | None:
    """Return the record of a layer if its labels contain the result of an earlier conversion.

    Otherwise return ``None``. The diff ID in the labels is verified when the layer is unpacked.
    """
    diff_id, empty = info.labels.get(UNCOMPRESSED, ""), info.labels.get(EMPTY_LAYER)
    if empty not in ("true", "false") or not digests.is_digest(diff_id):
        return None
    return _make_layer(layer, diff_id, empty == "true")


def _make_layer(layer: Descriptor, diff_id: str, is_empty: bool) -> _Layer:
    """Return the record of a layer; correct the media type of a layer that is not compressed."""
    if diff_id == layer.digest:
        layer = replace(layer, media_type=media_types.DOCKER_LAYER)
    return _Layer(layer, diff_id, is_empty)


def _write_image(
    store: ContentStore, manifest: schema1.Schema1, fetched: dict[str, _Layer], job: Job
) -> Descriptor:
    """Write the config and the manifest, with the same bytes that containerd would write.

    Return the descriptor of the manifest.
    """
    empty = {step.blob: True for step in manifest.steps}
    empty |= {digest: layer.is_empty for digest, layer in fetched.items()}
    for step in manifest.steps:
        if step.history.empty_layer and not empty[step.blob]:
            raise InvalidArgument(
                f"the history says that layer {step.blob} is empty, but the layer has content"
            )
    layers = [fetched[step.blob] for step in manifest.steps if not empty[step.blob]]
    value = manifest.config([layer.diff_id for layer in layers], empty)
    config = write_and_report(store, media_types.OCI_CONFIG, value, job)
    converted = Manifest(
        media_types.OCI_MANIFEST, config, tuple(layer.descriptor for layer in layers)
    )
    document = {
        "schemaVersion": 2,
        "config": config.to_json(),
        "layers": [layer.to_json() for layer in converted.layers],
    }
    return write_manifest(store, media_types.OCI_MANIFEST, document, converted, job)
