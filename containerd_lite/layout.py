"""Images in a folder, without a daemon: ``Client``'s verbs of images on an OCI image layout."""

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
    """The image names and content of a folder."""

    def __init__(self, store: LayoutStore, platform: Platform) -> None:
        self.names = LayoutNames(store)
        self.store: LayoutStore = store
        self.platform = platform

    def with_defaults(
        self, *, platform: Platform | str | None = None, snapshotter: str | None = None
    ) -> LayoutBackend:
        wanted = parse(platform) if isinstance(platform, str) else platform
        return LayoutBackend(self.store, wanted or self.platform)

    @contextmanager
    def keeping(self, resume: str = "") -> Iterator[None]:
        """Nothing is collected in a folder.  Incomplete writes stay, if at all, in ``.ingest/``."""
        try:
            yield
        finally:
            self.store.tidy()

    def replacer(self) -> Replacer:
        return self.store


class Layout(ImageVerbs):
    """An OCI image layout; made with the first image if the folder is empty or missing.

    ``platform`` (``"linux/arm64"``) is this machine's unless given.  Raises ``InvalidArgument``
    for a folder that holds something else.

    Images are called by ``io.containerd.image.name``, where ``index.json`` has it, else by
    ``org.opencontainers.image.ref.name``, which is what other tools look for; new ones have their
    full name there.  A name that others gave to two images raises ``FailedPrecondition``, save
    where it is given anew.
    """

    def __init__(self, path: str | os.PathLike[str], *, platform: str | None = None) -> None:
        debug.read_environment()
        self.content_store = LayoutStore(path)
        self._platform = parse_or_default(platform)

    @property
    def path(self) -> Path:
        return self.content_store.path

    @property
    def _images(self) -> LayoutBackend:
        return LayoutBackend(self.content_store, self._platform)

    def __repr__(self) -> str:
        return f"<Layout {self.path}>"
