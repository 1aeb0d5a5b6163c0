"""Packages whose names are loaded when they are first used, and patterns that are compiled then.

A package lists its modules, and the names that each defines, in one table::

    if TYPE_CHECKING:
        from .pull import pull_image as pull_image

    __getattr__, __dir__ = lazy_names(__name__, {"pull": ["pull_image"]})

A program then pays only for the modules that it uses.  It works from a zip file and under another
package's name, for modules are named relative to the package.  No name may be that of a module of
the package: importing the module would put it in the name's place.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

#: The table of each package that has one and was imported, by the package's name.
TABLES: dict[str, Mapping[str, Sequence[str]]] = {}


def lazy_names(
    package: str, table: Mapping[str, Sequence[str]]
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """The ``__getattr__`` and ``__dir__`` (PEP 562) of a package.

    Args:
        package: its ``__name__``.
        table: for each module, named relative to the package, the names that it defines.

    Returns:
        ``__getattr__``, which imports a name's module at its first use, and ``__dir__``, which
        lists all names, loaded or not.
    """
    TABLES[package] = table
    loaded = vars(sys.modules[package])
    modules = {name: module for module, names in table.items() for name in names}

    def load(name: str) -> object:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        loaded[name] = found = getattr(import_module(f".{modules[name]}", package), name)
        return found

    def list_names() -> list[str]:
        return sorted({*loaded, *modules})

    return load, list_names


class _Pattern:
    """A regular expression that is compiled when it is first used."""

    def __init__(self, text: str, flags: int = 0) -> None:
        self._parts = text, flags

    def __getattr__(self, name: str) -> Any:
        found = getattr(re.compile(*self._parts), name)
        setattr(self, name, found)  # from now on this is not called
        return found


if TYPE_CHECKING:
    lazy_pattern = re.compile
else:
    lazy_pattern = _Pattern
