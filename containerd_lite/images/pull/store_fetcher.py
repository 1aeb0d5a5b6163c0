"""Fetches the content of one image into a store, and labels the content.

The caller decides which content is fetched.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property

from ...errors import InvalidArgument, SizeMismatch
from ...oci import media_types
from ...oci.descriptor import Descriptor
from ...oci.document import MAX_DOCUMENT
from ...oci.reference import Reference
from ...records import record
from ...store.protocol import ContentStore, read_blob
from ..gc_labels import source_key, source_label
from ..job import Job
from ..known_content import KnownContent
from ..resolver import Fetcher
from .fetch_blob import fetch_blob


@record(frozen=True)
class StoreFetcher:
    """Fetches the content of one image into a store.

    Attributes:
        fetcher: Fetches the content.
        name: The name of the image.
        store: The store to write to.
        job: The job that the fetches are part of.
        is_labelled: Whether content gets labels. It is false for converted content, which is not in
            the repository.
        before_write: A function that is called before each blob that the store lacks. It can raise
            an error.
    """

    fetcher: Fetcher
    name: str
    store: ContentStore
    job: Job
    is_labelled: bool = True
    before_write: Callable[[], object] = lambda: None

    @cached_property
    def _reference(self) -> Reference | None:
        """The image's name as a reference; the labels are made from this reference.

        It is ``None`` if content gets no labels, or if the name is not a valid reference.
        """
        if self.is_labelled:
            with suppress(InvalidArgument):
                return Reference.parse(self.name)
        return None

    @cached_property
    def content(self) -> KnownContent:
        """The content of the store, with the labels that this pull remembers."""
        return KnownContent(self.store)

    def fetch_if_missing(self, descriptor: Descriptor, body: bytearray | None = None) -> None:
        """Fetch a blob unless the store has it; label the blob with its repository.

        The fetched bytes are appended to ``body``.
        """
        reference, digest, size = self._reference, descriptor.digest, descriptor.size
        if self.content.holds(digest):
            self.job.report("exists", digest, size, size)
        else:
            self.before_write()
            labels = source_label(reference) if reference else {}
            if fetch_blob(
                self.fetcher, self.store, descriptor, labels=labels, job=self.job, body=body
            ):
                return
            if reference:
                self.content.add([digest])
        if reference:
            present = self.content.label(digest, source_key(reference))
            self.content.update(digest, source_label(reference, present))

    def find_children(self, parent: Descriptor, children: Sequence[Descriptor]) -> None:
        """Find out with one call which blobs of a manifest the store has.

        The labels of the manifest must name its children. If the store had the manifest already,
        the lease holds the manifest, so the existing children are held, too. They are not written
        again one by one to get into the lease. If the manifest is new, its blobs are usually new,
        and the call would only take time.
        """
        if self.content.holds(parent.digest):
            self.content.add(child.digest for child in children)

    def document(self, descriptor: Descriptor) -> bytes:
        """Fetch a manifest, index or config, and return its content."""
        body = bytearray()
        self.fetch_if_missing(descriptor, body)
        if len(body) == descriptor.size:
            return bytes(body)  # the store has verified these bytes
        return read_blob(self.store, descriptor, MAX_DOCUMENT)

    def label(self, descriptor: Descriptor, labels: Mapping[str, str]) -> None:
        """Label content in the store, unless the content has the labels already."""
        if self.is_labelled:
            self.content.update(descriptor.digest, labels)

    def referrers(self, descriptor: Descriptor) -> Sequence[Descriptor]:
        """Return the referrers of ``descriptor``; ``()`` if the fetcher cannot find referrers."""
        find = getattr(self.fetcher, "referrers", None)
        return () if find is None else tuple(find(descriptor))


def check_document_size(descriptor: Descriptor) -> None:
    """Raise ``SizeMismatch`` if ``descriptor`` is a manifest or index that is too large."""
    if media_types.is_document(descriptor.media_type) and descriptor.size > MAX_DOCUMENT:
        raise SizeMismatch(
            f"{descriptor.digest} has {descriptor.size} bytes; at most {MAX_DOCUMENT} are allowed"
        )
