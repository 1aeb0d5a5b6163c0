"""What a header block of a response says: HTTP's rules for it, and what gRPC reads from it."""

from __future__ import annotations

from . import metadata
from .metadata import Headers, Status

_BAD_IN_NAMES = frozenset((*range(0x21), *range(0x41, 0x5B), *range(0x7F, 0x100), ord(":")))
_BAD_IN_VALUES = frozenset(b"\0\r\n")


class HeaderBlock:
    """The fields of one header block; not to be changed, since it is used again.

    ``problem`` says which rule of HTTP's it breaks, ``""`` if none.  ``http_status`` is empty where
    there is none, as in trailers; ``status`` is ``None`` where there is no ``grpc-status``.
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
        found = dict(fields)
        self.fields = fields
        self.problem = _problem(fields)
        self.http_status = found.get(b":status", b"")
        kind = found.get(b"content-type", b"application/grpc")
        #: A response that is not gRPC has no messages in its body.
        self.is_grpc = self.http_status == b"200" and kind.startswith(b"application/grpc")
        self.is_informational = self.http_status[:1] == b"1"
        self.encoding = found.get(b"grpc-encoding", b"identity")
        self.status: Status | None = None
        if b"grpc-status" in found:
            self.status = metadata.status_of(found)
        length = found.get(b"content-length", b"")
        self.length = int(length) if length.isdigit() and len(length) < 20 else None


def _problem(fields: Headers) -> str:
    """The first rule of RFC 9113, 8.2 and 8.3, that the fields break.

    A blank at either end of a value is let pass: gRPC does not encode it in ``grpc-message``.
    """
    is_first, statuses = True, 0
    for name, value in fields:
        if name[:1] == b":":
            statuses += 1
            if name != b":status" or not is_first or statuses > 1:
                return "a pseudo-header field that has no place there"
            if len(value) != 3 or not value.isdigit():
                return "a :status that is no status"
            continue
        is_first = False
        if not name or not _BAD_IN_NAMES.isdisjoint(name):
            return "a field name with characters that it must not have"
        if not _BAD_IN_VALUES.isdisjoint(value):
            return "a field value with characters that it must not have"
        if name in metadata.OF_CONNECTIONS:
            return "a field that belongs to HTTP/1 connections"
    return ""
