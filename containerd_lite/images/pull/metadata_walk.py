"""Fetches manifests and configs of the platforms that a pull does not want, without layers."""

from __future__ import annotations

from collections.abc import Sequence

from ...oci import media_types
from ...oci.descriptor import Descriptor
from ...oci.manifest import Manifest, parse
from ..gc_labels import child_labels
from ..walk import Handler
from .store_fetcher import StoreFetcher, check_document_size


def metadata_handler(source: StoreFetcher) -> Handler:
    """Return a handler that fetches a descriptor's content, but no layers below it.

    The children of a manifest are its config; the children of an index are all its entries.
    """

    def fetch(descriptor: Descriptor) -> Sequence[Descriptor]:
        if not media_types.is_document(descriptor.media_type):
            source.fetch_if_missing(descriptor)
            return ()
        check_document_size(descriptor)
        document = parse(source.document(descriptor), descriptor.media_type)
        source.label(descriptor, child_labels(document.children))
        children = [document.config] if isinstance(document, Manifest) else document.children
        source.job.expect(children, descriptor)
        return children

    return fetch
