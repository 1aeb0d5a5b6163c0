"""Images that the daemon has named: taken, as our own pipeline would have done, or taken back.

What lives here: what names stood for before, and looking at what they stand for now.  What may
not: transfers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress

from ...errors import AlreadyExists, ContainerdError, NoMatchingPlatform, NotFound
from ...oci import digest as digests
from ...oci.descriptor import Descriptor
from ...oci.image_record import ImageRecord
from ...store.protocol import ContentStore, ingest_ref
from ...undo import Undo
from ..image import Image
from ..image_backend import ImageBackend
from ..names import find
from ..platforms import Platforms
from ..upkeep.check import check_target


class NameChanges:
    """The names of a store as they were before a transfer, which may change some of them."""

    def __init__(self, backend: ImageBackend) -> None:
        self._backend = backend
        self._before: dict[str, ImageRecord] = {}

    def remember(self, name: str) -> None:
        """Note what a name stands for, and have our lease keep that."""
        with suppress(NotFound):
            record = find(self._backend.names, name)
            _hold(self._backend.store, record.target)
            self._before[record.name] = record

    def remember_all(self) -> None:
        """Note what all names stand for, where nobody knows which of them will change."""
        self._before = {record.name: record for record in self._backend.names.list()}

    def accept(
        self, names: Iterable[str], platforms: Platforms, *, is_whole: bool = True
    ) -> list[Image]:
        """The images that are called so now, less those that have nothing for ``platforms``.

        Raises ``NoMatchingPlatform`` if none has, and unless ``is_whole`` is known ``NotFound``
        with what is missing; then all names stand for what they stood for before.
        """
        found = [Image(self._backend, self._backend.names.get(name)) for name in names]
        fitting: list[Image] = []
        refusal = None
        with Undo(lambda: self._take_back(found)):
            for image in found:
                try:
                    image.expect(platforms)
                    fitting.append(image)
                except NoMatchingPlatform as error:
                    refusal = error
            if refusal is not None and not fitting:
                raise refusal
            if not is_whole:
                for image in fitting:
                    self._expect_whole(image, platforms)
        self._take_back([image for image in found if image not in fitting])
        return fitting

    def _expect_whole(self, image: Image, platforms: Platforms) -> None:
        report = check_target(self._backend, image.name, image.target, platforms)
        missing = [one.digest for one in report.missing if not one.is_foreign]
        if missing:
            raise NotFound(
                f"{image.name} lacks {digests.listed(missing)}",
                remedy="Import what it builds on first, or ask for another platform=",
            )

    def _take_back(self, images: Sequence[Image]) -> None:
        """Never hides the error that led here."""
        for image in images:
            before = self._before.get(image.name)
            with suppress(ContainerdError):
                if before is None:
                    image.delete()
                else:
                    self._backend.names.put(before.name, before.target, before.labels)


def _hold(store: ContentStore, target: Descriptor) -> None:
    """To ask for a write of what is there adds that to our lease."""
    with suppress(AlreadyExists):
        store.writer(ingest_ref(target), size=target.size, expected=target.digest).close()
        store.abort(ingest_ref(target))  # it is gone already
