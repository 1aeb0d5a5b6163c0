"""``Layout``: the image methods of ``Client`` for an OCI image layout, without a daemon."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from . import debug, images
from .arguments import check_types
from .images.base import new_host_cache
from .images.image_backend import ImageBackend, Replacer
from .images.verbs import ImageVerbs
from .locks import PerProcess
from .oci.platform import Platform, parse, parse_or_default
from .operation import Operations
from .store.layout_names import LayoutNames
from .store.layout_store import LayoutStore

if TYPE_CHECKING:
    from .images.signatures.policies import PolicyLike
    from .registry import HostCache
    from .registry.registry_access import RegistryOptions
    from .trust.policy import Policy


class LayoutBackend(ImageBackend):
    """The image names and the content of one layout."""

    def __init__(
        self,
        store: LayoutStore,
        host_caches: PerProcess[HostCache],
        platform: Platform,
        policies: tuple[Policy, ...] = (),
        registry: RegistryOptions | None = None,
    ) -> None:
        self.policies, self.registry = policies, registry
        self.names = LayoutNames(store)
        self.store: LayoutStore = store
        self.host_caches = host_caches
        self.platform = platform

    def with_defaults(
        self, *, platform: Platform | str | None = None, snapshotter: str | None = None
    ) -> LayoutBackend:
        """Return a backend for the same layout with another default platform."""
        wanted = parse(platform) if isinstance(platform, str) else platform
        return LayoutBackend(
            self.store, self.host_caches, wanted or self.platform, self.policies, self.registry
        )

    @contextmanager
    def keeping(self, resume: str = "") -> Iterator[None]:
        """Run the block. A layout has no garbage collection, so content needs no protection.

        Incomplete writes stay in the folder ``.ingest/``. If ``.ingest/`` is empty after the block,
        this method removes it.
        """
        try:
            yield
        finally:
            self.store.tidy()

    def replacer(self) -> Replacer:
        """Return the store, because a layout's store can replace damaged blobs itself."""
        return self.store


class Layout(ImageVerbs):
    """An OCI image layout on disk, with the image methods of ``Client``.

    The name of an image is the annotation ``io.containerd.image.name`` of its entry in
    ``index.json``. If the entry does not have this annotation, the name is the annotation
    ``org.opencontainers.image.ref.name``. For a new image, this package writes the full name to
    ``org.opencontainers.image.ref.name``, because other tools read that annotation.

    If another tool gave the same name to two images, a method that looks up the name raises
    ``FailedPrecondition``. A method that writes an image with this name replaces both images.

    A layout keeps its connections to registries until it is closed, by ``close`` or at the end of
    a ``with`` block.

    Args:
        path: The folder of the layout. If the folder is missing or empty, the first write of an
            image creates the layout.
        platform: The platform of images, such as ``"linux/arm64"``. Default: the platform of this
            machine.
        policy: The policy that images must meet before they get a name in the layout, or the path
            of its file. Default: all images are accepted.
        registry: How to reach registries; see ``RegistryOptions``. Verbs can override it.

    Raises:
        InvalidArgument: The folder is not empty, and does not contain a layout.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        platform: str | None = None,
        policy: PolicyLike | None = None,
        registry: RegistryOptions | None = None,
    ) -> None:
        debug.read_environment()
        check_types({"registry": registry})
        self._registry_options = registry
        self.content_store = LayoutStore(path)
        self._host_caches = PerProcess(new_host_cache)
        self._operations = PerProcess(Operations)
        self._platform = parse_or_default(platform)
        self._policies = () if policy is None else (images.load_policy(policy),)

    @property
    def path(self) -> Path:
        """The folder of the layout."""
        return self.content_store.path

    def close(self) -> None:
        """Cancel running calls, wait for their clean-up, and close the connections to registries.

        The layout can still be used.
        """
        self._operations.get().close(self._close_connections, for_ever=False)

    def _close_connections(self) -> None:
        host_cache = self._host_caches.made()
        if host_cache is not None:
            host_cache.close()

    def __enter__(self) -> Layout:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def _images(self) -> LayoutBackend:
        return LayoutBackend(
            self.content_store,
            self._host_caches,
            self._platform,
            self._policies,
            self._registry_options,
        )

    def __repr__(self) -> str:
        return f"<Layout {self.path}>"
