"""The base of all verbs for images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, TypeVar

from .. import images, registry
from ..operation import operation

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from ..locks import PerProcess
    from ..operation import CancelToken, Operations
    from ..registry.registry_access import RegistryCredentials, RegistryOptions
    from .image_backend import ImageBackend

_R = TypeVar("_R")


def new_host_cache() -> registry.HostCache:
    """Return a new cache of the connections to registries. Clients make it when they need it."""
    return registry.HostCache()


class Verbs(ABC):
    """Base of all verbs; ``Client`` and ``Layout`` supply the backend that the verbs work on."""

    #: The running operations of this process.
    _operations: PerProcess[Operations]

    def _operation(
        self, what: str, timeout: float | None, cancel: CancelToken | None
    ) -> AbstractContextManager[None]:
        """Return a context manager that runs its block as one operation; see ``operation``."""
        return operation(what, timeout, cancel, self._operations.get())

    def _registry(
        self,
        resolver: _R | None,
        options: RegistryOptions | None,
        credentials: RegistryCredentials | None,
        plain_http: bool | None,
    ) -> _R | RegistryOptions | None:
        """Return the resolver that a verb uses, or the options to make one."""
        return registry.choose_registry(
            self._images.registry,
            resolver=resolver,
            registry=options,
            credentials=credentials,
            plain_http=plain_http,
        )

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
