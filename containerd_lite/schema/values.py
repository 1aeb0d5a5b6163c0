"""Converts plain Python values to message fields and back: times, JSON, maps, field masks.

The functions return nested messages as dicts. The constructor of any message class accepts such a
dict, even if the class is from another descriptor pool.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta, timezone

from ..errors import InvalidArgument, ProtocolError
from .pool import DynamicMessage

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
#: Go's zero time, 1 January of the year 1, in seconds.
_ZERO_TIME = -62_135_596_800
#: containerd's typeurl encodes values that are not protobuf messages as JSON. The type names of
#: these values start with this prefix.
JSON_TYPES = "types.containerd.io/"
RUNTIME_SPEC = JSON_TYPES + "opencontainers/runtime-spec/1/Spec"
RUNTIME_PROCESS = JSON_TYPES + "opencontainers/runtime-spec/1/Process"

#: Wire types (protobuf's encoding.md). ``_FIXED`` maps the wire types of a fixed size to this size
#: in bytes.
_VARINT, _LENGTH_DELIMITED = 0, 2
_FIXED = {1: 8, 5: 4}

#: The maximum number of fields of a message that ``bytes_field`` reads. Messages with content have
#: up to four fields, and each takes 0.2 us: a message of 16 MiB could have 8 million.
_MAX_FIELDS = 1000

Json = Mapping[str, object]


def datetime_of(timestamp: DynamicMessage) -> datetime:
    """Return a ``google.protobuf.Timestamp`` as an aware datetime in UTC.

    The time is rounded down to microseconds.

    Raises:
        ProtocolError: The time is before the year 1 or after the year 9999.
    """
    try:
        # With keyword arguments, this call would take a third longer. Listings have many
        # timestamps.
        return _EPOCH + timedelta(0, timestamp.seconds, timestamp.nanos // 1000)
    except OverflowError:
        raise ProtocolError(
            f"received the time {timestamp.seconds} s since 1970, "
            "which is not between the years 1 and 9999"
        ) from None


def timedelta_of(duration: DynamicMessage) -> timedelta:
    """Return a ``google.protobuf.Duration`` as a timedelta, rounded down to microseconds.

    Raises:
        ProtocolError: The duration is longer than a timedelta can be.
    """
    try:
        return timedelta(seconds=duration.seconds, microseconds=duration.nanos // 1000)
    except OverflowError:
        raise ProtocolError(
            f"received a duration of {duration.seconds} s, which is too long"
        ) from None


def moment(message: DynamicMessage, name: str) -> datetime | None:
    """Return a time field as a datetime, or ``None`` if the field is absent.

    A zero time also counts as absent, because daemons can send a zero time instead of no time.
    """
    found = getattr(message, name)
    is_set = message.HasField(name) and (found.seconds, found.nanos) not in (
        (0, 0),
        (_ZERO_TIME, 0),
    )
    return datetime_of(found) if is_set else None


def dict_of(field: DynamicMessage) -> dict[str, str]:
    """Return a map of strings as a dict.

    Most maps are empty. The check whether a map is empty takes much less time than a copy of the
    empty map.
    """
    return dict(field.items()) if field else {}


def timestamp(moment: datetime) -> dict[str, int]:
    """Return an aware datetime as the fields of a ``google.protobuf.Timestamp``.

    Raises:
        InvalidArgument: The datetime has no time zone.
    """
    if moment.utcoffset() is None:
        raise InvalidArgument(
            f"the time {moment} has no time zone", remedy="Set tzinfo, for instance to timezone.utc"
        )
    since = moment - _EPOCH
    return {"seconds": since.days * 86400 + since.seconds, "nanos": since.microseconds * 1000}


def json_bytes(value: Json) -> bytes:
    """Encode a JSON document for the ``Any`` of a runtime-spec type.

    Raises:
        InvalidArgument: The value cannot be written as JSON, or is nested too deeply.
    """
    try:
        return json.dumps(value, separators=(",", ":"), sort_keys=True, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidArgument(
            f"the value cannot be written as JSON ({error})", remedy="Give a JSON object"
        ) from None


def json_of(value: bytes) -> dict[str, object]:
    """Decode the JSON object in the ``Any`` of a runtime-spec type.

    Raises:
        ProtocolError: The value is not a JSON object.
    """
    try:
        found = json.loads(value)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"the received data is not valid JSON: {error}") from error
    if not isinstance(found, dict):
        raise ProtocolError(f"expected a JSON object, received a {type(found).__name__}")
    return found


def bytes_field(message: bytes | bytearray, number: int) -> memoryview:
    """Return a bytes field of an encoded message as a view.

    The view is empty if the field is absent. This function is for messages that consist mostly of
    this field. Protobuf's decoder would copy content of 1 MiB three times. If the field occurs more
    than once, the last occurrence counts, as in any decoder.

    Raises:
        ProtocolError: The message is invalid, or has more than 1,000 fields.
    """
    view, position, found = memoryview(message), 0, memoryview(b"")
    try:
        for _ in range(_MAX_FIELDS):
            if position >= len(view):
                break
            tag, position = _varint(view, position)
            wire_type = tag & 7
            if wire_type == _LENGTH_DELIMITED:
                size, position = _varint(view, position)
                if tag >> 3 == number:
                    found = view[position : position + size]
                position += size
            elif wire_type == _VARINT:
                _, position = _varint(view, position)
            else:
                position += _FIXED[wire_type]
    except (IndexError, KeyError) as error:
        raise ProtocolError(f"the received data is not a valid message: {error!r}") from error
    if position < len(view):
        raise ProtocolError(f"received a message of more than {_MAX_FIELDS} fields")
    if position > len(view):
        raise ProtocolError("the received data is not a valid message: its last field is cut short")
    return found


def _varint(view: memoryview, position: int) -> tuple[int, int]:
    """Return the varint at a position, and the position after it."""
    value = shift = 0
    while shift < 70:
        byte = view[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
    raise IndexError("a varint has more than 10 bytes")


def mask(paths: Iterable[str]) -> dict[str, list[str]]:
    """Return the fields of a ``google.protobuf.FieldMask``."""
    return {"paths": list(paths)}
