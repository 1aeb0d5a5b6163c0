"""The choice of manifests in an index: for one platform, for several or for all."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..errors import InvalidArgument, NoMatchingPlatform
from ..oci import media_types
from ..oci.descriptor import Descriptor
from ..oci.manifest import MAX_DEPTH, Index, Manifest
from ..oci.platform import Platform, default, parse, rank
from ..records import record

#: The rank of an index entry without a platform. This rank is worse than the rank of any entry with
#: a matching platform.
_LAST = 1 << 10
#: BuildKit's annotation in the descriptor of an attestation. Its value is the digest of the
#: attested manifest.
_ATTESTED = "vnd.docker.reference.digest"


@record(frozen=True)
class Platforms:
    """The platforms that the caller wants.

    Attributes:
        wanted: The platforms; ``None`` means all.
        attestations: Whether the attestations of the chosen manifests are wanted, too. If all
            platforms are wanted, all attestations are wanted.
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
        """Return the wanted platforms for the arguments of a verb.

        Args:
            platform: One platform or several. Default: ``usual``.
            all_platforms: Whether all platforms are wanted.
            usual: The platform to use if ``platform`` is not given. Default: this machine's
                platform.
            attestations: Whether attestations are wanted, too.

        Raises:
            InvalidArgument: A platform is not valid, or both ``platform`` and ``all_platforms``
                are given.
        """
        if all_platforms and platform is not None:
            raise InvalidArgument("platform and all_platforms exclude each other")
        if all_platforms:
            return cls(None)
        names = (platform,) if isinstance(platform, str) else platform or ()
        wanted = tuple(dict.fromkeys(map(parse, names))) or (usual or default(),)
        return cls(wanted, attestations)

    def choose(self, index: Index, name: str, *, all_or_error: bool = True) -> list[Descriptor]:
        """Return the wanted entries of ``index``, in the order of the index.

        For each wanted platform, the entry that matches best is chosen. An entry without a
        platform is chosen only if no other entry matches.

        Args:
            index: The index to choose from.
            name: The image's name, for error messages.
            all_or_error: Whether every wanted platform must have an entry. If false, an entry for
                one wanted platform is enough.

        Raises:
            NoMatchingPlatform: ``all_or_error`` is true and a wanted platform has no entry, or
                ``all_or_error`` is false and no wanted platform has an entry.
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
        """Check that an image for ``platform`` matches at least one wanted platform.

        A ``platform`` without os and architecture passes the check. Artifacts that cannot be run,
        such as signatures, have no platform in their configs.

        Args:
            platform: The platform in the image's config.
            name: The image's name, for the error message.

        Raises:
            NoMatchingPlatform: The image matches no wanted platform.
        """
        if not (platform.os or platform.architecture):
            return
        if self.wanted is not None and all(rank(each, platform) is None for each in self.wanted):
            raise no_match(name, self.wanted[0], str(platform))


def only_one(platform: str | Sequence[str] | None) -> str | None:
    """Return the platform if the caller asked for exactly one, otherwise ``None``.

    If the caller asked for exactly one platform, a verb reads manifests for this platform instead
    of the client's platform.
    """
    if isinstance(platform, str) or platform is None:
        return platform
    return platform[0] if len(platform) == 1 else None


def wanted_children(
    document: Manifest | Index, platforms: Platforms, name: str, *, is_root: bool
) -> Sequence[Descriptor]:
    """Return the children of a document that are wanted for ``platforms``.

    The root index must have an entry for every wanted platform. A nested index must have an entry
    for at least one wanted platform.
    """
    if isinstance(document, Index):
        return platforms.choose(document, name, all_or_error=is_root)
    return document.children


def best(index: Index, platform: Platform) -> Descriptor | None:
    """Return the entry of ``index`` that matches ``platform`` best, or ``None`` if none matches.

    If several entries match equally well, the function prefers the entry with the most features of
    the operating system, and then the first entry. So for ``linux(+erofs)/amd64``, an image with
    EROFS layers is preferred to an image with archives.
    """
    ranked = []
    for position, entry in enumerate(index.manifests):
        if not _is_attestation(entry):
            fit = _LAST if entry.platform is None else rank(platform, entry.platform)
            if fit is not None:
                features = set(entry.platform.os_features) if entry.platform else ()
                ranked.append((fit, -len(features), position, entry))
    return min(ranked, key=lambda found: found[:3])[3] if ranked else None


def _is_attestation(entry: Descriptor) -> bool:
    return media_types.is_attestation(entry.media_type, entry.annotations)


def find_manifest(
    name: str,
    target: Descriptor,
    platform: Platform,
    read: Callable[[Descriptor], Manifest | Index],
) -> Manifest:
    """Return ``target`` if it is a manifest, or the manifest for ``platform`` if it is an index.

    Args:
        name: The image's name, for error messages.
        target: A manifest, or an index from which the search starts.
        platform: The platform to look for.
        read: A function that returns the document of a descriptor. Its errors propagate.

    Raises:
        NoMatchingPlatform: An index has no entry for ``platform``.
        InvalidArgument: The indexes are nested too deeply.
    """
    for _ in range(MAX_DEPTH):
        document = read(target)
        if isinstance(document, Manifest):
            return document
        # ``choose`` can return several entries, because an index can list one manifest in several
        # entries.
        target = Platforms((platform,)).choose(document, name)[0]
    raise InvalidArgument(f"{name} nests indexes more than {MAX_DEPTH} deep")


def no_match(name: str, platform: Platform, offered: str) -> NoMatchingPlatform:
    """Return an error which says that ``name`` has only the ``offered`` platforms."""
    return NoMatchingPlatform(
        f"{name} has no image for {platform}; it has {offered[:500]}",
        remedy="Pass platform= with a platform that the image has",
    )
