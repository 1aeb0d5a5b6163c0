"""Platforms: how they are written, made canonical, and matched.

What lives here: the record, the specifier syntax and the order of preference, after
containerd's ``platforms`` module.  What may not: looking at images.
"""

from __future__ import annotations

import os
import sys
from functools import lru_cache
from typing import NoReturn

from ..errors import InvalidArgument
from ..lazy import lazy_pattern
from ..records import record, replace
from .document import Document, quoted

_SYSTEMS = frozenset(
    ("aix", "android", "darwin", "dragonfly", "freebsd", "hurd", "illumos", "ios", "js", "linux",
     "nacl", "netbsd", "openbsd", "plan9", "solaris", "windows", "zos")
)  # fmt: skip
_ARCHITECTURES = frozenset(
    ("386", "amd64", "amd64p32", "arm", "armbe", "arm64", "arm64be", "loong64", "mips", "mipsle",
     "mips64", "mips64le", "mips64p32", "mips64p32le", "ppc", "ppc64", "ppc64le", "riscv",
     "riscv64", "s390", "s390x", "sparc", "sparc64", "wasm")
)  # fmt: skip
#: What kernels and distributions call an architecture → Go's name and variant.
_ALIASES = {
    "i386": ("386", ""), "i486": ("386", ""), "i586": ("386", ""), "i686": ("386", ""),
    "x86_64": ("amd64", None), "x86-64": ("amd64", None), "aarch64": ("arm64", None),
    "armhf": ("arm", "v7"), "armel": ("arm", "v6"),
}  # fmt: skip
#: ``uname -m`` of 32-bit ARM kernels.
_ARM_KERNELS = {"armv5": "v5", "armv6": "v6", "armv7": "v7", "armv8": "v8"}
#: Variants that say what the bare architecture says.
_IMPLIED = {("amd64", "v1"): "", ("arm64", "v8"): "", ("arm64", "8"): "", ("arm", ""): "v7"}

_SYSTEM = lazy_pattern(r"([A-Za-z0-9_-]+)(?:\(([A-Za-z0-9_.-]*)\))?")
_PART = lazy_pattern(r"[A-Za-z0-9_.-]+")
_FIELDS = ("architecture", "os", "os.version", "os.features", "variant")
#: v9.x of arm64 can do all that v8.(x+5) can.
_ARM64_OFFSET = 5


@record(frozen=True)
class Platform:
    """An operating system, an architecture and, where they matter, their variants."""

    os: str
    architecture: str
    variant: str = ""
    os_version: str = ""
    os_features: tuple[str, ...] = ()

    @classmethod
    def read(cls, document: Document) -> Platform:
        """Reads the ``platform`` of a descriptor, or the same fields of an image config."""
        document.known(_FIELDS)
        return cls(
            os=document.text("os"),
            architecture=document.text("architecture"),
            variant=document.text("variant"),
            os_version=document.text("os.version"),
            os_features=document.texts("os.features"),
        )

    def to_json(self) -> dict[str, object]:
        """The JSON object of image-spec's image-index.md, empty fields left out."""
        value: dict[str, object] = {"architecture": self.architecture, "os": self.os}
        if self.os_version:
            value["os.version"] = self.os_version
        if self.os_features:
            value["os.features"] = list(self.os_features)
        if self.variant:
            value["variant"] = self.variant
        return value

    def __str__(self) -> str:
        system = f"{self.os}({self.os_version})" if self.os_version else self.os
        return "/".join(part for part in (system, self.architecture, self.variant) if part)


def _system(name: str) -> str:
    name = name.lower()
    return "darwin" if name == "macos" else name


def _architecture(name: str, variant: str) -> tuple[str, str]:
    name, variant = name.lower(), variant.lower()
    alias, implied = _ALIASES.get(name, (name, None))
    name, variant = alias, variant if implied is None else implied
    if name == "arm" and variant in ("5", "6", "7", "8"):
        variant = f"v{variant}"
    return name, _IMPLIED.get((name, variant), variant)


def normalise(platform: Platform) -> Platform:
    """The canonical form: Go's names, and no variant where the bare name says as much.

    An empty ``os`` is this machine's, as it is to containerd.
    """
    architecture, variant = _architecture(platform.architecture, platform.variant)
    return replace(
        platform,
        os=_system(platform.os) or default().os,
        architecture=architecture,
        variant=variant,
        os_features=tuple(sorted(set(platform.os_features))),
    )


