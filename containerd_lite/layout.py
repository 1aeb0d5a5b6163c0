"""Images in a folder, without a daemon: the embedded default.

What lives here: the verbs of ``Client`` on an OCI image layout.  What may not: how they are done.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .images import pull  # noqa: F401  at once: root's rights may be given up before it is used
from .images.image import ImageServices
from .images.verbs import ImageVerbs
from .oci.platform import default, parse
from .store.layout import LayoutStore
from .store.layout_names import LayoutNames


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
        self.content_store = LayoutStore(path)
        self._platform = default() if platform is None else parse(platform)

    @property
    def path(self) -> Path:
        return self.content_store.path

    def _image_services(
        self, snapshotter: str | None = None, platform: str | None = None
    ) -> ImageServices:
        wanted = self._platform if platform is None else parse(platform)
        return ImageServices(LayoutNames(self.content_store), self.content_store, wanted)

    @contextmanager
    def _keeping(self, resume: str = "") -> Iterator[None]:
        """Nothing is collected in a folder; what is half-made of a write stays, if at all, in a
        folder of its own."""
        try:
            yield
        finally:
            self.content_store.tidy()

    def __repr__(self) -> str:
        return f"<Layout {self.path}>"
