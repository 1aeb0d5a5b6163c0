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
    """``outgoing`` holds buffers to send as they are: headers, and views of callers' messages.

    ``window`` is what the peer takes on the connection yet; ``blocked`` has the calls that are held
    back with something to send, by their stream's id.
    """

    def __init__(self) -> None:
        self.outgoing: deque[Buffer] = deque()
        self.max_frame = frames.MAX_FRAME_SIZE
        self.initial_window = frames.DEFAULT_WINDOW
        self.window = frames.DEFAULT_WINDOW
        self.blocked: dict[int, Call] = {}
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
        if not before:
            self.outgoing.append(header(DATA, frames.END_STREAM, call.stream_id, 0))
            return True
        size = min(before, call.send_window, self.window)
        is_small = before <= _SMALL and before <= self.max_frame
        if size == before and is_small and len(self.outgoing) < MAX_UNSENT:
            end = 0 if call.is_sending else frames.END_STREAM
            frame = header(DATA, end, call.stream_id, size)
            self.outgoing.append(b"".join((frame, *call.outbox)))
            call.outbox.clear()
        else:
            size = self._send_data(call, size)
        call.unsent = before - size
        call.send_window -= size
        self.window -= size
        if call.unsent:
            self.blocked[call.stream_id] = call
        elif self.blocked:
            self.forget(call)
        return size > 0

    @property
    def has_room(self) -> bool:
        """Whether so much has gone out that what was held back for it may be added."""
        return len(self.outgoing) < MAX_UNSENT // 2

    def forget(self, call: Call) -> None:
        self.blocked.pop(call.stream_id, None)

    def pump(self) -> list[Call]:
        """As ``offer``, for all that windows have held back; returns the calls that got on."""
        return [call for call in list(self.blocked.values()) if self.offer(call)]

    def _send_data(self, call: Call, budget: int) -> int:
        """Frames of up to ``budget`` bytes, all together; how many they came to."""
        outgoing, outbox, max_frame = self.outgoing, call.outbox, self.max_frame
        end = frames.END_STREAM if budget == call.unsent and not call.is_sending else 0
        full = header(DATA, 0, call.stream_id, max_frame)  # of nearly every frame of content
        left, at = budget, 0  # how far the first of the outbox has gone
        while left > 0 and len(outgoing) < MAX_UNSENT:
            size = min(left, max_frame)
            left -= size
            is_full = left and size == max_frame
            outgoing.append(full if is_full else header(DATA, end, call.stream_id, size))
            while size:
                piece = outbox[0]
                taken = memoryview(piece)[at : at + size]
                outgoing.append(taken)
                size -= len(taken)
                at += len(taken)
                if at == len(piece):
                    outbox.popleft()
                    at = 0
        if at:
            outbox[0] = memoryview(outbox[0])[at:]
        return budget - left
