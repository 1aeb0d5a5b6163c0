"""Plain Python to message fields, and back: time, Any, field masks.

What lives here: pure conversions; dicts are what a message's constructor takes for a nested
message, whatever pool that one is from.  What may not: descriptors, IO.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta, timezone

from .pool import DynamicMessage

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
#: containerd's typeurl writes the runtime-spec types as JSON under these names.
RUNTIME_SPEC = "types.containerd.io/opencontainers/runtime-spec/1/Spec"
RUNTIME_PROCESS = "types.containerd.io/opencontainers/runtime-spec/1/Process"

Json = Mapping[str, object]


def datetime_of(timestamp: DynamicMessage) -> datetime:
    """A ``google.protobuf.Timestamp`` as an aware datetime in UTC; nanoseconds are cut off."""
    return _EPOCH + timedelta(seconds=timestamp.seconds, microseconds=timestamp.nanos // 1000)


def timestamp(moment: datetime) -> dict[str, int]:
    """An aware datetime as the fields of a ``google.protobuf.Timestamp``."""
    since = moment - _EPOCH
    return {"seconds": since.days * 86400 + since.seconds, "nanos": since.microseconds * 1000}


def json_bytes(value: Json) -> bytes:
    """A JSON document, as it stands in the ``Any`` of a runtime-spec type."""
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


def message_any(message: DynamicMessage) -> dict[str, object]:
    """A message as the fields of an ``Any``: containerd's type URL is its bare full name."""
    return {"type_url": message.DESCRIPTOR.full_name, "value": message.SerializeToString()}


def mask(paths: Iterable[str]) -> dict[str, list[str]]:
    """The fields of a ``google.protobuf.FieldMask``."""
    return {"paths": list(paths)}
