"""Converts messages to plain Python values, and plain Python values to messages.

``fill`` makes a message from a mapping, and ``plain`` makes a dict from a message. Timestamps
correspond to aware datetimes, durations to timedeltas, maps to dicts, and repeated fields to lists.
An enum value corresponds to its name, or to its number if it has no name. An ``Any`` corresponds to
a dict with the keys ``type_url`` and ``value``. The ``value`` stays bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from ..errors import InvalidArgument
from .pool import DynamicMessage, Schema
from .values import datetime_of, timedelta_of, timestamp

_TIMESTAMP, _DURATION = "google.protobuf.Timestamp", "google.protobuf.Duration"


def fill(
    schema: Schema, kind: type[DynamicMessage], fields: Mapping[str, object], where: str = ""
) -> Any:
    """Make a message from plain values.

    Args:
        schema: The schema of the message.
        kind: The class of the message.
        fields: The values of the fields by field name. A field with the value ``None`` stays unset.
        where: The text before field names in error messages. If the message is a field of another
            message, ``where`` is the path of this field. Default: no text.

    Returns:
        The message.

    Raises:
        InvalidArgument: A name is not the name of a field, or a value does not fit its field.
    """
    message, descriptors = kind(), kind.DESCRIPTOR.fields_by_name
    for name, value in fields.items():
        if name not in descriptors:
            raise _unknown_field(kind.DESCRIPTOR, str(name), where)
        if value is not None:
            _set_field(schema, message, descriptors[name], value, f"{where}{name}")
    return message


def _unknown_field(descriptor: Any, name: str, where: str) -> InvalidArgument:
    from difflib import get_close_matches  # this import is only needed for the hint

    names = sorted(descriptor.fields_by_name)
    close = get_close_matches(name, names, 1)
    hint = f"Did you mean {close[0]!r}? " if close else ""
    return InvalidArgument(
        f"{descriptor.full_name} has no field {where + name!r}",
        remedy=f"{hint}Its fields are: {', '.join(names) or 'none'}",
    )


def _set_field(schema: Schema, message: Any, field: Any, value: object, where: str) -> None:
    try:
        if _is_map(field):
            _set_map(schema, message, field, value, where)
        elif _is_repeated(field):
            if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
                raise TypeError("expected a list")
            items = [
                _field_value(schema, field, item, f"{where}[{n}]") for n, item in enumerate(value)
            ]
            getattr(message, field.name).extend(items)
        elif field.message_type is not None:
            getattr(message, field.name).MergeFrom(_field_value(schema, field, value, where))
            getattr(message, field.name).SetInParent()
        else:
            setattr(message, field.name, _field_value(schema, field, value, where))
    except InvalidArgument:
        raise
    except RecursionError:  # repr(value) would raise another RecursionError
        raise InvalidArgument(
            f"{message.DESCRIPTOR.full_name}: a value is nested too deeply"
        ) from None
    except (TypeError, ValueError, OverflowError) as error:
        problem = f"{message.DESCRIPTOR.full_name}: {where} cannot be {value!r:.80}: {error}"
        raise InvalidArgument(problem) from None


def _set_map(schema: Schema, message: Any, field: Any, value: object, where: str) -> None:
    if not isinstance(value, Mapping):
        raise TypeError("expected a mapping")
    target, value_field = getattr(message, field.name), field.message_type.fields_by_name["value"]
    for key, item in value.items():
        converted = _field_value(schema, value_field, item, f"{where}[{key!r}]")
        if value_field.message_type is not None:
            target[key].MergeFrom(converted)
        else:
            target[key] = converted


def _field_value(schema: Schema, field: Any, value: object, where: str) -> Any:
    """Convert the value of a field, or one item of a repeated field or a map."""
    descriptor = field.message_type
    if descriptor is None:
        return _enum_number(field, value) if field.enum_type is not None else value
    kind = schema.message(descriptor.full_name)
    if isinstance(value, kind):
        return value
    if isinstance(value, datetime) and descriptor.full_name == _TIMESTAMP:
        if value.utcoffset() is None:
            raise ValueError("the time has no time zone")
        value = timestamp(value)
    elif isinstance(value, timedelta) and descriptor.full_name == _DURATION:
        whole = value // timedelta(seconds=1)
        rest = value - timedelta(seconds=whole)
        value = {"seconds": whole, "nanos": rest.microseconds * 1000}
    if not isinstance(value, Mapping):
        raise TypeError(f"expected a mapping of the fields of {descriptor.full_name}")
    return fill(schema, kind, value, f"{where}.")


def _enum_number(field: Any, value: object) -> object:
    if not isinstance(value, str):
        return value
    found = field.enum_type.values_by_name.get(value)
    if found is None:
        raise ValueError(f"the allowed values are {', '.join(field.enum_type.values_by_name)}")
    return found.number


def plain(message: DynamicMessage) -> dict[str, Any]:
    """Return the values of all fields of a message by field name.

    If a field has presence and is not set, its value is ``None``. For example, a field whose type
    is a message has presence.

    Raises:
        ProtocolError: A timestamp or a duration is outside the range of Python's types.
    """
    return {field.name: _plain_field(message, field) for field in message.DESCRIPTOR.fields}


def _plain_field(message: Any, field: Any) -> Any:
    value = getattr(message, field.name)
    if _is_map(field):
        value_field = field.message_type.fields_by_name["value"]
        return {key: _plain_value(value_field, value[key]) for key in value}
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
        return timedelta_of(value)
    return plain(value)


def _is_repeated(field: Any) -> bool:
    # Newer releases of protobuf deprecate ``label``, and older ones do not have ``is_repeated``.
    is_repeated = getattr(field, "is_repeated", None)
    return bool(field.label == field.LABEL_REPEATED if is_repeated is None else is_repeated)


def _is_map(field: Any) -> bool:
    kind = field.message_type
    return bool(kind is not None and kind.has_options and kind.GetOptions().map_entry)
