"""What waits to go out on one connection, and the windows that hold it back.

What lives here: outgoing frames in order, DATA as far as flow control allows, the cap on
replies.  What may not: received frames, the state of calls.
"""

from __future__ import annotations

from collections import deque

from . import frames
from .call import Buffer, Call
from .frame_reader import ConnectionFault
from .frames import DATA, header

#: Answers to PING and SETTINGS that may wait unsent; more is a flood (CVE-2019-9512, -9515).
MAX_UNSENT_REPLIES = 1000
#: Buffers from which on nothing is added that can wait: a peer that does not read must not make
#: the queue grow with each call, nor with each byte of window (CVE-2019-9511).
MAX_UNSENT = 1024
#: Bytes up to which a copy costs less than one more buffer for the kernel.
_SMALL = 4096


class Sender:
    """``outgoing`` holds buffers to send as they are: headers, and views of callers' messages."""

    def __init__(self) -> None:
        self.outgoing: deque[Buffer] = deque()
        self.max_frame = frames.MAX_FRAME_SIZE
        self.initial_window = frames.DEFAULT_WINDOW
        self._window = frames.DEFAULT_WINDOW
        self._blocked: dict[int, Call] = {}  # calls with something to send, by stream id
        self._replies = 0

    def reply(self, data: bytes) -> None:
        """Queue an answer that the peer can call forth at will.  Raises ``ConnectionFault``."""
        # Some that were counted are gone by now; there cannot be more of them than of buffers.
        self._replies = min(self._replies, len(self.outgoing)) + 1
        if self._replies > MAX_UNSENT_REPLIES:
            raise ConnectionFault(frames.ENHANCE_YOUR_CALM, "a flood of PING or SETTINGS")
        self.outgoing.append(data)

    def offer(self, call: Call) -> bool:
        """Make DATA frames of what the call has queued; whether any of it went, or its end."""
        before = call.unsent
        while call.unsent:
            size = min(call.unsent, call.send_window, self._window, self.max_frame)
            if size <= 0 or len(self.outgoing) >= MAX_UNSENT:
                self._blocked[call.stream_id] = call
                return call.unsent != before
            self._send_data(call, size)
        if not before and not call.is_sending:
            self.outgoing.append(header(DATA, frames.END_STREAM, call.stream_id, 0))
        self._blocked.pop(call.stream_id, None)
        return True

    @property
    def has_room(self) -> bool:
        """Whether so much has gone out that what was held back for it may be added."""
        return len(self.outgoing) < MAX_UNSENT // 2

    def forget(self, call: Call) -> None:
        self._blocked.pop(call.stream_id, None)

    def pump(self) -> list[Call]:
        """As ``offer``, for all that windows have held back; returns the calls that got on."""
        if not self._blocked:
            return []
        return [call for call in list(self._blocked.values()) if self.offer(call)]

    def _send_data(self, call: Call, size: int) -> None:
        call.unsent -= size
        call.send_window -= size
        self._window -= size
        last = frames.END_STREAM if not call.unsent and not call.is_sending else 0
        head = header(DATA, last, call.stream_id, size)
        if size <= _SMALL and not call.unsent:
            self.outgoing.append(b"".join((head, *call.outbox)))
            call.outbox.clear()
            return
        self.outgoing.append(head)
        while size:
            piece = call.outbox.popleft()
            if len(piece) > size:
                call.outbox.appendleft(piece[size:])
                piece = piece[:size]
            size -= len(piece)
            self.outgoing.append(piece)

    def widen(self, increment: int) -> bool:
        """The peer grants credit on the connection; false if that breaks a rule."""
        self._window += increment
        return self._window <= frames.MAX_WINDOW
