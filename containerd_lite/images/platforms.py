"""Which manifest of an index is for a platform.

What lives here: the choice, and the walk down to it.  What may not: where documents come from.
"""

from __future__ import annotations

from collections.abc import Callable

from ..errors import InvalidArgument, NoMatchingPlatform
from ..oci import media_types
from ..oci.descriptor import Descriptor
from ..oci.manifest import Index, Manifest
from ..oci.platform import Platform, rank

#: Indexes in indexes: nobody needs more, and a hostile registry could serve them without end.
_MAX_DEPTH = 4
#: The fit of a manifest that names no platform: behind all that do.
_LAST = 1 << 10


def find_manifest(
    name: str,
    target: Descriptor,
    platform: Platform,
    read: Callable[[Descriptor], Manifest | Index],
) -> Manifest:
    """The manifest for ``platform`` that ``target`` is, or leads to; ``name`` is for errors.

    Raises ``NoMatchingPlatform``, ``InvalidArgument``, and what ``read`` raises.
    """
    for _ in range(_MAX_DEPTH):
        document = read(target)
        if isinstance(document, Manifest):
            return document
        target = _choose(document, platform, name)
    raise InvalidArgument(f"{name} nests indexes more than {_MAX_DEPTH} deep")


def _choose(index: Index, platform: Platform, name: str) -> Descriptor:
    ranked = []
    for place, entry in enumerate(index.manifests):
        if media_types.is_attestation(entry.media_type, entry.annotations):
            continue
        fit = _LAST if entry.platform is None else rank(platform, entry.platform)
        if fit is not None:
            ranked.append((fit, place, entry))
    if not ranked:
        offered = ", ".join(str(e.platform) for e in index.manifests if e.platform)
        raise no_match(name, platform, offered or "none")
    return min(ranked, key=lambda found: found[:2])[2]


def no_match(name: str, platform: Platform, offered: str) -> NoMatchingPlatform:
    return NoMatchingPlatform(
        f"{name} has no image for {platform}; it has {offered[:500]}",
        remedy="Ask for one of these with platform=",
    )
