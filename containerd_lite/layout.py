"""``Layout``: the image methods of ``Client`` on an OCI image layout, without a daemon."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from . import debug
from .images.image_backend import ImageBackend, Replacer
from .images.verbs import ImageVerbs
from .oci.platform import Platform, parse, parse_or_default
from .store.layout_names import LayoutNames
from .store.layout_store import LayoutStore


class LayoutBackend(ImageBackend):
    """The image names and the content of one layout."""

    def __init__(self, store: LayoutStore, platform: Platform) -> None:
        self.names = LayoutNames(store)
        self.store: LayoutStore = store
        self.platform = platform

    def with_defaults(
        self, *, platform: Platform | str | None = None, snapshotter: str | None = None
    ) -> LayoutBackend:
        """Return this backend with another default platform."""
        wanted = parse(platform) if isinstance(platform, str) else platform
        return LayoutBackend(self.store, wanted or self.platform)

    @contextmanager
    def keeping(self, resume: str = "") -> Iterator[None]:
        """Run the block: a layout has no garbage collection from which to protect content.

        Incomplete writes stay in ``.ingest/``, which is removed if it is empty.
        """
        try:
            yield
        finally:
            self.store.tidy()

    def replacer(self) -> Replacer:
        """Return the store, which can replace damaged blobs itself."""
        return self.store


class Layout(ImageVerbs):
    """An OCI image layout on disk, with the image methods of ``Client``.

    An image's name is its annotation ``io.containerd.image.name`` in ``index.json``, else
    ``org.opencontainers.image.ref.name``. New images have their full name in the latter, which
    other tools read. If another tool gave one name to two images, methods that look the name up
    raise ``FailedPrecondition``, and a method that writes the name replaces both.

    Args:
        path: The folder. If it is missing or empty, the first image that is written creates the
            layout.
        platform: The platform of images (``"linux/arm64"``). Default: this machine's.

    Raises:
        InvalidArgument: The folder has other content than a layout.
    """

    def __init__(self, path: str | os.PathLike[str], *, platform: str | None = None) -> None:
        debug.read_environment()
        self.content_store = LayoutStore(path)
        self._platform = parse_or_default(platform)

    @property
    def path(self) -> Path:
        """The folder of the layout."""
        return self.content_store.path

    @property
    def _images(self) -> LayoutBackend:
        return LayoutBackend(self.content_store, self._platform)

    def __repr__(self) -> str:
        return f"<Layout {self.path}>"
