"""Strict parsing of JSON from untrusted sources, and methods that read JSON fields by type.

If a key occurs twice, Go's ``encoding/json`` uses the last value. Go also ignores the case of field
names. So the daemon and this package could read different values from the same document. This
module therefore rejects a document that repeats a key. It also rejects a field if the field's name
differs from a known name only in case.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import NoReturn, TypeVar

from ..errors import InvalidArgument
from ..printable import quoted

#: The maximum size of a manifest, config or signature in bytes, as in containers/image
#: (CVE-2020-1702).
MAX_DOCUMENT = 4 << 20
#: The largest integer that Go's int64 can represent.
MAX_INTEGER = (1 << 63) - 1

_MAX_DIGITS = 20
#: The maximum number of commas and opening brackets in a document. Each can stand for a value, and
#: an empty list takes 56 bytes of memory, but two bytes of JSON.
_MAX_MARKS = 1 << 19
#: The maximum number of levels of objects and lists in a document. Documents of the OCI have fewer
#: than ten.
_MAX_DEPTH = 200
#: All bytes except brackets, and a table for ``bytes.translate`` that makes all brackets square.
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_SQUARE = bytes.maketrans(b"{}", b"[]")

_Item = TypeVar("_Item")


def _unique_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a key occurs twice in one object")
    return table


def _is_deep(body: bytes) -> bool:
    """Return whether a JSON text has more than ``_MAX_DEPTH`` levels of objects and lists.

    ``json`` raises ``RecursionError`` near the limit of the interpreter. Clean-up functions of
    other objects, which the interpreter may call at any time, would then fail, too.
    """
    if body.count(b"[") + body.count(b"{") <= _MAX_DEPTH:
        return False
    outside_strings = body.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')[::2]
    brackets = b"".join(outside_strings).translate(_SQUARE, _NOT_BRACKETS)
    for _ in range(_MAX_DEPTH):  # each round removes the innermost level
        outer = brackets.replace(b"[]", b"")
        if outer == brackets:
            break
        brackets = outer
    return b"[]" in brackets or brackets.count(b"[") > _MAX_DEPTH


def _parse_integer(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise ValueError(f"an integer has more than {_MAX_DIGITS} characters")
    return int(digits)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


class Document:
    """A JSON object with methods that read its fields by type.

    If a field is absent or ``null``, the methods return a default value. If a required field is
    absent, or a field has the wrong type, the methods raise ``InvalidArgument``. The message names
    the document and the field.

    Attributes:
        fields: The fields of the object by name.
        what: The name of the document in error messages.
    """

    __slots__ = ("fields", "what")

    def __init__(self, fields: Mapping[str, object], what: str) -> None:
        self.fields = fields
        self.what = what

    @classmethod
    def parse(cls, body: bytes, what: str, *, limit: int = MAX_DOCUMENT) -> Document:
        """Parse a JSON object in UTF-8 (RFC 8259, section 8.1).

        Args:
            body: The JSON text.
            what: The name of the document in error messages.
            limit: The maximum size of ``body`` in bytes. Default: 4 MiB.

        Raises:
            InvalidArgument: ``body`` is too large, is not a JSON object, has a repeated key, is
                nested too deeply or has too many values.
        """
        if len(body) > limit:
            raise InvalidArgument(f"{what} has {len(body)} bytes, more than the {limit} allowed")
        if len(body) > _MAX_MARKS and sum(map(body.count, (b",", b"[", b"{"))) > _MAX_MARKS:
            raise InvalidArgument(f"{what} has too many values")
        if _is_deep(body):
            raise InvalidArgument(f"{what} is nested too deeply")
        try:
            value = json.loads(
                body.decode("utf-8"),
                object_pairs_hook=_unique_keys,
                parse_int=_parse_integer,
                parse_constant=_refuse_constant,
            )
        except RecursionError:
            raise InvalidArgument(f"{what} is nested too deeply") from None
        except UnicodeDecodeError:
            raise InvalidArgument(f"{what} is not valid JSON (it is not UTF-8)") from None
        except ValueError as error:
            reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
            raise InvalidArgument(f"{what} is not valid JSON ({reason})") from None
        return cls.of(value, what)

    @classmethod
    def of(cls, value: object, what: str) -> Document:
        """Return a document for a parsed JSON object.

        Args:
            value: The parsed JSON value.
            what: The name of the document in error messages.

        Raises:
            InvalidArgument: ``value`` is not an object.
        """
        if not isinstance(value, dict):
            raise InvalidArgument(f"{what} is not a JSON object")
        return cls(value, what)

    def check_case(self, names: Iterable[str]) -> Document:
        """Check the case of the known field names, and return this document.

        Args:
            names: The known field names, in the correct case.

        Raises:
            InvalidArgument: The name of a field differs from one of ``names`` only in case.
        """
        spellings = {name.casefold(): name for name in names}
        for field in self.fields:
            if spellings.get(field.casefold(), field) != field:
                raise InvalidArgument(
                    f"{self.what} has an ambiguous field {quoted(field)}: it differs from a known "
                    "name only in case"
                )
        return self

    def has(self, name: str) -> bool:
        """Return whether a field is present and not ``null``."""
        return self.fields.get(name) is not None

    def text(self, name: str, default: str | None = "") -> str:
        """Return the string in a field.

        If ``default`` is ``None``, the field must be present, and the string must not be empty.
        """
        value = self.fields.get(name)
        if value is None and default is not None:
            return default
        return self._check_text(name, value, may_be_empty=default is not None)

    def integer(self, name: str, default: int | None = None) -> int:
        """Return the integer in a field, which must be from 0 to 2⁶³-1.

        If ``default`` is ``None``, the field must be present.
        """
        value = self.fields.get(name)
        if value is None and default is not None:
            return default
        if type(value) is not int or not 0 <= value <= MAX_INTEGER:
            self._refuse(name, "a whole number from 0 to 2^63-1", value)
        return value

    def flag(self, name: str) -> bool:
        """Return the boolean in a field; false if the field is absent."""
        value = self.fields.get(name)
        if value is not None and not isinstance(value, bool):
            self._refuse(name, "true or false", value)
        return bool(value)

    def texts(self, name: str) -> tuple[str, ...]:
        """Return the list of strings in a field."""
        return tuple(self._check_text(name, item) for item in self._list(name))

    def table(self, name: str) -> dict[str, str]:
        """Return the object in a field as a dict of strings.

        The values of the object must be strings. As in Go, the value ``null`` becomes an empty
        string.
        """
        value = self.document(name)
        pairs = value.fields.items() if value else ()
        return {
            self._check_text(name, key): self._check_text(name, "" if item is None else item)
            for key, item in pairs
        }

    def names(self, name: str) -> tuple[str, ...]:
        """Return the keys of the object in a field.

        Go programs write the items of a set as the keys of an object.
        """
        value = self.document(name)
        return tuple(self._check_text(name, key) for key in value.fields) if value else ()

    def document(self, name: str) -> Document | None:
        """Return the object in a field as a document; ``None`` if the field is absent."""
        value = self.fields.get(name)
        return None if value is None else Document.of(value, f"{self.what}: {name}")

    def each(self, name: str, make: Callable[[Document], _Item]) -> tuple[_Item, ...]:
        """Call ``make`` with each object of the list in a field, and return the results."""
        what = f"{self.what}: {name}"
        return tuple(
            make(Document.of(item, f"{what}[{index}]"))
            for index, item in enumerate(self._list(name))
        )

    def _list(self, name: str) -> list[object]:
        value = self.fields.get(name)
        if value is None:
            return []
        if not isinstance(value, list):
            self._refuse(name, "a list", value)
        return value

    def _check_text(self, name: str, value: object, *, may_be_empty: bool = True) -> str:
        if not isinstance(value, str) or not (value or may_be_empty):
            self._refuse(name, "a string" if may_be_empty else "a non-empty string", value)
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:  # UTF-8 cannot encode a lone surrogate
            self._refuse(name, "Unicode text", value)
        return value

    def _refuse(self, name: str, wanted: str, value: object) -> NoReturn:
        if value is None:
            raise InvalidArgument(f"{self.what} has no {quoted(name)}")
        raise InvalidArgument(f"{self.what}: {quoted(name)} is not {wanted} ({quoted(value)})")
