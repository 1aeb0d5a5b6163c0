"""Bytes to well-formed HTTP/2 frames: what is wrong with a frame in itself ends here.

What lives here: cutting, sizes, padding, header blocks put together.  What may not: calls,
windows, HPACK.
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

#: Bound on an encoded header block, all its frames together, and on its CONTINUATION frames.
MAX_BLOCK = 64 << 10
MAX_CONTINUATIONS = 16

#: Called with a frame's payload (unpadded; a whole frame for SETTINGS, as h2 wants it), its
#: flags, its stream id and its length on the wire, which is what flow control counts.
Handler = Callable[[memoryview, int, int, int], None]

_UNUSUAL = frames.PADDED | frames.HAS_PRIORITY
#: Of each type: whether it belongs to a stream, to the connection, or (None) to either; its size.
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
    """The connection cannot go on; ``code`` is the HTTP/2 error code to tell the peer."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class FrameReader:
    """Hands each frame to the handler of its type; frames of unknown types are passed over."""

    def __init__(self, handlers: Mapping[int, Handler]) -> None:
        self._handlers = handlers
        self._first = True
        self._block: tuple[int, int, list[bytes]] | None = None  # stream, flags, pieces

    def feed(self, data: memoryview) -> int:
        """Take bytes; returns how many were used: what was not is to come again, with more.

        Raises ``ConnectionFault``.
        """
        at, end = 0, len(data)
        unpack, handlers = frames.unpack_header, self._handlers
        while end - at >= HEADER_SIZE:
            word, flags, stream_id = unpack(data, at)
            length, kind = word >> 8, word & 0xFF
            if self._first and (kind != SETTINGS or flags & frames.ACK):
                self._not_http2(data)
            if length > MAX_FRAME_SIZE:
                raise ConnectionFault(frames.FRAME_SIZE_ERROR, f"a frame of {length} bytes came")
            start = at + HEADER_SIZE
            if end - start < length:
                break
            at = start + length
            stream_id &= MAX_WINDOW
            if self._block is None and not self._first:
                # Nearly all that comes, 32,768 frames for 512 MiB: no more checks than it needs.
                if kind == DATA or (kind == HEADERS and flags & END_HEADERS):
                    is_plain = stream_id and not flags & _UNUSUAL
                else:  # these two come with each call
                    is_plain = (kind == WINDOW_UPDATE and length == 4) or (
                        kind == PING and length == 8 and not stream_id
                    )
                if is_plain:
                    handlers[kind](data[start:at], flags, stream_id, length)
                    continue
            self._first = False
            payload = data[start - HEADER_SIZE if kind == SETTINGS else start : at]
            self._take(kind, payload, flags, stream_id, length)
        return at

    def _not_http2(self, data: memoryview) -> None:
        what = "with HTTP/1" if bytes(data[:5]) == b"HTTP/" else "with something else"
        raise ConnectionFault(
            frames.PROTOCOL_ERROR, f"the peer does not speak HTTP/2: it answered {what}"
        )

    def _take(
        self, kind: int, payload: memoryview, flags: int, stream_id: int, length: int
    ) -> None:
        if self._block is not None and kind != CONTINUATION:
            raise ConnectionFault(frames.PROTOCOL_ERROR, "a header block was interrupted")
        if kind not in _RULES:
            return
        place, size = _RULES[kind]
        if place is not None and place != bool(stream_id):
            raise ConnectionFault(
                frames.PROTOCOL_ERROR, f"a frame of type {kind} on stream {stream_id}"
            )
        if kind == SETTINGS and flags & frames.ACK:
            size = 0
        if (size is not None and length != size) or (kind == frames.GOAWAY and length < 8):
            raise ConnectionFault(
                frames.FRAME_SIZE_ERROR, f"a frame of type {kind} and {length} bytes"
            )
        if kind <= HEADERS:
            payload = _unpadded(payload, flags if kind == HEADERS else flags & frames.PADDED)
            if kind == HEADERS and not flags & END_HEADERS:
                self._block = (stream_id, flags, [bytes(payload)])
                return
        elif kind == CONTINUATION:
            whole = self._continue(payload, flags, stream_id)
            if whole is None:
                return
            (payload, flags), kind = whole, HEADERS
        handler = self._handlers.get(kind)
        if handler is not None:
            handler(payload, flags, stream_id, length)

    def _continue(
        self, payload: memoryview, flags: int, stream_id: int
    ) -> tuple[memoryview, int] | None:
        if self._block is None or self._block[0] != stream_id:
            raise ConnectionFault(frames.PROTOCOL_ERROR, "CONTINUATION without its HEADERS")
        _, first_flags, pieces = self._block
        pieces.append(bytes(payload))
        # An endless block costs a server of ours nothing and us everything (CVE-2024-27316).
        if len(pieces) > 1 + MAX_CONTINUATIONS or sum(map(len, pieces)) > MAX_BLOCK:
            raise ConnectionFault(frames.ENHANCE_YOUR_CALM, "a header block without an end")
        if not flags & END_HEADERS:
            return None
        self._block = None
        return memoryview(b"".join(pieces)), first_flags


def _unpadded(payload: memoryview, flags: int) -> memoryview:
    """The payload without its padding and, for HEADERS, its priority fields."""
    if not flags & _UNUSUAL:
        return payload
    start, end = 0, len(payload)
    if flags & frames.PADDED and end:
        start, end = 1, end - payload[0]
    if flags & frames.HAS_PRIORITY:
        start += 5
    if start > end or not len(payload):
        raise ConnectionFault(frames.PROTOCOL_ERROR, "padding is longer than its frame")
    return payload[start:end]
