"""Descriptor sets of the user's own."""

from __future__ import annotations

from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto

from containerd_lite.errors import InvalidArgument
from containerd_lite.schema import load, own
from containerd_lite.schema.plain import fill, plain
from containerd_lite.schema.pool import CONTAINERD, Schema

pytestmark = pytest.mark.backend

FDSET_FILE = b"\x0a"  # FileDescriptorSet.file, length-delimited


def file(name: str, *imports: str, package: str = "my", of: str = "") -> bytes:
    """A file with a message, which has a field of the type `of` if there is one."""
    proto = FileDescriptorProto(name=name, package=package, syntax="proto3", dependency=imports)
    message = proto.message_type.add(name="M")
    field = message.field.add(name="f", number=1, label=FieldDescriptorProto.LABEL_OPTIONAL)
    field.type = FieldDescriptorProto.TYPE_STRING
    if of:
        field.type, field.type_name = FieldDescriptorProto.TYPE_MESSAGE, of
    service = proto.service.add(name="S")
    service.method.add(name="Go", input_type=f".{package}.M", output_type=f".{package}.M")
    service.method.add(
        name="Run",
        input_type=f".{package}.M",
        output_type=f".{package}.M",
        server_streaming=True,
    )
    return proto.SerializeToString()


def fdset(*files: bytes) -> bytes:
    return b"".join(FDSET_FILE + _varint(len(one)) + one for one in files)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def use(schema: Schema, value: object = "x") -> object:
    return plain(fill(schema, schema.message("my.M"), {"f": value}))["f"]


def test_by_its_bytes_and_by_its_path(tmp_path: Path) -> None:
    data = fdset(file("my.proto"))
    (tmp_path / "my.binpb").write_bytes(data)
    for schema in (load(data), load(tmp_path / "my.binpb"), load(str(tmp_path / "my.binpb"))):
        assert use(schema) == "x"
        assert schema.names() == ["my.M", "my.S"]
        assert schema.methods("my.S") == ["Go", "Run"]
        method = schema.method("my.S/Run")
        assert (method.path, method.client_streaming, method.server_streaming) == (
            "/my.S/Run",
            False,
            True,
        )


def test_each_is_a_pool_of_its_own() -> None:
    first = load(fdset(file("my.proto")))
    second = load(fdset(file("my.proto", "google/protobuf/any.proto", of=".google.protobuf.Any")))
    assert use(first) == "x"
    assert use(second, {"type_url": "t"}) == {"type_url": "t", "value": b""}
    assert first.message("my.M") is not second.message("my.M")
    with pytest.raises(InvalidArgument, match=r"no message 'my\.M'"):
        CONTAINERD.message("my.M")
    with pytest.raises(InvalidArgument, match="no message"):
        first.message("containerd.types.Mount")


def test_the_order_of_files_does_not_matter() -> None:
    files = [
        file("a.proto", "b.proto", of=".other.M"),
        file("b.proto", "google/protobuf/any.proto", package="other"),
    ]
    assert use(load(fdset(*files)), {"f": "y"}) == {"f": "y"}
    assert use(load(fdset(*reversed(files))), {"f": "y"}) == {"f": "y"}


def test_well_known_types_that_are_in_the_set() -> None:
    anys = CONTAINERD.well_known("google/protobuf/any.proto")
    assert anys is not None
    schema = load(
        fdset(file("my.proto", "google/protobuf/any.proto", of=".google.protobuf.Any"), anys)
    )
    assert use(schema, {"type_url": "t"}) == {"type_url": "t", "value": b""}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"\xff\xff", "not a FileDescriptorSet"),
        (b"", "contains no files"),
        (fdset(file("a.proto", "b.proto")), r"imported file b\.proto is not in the set"),
        (fdset(file("a.proto", "google/protobuf/nothing.proto")), "is not in the set"),
        (fdset(file("a.proto", "google/../any.proto")), "is not in the set"),
        (fdset(file("a.proto", "b.proto"), file("b.proto", "a.proto", package="b")), "itself"),
        (fdset(file("a.proto", "a.proto")), "itself"),
        (fdset(file("a.proto"), file("b.proto")), r"b\.proto cannot be loaded"),
        (fdset(file("a.proto", of=".no.Such")), r"a\.proto cannot be loaded"),
    ],
)
def test_what_is_no_set(data: bytes, said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        use(load(data))


def test_there_is_a_limit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    data = fdset(file("my.proto"))
    monkeypatch.setattr(own, "MAX_SIZE", len(data) - 1)
    (tmp_path / "large").write_bytes(data)
    for source in (data, tmp_path / "large"):
        with pytest.raises(InvalidArgument, match="larger than the limit"):
            load(source)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "none")
