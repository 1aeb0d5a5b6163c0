"""Debug output of a connection's frames: one line each, without what they carry."""

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
    """Logs the frames of one direction of a connection, in whatever pieces its bytes come.

    Args:
        start: what each line begins with.
        preface: how many bytes come before the first frame.
    """

    def __init__(self, start: str, preface: int = 0) -> None:
        self._start = start
        self._to_skip = preface  # until the next frame's header
        self._header = bytearray()

    def add(self, buffers: Iterable[Buffer], size: int) -> None:
        """Log the frames that begin in the first ``size`` bytes of these buffers."""
        for buffer in buffers:
            part = memoryview(buffer)[:size]
            self._add(part)
            size -= len(part)

    def _add(self, data: memoryview) -> None:
        while data:
            if self._to_skip:
                step = min(self._to_skip, len(data))
                self._to_skip -= step
            else:
                step = min(frames.HEADER_SIZE - len(self._header), len(data))
                self._header += data[:step]
                if len(self._header) == frames.HEADER_SIZE:
                    self._to_skip = self._log()
                    self._header.clear()
            data = data[step:]

    def _log(self) -> int:
        """Log the frame with this header; returns the length of its payload."""
        word, flags, stream_id = frames.unpack_header(self._header)
        length, kind = word >> 8, word & 0xFF
        name = _TYPES[kind] if kind < len(_TYPES) else f"frame of type {kind}"
        if kind in _ACKNOWLEDGED:
            names = ["ACK"] if flags & frames.ACK else []
        else:
            names = [text for flag, text in _FLAGS.items() if flags & flag]
        words = ", ".join([f"{length} bytes", *names])
        stream_id &= frames.MAX_WINDOW
        LOGGER.debug("%s %s, stream %d, %s", self._start, name, stream_id, words)
        return int(length)
