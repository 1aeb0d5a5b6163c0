"""Strict reading of the JSON form of protocol buffers, as Sigstore's documents use it.

Source: https://protobuf.dev/programming-guides/json/.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timezone

from ..errors import InvalidArgument
from ..lazy import lazy_pattern
from ..oci.document import MAX_INTEGER, Document
from ..printable import quoted
from .encoding import from_base64

_NUMBER = lazy_pattern(r"0|[1-9][0-9]{0,18}")
_TIME = lazy_pattern(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,9}))?Z"
)


def check_fields(document: Document, names: Iterable[str]) -> Document:
    """Return ``document`` if it has no other fields than ``names``.

    Raises:
        InvalidArgument: The document has an unknown field, such as a name in snake case.
    """
    unknown = document.fields.keys() - set(names)
    if unknown:
        raise InvalidArgument(f"{document.what} has the unknown field {quoted(min(unknown))}")
    return document


def required(document: Document, name: str) -> Document:
    """Return the object in a field.

    Raises:
        InvalidArgument: The field is absent or has another type.
    """
    found = document.document(name)
    if found is None:
        raise InvalidArgument(f"{document.what} has no {quoted(name)}")
    return found


def one_of(document: Document, names: Iterable[str]) -> str:
    """Return which of the fields is present.

    Raises:
        InvalidArgument: None or several of the fields are present.
    """
    found = [name for name in names if document.has(name)]
    if len(found) != 1:
        raise InvalidArgument(
            f"{document.what} has {len(found)} of the fields {', '.join(names)} instead of one"
        )
    return found[0]


def integer64(document: Document, name: str) -> int:
    """Return the 64-bit integer in a field, which is a string of digits. An absent field is 0.

    Raises:
        InvalidArgument: The field is not an integer from 0 to 2⁶³-1 in a string.
    """
    text = document.text(name, "0")
    if not _NUMBER.fullmatch(text) or int(text) > MAX_INTEGER:
        raise InvalidArgument(
            f"{document.what}: {quoted(name)} is not a number from 0 to 2^63-1 ({quoted(text)})"
        )
    return int(text)


def octets(document: Document, name: str, limit: int, *, size: int = 0) -> bytes:
    """Return the bytes in a field, which is base64.

    Args:
        document: The document.
        name: The name of the field, which must be present.
        limit: The maximum number of bytes.
        size: The exact number of bytes. Default: any number from 1.

    Raises:
        InvalidArgument: The field is absent, is not base64 or has a wrong size.
    """
    return check_size(
        from_base64(document.text(name, None), f"{document.what}: {name}"),
        limit,
        f"{document.what}: {name}",
        size=size,
    )


def check_size(data: bytes, limit: int, what: str, *, size: int = 0) -> bytes:
    """Return ``data`` if it has an allowed number of bytes.

    Raises:
        InvalidArgument: ``data`` has more than ``limit`` bytes, or not ``size`` bytes.
    """
    if len(data) > limit:
        raise InvalidArgument(f"{what} has {len(data)} bytes, more than the {limit} allowed")
    if size and len(data) != size:
        raise InvalidArgument(f"{what} has {len(data)} bytes instead of {size}")
    return data


def moment(document: Document, name: str) -> datetime | None:
    """Return the time in a field (RFC 3339, in UTC); ``None`` if the field is absent.

    Digits of the fraction below a microsecond are dropped.

    Raises:
        InvalidArgument: The field is not a time.
    """
    if not document.has(name):
        return None
    text = document.text(name)
    match = _TIME.fullmatch(text)
    try:
        if match is None:
            raise ValueError
        year, month, day, hour, minute, second = map(int, match.groups()[:6])
        microsecond = int((match[7] or "0").ljust(6, "0")[:6])
        return datetime(
            year,
            month,
            day,
            hour,
            minute=minute,
            second=second,
            microsecond=microsecond,
            tzinfo=timezone.utc,
        )
    except ValueError:
        raise InvalidArgument(
            f"{document.what}: {quoted(name)} is not a time ({quoted(text)})",
            remedy="Write it as 2026-01-31T23:59:59Z",
        ) from None
