"""Annotations of layers for lazy snapshotters, which fetch the layers themselves.

The annotations are the same as in containerd's pkg/snapshotters. The unpacker passes annotations
with the prefix ``containerd.io/snapshot/`` on to the snapshotter.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice

from ...oci import media_types
from ...oci.descriptor import Descriptor
from ...oci.image_record import MAX_LABEL
from ...records import replace
from ..names import full_name
from ..walk import Handler, WrapHandler

#: The prefix contains ``cri`` for historical reasons. Snapshotters accept the labels from every
#: client, not only from containerd's CRI plugin.
_PREFIX = "containerd.io/snapshot/cri"
IMAGE_REF = f"{_PREFIX}.image-ref"
LAYER_DIGEST = f"{_PREFIX}.layer-digest"
IMAGE_LAYERS = f"{_PREFIX}.image-layers"
MANIFEST_DIGEST = f"{_PREFIX}.manifest-digest"
#: The maximum number of digests that fit into a label. A SHA-256 digest has 71 characters.
_MOST_LISTED = MAX_LABEL // 71


def append_info(ref: str) -> WrapHandler:
    """Return a wrapper that adds the annotations for lazy snapshotters to layers.

    Lazy snapshotters, such as stargz, soci and nydus, fetch layers themselves. To pull an image
    into such a snapshotter, call ``pull(ref, wrap_handler=append_info(ref))``. Without the wrapper,
    the snapshotter receives only the chain ID of a layer, and most lazy snapshotters then let the
    pull fetch the layer. After the pull, ``Image.is_lazy`` says whether the pull has skipped layers
    that the snapshotter fetches itself.

    Args:
        ref: The reference that is pulled.

    Raises:
        InvalidArgument: ``ref`` is not a valid reference.
    """
    name = full_name(ref)

    def wrap(handler: Handler) -> Handler:
        def handle(descriptor: Descriptor) -> Iterable[Descriptor]:
            children = handler(descriptor)
            if not media_types.is_manifest(descriptor.media_type):
                return children
            return _annotated(tuple(children), name, descriptor.digest)

        return handle

    return wrap


def _annotated(children: Sequence[Descriptor], name: str, manifest: str) -> list[Descriptor]:
    """Return the children of a manifest, with the annotations added to the layers."""
    digests = [child.digest for child in children if media_types.is_layer(child.media_type)]
    found, position = [], 0
    for child in children:
        if media_types.is_layer(child.media_type):
            info = {
                IMAGE_REF: name,
                LAYER_DIGEST: child.digest,
                IMAGE_LAYERS: _listed(islice(digests, position, position + _MOST_LISTED)),
                MANIFEST_DIGEST: manifest,
            }
            child = replace(child, annotations={**child.annotations, **info})
            position += 1
        found.append(child)
    return found


def _listed(digests: Iterable[str]) -> str:
    """Return a comma-separated list of the first digests, as many as fit into a label.

    If later digests do not fit, the snapshotter still works, but takes more time.
    """
    found: list[str] = []
    size = len(IMAGE_LAYERS)
    for digest in digests:
        size += len(digest) + bool(found)
        if size > MAX_LABEL:
            break
        found.append(digest)
    return ",".join(found)
