"""What descriptors say of the wire, and how one side's facts differ from another's.

What lives here: plain functions from descriptors to facts, and from facts to lines of text. What
may not: files, networks, compilers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    ServiceDescriptorProto,
)

from descriptors.compile import derived_json_name

Fact = dict[str, str | int | bool]
"""What is said of one thing, by respect; "kind" says what sort of thing it is."""

Facts = dict[str, Fact]
"""By full name. Fields, enum values and methods hang off their owner by a dot."""

Pairs = Iterator[tuple[str, Fact]]

_Field = FieldDescriptorProto
_NOT_PACKABLE = {_Field.TYPE_STRING, _Field.TYPE_BYTES, _Field.TYPE_MESSAGE, _Field.TYPE_GROUP}


def facts(files: Iterable[FileDescriptorProto]) -> Facts:
    """Return all that the files say, their imports not counted.

    Raises `ValueError` when two of them define one name.
    """
    found: Facts = {}
    for file in files:
        for name, fact in _of_file(file):
            if name in found:
                raise ValueError(f"{name} is defined a second time, in {file.name}")
            found[name] = fact
    return found


def moved(theirs: Facts, moves: Mapping[str, str]) -> Facts:
    """Return the facts with messages under new names, wherever they are named."""

    def rename(name: str) -> str:
        for old, new in moves.items():
            if name == old or name.startswith(f"{old}."):
                return new + name.removeprefix(old)
        return name

    def renamed(fact: Fact) -> Fact:
        return {
            respect: rename(value) if isinstance(value, str) else value
            for respect, value in fact.items()
        }

    return {rename(name): renamed(fact) for name, fact in theirs.items()}


def differences(theirs: Facts, ours: Facts) -> list[str]:
    """Return a line for each respect in which ours is not as theirs; ours may have more."""
    lines: list[str] = []
    for name, fact in sorted(theirs.items()):
        if (mine := ours.get(name)) is None:
            lines.append(f"{name}: missing")
            continue
        lines += (
            f"{name}: {respect} is {fact.get(respect)!r}, ours {mine.get(respect)!r}"
            for respect in sorted(fact.keys() | mine.keys())
            if fact.get(respect) != mine.get(respect)
        )
    return lines


def collisions(files: Iterable[FileDescriptorProto], ours: Facts) -> list[str]:
    """Return a line for each field of ours whose number or name they have laid aside."""
    reserved: dict[str, DescriptorProto] = {}
    for file in files:
        reserved.update(_messages(file.package, file.message_type))
    lines: list[str] = []
    for name, fact in sorted(ours.items()):
        owner, _, field = name.rpartition(".")
        if fact["kind"] != "field" or owner not in reserved:
            continue
        message, number = reserved[owner], int(fact["number"])
        if any(taken.start <= number < taken.end for taken in message.reserved_range):
            lines.append(f"{name}: {number} is reserved")
        if field in message.reserved_name:
            lines.append(f"{name}: the name is reserved")
    return lines


def counts(files: Collection[FileDescriptorProto], found: Facts) -> str:
    """Return how much there is: "2 files, 3 messages, …". Entries of maps are not counted."""
    number = Counter(str(fact["kind"]) for fact in found.values())
    number["file"] = len(files)
    kinds = ("file", "message", "field", "enum", "enum value", "service", "method")
    return ", ".join(
        f"{number[kind]} {kind}{'s' if number[kind] > 1 else ''}" for kind in kinds if number[kind]
    )


def _messages(
    scope: str, messages: Iterable[DescriptorProto]
) -> Iterator[tuple[str, DescriptorProto]]:
    for message in messages:
        name = f"{scope}.{message.name}"
        yield name, message
        yield from _messages(name, message.nested_type)


def _of_file(file: FileDescriptorProto) -> Pairs:
    for name, message in _messages(file.package, file.message_type):
        yield from _of_message(name, message, file.syntax)
    for extension in file.extension:
        yield _of_field(file.package, extension, None, file.syntax)
    for enum in file.enum_type:
        yield from _of_enum(file.package, enum)
    for service in file.service:
        yield from _of_service(file.package, service)


def _of_message(name: str, message: DescriptorProto, syntax: str) -> Pairs:
    is_entry = message.options.map_entry
    yield name, {"kind": "map entry" if is_entry else "message"}
    for field in message.field:
        full, fact = _of_field(name, field, message, syntax)
        yield full, {**fact, "kind": "entry field"} if is_entry else fact
    for extension in message.extension:
        yield _of_field(name, extension, None, syntax)
    for enum in message.enum_type:
        yield from _of_enum(name, enum)


def _of_field(
    scope: str, field: FieldDescriptorProto, message: DescriptorProto | None, syntax: str
) -> tuple[str, Fact]:
    """Return a field's name and facts; without a message it is an extension."""
    is_new = syntax == "proto3"
    repeated = field.label == _Field.LABEL_REPEATED
    packed = field.options.packed if field.options.HasField("packed") else is_new
    oneof = ""
    if message is not None and field.HasField("oneof_index") and not field.proto3_optional:
        oneof = message.oneof_decl[field.oneof_index].name
    fact: Fact = {
        "kind": "field",
        "number": field.number,
        "type": _Field.Type.Name(field.type),
        "type name": field.type_name.lstrip("."),
        "label": _Field.Label.Name(field.label),
        "oneof": oneof,
        # Whether "not set" can be told from the default: of scalars, that is.
        "optional": field.proto3_optional or not (is_new or repeated),
        "json name": field.json_name or derived_json_name(field.name),
        "packed": repeated and packed and field.type not in _NOT_PACKABLE,
        "default": field.default_value,
        "extends": field.extendee.lstrip("."),
    }
    return f"{scope}.{field.name}", fact


def _of_enum(scope: str, enum: EnumDescriptorProto) -> Pairs:
    name = f"{scope}.{enum.name}"
    yield name, {"kind": "enum"}
    for value in enum.value:
        yield f"{name}.{value.name}", {"kind": "enum value", "number": value.number}


def _of_service(scope: str, service: ServiceDescriptorProto) -> Pairs:
    name = f"{scope}.{service.name}"
    yield name, {"kind": "service"}
    for method in service.method:
        yield (
            f"{name}.{method.name}",
            {
                "kind": "method",
                "request": method.input_type.lstrip("."),
                "response": method.output_type.lstrip("."),
                "client streaming": method.client_streaming,
                "server streaming": method.server_streaming,
            },
        )
