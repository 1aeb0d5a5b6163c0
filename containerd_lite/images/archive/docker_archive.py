"""The file ``manifest.json`` of archives that ``docker save`` writes (moby, image/tarexport).

For imports, this module makes image manifests from the file. For exports, this module makes the
file from image manifests.
"""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

from ...errors import DiffIDMismatch, InvalidArgument, NotFound
from ...oci import digest as digests
from ...oci import media_types
from ...oci.config import ImageConfig
from ...oci.descriptor import Descriptor
from ...oci.document import MAX_DOCUMENT, Document
from ...oci.manifest import Manifest
from ...oci.reference import Reference
from ...printable import quoted
from ...records import record, replace
from ...store.layers import MAGIC, PlainStream, detect
from ...store.layout_names import IMAGE_NAME
from ...store.protocol import ContentStore, read_blob
from ...store.tar import normalise_name
from .intake import Intake

_LOGGER = logging.getLogger(__package__)
_FIELDS = ("Config", "RepoTags", "Layers")
_LAYERS = {
    "": media_types.DOCKER_LAYER,
    "gzip": media_types.DOCKER_LAYER_GZIP,
    "zstd": media_types.DOCKER_LAYER_ZSTD,
}
#: Maximum number of links to follow for one file, as in Linux.
_MOST_LINKS = 40
#: The maximum size in bytes of all configs in total. A config is parsed for each image that has it.
#: Real configs have some 10 KB.
_MAX_CONFIGS = 32 << 20


@record(frozen=True)
class _Saved:
    """An image in ``manifest.json``, with the file names of its config and its layers."""

    config: str
    tags: tuple[str, ...]
    layers: tuple[str, ...]


def entries(intake: Intake, store: ContentStore, body: bytes) -> list[Descriptor]:
    """Return the images of an archive, with one descriptor for each name, as in containerd.

    For each image, this function makes a Docker manifest from the config and the layers, and writes
    it to the store.

    Args:
        intake: The intake that has read the archive.
        store: The store that has the archive's blobs.
        body: The content of ``manifest.json``.

    Raises:
        InvalidArgument: ``manifest.json`` or a config is not valid, or the configs are too large in
            total.
        NotFound: The archive lacks a file that ``manifest.json`` lists.
    """
    found = []
    files = _Files(intake, store)
    for saved in _parse(body):
        target = files.manifest(saved)
        for tag in saved.tags:
            name = str(Reference.parse(tag))
            found.append(replace(target, annotations={IMAGE_NAME: name}))
        if not saved.tags:
            found.append(target)
    return found


def _parse(body: bytes) -> tuple[_Saved, ...]:
    # ``Document`` can read only JSON objects, but ``manifest.json`` is a list. So the list is
    # wrapped in an object.
    document = Document.parse(b'{"images":' + body + b"}", "manifest.json", limit=MAX_DOCUMENT + 11)
    if len(document.fields) != 1:
        raise InvalidArgument("manifest.json must be a single JSON list")
    return document.each("images", _saved)


def _saved(document: Document) -> _Saved:
    document.check_case(_FIELDS)
    return _Saved(
        document.text("Config", None), document.texts("RepoTags"), document.texts("Layers")
    )


