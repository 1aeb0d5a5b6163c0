"""Remembers the labels of the content that a pull holds, so that it asks the daemon less often."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping

from ..store.protocol import ContentStore


class KnownContent:
    """The content of a store, with the labels of the blobs that the caller's lease holds.

    A held blob existed before, and garbage collection cannot delete it. So its labels are read
    once, and written only if they change.

    Args:
        store: The store.
    """

    def __init__(self, store: ContentStore) -> None:
        self._store = store
        self._labels: dict[str, Mapping[str, str]] = {}

    @property
    def identity(self) -> Hashable:
        """The identity of the store; see ``ContentStore.identity``."""
        return self._store.identity

    def holds(self, digest: str) -> bool:
        """Return whether a blob is known to be held."""
        return digest in self._labels

    def add(self, digests: Iterable[str]) -> None:
        """Add those of the blobs that exist. The caller's lease must hold them."""
        new = {digest for digest in digests if digest not in self._labels}
        found = self._store.infos(new)
        self._labels.update((digest, info.labels) for digest, info in found.items())

    def missing(self, digests: Iterable[str]) -> set[str]:
        """Return the digests of the blobs that the store lacks."""
        unknown = {digest for digest in digests if digest not in self._labels}
        return unknown - self._store.infos(unknown).keys()

    def label(self, digest: str, key: str) -> str:
        """Return the value of a label of a held blob, ``""`` if the blob lacks the label."""
        return self._labels.get(digest, {}).get(key, "")

    def update(self, digest: str, labels: Mapping[str, str]) -> None:
        """Set labels of a blob, unless it is held and has them.

        Raises:
            NotFound: The store has no such blob.
        """
        present = self._labels.get(digest)
        if present is None:
            self._store.update(digest, labels)
        elif any(present.get(key) != value for key, value in labels.items()):
            self._labels[digest] = self._store.update(digest, labels).labels
