"""Filters for lists and subscriptions, as containerd's pkg/filters reads them.

What lives here: a builder that quotes.  What may not: RPCs.

Every method that takes filters takes plain strings too; what the builder makes are strings.
Several filters are alternatives: what one of them lets through comes.
"""

from __future__ import annotations

import re

from ..errors import InvalidArgument
from ..lazy import lazy_pattern

_PLAIN = lazy_pattern(r"[A-Za-z][A-Za-z0-9_]*")
_UNPRINTABLE = lazy_pattern(r'["\\]|[^ -~]')


class Expression(str):
    """A filter that is whole: ``Filter("name") == "x"``; ``&`` asks for both of two."""

    __slots__ = ()

    def __and__(self, other: str) -> Expression:
        return Expression(f"{self},{other}")


class Filter:
    """What a filter looks at: ``Filter("name")``, ``Filter("target.digest")``.

    The ``keys`` are taken as they are, whatever is in them:
    ``Filter("labels", "containerd.io/gc.root")``.  Compared with ``==`` or ``!=``, or asked
    whether it ``matches`` or ``is_present``, it gives the filter.  Raises ``InvalidArgument`` for
    a field that is no name.
    """

    def __init__(self, field: str, *keys: str) -> None:
        names = field.split(".")
        for name in names:
            if not _PLAIN.fullmatch(name):
                raise InvalidArgument(
                    f"{field!r} is no field that can be filtered by",
                    remedy="Keys of labels go behind it: Filter('labels', 'a.b/c')",
                )
        self._path = ".".join([*names, *map(_quoted, keys)])

    def __eq__(self, value: str) -> Expression:  # type: ignore[override]
        return Expression(f"{self._path}=={_quoted(value)}")

    def __ne__(self, value: str) -> Expression:  # type: ignore[override]
        return Expression(f"{self._path}!={_quoted(value)}")

    __hash__ = None  # type: ignore[assignment]

    def matches(self, pattern: str) -> Expression:
        """Let through whose value a regular expression (Go's syntax) finds something in."""
        return Expression(f"{self._path}~={_quoted(pattern)}")

    def is_present(self) -> Expression:
        """Let through what has the field at all."""
        return Expression(self._path)

    def __repr__(self) -> str:
        return f"<Filter {self._path}>"


def _quoted(text: str) -> str:
    """A string as Go writes it; whatever is not plain ASCII by its number."""
    return f'"{_UNPRINTABLE.sub(_escaped, text)}"'


def _escaped(found: re.Match[str]) -> str:
    char = found[0]
    if char in '"\\':
        return "\\" + char
    return f"\\U{ord(char):08x}"
