"""Parses header blocks of responses: checks HTTP's rules, and finds the fields that gRPC needs."""

from __future__ import annotations

from . import metadata
from .metadata import Headers, Status

_BAD_IN_NAMES = frozenset((*range(0x21), *range(0x41, 0x5B), *range(0x7F, 0x100), ord(":")))
_BAD_IN_VALUES = frozenset(b"\0\r\n")


class HeaderBlock:
    """The fields of one header block.

    Do not change an object of this class, because ``HeaderCodec`` returns the same object for equal
    blocks.

    Attributes:
        encoding: The value of ``grpc-encoding``. Default: ``identity``.
        fields: All fields, in the order of the block.
        http_status: The value of ``:status``, or empty if the block has no ``:status``. Trailers
            have no ``:status``.
        is_grpc: Whether the block is the header block of a gRPC response. A response that is not
            gRPC contains no messages.
        is_informational: Whether ``:status`` is 1xx.
        length: The value of ``content-length`` in bytes, or ``None``.
        problem: The part of the block that breaks a rule of HTTP, or ``""`` if the block is valid.
        status: The status of the call, or ``None`` if the block has no ``grpc-status``.
    """

    __slots__ = (
        "encoding",
        "fields",
        "http_status",
        "is_grpc",
        "is_informational",
        "length",
        "problem",
        "status",
    )

    def __init__(self, fields: Headers) -> None:
        values = dict(fields)
        self.fields = fields
        self.problem = _find_problem(fields)
        self.http_status = values.get(b":status", b"")
        content_type = values.get(b"content-type", b"application/grpc")
        self.is_grpc = self.http_status == b"200" and content_type.startswith(b"application/grpc")
        self.is_informational = self.http_status[:1] == b"1"
        self.encoding = values.get(b"grpc-encoding", b"identity")
        self.status: Status | None = None
        if b"grpc-status" in values:
            self.status = metadata.status_of(values)
        length = values.get(b"content-length", b"")
        self.length = int(length) if length.isdigit() and len(length) < 20 else None


def _find_problem(fields: Headers) -> str:
    """Return the first violation of RFC 9113, 8.2 and 8.3, or ``""`` if the block is valid.

    A value is allowed to start or end with a space, because gRPC does not encode spaces in
    ``grpc-message``.
    """
    is_before_fields, pseudo_fields = True, 0
    for name, value in fields:
        if name[:1] == b":":
            pseudo_fields += 1
            if name != b":status" or not is_before_fields or pseudo_fields > 1:
                return "an unexpected pseudo-header field"
            if len(value) != 3 or not value.isdigit():
                return "an invalid :status value"
            continue
        is_before_fields = False
        if not name or not _BAD_IN_NAMES.isdisjoint(name):
            return "a field name with an invalid character" if name else "an empty field name"
        if not _BAD_IN_VALUES.isdisjoint(value):
            return "a field value with an invalid character"
        if name in metadata.OF_CONNECTIONS:
            return "a connection-specific field of HTTP/1"
    return ""
