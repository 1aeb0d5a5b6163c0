"""Manifests and indexes in a store: small blobs that are read whole."""

from __future__ import annotations

from ..oci.descriptor import Descriptor
from ..oci.document import MAX_DOCUMENT
from ..oci.manifest import Index, Manifest, parse
from .protocol import ContentStore, read_blob


def read_document(store: ContentStore, descriptor: Descriptor) -> Manifest | Index:
    """The manifest or index that a descriptor names, verified.

    Raises ``NotFound``, ``SizeMismatch``, ``DigestMismatch``, ``InvalidArgument``.
    """
    return parse(read_blob(store, descriptor, MAX_DOCUMENT), descriptor.media_type)
