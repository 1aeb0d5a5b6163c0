"""What lazy snapshotters want to know of a layer, as annotations.

What lives here: the annotations and the wrapper that adds them (containerd's pkg/snapshotters).
What may not: handing them on, which unpacking does with all that begin so.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ...oci import media_types
from ...oci.descriptor import Descriptor
from ...records import replace
from ..names import full_name
from ..walk import Handler, WrapHandler

#: The names are the kubelet's for history's sake; snapshotters read them of any client.
_PREFIX = "containerd.io/snapshot/cri"
IMAGE_REF = f"{_PREFIX}.image-ref"
LAYER_DIGEST = f"{_PREFIX}.layer-digest"
IMAGE_LAYERS = f"{_PREFIX}.image-layers"
MANIFEST_DIGEST = f"{_PREFIX}.manifest-digest"
#: Bytes of a label, key and value (pkg/labels).
_MOST = 4096


def append_info(ref: str) -> WrapHandler:
    """For ``pull(ref, wrap_handler=append_info(ref))`` into a snapshotter that brings layers
    itself, such as stargz, soci or nydus: it is told of each layer what to ask which registry for.

    Without it such a snapshotter is given no more than the layer's chain ID, and most then leave
    the layer to the pull.  ``Image.is_lazy`` tells what came of it.  Raises ``InvalidArgument``.
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
    found = []
    for place, child in enumerate(children):
        if media_types.is_layer(child.media_type):
            told = {
                IMAGE_REF: name,
                LAYER_DIGEST: child.digest,
                IMAGE_LAYERS: _layers(children[place:]),
                MANIFEST_DIGEST: manifest,
            }
            child = replace(child, annotations={**child.annotations, **told})
        found.append(child)
    return found


def _layers(children: Iterable[Descriptor]) -> str:
    """As many digests as a label holds; those left out cost a snapshotter time only."""
    listed = ""
    for child in children:
        if media_types.is_layer(child.media_type):
            longer = f"{listed},{child.digest}" if listed else child.digest
            if len(IMAGE_LAYERS) + len(longer) > _MOST:
                break
            listed = longer
    return listed
