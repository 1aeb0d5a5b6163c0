"""Flow control of received data: how much data the peer can send before it must wait.

``Credit`` decides when to widen the receive windows of the connection and of each call. The module
``sender`` handles the windows for sent data.

The client widens the connection's window when data arrives, even if no caller has read the data.
Otherwise, one unread stream would block all calls. The client widens a stream's window when the
caller reads the stream's messages. Otherwise, unread messages could need unlimited memory.
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
#: The client widens the connection's window when at most this number of bytes is left in it. With a
#: larger number, the client would send more WINDOW_UPDATE frames.
RENEWED_AT = CONNECTION_WINDOW // 2


class Credit:
    """Appends WINDOW_UPDATE frames with large increments to ``outgoing``.

    ``window`` is the number of bytes that the peer can still send on the connection.
    ``Connection`` subtracts the size of each received DATA frame from ``window``.
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

        When the caller has read a quarter of the stream's window, this method widens the window.
        """
        call.debt += size
        if call.debt >= STREAM_WINDOW // 4:
            self._grant(call, call.debt)

    def grant_early(self, call: Call) -> None:
        """Widen the stream's window if the incomplete message can be too large for the window.

        This method does nothing while a complete message is unread. Without this rule, the peer
        would get credit for any number of large messages that the caller does not read. After an
        early credit, ``call.debt`` is negative until the caller reads the message.
        """
        reader = call.reader
        if reader.wanted >= EARLY_FROM and call.debt >= 0 and not reader.messages:
            self._grant(call, reader.wanted + PREFIX_SIZE)

    def _grant(self, call: Call, size: int) -> None:
        if not call.is_done:
            self._outgoing.append(frames.window_update(call.stream_id, size))
            call.receive_window += size
            call.debt -= size
