"""Manifests, indexes and configs in a store: small blobs that are read and written whole."""

from __future__ import annotations

import json
import time

from ..deadline import Deadline, backoff
from ..errors import AlreadyExists, DigestMismatch, SizeMismatch, Unavailable, is_away
from ..oci import digest as digests
from ..oci.descriptor import Descriptor
from ..oci.document import MAX_DOCUMENT
from ..oci.manifest import Index, Manifest, parse
from ..undo import Undo
from .protocol import ContentStore, ingest_ref, read_blob

#: How long another writer of the same document is waited for (seconds).
_PATIENCE = 60.0
#: Go escapes these in JSON, so that it can be pasted into a page.
_ESCAPES = {ord(one): f"\\u{ord(one):04x}" for one in "<>&\u2028\u2029"}


def read_document(store: ContentStore, descriptor: Descriptor) -> Manifest | Index:
    """The manifest or index that a descriptor names, verified.

    Raises ``NotFound``, ``SizeMismatch``, ``DigestMismatch``, ``InvalidArgument``.
    """
    return parse(read_blob(store, descriptor, MAX_DOCUMENT), descriptor.media_type)


def write_document(store: ContentStore, media_type: str, body: bytes) -> tuple[Descriptor, bool]:
    """Have ``body`` in the store, without labels.

    Returns its descriptor, and whether it was not there before.
    """
    descriptor = Descriptor(media_type, digests.of(body), len(body))
    ref, patience = ingest_ref(descriptor), Deadline(_PATIENCE)
    for wait in backoff(0.016, 2.048):
        was_begun = False
        try:
            with (
                store.writer(ref, size=len(body), expected=descriptor.digest) as writer,
                Undo(lambda: store.abort(ref)),
            ):
                was_begun = writer.offset > 0
                writer.write(body[writer.offset :])
                writer.commit()
            return descriptor, True
        except AlreadyExists:
            return descriptor, False
        except (DigestMismatch, SizeMismatch):
            if not was_begun:  # else an earlier writer left something wrong, which is gone now
                raise
        except Unavailable as error:
            if is_away(error) or patience.expired:
                raise
        time.sleep(wait)
    raise AssertionError("unreachable")


def indented_json(value: object) -> bytes:
    """JSON as Go's ``json.MarshalIndent`` writes it with three spaces, as containerd does."""
    text = json.dumps(value, ensure_ascii=False, indent=3)
    return text.translate(_ESCAPES).encode()
