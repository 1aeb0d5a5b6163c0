"""``load``: import parts of the package now rather than at their first use."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence, Set
from contextlib import suppress
from importlib import import_module
from typing import Literal, get_args

from .errors import InvalidArgument
from .lazy import TABLES

#: Parts of the package that programs use.
Family = Literal["services", "registry", "images", "runtime"]
#: The sub-packages of each family, including those that it needs.
_ROOMS: Mapping[Family, Sequence[str]] = {
    "services": ("oci", "schema", "services"),
    "registry": ("oci", "registry"),
    "images": ("oci", "schema", "services", "registry", "store", "images"),
    "runtime": ("oci", "schema", "services", "registry", "store", "images", "runtime"),
}
#: The modules with the classes that programs use.
_FACES = ("client", "layout")
#: Modules that functions import when they are called. Some may not be installed.
_IN_FUNCTIONS = (
    ".images.pull.convert_schema1",
    ".registry.helpers",
    ".runtime.checkpoint",
    ".services.metrics",
    ".transport.tcp",
    "base64",
    "csv",
    "dataclasses",
    "difflib",
    "google.protobuf.descriptor_pb2",
    "hashlib",
    "logging",
    "ssl",
    "tomli",
    "tomllib",
    "urllib.parse",
    # The standard library imports this one late.
    "encodings.idna",
)


def load(*families: Family) -> None:
    """Import parts of the package, and read the descriptor sets, now rather than at first use.

    A program calls this before it drops privileges, changes its root or forks: afterwards it may
    be unable to read the package's files.

    Args:
        families: The parts that the program will use. ``"images"`` contains what ``Client`` and
            ``Layout`` do with images, ``"runtime"`` what ``Client`` does with containers. Each
            includes the parts that it needs. Default: all.

    Raises:
        InvalidArgument: A family is unknown.
    """
    known = get_args(Family)
    for family in families:
        if family not in known:
            raise InvalidArgument(
                f"family {family!r} is unknown", remedy=f"Use some of {', '.join(known)}"
            )
    for name in _FACES:
        import_module(f".{name}", __package__)
    for name in _IN_FUNCTIONS:
        with suppress(ImportError):
            import_module(name, __package__)
    _load_tables(
        {f"{__package__}.{room}" for family in families or known for room in _ROOMS[family]}
    )
    pool = sys.modules.get(f"{__package__}.schema.pool")
    if pool is not None:
        pool.CONTAINERD.load_all()


def _load_tables(rooms: Set[str]) -> None:
    """Import the modules in the tables of these packages and of their sub-packages."""
    for room in rooms:
        import_module(room)
    loaded: set[str] = set()
    # Importing a module may add further tables, also of another package.
    while packages := [name for name in TABLES.keys() - loaded if _is_within(name, rooms)]:
        for package in packages:
            loaded.add(package)
            for module in TABLES[package]:
                import_module(f".{module}", package)


def _is_within(package: str, rooms: Set[str]) -> bool:
    return any(package == room or package.startswith(f"{room}.") for room in rooms)