@lru_cache(maxsize=1)
def default() -> Platform:
    """The platform of this machine, in canonical form."""
    system = "windows" if sys.platform == "win32" else sys.platform.rstrip("0123456789")
    kernel = os.uname().machine
    variant = _ARM_KERNELS.get(kernel[:5].lower())
    if variant is not None:
        return Platform(system, "arm", variant)
    architecture, variant = _architecture(kernel, "")
    return Platform(system, architecture, variant)


def parse_or_default(text: str | None) -> Platform:
    """``parse``, or the platform of this machine for ``None``."""
    return default() if text is None else parse(text)


def parse(text: str) -> Platform:
    """Reads ``os[(version)]``, ``architecture``, or ``os/architecture[/variant]``.

    What is not said is this machine's.  Raises InvalidArgument.
    """
    first, *others = text.split("/", 3)
    system = _SYSTEM.fullmatch(first)
    if system is None or len(others) > 2 or not all(map(_PART.fullmatch, others)):
        _refuse(text, "is not a platform")
    os, version = _system(system[1]), system[2] or ""
    if others:
        return normalise(Platform(os, others[0], "".join(others[1:]), version))
    if os in _SYSTEMS:
        return replace(default(), os=os, os_version=version)
    architecture, variant = _architecture(first, "")
    if architecture not in _ARCHITECTURES:
        _refuse(text, "names no known operating system or architecture")
    return Platform(default().os, architecture, variant)


def _refuse(text: str, why: str) -> NoReturn:
    raise InvalidArgument(
        f"{quoted(text)} {why}", remedy="A platform is written like linux/amd64 or linux/arm/v7"
    )


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 3 else None


def _arm64_variants(variant: str) -> list[str]:
    """The variants of arm64 that run where ``variant`` runs, best first, itself left out."""
    major_text, _, minor_text = variant.removeprefix("v").partition(".")
    major, minor = _number(major_text or "8"), _number(minor_text or "0")
    if major not in (8, 9) or minor is None:
        return []
    steps = [(major, lower) for lower in range(minor - 1, -1, -1)]
    if major == 9:
        steps += [(8, lower) for lower in range(minor + _ARM64_OFFSET, -1, -1)]
    return [f"v{major}.{lower}" if lower else f"v{major}" for major, lower in steps]


def _below(platform: Platform, lowest: int) -> list[Platform]:
    number = _number(platform.variant.removeprefix("v")) or lowest
    return [replace(platform, variant=f"v{n}") for n in range(number - 1, lowest - 1, -1)]


def vector(platform: Platform) -> tuple[Platform, ...]:
    """The platforms that run on ``platform``, in canonical form, best first.

    As containerd's ``platforms.Only``: amd64/vN down to v1, then 386; arm64/v9 and v8 by their
    minors, then arm/v8 to v5; arm/vN down to v5.
    """
    wanted = normalise(platform)
    order = [wanted]
    if wanted.architecture == "amd64":
        order += _below(wanted, 1)
        order.append(replace(wanted, architecture="386", variant=""))
    elif wanted.architecture == "arm":
        order += _below(wanted, 5)
    elif wanted.architecture == "arm64":
        order += [replace(wanted, variant=v) for v in _arm64_variants(wanted.variant)]
        narrow = replace(wanted, architecture="arm", variant="v8")
        order += [narrow, *_below(narrow, 5)]
    return tuple(map(normalise, order))


def rank(wanted: Platform, offered: Platform) -> int | None:
    """How well ``offered`` serves ``wanted``: 0 is best, ``None`` not at all."""
    candidate = normalise(offered)
    for place, known in enumerate(vector(wanted)):
        if _matches(known, candidate):
            return place
    return None


def _matches(known: Platform, offered: Platform) -> bool:
    same = (known.os, known.architecture, known.variant) == (
        offered.os, offered.architecture, offered.variant,
    )  # fmt: skip
    if not same or not set(offered.os_features) <= set(known.os_features):
        return False
    if known.os != "windows" or not known.os_version or not offered.os_version:
        return True
    # Windows containers share the host's kernel interface, which goes by build number.
    return known.os_version.split(".")[:3] == offered.os_version.split(".")[:3]
