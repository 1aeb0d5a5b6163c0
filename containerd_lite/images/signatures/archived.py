"""Verifies the images of an archive by the signatures in the archive."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from ...errors import ResourceExhausted
from ...oci.descriptor import Descriptor
from ...oci.manifest import MAX_DEPTH, Index
from ...oci.reference import Reference
from ...store.documents import read_document
from ...store.layout_names import COSIGN_KINDS, KIND
from ...store.protocol import ContentStore, read_blob
from ...trust import MAX_READS, Verdict, is_signature_layer, reference_of
from ..platforms import Platforms
from .repositories import referrers_among
from .verification import Guard

#: The tags of signatures, attestations and lists of referrers.
_SIGNATURE_TAG = re.compile(r"sha256-[0-9a-f]{64}(\.sig|\.att|\.sbom)?")


class ArchivedSignatures:
    """The images of an archive, and the signatures in the same archive.

    Args:
        store: The store that has the content of the archive.
        entries: The entries of the archive's index.
        targets: The images by name.
        sizes: The sizes in bytes of the archive's blobs, by digest.
    """

    def __init__(
        self,
        store: ContentStore,
        entries: Sequence[Descriptor],
        targets: Mapping[str, Descriptor],
        sizes: Mapping[str, int],
    ) -> None:
        self._store = store
        self._entries = entries
        self._targets = targets
        self._sizes = sizes
        self._reads_left = MAX_READS
        #: For each manifest and index: whether only signatures can be reached from it.
        self._only_signatures: dict[str, bool] = {}
        self._referrers: Mapping[str, Sequence[Descriptor]] | None = None

    def check(self, guard: Guard, platforms: Platforms) -> dict[str, Verdict | None]:
        """Return the verdict on each image, by name.

        The verdict on a name of cosign's form that refers to nothing but signatures is ``None``,
        because such a manifest cannot be run.

        Raises:
            SignatureError: An image does not meet the policies.
        """
        verdicts: dict[str, Verdict | None] = {}
        for name, target in self._targets.items():
            reference = reference_of(name)
            if _SIGNATURE_TAG.fullmatch(reference.tag) and self._has_only_signatures(target):
                verdicts[name] = None
                continue
            repository = _ArchiveRepository(self, reference)
            verdicts[name] = guard.check(repository, reference, target, platforms)
        return verdicts

    def _has_only_signatures(self, target: Descriptor, depth: int = 0) -> bool:
        """Return whether nothing but signatures can be reached from a manifest or index."""
        if target.digest not in self._sizes or depth > MAX_DEPTH:
            return False
        if target.digest not in self._only_signatures:
            document = read_document(self._store, target)
            self._only_signatures[target.digest] = (
                all(self._has_only_signatures(each, depth + 1) for each in document.manifests)
                if isinstance(document, Index)
                else all(is_signature_layer(layer.media_type) for layer in document.layers)
            )
        return self._only_signatures[target.digest]

    def referrers(self, target: Descriptor) -> Sequence[Descriptor]:
        """Return the manifests in the archive whose subject is ``target``."""
        if self._referrers is None:
            self._referrers = referrers_among(self._store, self._sizes)
        return self._referrers.get(target.digest, ())

    def find(self, reference: Reference, tag: str) -> Descriptor | None:
        """Return the descriptor under a tag, or the entry that ``cosign save`` has marked."""
        found = self._targets.get(f"{reference.name}:{tag}")
        if found is not None:
            return found
        kind = COSIGN_KINDS.get(tag.rpartition(".")[2])
        marked = (each for each in self._entries if kind and each.annotations.get(KIND) == kind)
        return next(marked, None)

    def read(self, descriptor: Descriptor, limit: int) -> bytes:
        """Return content of the archive.

        Raises:
            ResourceExhausted: The images have too many signatures altogether.
        """
        self._reads_left -= 1
        if self._reads_left < 0:
            raise ResourceExhausted(f"the archive has more than {MAX_READS} signatures to read")
        return read_blob(self._store, descriptor, limit)


class _ArchiveRepository:
    """One repository of an archive; a ``trust.Repository``."""

    def __init__(self, archived: ArchivedSignatures, reference: Reference) -> None:
        self.referrers = archived.referrers
        self.read = archived.read
        self._archived = archived
        self._reference = reference

    def find(self, tag: str) -> Descriptor | None:
        return self._archived.find(self._reference, tag)
