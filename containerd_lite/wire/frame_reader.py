"""Parses received bytes into HTTP/2 frames.

``FrameReader`` checks the size, stream id and padding of each frame, and joins the pieces of header
blocks. It does not depend on calls, windows or HPACK.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from . import frames
from .frames import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    HEADER_SIZE,
    HEADERS,
    MAX_FRAME_SIZE,
    MAX_WINDOW,
    PING,
    SETTINGS,
    WINDOW_UPDATE,
)

#: Maximum size in bytes of an encoded header block, which can consist of several frames.
MAX_BLOCK = 64 << 10
#: Maximum number of CONTINUATION frames of one header block.
MAX_CONTINUATIONS = 16

#: A function whose arguments are the payload of a frame, its flags, its stream id, and the length
#: of its payload in bytes. The payload does not contain padding, but the length includes padding,
#: because flow control counts padding. For SETTINGS, the first argument is the whole frame, because
#: h2 needs the frame's header.
Handler = Callable[[memoryview, int, int, int], None]

_PADDED_OR_PRIORITY = frames.PADDED | frames.HAS_PRIORITY
#: Two rules for each frame type. The first rule is ``True`` if the stream id must not be 0,
#: ``False`` if it must be 0, and ``None`` if this table allows any id. WINDOW_UPDATE can have any
#: id, and PUSH_PROMISE is always refused. The second rule is the length of the payload in bytes,
#: or ``None`` if any length is valid.
_RULES: dict[int, tuple[bool | None, int | None]] = {
    DATA: (True, None),
    HEADERS: (True, None),
    frames.PRIORITY: (True, 5),
    frames.RST_STREAM: (True, 4),
    SETTINGS: (False, None),
    frames.PUSH_PROMISE: (None, None),
    PING: (False, 8),
    frames.GOAWAY: (False, None),
    WINDOW_UPDATE: (None, 4),
    CONTINUATION: (True, None),
}


class ConnectionFault(Exception):
    """An error that ends the connection.

    ``code`` is the HTTP/2 error code for the GOAWAY frame.
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class FrameReader:
    """Passes each frame to the handler for its type, and ignores frames of unknown types."""

    def __init__(self, handlers: Mapping[int, Handler]) -> None:
        self._handlers = handlers
        self._awaits_first_frame = True
        self._open_block: tuple[int, int, list[bytes]] | None = None  # stream id, flags, pieces

    def feed(self, data: memoryview) -> int:
        """Parse bytes, and return the number of parsed bytes.

        The caller must pass the unparsed bytes again, followed by the next received bytes.

        Raises:
            ConnectionFault: A frame breaks a rule of HTTP/2.
        """
        at, end = 0, len(data)
        unpack, handlers = frames.unpack_header, self._handlers
        while end - at >= HEADER_SIZE:
            word, flags, stream_id = unpack(data, at)
            length, kind = word >> 8, word & 0xFF
            if self._awaits_first_frame and (kind != SETTINGS or flags & frames.ACK):
                self._raise_not_http2(data)
            if length > MAX_FRAME_SIZE:
                raise ConnectionFault(
                    frames.FRAME_SIZE_ERROR,
                    f"received a frame of {length} bytes, but the limit is {MAX_FRAME_SIZE}",
                )
            start = at + HEADER_SIZE
            if end - start < length:
                break
            at = start + length
            stream_id &= MAX_WINDOW
            if self._open_block is None and not self._awaits_first_frame:
                # This path is short, because content of 512 MiB arrives in 32,768 frames.
                if kind == DATA or (kind == HEADERS and flags & END_HEADERS):
                    is_plain = stream_id and not flags & _PADDED_OR_PRIORITY
                else:  # WINDOW_UPDATE and PING arrive during each call
                    is_plain = (kind == WINDOW_UPDATE and length == 4) or (
                        kind == PING and length == 8 and not stream_id
                    )
                if is_plain:
                    handlers[kind](data[start:at], flags, stream_id, length)
                    continue
            self._awaits_first_frame = False
            payload = data[start - HEADER_SIZE if kind == SETTINGS else start : at]
            self._dispatch(kind, payload, flags, stream_id, length)
        return at

    def _raise_not_http2(self, data: memoryview) -> None:
        protocol = "HTTP/1" if bytes(data[:5]) == b"HTTP/" else "something else"
        raise ConnectionFault(
            frames.PROTOCOL_ERROR, f"the peer does not speak HTTP/2: it answered with {protocol}"
        )

    def _dispatch(
        self, kind: int, payload: memoryview, flags: int, stream_id: int, length: int
    ) -> None:
        """Check a frame, join the pieces of a header block, and call the frame's handler."""
        if self._open_block is not None and kind != CONTINUATION:
            raise ConnectionFault(
                frames.PROTOCOL_ERROR, "received another frame inside a header block"
            )
        if kind not in _RULES:
            return
        needs_stream, size = _RULES[kind]
        if needs_stream is not None and needs_stream != bool(stream_id):
            raise ConnectionFault(
                frames.PROTOCOL_ERROR,
                f"received a frame of type {kind} on stream {stream_id}, which HTTP/2 forbids",
            )
        if kind == SETTINGS and flags & frames.ACK:
            size = 0
        if (size is not None and length != size) or (kind == frames.GOAWAY and length < 8):
            raise ConnectionFault(
                frames.FRAME_SIZE_ERROR,
                f"received a frame of type {kind} with {length} bytes, which HTTP/2 forbids",
            )
        if kind <= HEADERS:
            payload = _strip_padding(payload, flags if kind == HEADERS else flags & frames.PADDED)
            if kind == HEADERS and not flags & END_HEADERS:
                self._open_block = (stream_id, flags, [bytes(payload)])
                return
        elif kind == CONTINUATION:
            joined = self._add_continuation(payload, flags, stream_id)
            if joined is None:
                return
            (payload, flags), kind = joined, HEADERS
        handler = self._handlers.get(kind)
        if handler is not None:
            handler(payload, flags, stream_id, length)

    def _add_continuation(
        self, payload: memoryview, flags: int, stream_id: int
    ) -> tuple[memoryview, int] | None:
        """Add a CONTINUATION frame to the open header block.

        If the block is now complete, return the block and the flags of its HEADERS frame. If the
        block is still incomplete, return ``None``.
        """
        if self._open_block is None or self._open_block[0] != stream_id:
            raise ConnectionFault(frames.PROTOCOL_ERROR, "received CONTINUATION without HEADERS")
        _, first_flags, pieces = self._open_block
        pieces.append(bytes(payload))
        # Without limits, a server could send an endless block at little cost (CVE-2024-27316).
        if len(pieces) > 1 + MAX_CONTINUATIONS:
            raise ConnectionFault(
                frames.ENHANCE_YOUR_CALM, "received a header block with too many frames"
            )
        if sum(map(len, pieces)) > MAX_BLOCK:
            raise ConnectionFault(
                frames.ENHANCE_YOUR_CALM, f"received a header block of more than {MAX_BLOCK} bytes"
            )
        if not flags & END_HEADERS:
            return None
        self._open_block = None
        return memoryview(b"".join(pieces)), first_flags


def _strip_padding(payload: memoryview, flags: int) -> memoryview:
    """Return the payload without padding and without the priority fields of HEADERS."""
    if not flags & _PADDED_OR_PRIORITY:
        return payload
    start, end = 0, len(payload)
    if flags & frames.PADDED and end:
        start, end = 1, end - payload[0]
    if flags & frames.HAS_PRIORITY:
        start += 5
    if start > end or not len(payload):
        raise ConnectionFault(
            frames.PROTOCOL_ERROR, "received a frame without room for its padding or priority"
        )
    return payload[start:end]
