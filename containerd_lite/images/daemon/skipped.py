"""Unpacks the images that the daemon has pulled or imported, but not unpacked."""

from __future__ import annotations

from contextlib import suppress

from ...errors import NoMatchingPlatform
from ..image import Image
from ..platforms import Platforms


def unpack_skipped(image: Image, platforms: Platforms, snapshotter: str) -> None:
    """Unpack the wanted platforms of an image, unless their snapshots exist.

    Since 2.3, the daemon unpacks only platforms with an operating system that its configuration
    lists. If a transfer has one platform of this kind, the daemon skips the others, and writes only
    a line to its log.

    Args:
        image: The image.
        platforms: The wanted platforms. If all are wanted, the client's platform is unpacked.
        snapshotter: The snapshotter to unpack into.
    """
    for platform in platforms.wanted or (image.backend.platform,):
        if platform == image.backend.platform:
            found = image
        else:
            found = Image(image.backend.with_defaults(platform=platform), image.info)
        with suppress(NoMatchingPlatform):
            if found.manifest().is_unpackable:
                found.unpack(snapshotter)
