"""Imports modules at first use, and compiles regular expressions at first use.

A package lists its modules, and the names that each module defines, in one table::

    if TYPE_CHECKING:
        from .pull import pull_image as pull_image

    __getattr__, __dir__ = lazy_names(__name__, {"pull": ["pull_image"]})

A program then loads only the modules that it uses. Module names in the table are relative to the
package, so the table also works in a zip file and under another package name. A name in the table
must not be the name of one of the package's modules, because the import of that module would
replace the name's value.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

#: The tables of all imported packages, by package name.
TABLES: dict[str, Mapping[str, Sequence[str]]] = {}


def lazy_names(
    package: str, table: Mapping[str, Sequence[str]]
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """Return the ``__getattr__`` and ``__dir__`` (PEP 562) of a package.

    Args:
        package: The package's ``__name__``.
        table: The names that each module defines, by module name. Module names are relative to the
            package.

    Returns:
        Two functions. ``__getattr__`` imports the module of a name at the first use of the name.
        ``__dir__`` lists all names, even if their modules are not imported yet.
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
        setattr(self, name, found)  # next time, Python finds the attribute without __getattr__
        return found


if TYPE_CHECKING:
    lazy_pattern = re.compile
else:
    lazy_pattern = _Pattern
