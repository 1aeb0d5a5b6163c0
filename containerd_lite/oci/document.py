"""Strict reading of JSON that somebody else wrote.

What lives here: one bounded parser and the typed reading of a document's fields.  What may
not: knowledge of any particular document, IO.

Go's ``encoding/json`` takes the last of two equal keys and matches field names without regard
to case, so a document can mean one thing here and another to the daemon.  Both are refused.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import NoReturn, TypeVar

from ..errors import InvalidArgument

#: What containers/image allows a manifest, a config or a signature (CVE-2020-1702).
MAX_DOCUMENT = 4 << 20
#: The widest integer a Go peer can hold.
MAX_INTEGER = (1 << 63) - 1

_MAX_DIGITS = 20
_SHOWN = 80

_Item = TypeVar("_Item")


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a key occurs twice in one object")
    return table


def _integer(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise ValueError("a number is too long")
    return int(digits)


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def quoted(value: object) -> str:
    """``value`` as a short printable literal, for error messages."""
    text = ascii(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


class Document:
    """One JSON object and the typed reading of its fields.

    Every reader raises InvalidArgument, naming the document and the field, when the field has
    another type; a field that is absent or ``null`` gives the default.
    """

    __slots__ = ("fields", "what")

    def __init__(self, fields: Mapping[str, object], what: str) -> None:
        self.fields = fields
        self.what = what

    @classmethod
    def parse(cls, body: bytes, what: str, *, limit: int = MAX_DOCUMENT) -> Document:
        """Parses a JSON object of at most ``limit`` bytes of UTF-8 (RFC 8259, section 8.1).

        ``what`` names the document in errors.  Raises InvalidArgument for anything else, also
        for keys that occur twice and for nesting too deep to read.
        """
        if len(body) > limit:
            raise InvalidArgument(f"{what} has {len(body)} bytes, more than the {limit} allowed")
        try:
            value = json.loads(
                body.decode("utf-8"),
                object_pairs_hook=_unique,
                parse_int=_integer,
                parse_constant=_constant,
            )
        except RecursionError:
            raise InvalidArgument(f"{what} is nested too deeply") from None
        except ValueError as error:
            reason = error.msg if isinstance(error, json.JSONDecodeError) else type(error).__name__
            raise InvalidArgument(f"{what} is not valid JSON ({reason})") from None
        return cls.of(value, what)

    @classmethod
    def of(cls, value: object, what: str) -> Document:
        """``value`` as a document; raises InvalidArgument unless it is an object."""
        if not isinstance(value, dict):
            raise InvalidArgument(f"{what} is not a JSON object")
        return cls(value, what)

    def known(self, names: Iterable[str]) -> Document:
        """This document, once no field is a known name spelled in another case."""
        spelled = {name.casefold(): name for name in names}
        for field in self.fields:
            if spelled.get(field.casefold(), field) != field:
                raise InvalidArgument(f"{self.what} spells a field {quoted(field)}: ambiguous")
        return self

    def has(self, name: str) -> bool:
        return self.fields.get(name) is not None

    def text(self, name: str, default: str | None = "") -> str:
        """A string; required when ``default`` is ``None``, and then not empty."""
        value = self.fields.get(name)
        if value is None and default is not None:
            return default
        return self._text(name, value, empty=default is not None)

    def integer(self, name: str, default: int | None = None) -> int:
        """A whole number from 0 to 2⁶³-1; required when ``default`` is ``None``."""
        value = self.fields.get(name)
        if value is None and default is not None:
            return default
        if type(value) is not int or not 0 <= value <= MAX_INTEGER:
            self._refuse(name, "a whole number", value)
        return value

    def flag(self, name: str) -> bool:
        value = self.fields.get(name)
        if value is not None and not isinstance(value, bool):
            self._refuse(name, "true or false", value)
        return bool(value)

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of strings."""
        return tuple(self._text(name, item) for item in self._list(name))

    def table(self, name: str) -> dict[str, str]:
        """An object whose values are strings; a ``null`` value is an empty string, as to Go."""
        value = self.document(name)
        pairs = value.fields.items() if value else ()
        return {
            self._text(name, key): self._text(name, "" if item is None else item)
            for key, item in pairs
        }

    def names(self, name: str) -> tuple[str, ...]:
        """The keys of an object used as a set."""
        value = self.document(name)
        return tuple(self._text(name, key) for key in value.fields) if value else ()

    def document(self, name: str) -> Document | None:
        value = self.fields.get(name)
        return None if value is None else Document.of(value, f"{self.what}: {name}")

    def each(self, name: str, make: Callable[[Document], _Item]) -> tuple[_Item, ...]:
        """A list of objects, each given to ``make``."""
        what = f"{self.what}: {name}"
        return tuple(
            make(Document.of(item, f"{what}[{place}]"))
            for place, item in enumerate(self._list(name))
        )

    def _list(self, name: str) -> list[object]:
        value = self.fields.get(name)
        if value is None:
            return []
        if not isinstance(value, list):
            self._refuse(name, "a list", value)
        return value

    def _text(self, name: str, value: object, *, empty: bool = True) -> str:
        if not isinstance(value, str) or not (value or empty):
            self._refuse(name, "a string", value)
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:  # a lone surrogate, which no wire format can carry
            self._refuse(name, "Unicode text", value)
        return value

    def _refuse(self, name: str, wanted: str, value: object) -> NoReturn:
        if value is None:
            raise InvalidArgument(f"{self.what} has no {quoted(name)}")
        raise InvalidArgument(f"{self.what}: {quoted(name)} is not {wanted} ({quoted(value)})")
