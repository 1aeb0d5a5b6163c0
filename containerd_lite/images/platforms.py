"""Which manifests of an index are wanted.

What lives here: the choice, for one platform, several or all, and the walk down to one.  What may
not: where documents come from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..errors import InvalidArgument, NoMatchingPlatform
from ..oci import media_types
from ..oci.descriptor import Descriptor
from ..oci.manifest import MAX_DEPTH, Index, Manifest
from ..oci.platform import Platform, default, parse, rank
from ..records import record

#: The fit of a manifest that names no platform: behind all that do.
_LAST = 1 << 10
#: BuildKit's annotation on an attestation's descriptor: the digest of what it attests.
_ATTESTED = "vnd.docker.reference.digest"


@record(frozen=True)
class Platforms:
    """The platforms asked for; ``wanted`` ``None`` is every one.

    With ``attestations`` those of the manifests chosen come along; all has them anyway.
    """

    wanted: tuple[Platform, ...] | None
    attestations: bool = False

    @classmethod
    def of(
        cls,
        platform: str | Sequence[str] | None,
        all_platforms: bool = False,
        usual: Platform | None = None,
        *,
        attestations: bool = False,
    ) -> Platforms:
        """As the arguments of the facade have them; ``usual`` stands in for none.

        Raises ``InvalidArgument``.
        """
        if all_platforms and platform is not None:
            raise InvalidArgument("platform and all_platforms exclude each other")
        if all_platforms:
            return cls(None)
        names = (platform,) if isinstance(platform, str) else platform or ()
        wanted = tuple(dict.fromkeys(map(parse, names))) or (usual or default(),)
        return cls(wanted, attestations)

    def choose(self, index: Index, name: str, *, all_or_error: bool = True) -> list[Descriptor]:
        """The entries of ``index`` that are wanted, in its order; ``name`` is for errors.

        For each platform the one that serves it best; an entry that names no platform stands in
        where none does.  Raises ``NoMatchingPlatform`` where a platform has none; with
        ``all_or_error`` false only where all have none.
        """
        if self.wanted is None:
            return list(index.manifests)
        found = {platform: best(index, platform) for platform in self.wanted}
        missing = [platform for platform, entry in found.items() if entry is None]
        if missing and (all_or_error or len(missing) == len(found)):
            offered = ", ".join(str(e.platform) for e in index.manifests if e.platform)
            raise no_match(name, missing[0], offered or "none")
        chosen = {entry.digest for entry in found.values() if entry is not None}
        return [entry for entry in index.manifests if self._is_chosen(entry, chosen)]

    def _is_chosen(self, entry: Descriptor, chosen: set[str]) -> bool:
        if _is_attestation(entry):
            return self.attestations and entry.annotations.get(_ATTESTED) in chosen
        return entry.digest in chosen

    def expect(self, platform: Platform, name: str) -> None:
        """Raises ``NoMatchingPlatform`` if an image for ``platform`` serves none wanted.

        The config of what is no image to run, such as a signature, names none.
        """
        if not (platform.os or platform.architecture):
            return
        if self.wanted is not None and all(rank(one, platform) is None for one in self.wanted):
            raise no_match(name, self.wanted[0], str(platform))


def only_one(platform: str | Sequence[str] | None) -> str | None:
    """The platform asked for, where it is one alone: images are then looked at as that one's."""
    if isinstance(platform, str) or platform is None:
        return platform
    return platform[0] if len(platform) == 1 else None


def wanted_children(
    document: Manifest | Index, platforms: Platforms, name: str, *, is_root: bool
) -> Sequence[Descriptor]:
    """What a document refers to, of an index what ``platforms`` choose, as a pull would have it."""
    if isinstance(document, Index):
        return platforms.choose(document, name, all_or_error=is_root)
    return document.children


def best(index: Index, platform: Platform) -> Descriptor | None:
    """The entry of ``index`` that serves ``platform`` best, the first of equals."""
    ranked = []
    for place, entry in enumerate(index.manifests):
        if not _is_attestation(entry):
            fit = _LAST if entry.platform is None else rank(platform, entry.platform)
            if fit is not None:
                ranked.append((fit, place, entry))
    return min(ranked, key=lambda found: found[:2])[2] if ranked else None


def _is_attestation(entry: Descriptor) -> bool:
    return media_types.is_attestation(entry.media_type, entry.annotations)


def find_manifest(
    name: str,
    target: Descriptor,
    platform: Platform,
    read: Callable[[Descriptor], Manifest | Index],
) -> Manifest:
    """The manifest for ``platform`` that ``target`` is, or leads to; ``name`` is for errors.

    Raises ``NoMatchingPlatform``, ``InvalidArgument``, and what ``read`` raises.
    """
    for _ in range(MAX_DEPTH):
        document = read(target)
        if isinstance(document, Manifest):
            return document
        # The first: an index may name one manifest for several platforms.
        target = Platforms((platform,)).choose(document, name)[0]
    raise InvalidArgument(f"{name} nests indexes more than {MAX_DEPTH} deep")


def no_match(name: str, platform: Platform, offered: str) -> NoMatchingPlatform:
    return NoMatchingPlatform(
        f"{name} has no image for {platform}; it has {offered[:500]}",
        remedy="Ask for one of these with platform=",
    )
