"""Platforms: their syntax, their canonical form, and the images that can run on a platform.

The rules are the same as in containerd's ``platforms`` module.
"""

from __future__ import annotations

import os
import sys
from functools import lru_cache
from typing import NoReturn

from ..errors import InvalidArgument
from ..lazy import lazy_pattern
from ..limits import refused
from ..printable import quoted
from ..records import record, replace
from .document import Document

_OPERATING_SYSTEMS = frozenset(
    ("aix", "android", "darwin", "dragonfly", "freebsd", "hurd", "illumos", "ios", "js", "linux",
     "nacl", "netbsd", "openbsd", "plan9", "solaris", "windows", "zos")
)  # fmt: skip
_ARCHITECTURES = frozenset(
    ("386", "amd64", "amd64p32", "arm", "armbe", "arm64", "arm64be", "loong64", "mips", "mipsle",
     "mips64", "mips64le", "mips64p32", "mips64p32le", "ppc", "ppc64", "ppc64le", "riscv",
     "riscv64", "s390", "s390x", "sparc", "sparc64", "wasm")
)  # fmt: skip
#: Name of an architecture in kernels and distributions → Go's name, and the variant that the name
#: implies. ``""`` removes the variant of a platform, and ``None`` keeps the variant.
_ALIASES = {
    "i386": ("386", ""), "i486": ("386", ""), "i586": ("386", ""), "i686": ("386", ""),
    "x86_64": ("amd64", None), "x86-64": ("amd64", None), "aarch64": ("arm64", None),
    "armhf": ("arm", "v7"), "armel": ("arm", "v6"),
}  # fmt: skip
#: Prefix of ``uname -m`` on 32-bit ARM kernels → variant.
_ARM_KERNELS = {"armv5": "v5", "armv6": "v6", "armv7": "v7", "armv8": "v8"}
#: Architecture and variant → canonical variant. Variants that are already canonical are not listed.
_CANONICAL_VARIANTS = {
    ("amd64", "v1"): "",
    ("arm64", "v8"): "",
    ("arm64", "8"): "",
    ("arm", ""): "v7",
}

#: Character that the text form of a version or feature escapes → its escape. The last one escapes
#: the escapes.
_ESCAPES = {"+": "%2B", "(": "%28", ")": "%29", "/": "%2F", "%": "%25"}
_OPTION = r"[A-Za-z0-9_.-]*(?:%2[BF589][A-Za-z0-9_.-]*)*"
_OS_PATTERN = lazy_pattern(rf"([A-Za-z0-9_-]+)(?:\(({_OPTION})((?:\+(?=[^+)]){_OPTION})*)\))?")
_PART_PATTERN = lazy_pattern(r"[A-Za-z0-9_.-]+")
_FIELDS = ("architecture", "os", "os.version", "os.features", "variant")
#: arm64/v9.x has all features of arm64/v8.(x+5).
_ARM64_OFFSET = 5


@record(frozen=True)
class Platform:
    """The platform of an image: an operating system and an architecture.

    Attributes:
        os: The operating system, such as ``linux``.
        architecture: The architecture, such as ``arm64``.
        variant: The variant of the architecture, such as ``v7``; ``""`` for its default variant.
        os_version: The version of the operating system, for Windows; ``""`` if it is unknown.
        os_features: The features of the operating system that the image needs.
    """

    os: str
    architecture: str
    variant: str = ""
    os_version: str = ""
    os_features: tuple[str, ...] = ()

    @classmethod
    def read(cls, document: Document) -> Platform:
        """Read a platform from a descriptor's ``platform`` or from an image config.

        The two objects have the same platform fields.

        Raises:
            InvalidArgument: A field has the wrong type.
        """
        document.check_case(_FIELDS)
        return cls(
            os=document.text("os"),
            architecture=document.text("architecture"),
            variant=document.text("variant"),
            os_version=document.text("os.version"),
            os_features=document.texts("os.features"),
        )

    def to_json(self) -> dict[str, object]:
        """Return the JSON object, without empty fields (image-spec image-index.md)."""
        value: dict[str, object] = {"architecture": self.architecture, "os": self.os}
        if self.os_version:
            value["os.version"] = self.os_version
        if self.os_features:
            value["os.features"] = list(self.os_features)
        if self.variant:
            value["variant"] = self.variant
        return value

    def __str__(self) -> str:
        features = sorted({*self.os_features} - {""})
        options = "+".join(map(_escaped, (self.os_version, *features)))
        system = f"{self.os}({options})" if options else self.os
        return "/".join(part for part in (system, self.architecture, self.variant) if part)


