"""Flow control of received data: how much data the peer can send before it must wait.

``Credit`` decides when to widen the receive windows of the connection and of each call. The module
``sender`` handles the windows for sent data.

The connection's window is widened when data arrives. If the connection waited for the reader, one
unread stream would block all calls. A stream's window is widened when the stream's messages are
read. If it were widened earlier, unread messages could need unlimited memory.
"""

from __future__ import annotations

from collections import deque

from . import frames
from .call import Buffer, Call
from .framing import PREFIX_SIZE, Message

#: Number of bytes that the peer can send on a stream before the caller reads any of these bytes.
#: containerd sends content in messages of 1 MiB.
STREAM_WINDOW = 4 << 20
#: Size in bytes of the smallest message that can be too large for the rest of a stream's window.
EARLY_FROM = STREAM_WINDOW // 2 - PREFIX_SIZE + 1
#: Number of bytes that the peer can send on all streams together before it gets new credit.
CONNECTION_WINDOW = 16 << 20
#: The connection's window is widened when at most this number of bytes is left in the window.
#: Smaller steps would need more frames.
RENEWED_AT = CONNECTION_WINDOW // 2


class Credit:
    """Appends WINDOW_UPDATE frames with large increments to ``outgoing``.

    ``window`` is the number of bytes that the peer can still send on the connection.
    ``Connection`` subtracts the size of each received DATA frame.
    """

    def __init__(self, outgoing: deque[Buffer]) -> None:
        self._outgoing = outgoing
        self.window = CONNECTION_WINDOW
        outgoing.append(frames.window_update(0, CONNECTION_WINDOW - frames.DEFAULT_WINDOW))

    def renew(self) -> None:
        """Widen the connection's window to its full size."""
        self._outgoing.append(frames.window_update(0, CONNECTION_WINDOW - self.window))
        self.window = CONNECTION_WINDOW

    def take(self, call: Call) -> Message | None:
        """Return the call's oldest unread message, or ``None`` if all messages are read.

        The peer gets credit for the returned message.
        """
        if not call.reader.messages:
            return None
        message = call.reader.messages.popleft()
        self.repay(call, len(message) + PREFIX_SIZE)
        self.grant_early(call)
        return message

    def repay(self, call: Call, size: int) -> None:
        """Count ``size`` bytes as read.

        When a quarter of the stream's window was read, this method widens the window.
        """
        call.debt += size
        if call.debt >= STREAM_WINDOW // 4:
            self._grant(call, call.debt)

    def grant_early(self, call: Call) -> None:
        """Widen the stream's window if the incomplete message can be too large for the window.

        If a complete message is unread, this method does nothing. Otherwise, the peer would get
        credit for any number of large messages that the caller does not read. After this credit,
        ``call.debt`` is negative until the caller reads the message.
        """
        reader = call.reader
        if reader.wanted >= EARLY_FROM and call.debt >= 0 and not reader.messages:
            self._grant(call, reader.wanted + PREFIX_SIZE)

    def _grant(self, call: Call, size: int) -> None:
        if not call.is_done:
            self._outgoing.append(frames.window_update(call.stream_id, size))
            call.receive_window += size
            call.debt -= size
