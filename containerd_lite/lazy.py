"""Imports at first use for packages, and regular expressions that are compiled at first use.

A package lists its modules, and the names that each defines, in one table::

    if TYPE_CHECKING:
        from .pull import pull_image as pull_image

    __getattr__, __dir__ = lazy_names(__name__, {"pull": ["pull_image"]})

A program then loads only the modules that it uses. Modules are named relative to the package, so
this works from a zip file and under another package name. A name must differ from the names of
the package's modules: importing such a module would replace the name.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

#: The tables of the packages imported so far, by the package's name.
TABLES: dict[str, Mapping[str, Sequence[str]]] = {}


def lazy_names(
    package: str, table: Mapping[str, Sequence[str]]
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """Return the ``__getattr__`` and ``__dir__`` (PEP 562) of a package.

    Args:
        package: The package's ``__name__``.
        table: The names that each module defines. Modules are named relative to the package.

    Returns:
        ``__getattr__``, which imports the module of a name at the first use of the name, and
        ``__dir__``, which lists all names, loaded or not.
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
    """A regular expression that is compiled at its first use."""

    def __init__(self, text: str, flags: int = 0) -> None:
        self._parts = text, flags

    def __getattr__(self, name: str) -> Any:
        found = getattr(re.compile(*self._parts), name)
        setattr(self, name, found)  # Python finds this attribute first from now on
        return found


if TYPE_CHECKING:
    lazy_pattern = re.compile
else:
    lazy_pattern = _Pattern
