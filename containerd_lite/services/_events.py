"""Converts events between records and protobuf messages.

One decoder and one encoder serve all types of events.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, fields
from datetime import datetime, timezone
from operator import attrgetter
from typing import TypeAlias, TypeVar

from ..errors import InvalidArgument, ProtocolError
from ..schema.pool import CONTAINERD, DynamicMessage, decode
from ..schema.values import datetime_of, dict_of
from ..unread import Readers, read_late
from ._base import Fields
from ._types import AnyValue, any_fields, any_of, mounts_of
from .event_types import TYPES, ContainerRuntime, Event, Gap, Payload, TaskIO

_TYPE_NAMES = {kind: name for name, kind in TYPES.items()}

_T = TypeVar("_T")
#: Decodes the bytes of one event type to its record.
_PayloadReader: TypeAlias = Callable[[bytes], Payload]


def _if_set(name: str, read: Callable[[DynamicMessage], _T]) -> Callable[[DynamicMessage], object]:
    """Return a reader of the field ``name`` that returns ``None`` if the field is not set."""

    def get(message: DynamicMessage) -> _T | None:
        return read(getattr(message, name)) if message.HasField(name) else None

    return get


def _io_of(message: DynamicMessage) -> TaskIO:
    return TaskIO(message.stdin, message.stdout, message.stderr, message.terminal)


def _runtime_of(message: DynamicMessage) -> ContainerRuntime:
    return ContainerRuntime(
        message.name, any_of(message.options) if message.HasField("options") else None
    )


#: Readers of the fields that need conversion. A name means the same in every type of event.
_FIELD_READERS: dict[str, Callable[[DynamicMessage], object]] = {
    "labels": lambda message: dict_of(message.labels),
    "rootfs": lambda message: mounts_of(message.rootfs),
    "io": _if_set("io", _io_of),
    "runtime": _if_set("runtime", _runtime_of),
    "exited_at": _if_set("exited_at", datetime_of),
}
#: A reader for each type of event that has arrived so far, by the type's full name.
_payload_readers: dict[str, _PayloadReader] = {}


def _reader_of(name: str, kind: type[Payload]) -> _PayloadReader:
    """Make and register the reader of the type ``name``, whose record is ``kind``."""
    message_class = CONTAINERD.message(name)
    record: Callable[..., Payload] = kind
    getters = [_FIELD_READERS.get(field.name) or attrgetter(field.name) for field in fields(kind)]

    def read(value: bytes) -> Payload:
        message = decode(message_class, value)
        return record(*[get(message) for get in getters])

    return _payload_readers.setdefault(name, read)


def _payload_of(message: DynamicMessage) -> Payload | AnyValue:
    """Decode the ``Any`` of an event; return it undecoded if its type is unknown or invalid."""
    name: str = message.type_url
    read = _payload_readers.get(name)
    try:
        if read is None:
            kind = TYPES.get(name)
            if kind is None:
                return any_of(message)
            read = _reader_of(name, kind)
        return read(message.value)
    except (ProtocolError, OverflowError):  # invalid bytes, or a time outside datetime's range
        return any_of(message)


#: The payload is decoded at first use, because many consumers only read the topic.
_EVENT: Readers = {"event": _payload_of}


def _timestamp_of(message: DynamicMessage) -> datetime:
    """Return an event's time, limited to datetime's range.

    A client may forward an event with any time, and this must not end the subscription.
    """
    try:
        return datetime_of(message)
    except OverflowError:
        end = datetime.max if message.seconds > 0 else datetime.min
        return end.replace(tzinfo=timezone.utc)


def event_of(message: DynamicMessage) -> Event:
    """Convert the envelope of an event to a record."""
    event = read_late(Event, message.event, _EVENT)
    event.__dict__.update(
        timestamp=_timestamp_of(message.timestamp),
        namespace=message.namespace,
        topic=message.topic,
    )
    return event


def payload_fields(event: Payload | Gap | AnyValue) -> Fields:
    """Return the fields of an event's ``Any``.

    Raise ``InvalidArgument`` if ``event`` is not an event that can be published.
    """
    if isinstance(event, AnyValue):
        return any_fields(event)
    name = _TYPE_NAMES.get(type(event))  # type: ignore[arg-type]
    if name is None or isinstance(event, Gap):
        raise InvalidArgument(
            f"{type(event).__name__} is not an event type that containerd knows",
            remedy="Pass an event record of services.event_types, or AnyValue(type_url, value)",
        )
    return any_fields(AnyValue.of(name, asdict(event)))
