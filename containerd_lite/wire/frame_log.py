"""Debug output of a connection's frames: one line for each frame, without the payload."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from . import frames
from .call import Buffer

LOGGER = logging.getLogger(__package__)

_TYPES = (
    "DATA",
    "HEADERS",
    "PRIORITY",
    "RST_STREAM",
    "SETTINGS",
    "PUSH_PROMISE",
    "PING",
    "GOAWAY",
    "WINDOW_UPDATE",
    "CONTINUATION",
)
_ACKNOWLEDGED = (frames.SETTINGS, frames.PING)
_FLAGS = {
    frames.END_STREAM: "END_STREAM",
    frames.END_HEADERS: "END_HEADERS",
    frames.PADDED: "PADDED",
    frames.HAS_PRIORITY: "PRIORITY",
}


class FrameLog:
    """Logs the frames of one direction of a connection.

    The caller can pass the bytes in pieces of any size.

    Args:
        start: The text at the start of each line.
        preface: The number of bytes before the first frame.
    """

    def __init__(self, start: str, preface: int = 0) -> None:
        self._start = start
        self._to_skip = preface  # bytes before the next frame's header
        self._header = bytearray()

    def add(self, buffers: Iterable[Buffer], size: int) -> None:
        """Process the first ``size`` bytes of the buffers.

        Each frame is logged when its header is complete.
        """
        for buffer in buffers:
            part = memoryview(buffer)[:size]
            self._add_buffer(part)
            size -= len(part)

    def _add_buffer(self, data: memoryview) -> None:
        while data:
            if self._to_skip:
                size = min(self._to_skip, len(data))
                self._to_skip -= size
            else:
                size = min(frames.HEADER_SIZE - len(self._header), len(data))
                self._header += data[:size]
                if len(self._header) == frames.HEADER_SIZE:
                    self._to_skip = self._log_frame()
                    self._header.clear()
            data = data[size:]

    def _log_frame(self) -> int:
        """Log the frame that starts with ``_header``, and return the length of its payload."""
        word, flags, stream_id = frames.unpack_header(self._header)
        length, kind = word >> 8, word & 0xFF
        name = _TYPES[kind] if kind < len(_TYPES) else f"frame of type {kind}"
        if kind in _ACKNOWLEDGED:
            names = ["ACK"] if flags & frames.ACK else []
        else:
            names = [text for flag, text in _FLAGS.items() if flags & flag]
        details = ", ".join([f"{length} bytes", *names])
        stream_id &= frames.MAX_WINDOW
        LOGGER.debug("%s %s, stream %d, %s", self._start, name, stream_id, details)
        return int(length)
