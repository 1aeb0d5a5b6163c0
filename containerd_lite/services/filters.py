"""A builder of filters for lists and subscriptions, in the syntax of containerd's pkg/filters.

The builder quotes values. A filter is a string, so methods that take filters also take plain
strings. If a method gets several filters, it selects the objects that match at least one filter.
"""

from __future__ import annotations

import re

from ..errors import InvalidArgument
from ..lazy import lazy_pattern

_FIELD_NAME = lazy_pattern(r"[A-Za-z][A-Za-z0-9_]*")
_ESCAPED = lazy_pattern(r'["\\]|[^ -~]')


class Expression(str):
    """A complete filter, such as ``Filter("name") == "x"``.

    ``a & b`` is the filter for objects that match both ``a`` and ``b``.
    """

    __slots__ = ()

    def __and__(self, other: str) -> Expression:
        return Expression(f"{self},{other}")


class Filter:
    """A field to filter by, such as ``Filter("name")`` or ``Filter("target.digest")``.

    The operators ``==`` and ``!=`` and the methods ``matches`` and ``is_present`` return a
    complete filter.

    Args:
        field: The name of the field, with dots between its parts.
        keys: Further parts of the name, such as the key of a label. These parts may contain any
            characters, as in ``Filter("labels", "containerd.io/gc.root")``.

    Raises:
        InvalidArgument: ``field`` is not a valid field name.
    """

    def __init__(self, field: str, *keys: str) -> None:
        names = field.split(".")
        for name in names:
            if not _FIELD_NAME.fullmatch(name):
                raise InvalidArgument(
                    f"{field!r} is not a valid field name of a filter",
                    remedy="Pass the key of a label separately: Filter('labels', 'a.b/c')",
                )
        self._path = ".".join([*names, *map(_quoted, keys)])

    def __eq__(self, value: str) -> Expression:  # type: ignore[override]
        return Expression(f"{self._path}=={_quoted(value)}")

    def __ne__(self, value: str) -> Expression:  # type: ignore[override]
        return Expression(f"{self._path}!={_quoted(value)}")

    __hash__ = None  # type: ignore[assignment]

    def matches(self, pattern: str) -> Expression:
        """Return the filter for objects whose field matches a regular expression.

        Args:
            pattern: The regular expression, in Go's syntax. The expression can match any part of
                the field.
        """
        return Expression(f"{self._path}~={_quoted(pattern)}")

    def is_present(self) -> Expression:
        """Return the filter for objects that have the field."""
        return Expression(self._path)

    def __repr__(self) -> str:
        return f"<Filter {self._path}>"


def _quoted(text: str) -> str:
    """Quote a string in Go's syntax. Escape all characters that are not printable ASCII."""
    return f'"{_ESCAPED.sub(_escape, text)}"'


def _escape(match: re.Match[str]) -> str:
    char = match[0]
    if char in '"\\':
        return "\\" + char
    return f"\\U{ord(char):08x}"
