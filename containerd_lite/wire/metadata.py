"""gRPC's header values (PROTOCOL-HTTP2.md): timeout, percent-encoding, ``-bin`` fields, status.

All functions are pure.
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
#: Metadata as pairs of a name and a value. The value is ``bytes`` if the name ends in ``-bin``, and
#: ``str`` otherwise.
Metadata = tuple[tuple[str, "str | bytes"], ...]

OK, CANCELLED, UNKNOWN, INVALID_ARGUMENT, DEADLINE_EXCEEDED, NOT_FOUND = range(6)
ALREADY_EXISTS, PERMISSION_DENIED, RESOURCE_EXHAUSTED, FAILED_PRECONDITION = range(6, 10)
ABORTED, OUT_OF_RANGE, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS = range(10, 16)
UNAUTHENTICATED = 16

#: gRPC status codes by HTTP status (http-grpc-status-mapping.md). The client uses these codes only
#: if a response has no grpc-status.
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
#: gRPC status codes by HTTP/2 error code. For all other HTTP/2 error codes, INTERNAL is used.
#: See PROTOCOL-HTTP2.md, "HTTP2 Transport Mapping", Errors.
_FROM_RST = {
    frames.REFUSED_STREAM: UNAVAILABLE,
    frames.CANCEL: CANCELLED,
    frames.ENHANCE_YOUR_CALM: RESOURCE_EXHAUSTED,
    frames.INADEQUATE_SECURITY: PERMISSION_DENIED,
}
#: A percent-encoded byte. The import of urllib, which has ``unquote``, would take 5 ms.
_PERCENT_ENCODED = re.compile(rb"%([0-9A-Fa-f]{2})")
#: Connection-specific fields of HTTP/1, which HTTP/2 forbids (RFC 9113, 8.2.2).
OF_CONNECTIONS = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade")
)
#: The characters of the names and of the values of metadata.
_NAME_CHARACTERS = b"abcdefghijklmnopqrstuvwxyz0123456789_-."
_PRINTABLE = bytes(range(0x20, 0x7F))
_UNITS = ((1, b"S"), (60, b"M"), (3600, b"H"))
#: Maximum timeout in seconds: 8 digits of the largest unit. Longer timeouts are reduced to this
#: maximum.
_MAX_TIMEOUT = 99_999_999 * 3600


#: The cause that ended a call. ``peer``: the server's trailers. ``stream``: the stream was reset,
#: or the peer broke a rule on the stream. ``connection``: the connection was lost, or the peer
#: broke a rule on the connection. ``local``: this client.
Origin = Literal["peer", "stream", "connection", "local"]


@record(frozen=True)
class Status:
    """The status of an ended call.

    ``details`` is a serialized ``google.rpc.Status``. ``is_unprocessed`` is true if the server
    certainly did not start the call, so that the client can safely send the call again.
    """

    code: int
    message: str = ""
    details: bytes = b""
    origin: Origin = "peer"
    is_unprocessed: bool = False


def encode_timeout(seconds: float) -> bytes:
    """Return the value of ``grpc-timeout``: at most 8 digits and a unit.

    The value is rounded down, but it is never 0.
    """
    if seconds < 10:
        return b"%du" % max(1, int(seconds * 1_000_000))
    return _encode_millis(int(min(seconds, _MAX_TIMEOUT) * 1000))


# Calls with the same timeout usually need the same header value. So this cache saves 1 % of the
# time per call.
@lru_cache(16)
def _encode_millis(millis: int) -> bytes:
    if millis < 100_000_000:
        return b"%dm" % millis
    value, unit = next((v, u) for n, u in _UNITS if (v := millis // 1000 // n) < 100_000_000)
    return b"%d%s" % (value, unit)


def decode_message(value: bytes) -> str:
    """Percent-decode the value of ``grpc-message``, and replace bytes that are not UTF-8."""
    text = _PERCENT_ENCODED.sub(lambda found: bytes.fromhex(found[1].decode("ascii")), value)
    return text.decode("utf-8", "replace")


def encode_metadata(metadata: Metadata) -> Headers:
    """Return metadata as header fields. Values of ``-bin`` fields become base64 without padding.

    Raises:
        InvalidArgument: HTTP/2 or gRPC cannot carry a name or a value.
    """
    fields: Headers = []
    for name, value in metadata:
        key = name.encode("utf-8", "replace").lower()
        if not _is_valid_name(key):
            raise InvalidArgument(
                f"{name!r} is not a valid name for a metadata field: only letters, digits, '_', "
                "'-' and '.' are allowed"
            )
        if key.startswith(b"grpc-") or key in OF_CONNECTIONS or key == b"te":
            raise InvalidArgument(f"metadata field name {name!r} is reserved for gRPC or HTTP")
        if key.endswith(b"-bin"):
            raw = value if isinstance(value, bytes) else value.encode("utf-8", "surrogatepass")
            fields.append((key, b64encode(raw).rstrip(b"=")))
            continue
        text = value if isinstance(value, bytes) else value.encode("utf-8", "surrogatepass")
        if text.translate(None, _PRINTABLE):
            raise InvalidArgument(f"the value of metadata field {name!r} is not printable ASCII")
        if text != text.strip():
            raise InvalidArgument(
                f"the value of metadata field {name!r} starts or ends with a space"
            )
        fields.append((key, text))
    return fields


def _is_valid_name(key: bytes) -> bool:
    return bool(key) and not key.translate(None, _NAME_CHARACTERS)


def decode_metadata(fields: Iterable[tuple[bytes, bytes]]) -> Metadata:
    """Return header fields as metadata.

    The fields of gRPC and HTTP are left out. ``-bin`` values that are not base64 are left out, too.
    """
    found: list[tuple[str, str | bytes]] = []
    for name, value in fields:
        if name.startswith((b":", b"grpc-")) or name == b"content-type":
            continue
        if name.endswith(b"-bin"):
            for piece in value.split(b","):  # a comma separates two base64 values
                raw = decode_binary(piece)
                if raw is not None:
                    found.append((name.decode("latin-1"), raw))
        else:
            found.append((name.decode("latin-1"), value.decode("latin-1")))
    return tuple(found)


def decode_binary(value: bytes) -> bytes | None:
    """Decode a ``-bin`` value, with or without padding, or return ``None`` if it is not base64."""
    value = value.strip()
    try:
        return b64decode(value + b"=" * (-len(value) % 4), validate=True)
    except (Base64Error, ValueError):
        return None


def status_of(fields: Mapping[bytes, bytes]) -> Status:
    """Return the status of a call from header fields, which must include ``grpc-status``."""
    code = fields[b"grpc-status"]
    message = decode_message(fields.get(b"grpc-message", b""))
    details = decode_binary(fields.get(b"grpc-status-details-bin", b"")) or b""
    if not code.isdigit() or len(code) > 9:
        return Status(UNKNOWN, f"grpc-status {code[:40]!r} is not a number: {message}", details)
    return Status(int(code), message, details)


def status_of_http(http_status: bytes) -> Status:
    """Return the status of a call whose response has no ``grpc-status``."""
    message = f"the peer sent HTTP status {http_status.decode('latin-1')!r} without grpc-status"
    return Status(_FROM_HTTP.get(http_status, UNKNOWN), message, origin="stream")


def status_of_reset(code: int, was_answered: bool = False) -> Status:
    """Return the status of a call whose stream the peer reset with an HTTP/2 error code.

    If the server has answered, it has started the call, even if the code is REFUSED_STREAM.
    """
    return Status(
        _FROM_RST.get(code, INTERNAL),
        f"the peer reset the stream with HTTP/2 error code {code}",
        origin="stream",
        is_unprocessed=code == frames.REFUSED_STREAM and not was_answered,
    )
