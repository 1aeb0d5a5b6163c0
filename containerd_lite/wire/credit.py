"""Credit for what was received: how much the peer may send before it must wait.

What lives here: our windows, of the connection and of each call, and when to widen them.  What may
not: the peer's windows (``sender`` has them), frames that came.

The connection's credit is returned on receipt, a stream's when its consumer reads: else one unread
stream would starve every call, or a stream would grow without bound.
"""

from __future__ import annotations

from collections import deque

from . import frames
from .call import Buffer, Call
from .framing import PREFIX_SIZE, Message

#: What one stream may send unread.  containerd's reads come in messages of 1 MiB.
STREAM_WINDOW = 4 << 20
#: Bytes of a message that might not fit what is left of a stream's window.
EARLY_FROM = STREAM_WINDOW // 2 - PREFIX_SIZE + 1
#: What all streams together may send before credit is returned.
CONNECTION_WINDOW = 16 << 20
#: What of it must be used up to be worth a frame.
RENEWED_AT = CONNECTION_WINDOW // 2


class Credit:
    """Puts WINDOW_UPDATE frames into ``outgoing``, in large steps.

    ``window`` is what the peer may send on the connection yet; whoever takes DATA counts it down.
    """

    def __init__(self, outgoing: deque[Buffer]) -> None:
        self._outgoing = outgoing
        self.window = CONNECTION_WINDOW
        outgoing.append(frames.window_update(0, CONNECTION_WINDOW - frames.DEFAULT_WINDOW))

    def renew(self) -> None:
        """Return what the connection has taken."""
        self._outgoing.append(frames.window_update(0, CONNECTION_WINDOW - self.window))
        self.window = CONNECTION_WINDOW

    def take(self, call: Call) -> Message | None:
        """The call's oldest unread message, ``None`` if there is none; returns its credit."""
        if not call.reader.messages:
            return None
        message = call.reader.messages.popleft()
        self.repay(call, len(message) + PREFIX_SIZE)
        self.grant_early(call)
        return message

    def repay(self, call: Call, size: int) -> None:
        call.debt += size
        if call.debt >= STREAM_WINDOW // 4:
            self._grant(call, call.debt)

    def grant_early(self, call: Call) -> None:
        """Credit for a message under way that might not fit the window, once it is waited for.

        Only where nothing unread stands before it: else a stream that nobody reads would grow
        by the credit of each such message.  The debt goes below zero until the message is taken.
        """
        reader = call.reader
        if reader.wanted >= EARLY_FROM and call.debt >= 0 and not reader.messages:
            self._grant(call, reader.wanted + PREFIX_SIZE)

    def _grant(self, call: Call, size: int) -> None:
        if not call.is_done:
            self._outgoing.append(frames.window_update(call.stream_id, size))
            call.receive_window += size
            call.debt -= size
