"""Loading at once what would be loaded when it is first used."""

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
#: The rooms of each, with those that it needs.
_ROOMS: Mapping[Family, Sequence[str]] = {
    "services": ("oci", "schema", "services"),
    "registry": ("oci", "registry"),
    "images": ("oci", "schema", "services", "registry", "store", "images"),
    "runtime": ("oci", "schema", "services", "registry", "store", "images", "runtime"),
}
#: The modules with the names that programs use.
_FACES = ("client", "layout")
#: Modules that functions import when they are called; not all of them need be installed.
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
    # The standard library imports this one late, too.
    "encodings.idna",
)


def load(*families: Family) -> None:
    """Import now what would be imported when it is first used, and read the descriptor sets.

    For programs that give up rights, enter another root or fork after they have imported the
    package: later they may not be able to read it.

    Args:
        families: the parts that will be used, all of them unless given.  ``images`` is what
            ``Client`` and ``Layout`` do with images, ``runtime`` what ``Client`` does with
            containers; each comes with what it needs.

    Raises:
        InvalidArgument: a family is unknown.
    """
    known = get_args(Family)
    for family in families:
        if family not in known:
            raise InvalidArgument(
                f"family {family!r} is unknown", remedy=f"Name some of {', '.join(known)}"
            )
    for name in _FACES:
        import_module(f".{name}", __package__)
    for name in _IN_FUNCTIONS:
        with suppress(ImportError):
            import_module(name, __package__)
    _load_tables({f"{__package__}.{room}" for one in families or known for room in _ROOMS[one]})
    pool = sys.modules.get(f"{__package__}.schema.pool")
    if pool is not None:
        pool.CONTAINERD.load_all()


def _load_tables(rooms: Set[str]) -> None:
    """Import what the tables of these packages, and of those within them, name."""
    for room in rooms:
        import_module(room)
    loaded: set[str] = set()
    # Importing a module may bring further tables, in another room, too.
    while packages := [one for one in TABLES.keys() - loaded if _is_within(one, rooms)]:
        for package in packages:
            loaded.add(package)
            for module in TABLES[package]:
                import_module(f".{module}", package)


def _is_within(package: str, rooms: Set[str]) -> bool:
    return any(package == room or package.startswith(f"{room}.") for room in rooms)
