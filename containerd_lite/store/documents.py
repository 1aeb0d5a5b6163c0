"""Reading manifests and indexes from a store."""

from __future__ import annotations

from ..oci.descriptor import Descriptor
from ..oci.document import MAX_DOCUMENT
from ..oci.manifest import Index, Manifest, parse
from .protocol import ContentStore, read_blob


def read_document(store: ContentStore, descriptor: Descriptor) -> Manifest | Index:
    """Return the manifest or index that a descriptor refers to, and verify its content.

    A document in Docker's format can have a descriptor with OCI's media type, and the reverse:
    containerd imports such archives.

    Raises:
        NotFound: The store has no such blob.
        SizeMismatch: The blob is larger than 4 MiB, or does not have the descriptor's size.
        DigestMismatch: The blob does not have the descriptor's digest.
        InvalidArgument: The blob is not a valid manifest or index.
    """
    body = read_blob(store, descriptor, MAX_DOCUMENT)
    return parse(body, descriptor.media_type, exact=False)
