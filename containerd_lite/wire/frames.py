"""Constants of HTTP/2 frames, and functions that make the frames that a client sends.

See RFC 9113, sections 4 and 6.
"""

from __future__ import annotations

from struct import Struct

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS = 0, 1, 2, 3, 4
PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 5, 6, 7, 8, 9

END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
HAS_PRIORITY = 0x20

# Error codes, RFC 9113 section 7.
NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR = 0, 1, 2, 3
SETTINGS_TIMEOUT, STREAM_CLOSED, FRAME_SIZE_ERROR, REFUSED_STREAM = 4, 5, 6, 7
CANCEL, COMPRESSION_ERROR, CONNECT_ERROR, ENHANCE_YOUR_CALM = 8, 9, 10, 11
INADEQUATE_SECURITY, HTTP_1_1_REQUIRED = 12, 13

HEADER_SIZE = 9
#: Bytes that a client sends before its first frame (RFC 9113, 3.4).
PREFACE_SIZE = 24
#: Maximum size in bytes of a frame's payload that this client accepts. This is the default of
#: HTTP/2's setting MAX_FRAME_SIZE.
MAX_FRAME_SIZE = 1 << 14
DEFAULT_WINDOW = (1 << 16) - 1
MAX_WINDOW = (1 << 31) - 1

#: The header of a frame, as three integers. The first integer contains the length (24 bits) and the
#: type (8 bits). The second integer contains the flags. The third integer contains a reserved bit
#: and the stream id.
_HEADER = Struct(">LBL")
_WORD = Struct(">L")
unpack_header = _HEADER.unpack_from
unpack_word = _WORD.unpack_from


def header(kind: int, flags: int, stream_id: int, length: int) -> bytes:
    """Return the 9-byte header of a frame with ``length`` bytes of payload."""
    return _HEADER.pack(length << 8 | kind, flags, stream_id)


def window_update(stream_id: int, increment: int) -> bytes:
    """Return a WINDOW_UPDATE frame."""
    return header(WINDOW_UPDATE, 0, stream_id, 4) + _WORD.pack(increment)


def rst_stream(stream_id: int, code: int) -> bytes:
    """Return a RST_STREAM frame with an HTTP/2 error code."""
    return header(RST_STREAM, 0, stream_id, 4) + _WORD.pack(code)


def goaway(code: int, debug: bytes = b"") -> bytes:
    """Return a GOAWAY frame.

    The frame's last stream id is 0, because a client accepts no streams from the server.
    """
    return header(GOAWAY, 0, 0, 8 + len(debug)) + _WORD.pack(0) + _WORD.pack(code) + debug


_PING_ACK = header(PING, ACK, 0, 8)


def ping_ack(payload: bytes | memoryview) -> bytes:
    """Return the acknowledgement of a PING frame that has this payload."""
    return _PING_ACK + payload


def headers(stream_id: int, block: bytes, max_frame: int) -> bytes:
    """Return a HEADERS frame for a header block.

    If the block exceeds ``max_frame`` bytes, CONTINUATION frames follow the HEADERS frame.
    """
    if len(block) <= max_frame:
        return header(HEADERS, END_HEADERS, stream_id, len(block)) + block
    parts = [header(HEADERS, 0, stream_id, max_frame), block[:max_frame]]
    for start in range(max_frame, len(block), max_frame):
        piece = block[start : start + max_frame]
        flags = END_HEADERS if start + max_frame >= len(block) else 0
        parts += (header(CONTINUATION, flags, stream_id, len(piece)), piece)
    return b"".join(parts)
