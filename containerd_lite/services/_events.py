"""Converts event records to and from protobuf messages.

The same decoder and the same encoder work for all types of events.
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
#: A function that decodes the bytes of one type of event to a record.
_PayloadReader: TypeAlias = Callable[[bytes], Payload]


def _if_set(name: str, read: Callable[[DynamicMessage], _T]) -> Callable[[DynamicMessage], object]:
    """Return a function that reads the field ``name`` of a message.

    If the field is not set, the function returns ``None``.
    """

    def get(message: DynamicMessage) -> _T | None:
        return read(getattr(message, name)) if message.HasField(name) else None

    return get


def _io_of(message: DynamicMessage) -> TaskIO:
    return TaskIO(message.stdin, message.stdout, message.stderr, message.terminal)


def _runtime_of(message: DynamicMessage) -> ContainerRuntime:
    return ContainerRuntime(
        message.name, any_of(message.options) if message.HasField("options") else None
    )


#: A reader for each field that needs conversion, by the name of the field. Fields with the same
#: name have the same type in all types of events.
_FIELD_READERS: dict[str, Callable[[DynamicMessage], object]] = {
    "labels": lambda message: dict_of(message.labels),
    "rootfs": lambda message: mounts_of(message.rootfs),
    "io": _if_set("io", _io_of),
    "runtime": _if_set("runtime", _runtime_of),
    "exited_at": _if_set("exited_at", datetime_of),
}
#: A reader for each type of event that has arrived so far, by the full name of the type.
_payload_readers: dict[str, _PayloadReader] = {}


def _make_reader(name: str, kind: type[Payload]) -> _PayloadReader:
    """Make and register the reader of the event type ``name``.

    The reader returns records of ``kind``.
    """
    message_class = CONTAINERD.message(name)
    record: Callable[..., Payload] = kind
    getters = [_FIELD_READERS.get(field.name) or attrgetter(field.name) for field in fields(kind)]

    def read(value: bytes) -> Payload:
        message = decode(message_class, value)
        return record(*[get(message) for get in getters])

    return _payload_readers.setdefault(name, read)


def _payload_of(message: DynamicMessage) -> Payload | AnyValue:
    """Decode the ``Any`` of an event.

    Return an ``AnyValue`` if the type of the event is unknown or its bytes are invalid.
    """
    name: str = message.type_url
    read = _payload_readers.get(name)
    try:
        if read is None:
            kind = TYPES.get(name)
            if kind is None:
                return any_of(message)
            read = _make_reader(name, kind)
        return read(message.value)
    except (ProtocolError, OverflowError):  # invalid bytes, or a time outside datetime's range
        return any_of(message)


#: The payload is decoded at first use, because many callers read only the topic.
_EVENT: Readers = {"event": _payload_of}


def _timestamp_of(message: DynamicMessage) -> datetime:
    """Return an event's time, limited to datetime's range.

    A client can forward an event with an arbitrary time. A time outside datetime's range must not
    end a subscription.
    """
    try:
        return datetime_of(message)
    except ProtocolError:
        end = datetime.max if message.seconds > 0 else datetime.min
        return end.replace(tzinfo=timezone.utc)


def event_of(message: DynamicMessage) -> Event:
    """Convert the ``Envelope`` message of an event to a record."""
    event = read_late(Event, message.event, _EVENT)
    event.__dict__.update(
        timestamp=_timestamp_of(message.timestamp),
        namespace=message.namespace,
        topic=message.topic,
    )
    return event


def payload_fields(event: Payload | Gap | AnyValue) -> Fields:
    """Return the fields of the ``Any`` that contains an event.

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