def _escaped(option: str) -> str:
    return option.translate({ord(character): escape for character, escape in _ESCAPES.items()})


def _unescaped(option: str) -> str:
    for character, escape in _ESCAPES.items():
        option = option.replace(escape, character)
    return option


def _normalise_os(name: str) -> str:
    name = name.lower()
    return "darwin" if name == "macos" else name


def _normalise_architecture(name: str, variant: str) -> tuple[str, str]:
    name, variant = name.lower(), variant.lower()
    alias, implied = _ALIASES.get(name, (name, None))
    name, variant = alias, variant if implied is None else implied
    if name == "arm" and variant in ("5", "6", "7", "8"):
        variant = f"v{variant}"
    return name, _CANONICAL_VARIANTS.get((name, variant), variant)


def normalise(platform: Platform) -> Platform:
    """Return the canonical form of a platform.

    The operating system and the architecture get Go's names. amd64/v1 becomes amd64, arm64/v8
    becomes arm64, and arm without a variant becomes arm/v7. As in containerd, an empty ``os`` means
    this machine's operating system.
    """
    architecture, variant = _normalise_architecture(platform.architecture, platform.variant)
    return replace(
        platform,
        os=_normalise_os(platform.os) or default().os,
        architecture=architecture,
        variant=variant,
        os_features=tuple(sorted(set(platform.os_features))),
    )


@lru_cache(maxsize=1)
def default() -> Platform:
    """Return the platform of this machine, in canonical form."""
    system = "windows" if sys.platform == "win32" else sys.platform.rstrip("0123456789")
    kernel = os.uname().machine
    variant = _ARM_KERNELS.get(kernel[:5].lower())
    if variant is not None:
        return Platform(system, "arm", variant)
    architecture, variant = _normalise_architecture(kernel, "")
    return Platform(system, architecture, variant)


def parse_or_default(text: str | None) -> Platform:
    """Parse a platform; ``None`` means this machine's platform.

    Raises:
        InvalidArgument: ``text`` is not a platform.
    """
    return default() if text is None else parse(text)


def parse(text: str) -> Platform:
    """Parse a platform, and return its canonical form.

    Args:
        text: ``os``, ``architecture`` or ``os/architecture[/variant]``. The version and the
            features of the operating system can follow it: ``os(version+feature+feature)``. If the
            operating system or the architecture is missing, this machine's value is used.

    Raises:
        InvalidArgument: ``text`` has none of the three forms, or is a single word that is not a
            known operating system or architecture.
    """
    if not isinstance(text, str):
        raise refused("platform", text, "a platform such as 'linux/amd64' or 'linux/arm/v7'")
    first, *others = text.split("/", 3)
    system = _OS_PATTERN.fullmatch(first)
    if system is None or len(others) > 2 or not all(map(_PART_PATTERN.fullmatch, others)):
        _refuse(text, "is not a platform")
    os, version = _normalise_os(system[1]), _unescaped(system[2] or "")
    features = tuple(map(_unescaped, (system[3] or "").split("+")[1:]))
    if others:
        return normalise(Platform(os, others[0], "".join(others[1:]), version, features))
    if os in _OPERATING_SYSTEMS:
        return normalise(replace(default(), os=os, os_version=version, os_features=features))
    architecture, variant = _normalise_architecture(first, "")
    if architecture not in _ARCHITECTURES:
        _refuse(text, "is not a known operating system or architecture")
    return Platform(default().os, architecture, variant)


