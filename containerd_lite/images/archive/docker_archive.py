"""Docker's archives, as ``docker save`` writes them (moby, image/tarexport).

What lives here: ``manifest.json`` both ways: to image manifests, and from them.  What may not:
reading or writing tar.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable
from contextlib import suppress

from ...errors import DiffIDMismatch, InvalidArgument, NotFound
from ...oci import digest as digests
from ...oci import media_types
from ...oci.config import ImageConfig
from ...oci.descriptor import Descriptor
from ...oci.document import MAX_DOCUMENT, Document, quoted
from ...oci.manifest import Manifest
from ...oci.reference import Reference
from ...records import record, replace
from ...store.layers import MAGIC, PlainStream, detect
from ...store.layout_names import IMAGE_NAME
from ...store.protocol import ContentStore, read_blob
from ...store.tar import cleaned
from .intake import MAX_JSON, Intake

_FIELDS = ("Config", "RepoTags", "Layers")
_LAYERS = {
    "": media_types.DOCKER_LAYER,
    "gzip": media_types.DOCKER_LAYER_GZIP,
    "zstd": media_types.DOCKER_LAYER_ZSTD,
}
#: Links that lead to links; Linux allows a path as many.
_MOST_LINKS = 40


@record(frozen=True)
class _Saved:
    """One image of ``manifest.json``; its names of files are the archive's."""

    config: str
    tags: tuple[str, ...]
    layers: tuple[str, ...]


def entries(intake: Intake, store: ContentStore, body: bytes) -> list[Descriptor]:
    """The images of an archive, one entry for each of their names, as containerd imports them.

    A Docker manifest is made of each config and its layers; it goes into the store.  Raises
    ``InvalidArgument``, ``NotFound`` for a file that is named and not there.
    """
    found = []
    made: dict[_Saved, Descriptor] = {}
    for saved in _parse(body):
        alike = replace(saved, tags=())
        if alike not in made:
            made[alike] = _manifest(intake, store, saved)
        target = made[alike]
        for tag in saved.tags:
            name = str(Reference.parse(tag))
            found.append(replace(target, annotations={IMAGE_NAME: name}))
        if not saved.tags:
            found.append(target)
    return found


def _parse(body: bytes) -> tuple[_Saved, ...]:
    # The document is a list, and only objects are read strictly.
    document = Document.parse(b'{"images":' + body + b"}", "manifest.json", limit=MAX_JSON + 11)
    if len(document.fields) != 1:
        raise InvalidArgument("manifest.json is not one list")
    return document.each("images", _saved)


def _saved(document: Document) -> _Saved:
    document.known(_FIELDS)
    return _Saved(
        document.text("Config", None), document.texts("RepoTags"), document.texts("Layers")
    )


def _manifest(intake: Intake, store: ContentStore, saved: _Saved) -> Descriptor:
    config = Descriptor(media_types.DOCKER_CONFIG, *_find(intake, saved.config))
    parsed = ImageConfig.parse(read_blob(store, config, MAX_DOCUMENT))
    if len(saved.layers) != len(parsed.diff_ids):  # before each of them is looked into
        raise InvalidArgument(
            f"{quoted(saved.config)} names {len(parsed.diff_ids)} layers, and manifest.json "
            f"{len(saved.layers)}"
        )
    layers = [_layer(store, *_find(intake, name)) for name in saved.layers]
    _compare(layers, parsed)
    manifest = {
        "schemaVersion": 2,
        "mediaType": media_types.DOCKER_MANIFEST,
        "config": config.to_json(),
        "layers": [layer.to_json() for layer in layers],
    }
    body = json.dumps(manifest, separators=(",", ":")).encode()
    digest = intake.put(digests.of(body), len(body), PlainStream(io.BytesIO(body)))
    return Descriptor(media_types.DOCKER_MANIFEST, digest, len(body), platform=parsed.platform)


def _find(intake: Intake, name: str) -> tuple[str, int]:
    """The blob that a name stands for, by way of the archive's own links."""
    place = cleaned(name)
    for _ in range(_MOST_LINKS):
        if place in intake.blobs:
            return intake.blobs[place]
        if place not in intake.links:
            raise NotFound(f"the archive has no file {quoted(place)}", remedy="Save it again")
        place = intake.links[place]
    raise InvalidArgument(f"the archive's links lead from {quoted(name)} nowhere")


def _layer(store: ContentStore, digest: str, size: int) -> Descriptor:
    with store.reader(digest) as file:
        return Descriptor(_LAYERS[detect(file.read(MAGIC))], digest, size)


def _compare(layers: list[Descriptor], config: ImageConfig) -> None:
    for layer, diff_id in zip(layers, config.diff_ids, strict=True):
        if layer.media_type == media_types.DOCKER_LAYER and layer.digest != diff_id:
            raise DiffIDMismatch(f"a layer is {layer.digest}; its image's config says {diff_id}")


def manifest_json(
    images: Iterable[tuple[Manifest, Iterable[str]]], place: Callable[[str], str]
) -> bytes:
    """``manifest.json`` of images and their full names; ``place`` tells where a blob lies.

    A name that docker cannot have, one without a tag, is left out.
    """
    documents = [
        {
            "Config": place(manifest.config.digest),
            "RepoTags": [tag for tag in map(_tag, names) if tag],
            "Layers": [place(layer.digest) for layer in manifest.layers],
        }
        for manifest, names in images
    ]
    return json.dumps(documents, separators=(",", ":")).encode()


def _tag(name: str) -> str:
    with suppress(InvalidArgument):
        reference = Reference.parse(name)
        if reference.tag and name.partition("@")[0].endswith(f":{reference.tag}"):
            return replace(reference, digest="").familiar
    return ""
