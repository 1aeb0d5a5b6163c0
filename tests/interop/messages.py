"""The messages of grpc.testing, as far as the interop cases use them, made without generated code.

What lives here: the table of their fields (the facts of grpc's messages.proto and empty.proto),
the classes made of it in a pool of their own, and the messages that several cases send.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import message_factory
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool

SERVICE = "grpc.testing.TestService"

_BOOL, _INT32 = FieldDescriptorProto.TYPE_BOOL, FieldDescriptorProto.TYPE_INT32
_BYTES, _STRING = FieldDescriptorProto.TYPE_BYTES, FieldDescriptorProto.TYPE_STRING

#: Message → field → number and type; a list of one type is a repeated field.
_FIELDS: dict[str, dict[str, tuple[int, Any]]] = {
    "Empty": {},
    "BoolValue": {"value": (1, _BOOL)},
    "Payload": {"body": (2, _BYTES)},
    "EchoStatus": {"code": (1, _INT32), "message": (2, _STRING)},
    "SimpleRequest": {
        "response_size": (2, _INT32),
        "payload": (3, "Payload"),
        "response_compressed": (6, "BoolValue"),
        "response_status": (7, "EchoStatus"),
        "expect_compressed": (8, "BoolValue"),
    },
    "SimpleResponse": {"payload": (1, "Payload")},
    "StreamingInputCallRequest": {
        "payload": (1, "Payload"),
        "expect_compressed": (2, "BoolValue"),
    },
    "StreamingInputCallResponse": {"aggregated_payload_size": (1, _INT32)},
    "ResponseParameters": {"size": (1, _INT32), "compressed": (3, "BoolValue")},
    "StreamingOutputCallRequest": {
        "response_parameters": (2, ["ResponseParameters"]),
        "payload": (3, "Payload"),
        "response_status": (7, "EchoStatus"),
    },
    "StreamingOutputCallResponse": {"payload": (1, "Payload")},
}


def _file() -> FileDescriptorProto:
    file = FileDescriptorProto(name="interop.proto", package="grpc.testing", syntax="proto3")
    for name, fields in _FIELDS.items():
        message = file.message_type.add(name=name)
        for field_name, (number, kind) in fields.items():
            field = message.field.add(name=field_name, number=number)
            field.label = FieldDescriptorProto.LABEL_OPTIONAL
            if isinstance(kind, list):
                field.label = FieldDescriptorProto.LABEL_REPEATED
                (kind,) = kind
            if isinstance(kind, str):
                field.type = FieldDescriptorProto.TYPE_MESSAGE
                field.type_name = f".grpc.testing.{kind}"
            else:
                field.type = kind
    return file


def _classes() -> dict[str, Any]:
    pool = DescriptorPool()
    pool.AddSerializedFile(_file().SerializeToString())
    factory: Any = message_factory
    if hasattr(factory, "GetMessageClass"):
        make = factory.GetMessageClass
    else:
        make = factory.MessageFactory(pool).GetPrototype  # before protobuf 4.22
    return {name: make(pool.FindMessageTypeByName(f"grpc.testing.{name}")) for name in _FIELDS}


_CLASS = _classes()
Empty = _CLASS["Empty"]
SimpleRequest = _CLASS["SimpleRequest"]
SimpleResponse = _CLASS["SimpleResponse"]
StreamingInputCallRequest = _CLASS["StreamingInputCallRequest"]
StreamingInputCallResponse = _CLASS["StreamingInputCallResponse"]
StreamingOutputCallRequest = _CLASS["StreamingOutputCallRequest"]
StreamingOutputCallResponse = _CLASS["StreamingOutputCallResponse"]

#: The sizes of the large unary call, in bytes, as the description has them.
LARGE_REQUEST, LARGE_RESPONSE = 271828, 314159


def path(method: str) -> str:
    return f"/{SERVICE}/{method}"


def payload(size: int) -> dict[str, bytes]:
    return {"body": bytes(size)}


def large_request(**more: Any) -> bytes:
    """The request of large_unary, and of whatever case builds on it."""
    fields = {"response_size": LARGE_RESPONSE, "payload": payload(LARGE_REQUEST), **more}
    request: bytes = SimpleRequest(**fields).SerializeToString()
    return request


def large_response() -> bytes:
    """What a server answers to it."""
    response: bytes = SimpleResponse(payload=payload(LARGE_RESPONSE)).SerializeToString()
    return response


def check_large(response: bytes | bytearray) -> None:
    """Fail where a response is not the 314159 zeros that were asked for."""
    assert SimpleResponse.FromString(bytes(response)).payload.body == bytes(LARGE_RESPONSE)
