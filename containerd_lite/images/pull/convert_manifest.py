"""Manifests whose config is called ``application/octet-stream``, as old registries did.

What lives here: the repair, and JSON as containerd prints what it rewrites.  What may not:
fetching.
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

OCTET_STREAM = "application/octet-stream"


def repair_octet_config(store: ContentStore, target: Descriptor, job: Job) -> Descriptor:
    """The target with its config called what it is, or ``target`` where that is so already.

    As containerd's ``ConvertManifest``, to the same bytes: an index is left alone, and the old
    manifest to garbage collection.  Raises ``NotFound``, ``InvalidArgument``.
    """
    if not media_types.is_manifest(target.media_type):
        return target
    body = read_blob(store, target, MAX_DOCUMENT)
    manifest = parse(body, target.media_type)
    if not isinstance(manifest, Manifest) or manifest.config.media_type != OCTET_STREAM:
        return target
    manifest = replace(
        manifest, config=replace(manifest.config, media_type=media_types.DOCKER_CONFIG)
    )
    says_type = Document.parse(body, "the manifest").has("mediaType")
    written = write_manifest(store, target.media_type, _json(manifest, says_type), manifest, job)
    return replace(target, digest=written.digest, size=written.size, data=None)


def write_manifest(
    store: ContentStore, media_type: str, value: object, manifest: Manifest, job: Job
) -> Descriptor:
    """Write ``value``, the JSON of ``manifest``, with labels that keep its children alive."""
    written = write_reported(store, media_type, value, job)
    store.update(written.digest, numbered_labels(manifest.children))
    return written


def write_reported(store: ContentStore, media_type: str, value: object, job: Job) -> Descriptor:
    """Write a document that was made here, and report it like one that was fetched."""
    written, is_new = write_document(store, media_type, indented_json(value))
    stage: Stage = "downloaded" if is_new else "exists"
    job.report(stage, written.digest, written.size, written.size)
    return written


def _json(manifest: Manifest, says_type: bool) -> dict[str, object]:
    value: dict[str, object] = {"schemaVersion": 2}
    if says_type:
        value["mediaType"] = manifest.media_type
    if manifest.artifact_type:
        value["artifactType"] = manifest.artifact_type
    value["config"] = _sorted(manifest.config).to_json()
    value["layers"] = [_sorted(layer).to_json() for layer in manifest.layers]
    if manifest.subject is not None:
        value["subject"] = _sorted(manifest.subject).to_json()
    if manifest.annotations:
        value["annotations"] = dict(sorted(manifest.annotations.items()))
    return value


def _sorted(descriptor: Descriptor) -> Descriptor:
    """With its annotations in the order in which Go writes maps."""
    return replace(descriptor, annotations=dict(sorted(descriptor.annotations.items())))
