"""Events and their messages, both ways.

What lives here: one decoder and one encoder for all types.  What may not: RPCs, the records.
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

_NAMES = {kind: name for name, kind in TYPES.items()}

_T = TypeVar("_T")
#: Makes a record of a type's bytes.
_Reader: TypeAlias = Callable[[bytes], Payload]


def _present(name: str, read: Callable[[DynamicMessage], _T]) -> Callable[[DynamicMessage], object]:
    def get(message: DynamicMessage) -> _T | None:
        return read(getattr(message, name)) if message.HasField(name) else None

    return get


def _io_of(message: DynamicMessage) -> TaskIO:
    return TaskIO(message.stdin, message.stdout, message.stderr, message.terminal)


def _runtime_of(message: DynamicMessage) -> ContainerRuntime:
    return ContainerRuntime(
        message.name, any_of(message.options) if message.HasField("options") else None
    )


#: How fields are read that are no plain values; the same name is the same thing in every type.
_READ: dict[str, Callable[[DynamicMessage], object]] = {
    "labels": lambda message: dict_of(message.labels),
    "rootfs": lambda message: mounts_of(message.rootfs),
    "io": _present("io", _io_of),
    "runtime": _present("runtime", _runtime_of),
    "exited_at": _present("exited_at", datetime_of),
}
#: One for each type that has come.
_readers: dict[str, _Reader] = {}


def _reader_of(name: str, kind: type[Payload]) -> _Reader:
    message = CONTAINERD.message(name)
    make: Callable[..., Payload] = kind
    getters = [_READ.get(one.name) or attrgetter(one.name) for one in fields(kind)]

    def read(value: bytes) -> Payload:
        came = decode(message, value)
        return make(*[get(came) for get in getters])

    return _readers.setdefault(name, read)


def _payload_of(message: DynamicMessage) -> Payload | AnyValue:
    name: str = message.type_url
    read = _readers.get(name)
    try:
        if read is None:
            kind = TYPES.get(name)
            if kind is None:
                return any_of(message)
            read = _reader_of(name, kind)
        return read(message.value)
    except (ProtocolError, OverflowError):  # no bytes of this type, no time that there is
        return any_of(message)


#: Often the topic of an event is all that is looked at.
_EVENT: Readers = {"event": _payload_of}


def _time_of(message: DynamicMessage) -> datetime:
    """When; whoever forwards an event may say anything, and the subscription goes on."""
    try:
        return datetime_of(message)
    except OverflowError:
        end = datetime.max if message.seconds > 0 else datetime.min
        return end.replace(tzinfo=timezone.utc)


def event_of(message: DynamicMessage) -> Event:
    """An envelope as the record."""
    made = read_late(Event, message.event, _EVENT)
    made.__dict__.update(
        timestamp=_time_of(message.timestamp), namespace=message.namespace, topic=message.topic
    )
    return made


def payload_fields(event: Payload | Gap | AnyValue) -> Fields:
    """The fields of the ``Any`` of an event.  Raises ``InvalidArgument`` for what is none."""
    if isinstance(event, AnyValue):
        return any_fields(event)
    name = _NAMES.get(type(event))  # type: ignore[arg-type]
    if name is None or isinstance(event, Gap):
        raise InvalidArgument(
            f"a {type(event).__name__} is no event that containerd knows",
            remedy="Records of services.event_types are, and AnyValue(type_url, value)",
        )
    return any_fields(AnyValue.of(name, asdict(event)))
