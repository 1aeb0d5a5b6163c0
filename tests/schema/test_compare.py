"""The comparison can fail: what is altered on our side is reported, and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    MethodDescriptorProto,
)
from google.protobuf.text_format import Parse

from tests.schema.compare import collisions, counts, differences, facts, moved

FILE = """
name: "a.proto" package: "p" syntax: "proto3"
message_type {
  name: "M"
  field { name: "text" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
  field { name: "some_counts" number: 2 type: TYPE_INT32 label: LABEL_REPEATED }
  field { name: "one" number: 3 type: TYPE_MESSAGE type_name: ".p.N" label: LABEL_OPTIONAL
          oneof_index: 0 }
  field { name: "kind" number: 4 type: TYPE_ENUM type_name: ".p.M.Kind" label: LABEL_OPTIONAL
          oneof_index: 1 proto3_optional: true }
  field { name: "labels" number: 5 type: TYPE_MESSAGE type_name: ".p.M.LabelsEntry"
          label: LABEL_REPEATED }
  nested_type {
    name: "LabelsEntry" options { map_entry: true }
    field { name: "key" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
    field { name: "value" number: 2 type: TYPE_STRING label: LABEL_OPTIONAL }
  }
  enum_type { name: "Kind" value { name: "ZERO" number: 0 } value { name: "ONE" number: 1 } }
  oneof_decl { name: "choice" }
  oneof_decl { name: "_kind" }
  reserved_range { start: 7 end: 9 }
  reserved_name: "gone"
}
message_type { name: "N" }
enum_type { name: "E" value { name: "NONE" number: 0 } }
service {
  name: "S"
  method { name: "Get" input_type: ".p.M" output_type: ".p.N" }
  method { name: "Watch" input_type: ".p.M" output_type: ".p.N" server_streaming: true }
}
extension { name: "x" number: 50 type: TYPE_BOOL label: LABEL_OPTIONAL extendee: ".p.N" }
"""

Alteration = Callable[[FileDescriptorProto], object]


def parsed() -> FileDescriptorProto:
    return Parse(FILE, FileDescriptorProto())


def m(file: FileDescriptorProto) -> DescriptorProto:
    return file.message_type[0]


def field(file: FileDescriptorProto, number: int) -> FieldDescriptorProto:
    return m(file).field[number - 1]


def method(file: FileDescriptorProto, place: int) -> MethodDescriptorProto:
    return file.service[0].method[place]


def no_longer_optional(file: FileDescriptorProto) -> None:
    field(file, 4).ClearField("proto3_optional")
    field(file, 4).ClearField("oneof_index")


INT64, BYTES = FieldDescriptorProto.TYPE_INT64, FieldDescriptorProto.TYPE_BYTES
REPEATED = FieldDescriptorProto.LABEL_REPEATED

ALTERATIONS: dict[str, tuple[Alteration, list[str]]] = {
    "field's name": (
        lambda file: setattr(field(file, 1), "name", "other"),
        ["p.M.text: missing"],
    ),
    "number": (
        lambda file: setattr(field(file, 1), "number", 6),
        ["p.M.text: number is 1, ours 6"],
    ),
    "type": (
        lambda file: setattr(field(file, 1), "type", BYTES),
        ["p.M.text: type is 'TYPE_STRING', ours 'TYPE_BYTES'"],
    ),
    "type name": (
        lambda file: setattr(field(file, 3), "type_name", ".p.M"),
        ["p.M.one: type name is 'p.N', ours 'p.M'"],
    ),
    "label": (
        lambda file: setattr(field(file, 1), "label", REPEATED),
        ["p.M.text: label is 'LABEL_OPTIONAL', ours 'LABEL_REPEATED'"],
    ),
    "out of its oneof": (
        lambda file: field(file, 3).ClearField("oneof_index"),
        ["p.M.one: oneof is 'choice', ours ''"],
    ),
    "into a oneof": (
        lambda file: setattr(field(file, 1), "oneof_index", 0),
        ["p.M.text: oneof is '', ours 'choice'"],
    ),
    "oneof's name": (
        lambda file: setattr(m(file).oneof_decl[0], "name", "other"),
        ["p.M.one: oneof is 'choice', ours 'other'"],
    ),
    "optional": (no_longer_optional, ["p.M.kind: optional is True, ours False"]),
    "json name": (
        lambda file: setattr(field(file, 2), "json_name", "some_counts"),
        ["p.M.some_counts: json name is 'someCounts', ours 'some_counts'"],
    ),
    "packed": (
        lambda file: setattr(field(file, 2).options, "packed", False),
        ["p.M.some_counts: packed is True, ours False"],
    ),
    "default": (
        lambda file: setattr(field(file, 1), "default_value", "x"),
        ["p.M.text: default is '', ours 'x'"],
    ),
    "map's value": (
        lambda file: setattr(m(file).nested_type[0].field[1], "type", INT64),
        ["p.M.LabelsEntry.value: type is 'TYPE_STRING', ours 'TYPE_INT64'"],
    ),
    "map no more": (
        lambda file: m(file).nested_type[0].ClearField("options"),
        [
            "p.M.LabelsEntry: kind is 'map entry', ours 'message'",
            "p.M.LabelsEntry.key: kind is 'entry field', ours 'field'",
            "p.M.LabelsEntry.value: kind is 'entry field', ours 'field'",
        ],
    ),
    "enum value's number": (
        lambda file: setattr(m(file).enum_type[0].value[1], "number", 2),
        ["p.M.Kind.ONE: number is 1, ours 2"],
    ),
    "enum value's name": (
        lambda file: setattr(file.enum_type[0].value[0], "name", "NOTHING"),
        ["p.E.NONE: missing"],
    ),
    "enum": (lambda file: file.ClearField("enum_type"), ["p.E: missing", "p.E.NONE: missing"]),
    "message": (lambda file: file.message_type.pop(), ["p.N: missing"]),
    "message that is an enum": (
        lambda file: (file.message_type.pop(), file.enum_type.add(name="N")),
        ["p.N: kind is 'message', ours 'enum'"],
    ),
    "client streaming": (
        lambda file: setattr(method(file, 0), "client_streaming", True),
        ["p.S.Get: client streaming is False, ours True"],
    ),
    "server streaming": (
        lambda file: setattr(method(file, 1), "server_streaming", False),
        ["p.S.Watch: server streaming is True, ours False"],
    ),
    "request": (
        lambda file: setattr(method(file, 0), "input_type", ".p.N"),
        ["p.S.Get: request is 'p.M', ours 'p.N'"],
    ),
    "response": (
        lambda file: setattr(method(file, 0), "output_type", ".p.M"),
        ["p.S.Get: response is 'p.N', ours 'p.M'"],
    ),
    "method": (lambda file: file.service[0].method.pop(), ["p.S.Watch: missing"]),
    "service": (
        lambda file: file.ClearField("service"),
        ["p.S: missing", "p.S.Get: missing", "p.S.Watch: missing"],
    ),
    "extension": (
        lambda file: setattr(file.extension[0], "extendee", ".p.M"),
        ["p.x: extends is 'p.N', ours 'p.M'"],
    ),
    "package": (
        lambda file: setattr(file, "package", "q"),
        [f"{name}: missing" for name in sorted(facts([parsed()]))],
    ),
}


@pytest.mark.parametrize("respect", ALTERATIONS)
def test_a_difference_is_reported(respect: str) -> None:
    alter, lines = ALTERATIONS[respect]
    ours = parsed()
    alter(ours)
    assert differences(facts([parsed()]), facts([ours])) == lines


def test_another_syntax_differs_in_what_it_implies() -> None:
    ours = parsed()
    ours.syntax = "proto2"
    assert differences(facts([parsed()]), facts([ours])) == [
        "p.M.LabelsEntry.key: optional is False, ours True",
        "p.M.LabelsEntry.value: optional is False, ours True",
        "p.M.one: optional is False, ours True",
        "p.M.some_counts: packed is True, ours False",
        "p.M.text: optional is False, ours True",
        "p.x: optional is False, ours True",
    ]


def test_ours_may_have_more() -> None:
    ours = parsed()
    m(ours).field.add(name="more", number=6, type=INT64)
    m(ours).enum_type[0].value.add(name="TWO", number=2)
    ours.service[0].method.add(name="List", input_type=".p.M", output_type=".p.N")
    ours.message_type.add(name="O")
    assert differences(facts([parsed()]), facts([ours])) == []
    assert collisions([parsed()], facts([ours])) == []


def test_but_nothing_where_theirs_laid_something_aside() -> None:
    ours = parsed()
    m(ours).field.add(name="low", number=7, type=INT64)
    m(ours).field.add(name="high", number=8, type=INT64)
    m(ours).field.add(name="behind", number=9, type=INT64)
    m(ours).field.add(name="gone", number=10, type=INT64)
    assert collisions([parsed()], facts([ours])) == [
        "p.M.gone: the name is reserved",
        "p.M.high: 8 is reserved",
        "p.M.low: 7 is reserved",
    ]


def test_a_message_that_moved_is_looked_for_at_its_new_place() -> None:
    ours = parsed()
    m(ours).name = "Moved"
    for one in ours.service[0].method:
        one.input_type = ".q.M"
    field(ours, 4).type_name = ".p.Moved.Kind"
    field(ours, 5).type_name = ".p.Moved.LabelsEntry"
    theirs = moved(facts([parsed()]), {"p.M": "p.Moved"})
    assert differences(theirs, facts([ours])) == [
        "p.S.Get: request is 'p.Moved', ours 'q.M'",
        "p.S.Watch: request is 'p.Moved', ours 'q.M'",
    ]


def test_one_name_in_two_files_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"p\.M is defined a second time, in b\.proto"):
        facts(
            [parsed(), FileDescriptorProto(name="b.proto", package="p", message_type=[m(parsed())])]
        )


def test_the_count_leaves_out_the_entries_of_maps() -> None:
    file = parsed()
    file.ClearField("extension")
    assert counts([file], facts([file])) == (
        "1 file, 2 messages, 5 fields, 2 enums, 3 enum values, 1 service, 2 methods"
    )
