"""What the verbs stand on.

What lives here: how they come to the store that they work on.  What may not: verbs.

A client that only asks for the version has them, too: what a verb needs is imported in it.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext, suppress
from typing import TYPE_CHECKING, Literal, TypeAlias

from ...errors import FailedPrecondition, InvalidArgument, Unimplemented

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...oci.descriptor import Descriptor
    from ..by_daemon import DaemonTransfers
    from ..image import Image, ImageServices

#: What a verb takes for an image: one that was got, its name, or what a name would stand for.
Source: TypeAlias = "Image | Descriptor | str"
#: Who does it: this process, the daemon's transfer service, or that where it can.
Via = Literal["client", "daemon", "auto"]


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

    def _transfers(self) -> DaemonTransfers:
        """The daemon's own transfers.  Raises ``FailedPrecondition`` where there is no daemon."""
        raise FailedPrecondition(
            "a layout has no daemon to do it", remedy="Leave via= out, or use a Client"
        )

    def _can_transfer(self) -> bool:
        """Whether there is a daemon that can."""
        return False

    def _is_for_daemon(self, via: Via, **options: object) -> bool:
        """Whether the daemon is to do it; ``options`` are those that only this process knows.

        Raises ``InvalidArgument`` where the daemon is to do it and one of them is given.
        """
        given = [name for name, value in options.items() if value]
        if via == "daemon" and given:
            raise InvalidArgument(
                f"the daemon knows nothing of {', '.join(given)}",
                remedy='Leave that out, or let via="auto" choose',
            )
        if via not in ("client", "daemon", "auto"):
            raise InvalidArgument(f'via={via!r} is not "client", "daemon" or "auto"')
        return via == "daemon" or (via == "auto" and not given and self._can_transfer())

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


def falling_back(via: Via) -> AbstractContextManager[object]:
    """With ``"auto"`` the block may turn out to be more than the daemon can: what follows it does
    the same."""
    return suppress(Unimplemented) if via == "auto" else nullcontext()


def only(platform: str | Sequence[str] | None) -> str | None:
    """The platform asked for, where it is one alone: an image is then looked at as that one's."""
    if isinstance(platform, str) or platform is None:
        return platform
    return platform[0] if len(platform) == 1 else None


def target_of(services: ImageServices, source: Source) -> Descriptor:
    """What ``source`` stands for.  Raises ``NotFound`` for a name that is not there."""
    from ...oci.descriptor import Descriptor
    from ..names import find

    if isinstance(source, Descriptor):
        return source
    return find(services.names, source).target if isinstance(source, str) else source.target
