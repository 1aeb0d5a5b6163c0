"""Repairs manifests whose config has the media type ``application/octet-stream``.

Old registries used this media type. The JSON of a repaired manifest has the same format as the JSON
that containerd writes in such a repair.
"""

from __future__ import annotations

from ...oci import media_types
from ...oci.descriptor import Descriptor
from ...oci.document import MAX_DOCUMENT, Document
from ...oci.manifest import Manifest, parse
from ...progress import Stage
from ...records import replace
from ...store.blob_writes import indented_json, write_document
from ...store.protocol import ContentStore, read_blob
from ..gc_labels import numbered_labels
from ..job import Job


def repair_octet_config(store: ContentStore, target: Descriptor, job: Job) -> Descriptor:
    """Write a new manifest with the right media type for the config; return the new descriptor.

    If ``target`` is an index or needs no repair, return ``target`` itself. The new manifest has the
    same bytes as the result of containerd's ``ConvertManifest``. The old manifest stays until
    garbage collection deletes it.

    Raises:
        NotFound: The store lacks the manifest.
        InvalidArgument: The manifest is invalid.
    """
    if not media_types.is_manifest(target.media_type):
        return target
    body = read_blob(store, target, MAX_DOCUMENT)
    manifest = parse(body, target.media_type)
    if not isinstance(manifest, Manifest) or manifest.config.media_type != media_types.OCTET_STREAM:
        return target
    manifest = replace(
        manifest, config=replace(manifest.config, media_type=media_types.DOCKER_CONFIG)
    )
    has_media_type = Document.parse(body, "the manifest").has("mediaType")
    written = write_manifest(
        store, target.media_type, _manifest_json(manifest, has_media_type), manifest, job
    )
    return replace(target, digest=written.digest, size=written.size, data=None)


def write_manifest(
    store: ContentStore, media_type: str, value: object, manifest: Manifest, job: Job
) -> Descriptor:
    """Write ``manifest``, whose JSON is ``value``; set labels that keep the children alive.

    Return the descriptor of the written manifest.
    """
    written = write_and_report(store, media_type, value, job)
    store.update(written.digest, numbered_labels(manifest.children))
    return written


def write_and_report(store: ContentStore, media_type: str, value: object, job: Job) -> Descriptor:
    """Write a document that this package made; report the same event as for a fetched document.

    Return the descriptor of the document.
    """
    written, is_new = write_document(store, media_type, indented_json(value))
    stage: Stage = "downloaded" if is_new else "exists"
    job.report(stage, written.digest, written.size, written.size)
    return written


def _manifest_json(manifest: Manifest, has_media_type: bool) -> dict[str, object]:
    """Return the JSON of ``manifest``, with or without the field ``mediaType``."""
    value: dict[str, object] = {"schemaVersion": 2}
    if has_media_type:
        value["mediaType"] = manifest.media_type
    if manifest.artifact_type:
        value["artifactType"] = manifest.artifact_type
    value["config"] = _with_sorted_annotations(manifest.config).to_json()
    value["layers"] = [_with_sorted_annotations(layer).to_json() for layer in manifest.layers]
    if manifest.subject is not None:
        value["subject"] = _with_sorted_annotations(manifest.subject).to_json()
    if manifest.annotations:
        value["annotations"] = dict(sorted(manifest.annotations.items()))
    return value


def _with_sorted_annotations(descriptor: Descriptor) -> Descriptor:
    """Return ``descriptor`` with its annotations sorted by key, as Go encodes maps."""
    return replace(descriptor, annotations=dict(sorted(descriptor.annotations.items())))
