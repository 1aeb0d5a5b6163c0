"""Where one name's content comes from, and the store that it goes to.

What lives here: bringing blobs and documents, and their labels.  What may not: which are wanted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from ..resolver import Fetcher
from .fetch_blob import fetch_blob


@record(frozen=True)
class StoreFetcher:
    """Brings what belongs to ``name`` from a fetcher into a store."""

    fetcher: Fetcher
    name: str
    store: ContentStore
    job: Job
    #: Whether content is labelled: what was made of something else did not come from there.
    is_labelled: bool = True

    @cached_property
    def _reference(self) -> Reference | None:
        """The name as a reference; a resolver may have names of another kind."""
        if self.is_labelled:
            with suppress(InvalidArgument):
                return Reference.parse(self.name)
        return None

    def bring(self, descriptor: Descriptor, keep: bytearray | None = None) -> None:
        """Have the blob in the store, labelled with the repository that it came from."""
        reference = self._reference
        labels = source_label(reference) if reference else {}
        is_new = fetch_blob(
            self.fetcher, self.store, descriptor, labels=labels, job=self.job, keep=keep
        )
        if reference and not is_new:
            present = self.store.info(descriptor.digest).labels
            wanted = source_label(reference, present.get(source_key(reference), ""))
            self._update(descriptor, present, wanted)

    def document(self, descriptor: Descriptor) -> bytes:
        """A manifest, index or config, brought and read whole."""
        keep = bytearray()
        self.bring(descriptor, keep)
        if len(keep) == descriptor.size:
            return bytes(keep)  # the store has found it to be right
        return read_blob(self.store, descriptor, MAX_DOCUMENT)

    def label(self, descriptor: Descriptor, labels: Mapping[str, str]) -> None:
        """Set labels that are not set."""
        if self.is_labelled:
            self._update(descriptor, self.store.info(descriptor.digest).labels, labels)

    def _update(
        self, descriptor: Descriptor, present: Mapping[str, str], wanted: Mapping[str, str]
    ) -> None:
        if any(present.get(key) != value for key, value in wanted.items()):
            self.store.update(descriptor.digest, wanted)

    def referrers(self, descriptor: Descriptor) -> Sequence[Descriptor]:
        """What refers to the descriptor, where the fetcher can tell."""
        find = getattr(self.fetcher, "referrers", None)
        return () if find is None else tuple(find(descriptor))


def expect_bounded(descriptor: Descriptor) -> None:
    """Raises ``SizeMismatch`` for a document too large to be read, before it is fetched."""
    if media_types.is_document(descriptor.media_type) and descriptor.size > MAX_DOCUMENT:
        raise SizeMismatch(
            f"{descriptor.digest} has {descriptor.size} bytes; {MAX_DOCUMENT} are allowed"
        )
