"""Messages of any kind as plain Python, both ways, by their descriptors.

What lives here: ``fill`` (a mapping to a message, with errors that say what is wrong) and
``plain`` (a message to a dict).  What may not: RPCs, names of containerd's.

Timestamps are aware datetimes, durations timedeltas, enums the names of their values (numbers
where they have none), maps dicts, repeated fields lists; an ``Any`` is a dict of its ``type_url``
and its ``value``, in bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from ..errors import InvalidArgument
from .pool import DynamicMessage, Schema
from .values import datetime_of, timestamp

_TIMESTAMP, _DURATION = "google.protobuf.Timestamp", "google.protobuf.Duration"


def fill(
    schema: Schema, kind: type[DynamicMessage], fields: Mapping[str, object], where: str = ""
) -> Any:
    """A message of ``kind``, one of the schema's, with these fields.

    Raises ``InvalidArgument`` for a field that it does not have, with the names of those that it
    has, and for a value that does not fit; ``where`` is put before the field's name in both.
    """
    message, known = kind(), kind.DESCRIPTOR.fields_by_name
    for name, value in fields.items():
        if name not in known:
            raise _unknown(kind.DESCRIPTOR, str(name), where)
        if value is not None:
            _set(schema, message, known[name], value, f"{where}{name}")
    return message


def _unknown(descriptor: Any, name: str, where: str) -> InvalidArgument:
    from difflib import get_close_matches  # for the hint alone

    names = sorted(descriptor.fields_by_name)
    close = get_close_matches(name, names, 1)
    hint = f"Did you mean {close[0]!r}? " if close else ""
    return InvalidArgument(
        f"{descriptor.full_name} has no field {where + name!r}",
        remedy=f"{hint}Its fields are: {', '.join(names) or 'none'}",
    )


def _set(schema: Schema, message: Any, field: Any, value: object, where: str) -> None:
    try:
        if _is_map(field):
            _set_map(schema, message, field, value, where)
        elif _is_repeated(field):
            if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
                raise TypeError("a list is wanted")
            items = [_value(schema, field, one, f"{where}[{n}]") for n, one in enumerate(value)]
            getattr(message, field.name).extend(items)
        elif field.message_type is not None:
            getattr(message, field.name).MergeFrom(_value(schema, field, value, where))
            getattr(message, field.name).SetInParent()
        else:
            setattr(message, field.name, _value(schema, field, value, where))
    except InvalidArgument:
        raise
    except (TypeError, ValueError, OverflowError) as error:
        said = f"{message.DESCRIPTOR.full_name}: {where} cannot be {value!r:.80}: {error}"
        raise InvalidArgument(said) from None


def _set_map(schema: Schema, message: Any, field: Any, value: object, where: str) -> None:
    if not isinstance(value, Mapping):
        raise TypeError("a mapping is wanted")
    target, of = getattr(message, field.name), field.message_type.fields_by_name["value"]
    for key, item in value.items():
        made = _value(schema, of, item, f"{where}[{key!r}]")
        if of.message_type is not None:
            target[key].MergeFrom(made)
        else:
            target[key] = made


def _value(schema: Schema, field: Any, value: object, where: str) -> Any:
    """What goes into a field once, or once for each of its items."""
    descriptor = field.message_type
    if descriptor is None:
        return _number(field, value) if field.enum_type is not None else value
    kind = schema.message(descriptor.full_name)
    if isinstance(value, kind):
        return value
    if isinstance(value, datetime) and descriptor.full_name == _TIMESTAMP:
        value = timestamp(value)
    elif isinstance(value, timedelta) and descriptor.full_name == _DURATION:
        whole = value // timedelta(seconds=1)
        rest = value - timedelta(seconds=whole)
        value = {"seconds": whole, "nanos": rest.microseconds * 1000}
    if not isinstance(value, Mapping):
        raise TypeError(f"a mapping of the fields of {descriptor.full_name} is wanted")
    return fill(schema, kind, value, f"{where}.")


def _number(field: Any, value: object) -> object:
    if not isinstance(value, str):
        return value
    found = field.enum_type.values_by_name.get(value)
    if found is None:
        raise ValueError(f"the values are {', '.join(field.enum_type.values_by_name)}")
    return found.number


def plain(message: DynamicMessage) -> dict[str, Any]:
    """All fields of a message by their names; a message that is not there is ``None``."""
    return {field.name: _plain_field(message, field) for field in message.DESCRIPTOR.fields}


def _plain_field(message: Any, field: Any) -> Any:
    value = getattr(message, field.name)
    if _is_map(field):
        of = field.message_type.fields_by_name["value"]
        return {key: _plain_value(of, value[key]) for key in value}
    if _is_repeated(field):
        return [_plain_value(field, item) for item in value]
    if field.has_presence and not message.HasField(field.name):
        return None
    return _plain_value(field, value)


def _plain_value(field: Any, value: Any) -> Any:
    if field.enum_type is not None:
        found = field.enum_type.values_by_number.get(value)
        return value if found is None else found.name
    if field.message_type is None:
        return value
    name = field.message_type.full_name
    if name == _TIMESTAMP:
        return datetime_of(value)
    if name == _DURATION:
        return timedelta(seconds=value.seconds, microseconds=value.nanos // 1000)
    return plain(value)


def _is_repeated(field: Any) -> bool:
    # Newer releases of protobuf deprecate ``label``, older ones have nothing else.
    found = getattr(field, "is_repeated", None)
    return bool(field.label == field.LABEL_REPEATED if found is None else found)


def _is_map(field: Any) -> bool:
    of = field.message_type
    return bool(of is not None and of.has_options and of.GetOptions().map_entry)
