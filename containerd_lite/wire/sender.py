"""The frames to send on one connection, and the peer's windows that limit them.

``Sender`` has the queue of outgoing frames, makes DATA frames as far as flow control allows, and
limits the number of unsent replies.
"""

from __future__ import annotations

from collections import deque

from . import frames
from .call import Buffer, Call
from .frame_reader import ConnectionFault
from .frames import DATA, header

#: Maximum number of unsent replies to PING and SETTINGS. The limit stops a flood of these frames
#: (CVE-2019-9512, CVE-2019-9515).
MAX_UNSENT_REPLIES = 1000
#: If this number of buffers is unsent, HEADERS and DATA must wait. Without this limit, the queue
#: could grow without bound if the peer widens its windows, but does not read (CVE-2019-9511,
#: CVE-2019-9517).
MAX_UNSENT = 1024
#: Maximum size in bytes of data that is copied into one buffer with the frame's header. If the data
#: is larger, a copy of it costs more than a second buffer.
_MAX_COPIED = 4096


class Sender:
    """The send side of a connection's flow control.

    ``outgoing`` has the buffers to send: frames, and views of the callers' messages. ``window`` is
    the number of bytes that the peer still accepts on the connection. ``blocked`` maps stream ids
    to the calls whose data must wait.
    """

    def __init__(self) -> None:
        self.outgoing: deque[Buffer] = deque()
        self.max_frame = frames.MAX_FRAME_SIZE
        self.initial_window = frames.DEFAULT_WINDOW
        self.window = frames.DEFAULT_WINDOW
        self.blocked: dict[int, Call] = {}
        self._replies = 0

    def reply(self, data: bytes) -> None:
        """Queue a reply to PING or SETTINGS.

        Raises:
            ConnectionFault: Too many replies are unsent, because the peer does not read them.
        """
        # ``_replies`` can be too high, because a sent reply is not subtracted from it. Every unsent
        # reply is a buffer in ``outgoing``, so at most ``len(outgoing)`` replies are unsent.
        self._replies = min(self._replies, len(self.outgoing)) + 1
        if self._replies > MAX_UNSENT_REPLIES:
            raise ConnectionFault(
                frames.ENHANCE_YOUR_CALM, "received too many PING or SETTINGS frames"
            )
        self.outgoing.append(data)

    def offer(self, call: Call) -> bool:
        """Make DATA frames from the call's outbox, and return whether a frame was made."""
        before = call.unsent
        if not before:
            self.outgoing.append(header(DATA, frames.END_STREAM, call.stream_id, 0))
            return True
        size = min(before, call.send_window, self.window)
        is_small = before <= _MAX_COPIED and before <= self.max_frame
        if size == before and is_small and len(self.outgoing) < MAX_UNSENT:
            end = 0 if call.is_sending else frames.END_STREAM
            frame = header(DATA, end, call.stream_id, size)
            self.outgoing.append(b"".join((frame, *call.outbox)))
            call.outbox.clear()
        else:
            size = self._add_data_frames(call, size)
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
        """Whether ``outgoing`` is short enough for the frames that had to wait."""
        return len(self.outgoing) < MAX_UNSENT // 2

    def forget(self, call: Call) -> None:
        """Remove a call from ``blocked``."""
        self.blocked.pop(call.stream_id, None)

    def offer_blocked(self) -> list[Call]:
        """Make DATA frames for the blocked calls, and return the calls that got a frame."""
        return [call for call in list(self.blocked.values()) if self.offer(call)]

    def _add_data_frames(self, call: Call, budget: int) -> int:
        """Append DATA frames with up to ``budget`` bytes of data. Return the size of the data."""
        outgoing, outbox, max_frame = self.outgoing, call.outbox, self.max_frame
        end = frames.END_STREAM if budget == call.unsent and not call.is_sending else 0
        full = header(DATA, 0, call.stream_id, max_frame)  # most frames of content have this header
        left, at = budget, 0  # ``at`` bytes of ``outbox[0]`` are already in frames
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