def _refuse(text: str, why: str) -> NoReturn:
    raise InvalidArgument(
        f"{quoted(text)} {why}", remedy="Give a platform such as linux/amd64 or linux/arm/v7"
    )


def _small_number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 3 else None


def _arm64_variants(variant: str) -> list[str]:
    """Return the arm64 variants below ``variant`` whose images run on ``variant``, best first."""
    major_text, _, minor_text = variant.removeprefix("v").partition(".")
    major, minor = _small_number(major_text or "8"), _small_number(minor_text or "0")
    if major not in (8, 9) or minor is None:
        return []
    steps = [(major, lower) for lower in range(minor - 1, -1, -1)]
    if major == 9:
        steps += [(8, lower) for lower in range(minor + _ARM64_OFFSET, -1, -1)]
    return [f"v{major}.{lower}" if lower else f"v{major}" for major, lower in steps]


def _lower_variants(platform: Platform, lowest: int) -> list[Platform]:
    number = _small_number(platform.variant.removeprefix("v")) or lowest
    return [replace(platform, variant=f"v{n}") for n in range(number - 1, lowest - 1, -1)]


@lru_cache(maxsize=64)  # an index asks for the same platform for each of its entries
def vector(platform: Platform) -> tuple[Platform, ...]:
    """Return the platforms whose images run on ``platform``, in canonical form, best first.

    The order is the same as in containerd's ``platforms.Only``:

    - For amd64/vN: the variants from vN down to v1, then 386.
    - For arm64: the minor versions of v9 and v8, then arm/v8 down to arm/v5.
    - For arm/vN: the variants from vN down to v5.
    """
    wanted = normalise(platform)
    runnable = [wanted]
    if wanted.architecture == "amd64":
        runnable += _lower_variants(wanted, 1)
        runnable.append(replace(wanted, architecture="386", variant=""))
    elif wanted.architecture == "arm":
        runnable += _lower_variants(wanted, 5)
    elif wanted.architecture == "arm64":
        runnable += [replace(wanted, variant=v) for v in _arm64_variants(wanted.variant)]
        arm = replace(wanted, architecture="arm", variant="v8")
        runnable += [arm, *_lower_variants(arm, 5)]
    return tuple(map(normalise, runnable))


def rank(wanted: Platform, offered: Platform) -> int | None:
    """Return how well an image fits a platform.

    Args:
        wanted: The platform on which the image will run.
        offered: The platform of the image.

    Returns:
        The index of ``offered`` in ``vector(wanted)``: 0 is the best fit. ``None`` means that the
        image does not run on ``wanted``.
    """
    candidate = normalise(offered)
    for index, runnable in enumerate(vector(wanted)):
        if _matches(runnable, candidate):
            return index
    return None


def _matches(runnable: Platform, offered: Platform) -> bool:
    """Return whether ``offered`` matches ``runnable``.

    The two platforms must have the same operating system, architecture and variant. ``runnable``
    must have all OS features of ``offered``. On Windows, the two versions must have the
    same build, unless a version is unknown, and the feature ``win32k`` does not count.
    """
    same = (runnable.os, runnable.architecture, runnable.variant) == (
        offered.os, offered.architecture, offered.variant,
    )  # fmt: skip
    needed = {*offered.os_features} - ({"win32k"} if offered.os == "windows" else set())
    if not same or not needed <= {*runnable.os_features}:
        return False
    if runnable.os != "windows" or not runnable.os_version or not offered.os_version:
        return True
    # A Windows container uses the host's kernel interface, which changes with the build number.
    return runnable.os_version.split(".")[:3] == offered.os_version.split(".")[:3]