class _Files:
    """Finds the files that ``manifest.json`` lists; reads each config and each layer's head once.

    Args:
        intake: The intake that has read the archive.
        store: The store that has the archive's blobs.
    """

    def __init__(self, intake: Intake, store: ContentStore) -> None:
        self._intake = intake
        self._store = store
        self._found: dict[str, tuple[str, int]] = {}
        self._layers: dict[str, Descriptor] = {}
        self._manifests: dict[tuple[str, ...], Descriptor] = {}
        self._configs_size = 0
        self._last: tuple[str, ImageConfig] | None = None

    def manifest(self, saved: _Saved) -> Descriptor:
        """Return the manifest of an image; write it to the store if no earlier image has it."""
        target = Descriptor(media_types.DOCKER_CONFIG, *self._find(saved.config))
        config = self._config(target)
        if saved.layers and not config.diff_ids:
            _LOGGER.warning(
                "the config %s has no diff IDs, so the image cannot be unpacked", target.digest
            )
        elif len(saved.layers) != len(config.diff_ids):  # checked before any layer is read
            raise InvalidArgument(
                f"{quoted(saved.config)} has {len(config.diff_ids)} diff IDs, but manifest.json "
                f"lists {len(saved.layers)} layers"
            )
        layers = [self._layer(*self._find(name)) for name in saved.layers]
        key = (target.digest, *(layer.digest for layer in layers))
        if key not in self._manifests:
            _check_diff_ids(layers, config)
            self._manifests[key] = self._write(target, config, layers)
        return self._manifests[key]

    def _write(
        self, target: Descriptor, config: ImageConfig, layers: Sequence[Descriptor]
    ) -> Descriptor:
        manifest = {
            "schemaVersion": 2,
            "mediaType": media_types.DOCKER_MANIFEST,
            "config": target.to_json(),
            "layers": [layer.to_json() for layer in layers],
        }
        body = json.dumps(manifest, separators=(",", ":")).encode()
        digest = self._intake.write_blob(digests.of(body), len(body), PlainStream(io.BytesIO(body)))
        return Descriptor(media_types.DOCKER_MANIFEST, digest, len(body), platform=config.platform)

    def _config(self, target: Descriptor) -> ImageConfig:
        """Return a config. The images of one config usually follow each other in the list."""
        if self._last is None or self._last[0] != target.digest:
            self._configs_size += target.size
            if self._configs_size > _MAX_CONFIGS:
                raise InvalidArgument(
                    f"the configs in manifest.json have more than {_MAX_CONFIGS} bytes in total"
                )
            body = read_blob(self._store, target, MAX_DOCUMENT)
            self._last = (target.digest, ImageConfig.parse(body))
        return self._last[1]

    def _find(self, name: str) -> tuple[str, int]:
        """Return the digest and the size of a file in the archive, or of the target of a link."""
        if name not in self._found:
            self._found[name] = _find(self._intake, normalise_name(name))
        return self._found[name]

    def _layer(self, digest: str, size: int) -> Descriptor:
        if digest not in self._layers:
            with self._store.reader(digest) as file:
                media_type = _LAYERS[detect(file.read(MAGIC))]
            self._layers[digest] = Descriptor(media_type, digest, size)
        return self._layers[digest]


def _find(intake: Intake, name: str) -> tuple[str, int]:
    path = name
    for _ in range(_MOST_LINKS):
        if path in intake.blobs:
            return intake.blobs[path]
        if path not in intake.links:
            raise NotFound(f"the archive has no file {quoted(path)}", remedy="Save the image again")
        path = intake.links[path]
    raise InvalidArgument(f"{quoted(name)} has too many levels of links in the archive")


def _check_diff_ids(layers: list[Descriptor], config: ImageConfig) -> None:
    """Check that the digest of each uncompressed layer is the diff ID in the config.

    A config without diff IDs passes.
    """
    for layer, diff_id in zip(layers, config.diff_ids, strict=bool(config.diff_ids)):
        if layer.media_type == media_types.DOCKER_LAYER and layer.digest != diff_id:
            raise DiffIDMismatch(
                f"a layer has digest {layer.digest}, but its diff ID in the config is {diff_id}"
            )


def manifest_json(
    images: Iterable[tuple[Manifest, Iterable[str]]], path_of: Callable[[str], str]
) -> bytes:
    """Return the content of ``manifest.json``.

    A name without a tag is left out, because Docker does not support it.

    Args:
        images: The manifest and the full names of each image.
        path_of: A function that takes the digest of a blob and returns the blob's path in the
            archive.
    """
    documents = [
        {
            "Config": path_of(manifest.config.digest),
            "RepoTags": [tag for tag in map(_repo_tag, names) if tag],
            "Layers": [path_of(layer.digest) for layer in manifest.layers],
        }
        for manifest, names in images
    ]
    return json.dumps(documents, separators=(",", ":")).encode()


def _repo_tag(name: str) -> str:
    """Return a name in Docker's familiar form, or ``""`` if the name has no tag."""
    with suppress(InvalidArgument):
        reference = Reference.parse(name)
        if reference.tag and name.partition("@")[0].endswith(f":{reference.tag}"):
            return replace(reference, digest="").familiar
    return ""
