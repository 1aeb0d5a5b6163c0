"""Samples of the resource usage of tasks and sandboxes."""

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

#: The record class of each known type of metrics, by the full name of the type.
_RECORDS: Mapping[str, type] = {
    "io.containerd.cgroups.v1.Metrics": cgroups1.Metrics,
    "io.containerd.cgroups.v2.Metrics": cgroups2.Metrics,
}


@record(frozen=True)
class Metric:
    """A sample of the resource usage of a container or a sandbox.

    Attributes:
        id: The id of the container or sandbox.
        timestamp: The time of the sample.
        data: The values. The class of this record depends on the machine's version of cgroups. The
            class is ``AnyValue`` if this package does not know the type of the values. ``None``
            means that the sample has no values.
    """

    id: str
    timestamp: datetime
    data: cgroups1.Metrics | cgroups2.Metrics | AnyValue | None


def metric_of(message: DynamicMessage) -> Metric:
    """Convert a ``containerd.types.Metric`` to a record.

    Raises:
        ProtocolError: The data cannot be decoded.
    """
    data = decode_metrics(any_of(message.data)) if message.HasField("data") else None
    return Metric(message.id, datetime_of(message.timestamp), data)


def decode_metrics(value: AnyValue) -> cgroups1.Metrics | cgroups2.Metrics | AnyValue:
    """Decode an ``Any`` to a record of metrics.

    If the type of the ``Any`` is unknown, return the ``Any`` unchanged.

    Raises:
        ProtocolError: The bytes are not a value of the type.
    """
    kind = _RECORDS.get(value.type_url)
    if kind is None:
        return value
    message = decode(CONTAINERD.message(value.type_url), value.value)
    metrics: cgroups1.Metrics | cgroups2.Metrics = _record(kind, plain(message))
    return metrics


def _record(kind: type, values: Mapping[str, Any]) -> Any:
    nested = _nested_types(kind)
    return kind(
        **{field.name: _value(nested.get(field.name), values[field.name]) for field in fields(kind)}
    )


def _value(kind: type | None, value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_value(kind, item) for item in value)
    return value if kind is None or value is None else _record(kind, value)


@lru_cache(maxsize=64)
def _nested_types(kind: type) -> dict[str, type]:
    """Return the fields of ``kind`` that contain records.

    The result is a dict from the names of these fields to the classes of the nested records.
    """
    return {
        name: part
        for name, hint in get_type_hints(kind).items()
        for part in get_args(hint)
        if isinstance(part, type) and is_dataclass(part)
    }
