"""Flow control of received data: how much the peer may send before it must wait.

``Credit`` decides when to widen the receive windows of the connection and of each call. The module
``sender`` has the windows for sent data.

The connection's window is widened when data arrives. Otherwise one unread stream would block all
calls. A stream's window is widened when its messages are read. Otherwise its unread messages would
take ever more memory.
"""

from __future__ import annotations

from collections import deque

from . import frames
from .call import Buffer, Call
from .framing import PREFIX_SIZE, Message

#: Bytes that the peer may send on a stream unread. containerd sends content in messages of 1 MiB.
STREAM_WINDOW = 4 << 20
#: Bytes of the smallest message that might not fit into the rest of a stream's window.
EARLY_FROM = STREAM_WINDOW // 2 - PREFIX_SIZE + 1
#: Bytes that the peer may send on all streams together before it gets new credit.
CONNECTION_WINDOW = 16 << 20
#: Bytes left in the connection's window when it is widened. A smaller step is not worth a frame.
RENEWED_AT = CONNECTION_WINDOW // 2


class Credit:
    """Adds WINDOW_UPDATE frames to ``outgoing``, in large steps.

    ``window`` is the number of bytes that the peer may still send on the connection.
    ``Connection`` subtracts the DATA that it receives.
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
        """Return the call's oldest unread message, or ``None``, and give credit for it."""
        if not call.reader.messages:
            return None
        message = call.reader.messages.popleft()
        self.repay(call, len(message) + PREFIX_SIZE)
        self.grant_early(call)
        return message

    def repay(self, call: Call, size: int) -> None:
        """Count ``size`` bytes as read, and widen the stream's window when a quarter is read."""
        call.debt += size
        if call.debt >= STREAM_WINDOW // 4:
            self._grant(call, call.debt)

    def grant_early(self, call: Call) -> None:
        """Widen the stream's window for an incomplete message that might not fit into it.

        This happens only if no unread message precedes it. Otherwise an unread stream would grow by
        the credit of each such message. The debt is negative until the message is read.
        """
        reader = call.reader
        if reader.wanted >= EARLY_FROM and call.debt >= 0 and not reader.messages:
            self._grant(call, reader.wanted + PREFIX_SIZE)

    def _grant(self, call: Call, size: int) -> None:
        if not call.is_done:
            self._outgoing.append(frames.window_update(call.stream_id, size))
            call.receive_window += size
            call.debt -= size
