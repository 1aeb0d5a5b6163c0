"""Annotations of layers for lazy snapshotters, which fetch the layers themselves.

The annotations are the same as in containerd's pkg/snapshotters. The unpacker passes annotations
with the prefix ``containerd.io/snapshot/`` on to the snapshotter.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

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
    found = []
    for position, child in enumerate(children):
        if media_types.is_layer(child.media_type):
            info = {
                IMAGE_REF: name,
                LAYER_DIGEST: child.digest,
                IMAGE_LAYERS: _layer_list(children[position:]),
                MANIFEST_DIGEST: manifest,
            }
            child = replace(child, annotations={**child.annotations, **info})
        found.append(child)
    return found


def _layer_list(children: Iterable[Descriptor]) -> str:
    """Return a comma-separated list of the first layers' digests, as many as fit into a label.

    If later digests do not fit, the snapshotter still works, but takes more time.
    """
    listed = ""
    for child in children:
        if media_types.is_layer(child.media_type):
            longer = f"{listed},{child.digest}" if listed else child.digest
            if len(IMAGE_LAYERS) + len(longer) > MAX_LABEL:
                break
            listed = longer
    return listed
