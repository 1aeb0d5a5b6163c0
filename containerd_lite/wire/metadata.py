"""Header values of gRPC (PROTOCOL-HTTP2.md): timeout, percent-coding, ``-bin``, status.

What lives here: pure functions from and to header values, and ``Status``.  What may not:
HPACK, frames, calls.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Literal

from ..errors import InvalidArgument
from ..records import record
from . import frames

Headers = list[tuple[bytes, bytes]]
#: Metadata as callers give and get it: text values, bytes values for names in ``-bin``.
Metadata = tuple[tuple[str, "str | bytes"], ...]

OK, CANCELLED, UNKNOWN, INVALID_ARGUMENT, DEADLINE_EXCEEDED, NOT_FOUND = range(6)
ALREADY_EXISTS, PERMISSION_DENIED, RESOURCE_EXHAUSTED, FAILED_PRECONDITION = range(6, 10)
ABORTED, OUT_OF_RANGE, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS = range(10, 16)
UNAUTHENTICATED = 16

#: http-grpc-status-mapping.md; used only where grpc-status is absent.
_FROM_HTTP = {
    b"400": INTERNAL,
    b"431": INTERNAL,
    b"401": UNAUTHENTICATED,
    b"403": PERMISSION_DENIED,
    b"404": UNIMPLEMENTED,
    b"429": UNAVAILABLE,
    b"502": UNAVAILABLE,
    b"503": UNAVAILABLE,
    b"504": UNAVAILABLE,
}
#: PROTOCOL-HTTP2.md, "HTTP2 Transport Mapping", Errors; what is not listed is INTERNAL.
_FROM_RST = {
    frames.REFUSED_STREAM: UNAVAILABLE,
    frames.CANCEL: CANCELLED,
    frames.ENHANCE_YOUR_CALM: RESOURCE_EXHAUSTED,
    frames.INADEQUATE_SECURITY: PERMISSION_DENIED,
}
#: As urllib's unquote does, whose import would cost a program 5 ms that needs nothing else of it.
_ENCODED = re.compile(rb"%([0-9A-Fa-f]{2})")
#: Fields of HTTP/1 connections, which have no place in HTTP/2 (RFC 9113, 8.2.2).
OF_CONNECTIONS = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade")
)
_UNITS = ((1, b"S"), (60, b"M"), (3600, b"H"))
#: What 8 digits of the largest unit can say, in seconds; an endless timeout is cut to this.
_LONGEST = 99_999_999 * 3600


#: Who ended a call: the server by its trailers, its stream or its connection, which was reset or
#: broke a rule, or this end.
Origin = Literal["peer", "stream", "connection", "local"]


@record(frozen=True)
class Status:
    """How a call ended: the code, its message, ``google.rpc.Status`` in bytes, and where from.

    ``is_unprocessed`` says that the server provably did not start on the call, so that it may be
    sent again.
    """

    code: int
    message: str = ""
    details: bytes = b""
    origin: Origin = "peer"
    is_unprocessed: bool = False


def encode_timeout(seconds: float) -> bytes:
    """The value of ``grpc-timeout``: at most 8 digits and a unit, never 0, rounded down."""
    if seconds < 10:
        return b"%du" % max(1, int(seconds * 1_000_000))
    return _encode_millis(int(min(seconds, _LONGEST) * 1000))


@lru_cache(16)  # whoever calls with one timeout gets few values: 1 % of a call
def _encode_millis(millis: int) -> bytes:
    if millis < 100_000_000:
        return b"%dm" % millis
    value, unit = next((v, u) for n, u in _UNITS if (v := millis // 1000 // n) < 100_000_000)
    return b"%d%s" % (value, unit)


def decode_message(value: bytes) -> str:
    """``grpc-message`` as text: percent-decoded, and whatever is not UTF-8 replaced, not lost."""
    text = _ENCODED.sub(lambda found: bytes.fromhex(found[1].decode("ascii")), value)
    return text.decode("utf-8", "replace")


def encode_metadata(metadata: Metadata) -> Headers:
    """Metadata as header fields; ``-bin`` values become unpadded base64.

    Raises ``InvalidArgument`` for a name or a value that HTTP/2 or gRPC cannot carry.
    """
    fields: Headers = []
    for name, value in metadata:
        key = name.encode("utf-8", "replace").lower()
        if not _is_name(key) or key.startswith(b"grpc-") or key in OF_CONNECTIONS or key == b"te":
            raise InvalidArgument(f"{name!r} cannot be the name of a metadata field")
        if key.endswith(b"-bin"):
            raw = value if isinstance(value, bytes) else value.encode("utf-8", "surrogatepass")
            fields.append((key, b64encode(raw).rstrip(b"=")))
            continue
        text = value if isinstance(value, bytes) else value.encode("utf-8", "surrogatepass")
        if any(byte < 0x20 or byte > 0x7E for byte in text) or text != text.strip():
            raise InvalidArgument(f"the value of metadata field {name!r} is not printable ASCII")
        fields.append((key, text))
    return fields


def _is_name(key: bytes) -> bool:
    return bool(key) and all(chr(byte) in "abcdefghijklmnopqrstuvwxyz0123456789_-." for byte in key)


def decode_metadata(fields: Iterable[tuple[bytes, bytes]]) -> Metadata:
    """Header fields as metadata, without gRPC's and HTTP's own; bad base64 is left out."""
    found: list[tuple[str, str | bytes]] = []
    for name, value in fields:
        if name.startswith((b":", b"grpc-")) or name == b"content-type":
            continue
        if name.endswith(b"-bin"):
            for piece in value.split(b","):  # before decoding: the comma is no base64
                raw = decode_binary(piece)
                if raw is not None:
                    found.append((name.decode("latin-1"), raw))
        else:
            found.append((name.decode("latin-1"), value.decode("latin-1")))
    return tuple(found)


def decode_binary(value: bytes) -> bytes | None:
    """One ``-bin`` value, padded or not; ``None`` if it is no base64."""
    value = value.strip()
    try:
        return b64decode(value + b"=" * (-len(value) % 4), validate=True)
    except (Base64Error, ValueError):
        return None


def status_of(fields: Mapping[bytes, bytes]) -> Status:
    """The status that fields with a ``grpc-status`` tell."""
    code = fields[b"grpc-status"]
    message = decode_message(fields.get(b"grpc-message", b""))
    details = decode_binary(fields.get(b"grpc-status-details-bin", b"")) or b""
    if not code.isdigit() or len(code) > 9:
        return Status(UNKNOWN, f"grpc-status {code[:40]!r} is no number: {message}", details)
    return Status(int(code), message, details)


def status_of_http(http_status: bytes) -> Status:
    """The status of a call that something answered which does not speak gRPC."""
    said = f"the peer sent no grpc-status; its HTTP status was {http_status.decode('latin-1')!r}"
    return Status(_FROM_HTTP.get(http_status, UNKNOWN), said, origin="stream")


def status_of_reset(code: int, was_answered: bool = False) -> Status:
    """The status of a call whose stream the peer reset with an HTTP/2 error code.

    Whoever has answered has looked at the call, whatever the code says.
    """
    return Status(
        _FROM_RST.get(code, INTERNAL),
        f"the peer reset the stream with HTTP/2 error code {code}",
        origin="stream",
        is_unprocessed=code == frames.REFUSED_STREAM and not was_answered,
    )
