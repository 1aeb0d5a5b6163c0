"""The base of all verbs for images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from .. import images, registry

if TYPE_CHECKING:
    from .image_backend import ImageBackend


def new_host_cache() -> registry.HostCache:
    """Return a new cache of the connections to registries. Clients make it when they need it."""
    return registry.HostCache()


class Verbs(ABC):
    """Base of all verbs; ``Client`` and ``Layout`` supply the backend that the verbs work on."""

    @property
    @abstractmethod
    def _images(self) -> ImageBackend:
        """The backend that stores the images."""

    def get_image(self, name: str) -> images.Image:
        """Return the image called ``name``.

        Args:
            name: The full name (``"docker.io/library/busybox:latest"``) or the familiar name
                (``"busybox"``).

        Raises:
            NotFound: No image has this name.
        """
        return images.find_image(self._images, name)

    def list_images(self, *filters: str) -> list[images.Image]:
        """Return all images, or the images that match at least one filter.

        Args:
            *filters: Filters in containerd's syntax (``"name==x"``). Only daemons support them.

        Raises:
            InvalidArgument: A filter is passed to a ``Layout``.
        """
        return images.list_images(self._images, *filters)
