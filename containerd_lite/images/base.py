"""The base of all verbs for images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from .. import images

if TYPE_CHECKING:
    from .image_backend import ImageBackend


class Verbs(ABC):
    """Base of all verbs; ``Client`` and ``Layout`` give the backend that they work on."""

    @property
    @abstractmethod
    def _images(self) -> ImageBackend:
        """Where the images are."""

    def get_image(self, name: str) -> images.Image:
        """The image called ``name``, by its full or familiar name.  Raises ``NotFound``."""
        return images.find_image(self._images, name)

    def list_images(self, *filters: str) -> list[images.Image]:
        """All images, those that match one of ``filters`` if some are given.

        Filters are for daemons, and written as containerd's are: ``name==x``.
        """
        return images.list_images(self._images, *filters)
