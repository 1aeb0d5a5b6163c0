"""Looks up what the daemon still has to fetch of an image that it pulls.

The daemon reports content one by one, and does not say which report is the last. So this module
reads the manifests that the daemon has fetched.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ...oci.descriptor import Descriptor
from ...store.documents import read_document
from ...store.protocol import ContentStore
from ..platforms import Platforms, wanted_children


class PulledContent:
    """The content of an image that the daemon pulls.

    Args:
        store: The daemon's content. Each call must have a deadline.
        platforms: The platforms that the daemon pulls.
    """

    def __init__(self, store: ContentStore, platforms: Platforms) -> None:
        self._store = store
        self._platforms = platforms

    def children(self, document: Descriptor) -> Sequence[Descriptor]:
        """Return the wanted children of a manifest or index that the daemon has fetched.

        Raises:
            ContainerdError: The document cannot be read.
        """
        found = read_document(self._store, document)
        return wanted_children(found, self._platforms, document.digest, is_root=False)

    def present(self, contents: Iterable[Descriptor]) -> list[Descriptor]:
        """Return the contents that the daemon has.

        Raises:
            ContainerdError: The daemon does not answer.
        """
        wanted = {each.digest: each for each in contents}
        return [wanted[digest] for digest in self._store.infos(wanted)]
