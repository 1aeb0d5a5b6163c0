"""Plain Python to message fields, and back: time, Any, field masks.

What lives here: pure conversions; dicts are what a message's constructor takes for a nested
message, whatever pool that one is from.  What may not: descriptors, IO.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta, timezone

from ..errors import ProtocolError
from .pool import DynamicMessage

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
#: Go's zero time, 1 January of the year 1, in seconds.
_NEVER = -62_135_596_800
#: containerd's typeurl writes types that are no messages as JSON, under names that begin so.
JSON_TYPES = "types.containerd.io/"
RUNTIME_SPEC = JSON_TYPES + "opencontainers/runtime-spec/1/Spec"
RUNTIME_PROCESS = JSON_TYPES + "opencontainers/runtime-spec/1/Process"

#: Wire types (protobuf's encoding.md), and the sizes of those that are fixed.
_VARINT, _LENGTH_DELIMITED = 0, 2
_FIXED = {1: 8, 5: 4}

Json = Mapping[str, object]


def datetime_of(timestamp: DynamicMessage) -> datetime:
    """A ``google.protobuf.Timestamp`` as an aware datetime in UTC; nanoseconds are cut off."""
    # By position: with names, it takes a third more, and lists are full of these.
    return _EPOCH + timedelta(0, timestamp.seconds, timestamp.nanos // 1000)


def moment(message: DynamicMessage, name: str) -> datetime | None:
    """A field that is a time, ``None`` if it is absent or, as daemons send such, zero."""
    found = getattr(message, name)
    is_there = message.HasField(name) and (found.seconds, found.nanos) not in ((0, 0), (_NEVER, 0))
    return datetime_of(found) if is_there else None


def dict_of(field: DynamicMessage) -> dict[str, str]:
    """A map of strings; most are empty, and copying nothing takes protobuf as long as something."""
    return dict(field.items()) if field else {}


def timestamp(moment: datetime) -> dict[str, int]:
    """An aware datetime as the fields of a ``google.protobuf.Timestamp``."""
    since = moment - _EPOCH
    return {"seconds": since.days * 86400 + since.seconds, "nanos": since.microseconds * 1000}


def json_bytes(value: Json) -> bytes:
    """A JSON document, as it stands in the ``Any`` of a runtime-spec type."""
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


def json_of(value: bytes) -> dict[str, object]:
    """The JSON object in the ``Any`` of such a type.  Raises ``ProtocolError``."""
    try:
        found = json.loads(value)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"what came is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise ProtocolError(f"a JSON object should have come, and it was {found!r:.40}")
    return found


def bytes_field(message: bytes | bytearray, number: int) -> memoryview:
    """A bytes field of an encoded message as a view of it, empty where it is absent.

    For messages that are little else: decoding one of containerd's 1 MiB reads copies it three
    times.  As in any decoder the last occurrence counts.  Raises ``ProtocolError``.
    """
    view, at, found = memoryview(message), 0, memoryview(b"")
    try:
        while at < len(view):
            tag, at = _varint(view, at)
            kind = tag & 7
            if kind == _LENGTH_DELIMITED:
                size, at = _varint(view, at)
                if tag >> 3 == number:
                    found = view[at : at + size]
                at += size
            elif kind == _VARINT:
                _, at = _varint(view, at)
            else:
                at += _FIXED[kind]
    except (IndexError, KeyError) as error:
        raise ProtocolError(f"what came is no message: {error!r}") from error
    if at != len(view):
        raise ProtocolError("what came is no message: a field runs over its end")
    return found


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    """The number at ``at``, and where it ends."""
    value = shift = 0
    while shift < 70:
        byte = view[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise IndexError("a varint of more than 10 bytes")


def mask(paths: Iterable[str]) -> dict[str, list[str]]:
    """The fields of a ``google.protobuf.FieldMask``."""
    return {"paths": list(paths)}
