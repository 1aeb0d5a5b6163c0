"""Checks images that the daemon has named in a transfer, and restores old names if a check fails.

So a pull or import by the daemon has the same guarantees as a pull or import by this process.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from copy import copy

from ...errors import AlreadyExists, ContainerdError, NoMatchingPlatform, NotFound
from ...oci import digest as digests
from ...oci.descriptor import Descriptor
from ...oci.image_record import ImageRecord, check_name, recorded
from ...records import replace
from ...store.protocol import ContentStore, ingest_ref
from ...undo import Undo
from ..image import Image
from ..image_backend import ImageBackend
from ..names import find
from ..platforms import Platforms
from ..upkeep.check import check_target


class NameChanges:
    """Records image names before a transfer by the daemon, and restores them after a failure."""

    def __init__(self, backend: ImageBackend) -> None:
        self._backend = backend
        self._old_images: dict[str, Image] = {}

    def remember(self, name: str) -> None:
        """Record the image that a name refers to, and add its manifest or index to the lease."""
        with suppress(NotFound):
            record = find(self._backend.names, name)
            _add_to_lease(self._backend.store, record.target)
            self._old_images[record.name] = Image(self._backend, record)

    def read_ahead(self) -> None:
        """Read the manifests and configs of the old images.

        If a transfer leaves an image as it is, ``accept`` then does not read them. Errors are
        ignored, because ``accept`` meets them again.
        """
        for image in self._old_images.values():
            with suppress(ContainerdError):
                image.config()

    def remember_all(self) -> None:
        """Record the image of every name, because the transfer can change any name."""
        images = (Image(self._backend, record) for record in self._backend.names.list())
        self._old_images = {image.name: image for image in images}

    def accept(
        self, names: Iterable[str], platforms: Platforms, *, is_complete: bool = True
    ) -> list[Image]:
        """Return the images that have one of ``names`` and the wanted platforms.

        If an image lacks the wanted platforms, its name is restored: an old name refers to its old
        image again, and a new name is deleted. The same holds for a name that is a digest of other
        content. After an error, all names are restored.

        Args:
            names: The names that the daemon has created or changed.
            platforms: The wanted platforms.
            is_complete: Whether the images are known to be complete. If false, this method checks
                whether all content of the images is in the store.

        Raises:
            NoMatchingPlatform: No image has the wanted platforms.
            DigestMismatch: A name ends with a digest, but refers to other content.
            NotFound: Content is missing. The message lists the digests of the missing content.
        """
        with self.restoring(names := list(names)):
            found = [self._image(self._backend.names.get(name)) for name in names]
            return self._accept(found, platforms, is_complete)

    def restoring(self, names: Sequence[str]) -> Undo:
        """Return a context manager that restores ``names`` if its block raises.

        The block can add names to the list.
        """
        return Undo(lambda: self._restore(names))

    def _accept(
        self, found: Sequence[Image], platforms: Platforms, is_complete: bool
    ) -> list[Image]:
        matching: list[Image] = []
        mismatch = None
        for image in found:
            if image.holds_other_digest():
                if not digests.is_digest(image.name):
                    check_name(image.name, image.target, image.labels)
                continue
            try:
                image.expect(platforms)
                matching.append(image)
            except NoMatchingPlatform as error:
                mismatch = error
        if mismatch is not None and not matching:
            raise mismatch
        if not is_complete:
            for image in matching:
                self._expect_complete(image, platforms)
        self._restore([image.name for image in found if image not in matching])
        return list(map(self._trimmed, matching))

    def _image(self, record: ImageRecord) -> Image:
        """Return an image. If its old target was the same, keep what was read of the old image."""
        old = self._old_images.get(record.name)
        if old is None or old.target != record.target:
            return Image(self._backend, record)
        image = copy(old)
        image.info = record
        return image

    def _trimmed(self, image: Image) -> Image:
        """Write the name again if its target has annotations that are too long for a label."""
        target = recorded(image.name, image.target)
        if target == image.target:
            return image
        names = self._backend.names
        return Image(self._backend, names.restore(replace(image.info, target=target)))

    def _expect_complete(self, image: Image, platforms: Platforms) -> None:
        report = check_target(self._backend, image.name, image.target, platforms)
        missing = [target.digest for target in report.missing if not target.is_foreign]
        if missing:
            raise NotFound(
                f"{image.name} lacks {digests.listed(missing)}",
                remedy="Import the base image first, or pass another platform=",
            )

    def _restore(self, names: Sequence[str]) -> None:
        """Restore names; ignore errors, which would hide an earlier error."""
        for name in names:
            old = self._old_images.get(name)
            with suppress(ContainerdError):
                if old is None:
                    self._backend.names.delete(name)
                else:
                    self._backend.names.restore(old.info)


def _add_to_lease(store: ContentStore, target: Descriptor) -> None:
    """Add existing content to the lease, by an attempt to write it again."""
    with suppress(AlreadyExists):
        store.writer(ingest_ref(target), size=target.size, expected=target.digest).close()
        store.abort(ingest_ref(target))  # runs only if the store no longer has the content
