"""Images in a folder, without a daemon: the embedded default.

What lives here: the verbs of ``Client`` on an OCI image layout.  What may not: how they are done.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from .errors import NotFound
from .images.fetch import Job
from .images.pull import Pull
from .images.resolver import Resolver, using
from .oci.descriptor import Descriptor
from .oci.platform import default, parse
from .oci.reference import Reference
from .progress import ProgressCallback
from .store.layout import REF_NAME, LayoutStore


@dataclass(frozen=True)
class LayoutImage:
    """A name in a layout, and what it stands for."""

    name: str
    target: Descriptor


class Layout:
    """An OCI image layout; made with the first pull if the folder is empty or missing.

    Raises ``InvalidArgument`` for a folder that holds something else.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.content_store = LayoutStore(path)

    @property
    def path(self) -> Path:
        return self.content_store.path

    def pull(
        self,
        ref: str,
        *,
        platform: str | None = None,
        resolver: Resolver | None = None,
        progress: ProgressCallback | None = None,
        max_concurrent_downloads: int = 3,
    ) -> LayoutImage:
        """Fetch an image into the folder, every blob verified; the index names it at the end.

        Arguments and errors as ``Client.pull``.  An index is kept whole, with the content of the
        platform asked for.
        """
        job = Job(progress)
        try:
            with using(resolver, job.tell) as source:
                pull = Pull(
                    source,
                    self.content_store,
                    platform=default() if platform is None else parse(platform),
                    job=job,
                    max_concurrent_downloads=max_concurrent_downloads,
                )
                pulled = pull.run(ref)
            self.content_store.tag(pulled.name, pulled.target)
        finally:
            self.content_store.tidy()
        return LayoutImage(pulled.name, pulled.target)

    def list_images(self) -> list[LayoutImage]:
        """What the index names."""
        entries = self.content_store.index().manifests
        return [
            LayoutImage(e.annotations[REF_NAME], e) for e in entries if REF_NAME in e.annotations
        ]

    def get_image(self, name: str) -> LayoutImage:
        """By its full or familiar name.  Raises ``NotFound``."""
        wanted = {name}
        with suppress(ValueError):
            wanted.add(str(Reference.parse(name)))
        for image in self.list_images():
            if image.name in wanted:
                return image
        raise NotFound(f"{self.path} has no image {name!r}")

    def __repr__(self) -> str:
        return f"<Layout {self.path}>"
