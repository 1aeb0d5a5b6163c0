"""What the verbs stand on.

What lives here: how they come to the store that they work on.  What may not: verbs.

A client that only asks for the version has them, too: what a verb needs is imported in it.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from ...oci.descriptor import Descriptor
    from ..image import Image, ImageServices

#: What a verb takes for an image: one that was got, its name, or what a name would stand for.
Source: TypeAlias = "Image | Descriptor | str"


class Verbs:
    """Base of all verbs; ``Client`` and ``Layout`` say where their images are."""

    def _image_services(
        self, snapshotter: str | None = None, platform: str | None = None
    ) -> ImageServices:
        raise NotImplementedError

    def _keeping(self, resume: str = "") -> AbstractContextManager[object]:
        """Keeps what is written within the block from garbage collection, and tidies up after it.

        A block that fails takes what it wrote with it, unless ``resume`` names what a later
        block of the same name goes on with.
        """
        raise NotImplementedError

    def get_image(self, name: str) -> Image:
        """The image called ``name``, by its full or familiar name.  Raises ``NotFound``."""
        from ..image import Image
        from ..names import find

        services = self._image_services()
        return Image(services, find(services.names, name))

    def list_images(self, *filters: str) -> list[Image]:
        """All images, those that match one of ``filters`` if some are given.

        Filters are for daemons, and written as containerd's are: ``name==x``.
        """
        from ..image import Image

        services = self._image_services()
        return [Image(services, found) for found in services.names.list(*filters)]


def target_of(services: ImageServices, source: Source) -> Descriptor:
    """What ``source`` stands for.  Raises ``NotFound`` for a name that is not there."""
    from ...oci.descriptor import Descriptor
    from ..names import find

    if isinstance(source, Descriptor):
        return source
    return find(services.names, source).target if isinstance(source, str) else source.target
