"""What tasks and sandboxes use of the machine, as one sample of each.

What lives here: ``Metric``, and messages to the records of ``cgroups1`` and ``cgroups2``.  What
may not: RPCs, which belong to tasks and sandboxes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, get_args, get_type_hints

from ..records import record
from ..schema.plain import plain
from ..schema.pool import CONTAINERD, DynamicMessage, decode
from ..schema.values import datetime_of
from . import cgroups1, cgroups2
from ._types import AnyValue, any_of

_KINDS: Mapping[str, type] = {
    "io.containerd.cgroups.v1.Metrics": cgroups1.Metrics,
    "io.containerd.cgroups.v2.Metrics": cgroups2.Metrics,
}


@record(frozen=True)
class Metric:
    """One sample: ``id`` is the container's or the sandbox's.

    ``data`` is what the machine's version of cgroups has; of a type that is not known here, its
    name and bytes; ``None`` where there was nothing.
    """

    id: str
    timestamp: datetime
    data: cgroups1.Metrics | cgroups2.Metrics | AnyValue | None


def metric_of(message: DynamicMessage) -> Metric:
    """A ``containerd.types.Metric``.  Raises ``ProtocolError`` for data that is none."""
    data = measured(any_of(message.data)) if message.HasField("data") else None
    return Metric(message.id, datetime_of(message.timestamp), data)


def measured(value: AnyValue) -> cgroups1.Metrics | cgroups2.Metrics | AnyValue:
    """The record in an ``Any``, or the ``Any`` if its type is not known.

    Raises ``ProtocolError`` for bytes that are not what they are called.
    """
    kind = _KINDS.get(value.type_url)
    if kind is None:
        return value
    message = decode(CONTAINERD.message(value.type_url), value.value)
    found: cgroups1.Metrics | cgroups2.Metrics = _record(kind, plain(message))
    return found


def _record(kind: type, values: Mapping[str, Any]) -> Any:
    nested = _nested(kind)
    return kind(
        **{one.name: _value(nested.get(one.name), values[one.name]) for one in fields(kind)}
    )


def _value(kind: type | None, value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_value(kind, item) for item in value)
    return value if kind is None or value is None else _record(kind, value)


@lru_cache(maxsize=64)
def _nested(kind: type) -> dict[str, type]:
    """The fields of a record that hold records, one or several, and of which kind."""
    return {
        name: part
        for name, hint in get_type_hints(kind).items()
        for part in get_args(hint)
        if isinstance(part, type) and is_dataclass(part)
    }
