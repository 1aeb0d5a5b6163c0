"""One gRPC call: what may come next, what has come, and what waits to be sent.

What lives here: the state of a call as a transition table, its inbox, its outbox, its windows.
What may not: other calls, the connection, bytes of frames.

The table below is the receiving side; the sending side is just ``is_sending``.  An event that the
table does not list for a state is the peer's fault and ends the call.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from .framing import MAX_MESSAGE, MessageReader
from .metadata import Headers, Metadata, Status, decode_metadata

# States of the receiving side.
QUEUED = "queued"  # the peer's MAX_CONCURRENT_STREAMS is reached: no stream yet
AWAITING = "awaiting"  # request sent (or being sent), no response headers yet
RECEIVING = "receiving"  # response headers came
DONE = "done"  # status known; messages may still wait in the inbox

# Events.
STARTED = "started"
INFORMATIONAL = "informational headers"  # 1xx
RESPONSE = "response headers"
TRAILERS = "trailers"  # a header block with END_STREAM, Trailers-Only included
MESSAGE_DATA = "DATA"
DATA_END = "DATA with END_STREAM"
ENDED = "ended"  # reset by either side, or the connection was lost

TRANSITIONS: dict[tuple[str, str], str] = {
    (QUEUED, STARTED): AWAITING,
    (QUEUED, ENDED): DONE,
    (AWAITING, INFORMATIONAL): AWAITING,
    (AWAITING, RESPONSE): RECEIVING,
    (AWAITING, TRAILERS): DONE,
    (AWAITING, ENDED): DONE,
    (RECEIVING, MESSAGE_DATA): RECEIVING,
    (RECEIVING, DATA_END): DONE,
    (RECEIVING, TRAILERS): DONE,
    (RECEIVING, ENDED): DONE,
}

_NO_FIELDS: Headers = []

Buffer = bytes | bytearray | memoryview
#: Seconds that the peer is told, asked for when the stream opens: a call may have been queued.
Timeout = Callable[[], float | None] | float | None


def views_of(parts: Iterable[Buffer]) -> list[Buffer]:
    """The parts as bytes, or views of bytes whatever their items are; empty ones left out."""
    views: list[Buffer] = []
    for part in parts:
        if isinstance(part, bytes):
            if part:
                views.append(part)
        elif (view := memoryview(part)).nbytes:
            views.append(view.cast("B"))
    return views


class IllegalEvent(Exception):
    """The peer sent what the call's state does not permit."""


class Call:
    """One call on one connection; the connection alone changes it.

    ``waiters`` is for whoever drives the connection; nothing in ``wire/`` looks at it.
    """

    __slots__ = (
        "debt",
        "empty_frames",
        "encoding",
        "expected",
        "http_status",
        "initial_fields",
        "is_sending",
        "outbox",
        "path",
        "reader",
        "receive_window",
        "request",
        "send_window",
        "state",
        "status",
        "stream_id",
        "timeout",
        "trailing_fields",
        "unsent",
        "waiters",
    )

    def __init__(
        self,
        path: str,
        request: Metadata,
        timeout: Timeout,
        receive_window: int,
        max_message: int = MAX_MESSAGE,
        encoding: str = "",
    ) -> None:
        self.path = path
        self.request = request
        self.timeout = timeout
        self.encoding = encoding
        self.receive_window = receive_window
        self.send_window = 0  # known when the stream opens
        self.state = QUEUED
        self.stream_id = 0
        self.status: Status | None = None
        self.http_status = b""
        self.initial_fields: Headers = _NO_FIELDS
        self.trailing_fields: Headers = _NO_FIELDS
        self.reader = MessageReader(max_message)
        self.debt = 0  # bytes of stream credit that the consumer has earned back
        self.empty_frames = 0
        self.is_sending = True
        self.outbox: deque[Buffer] = deque()
        self.unsent = 0
        self.expected: int | None = None  # bytes of the body to come, if the peer has said so
        self.waiters: list[object] = []

    def advance(self, event: str) -> None:
        """Move along the table.  Raises ``IllegalEvent`` where it has no such step."""
        try:
            self.state = TRANSITIONS[self.state, event]
        except KeyError:
            raise IllegalEvent(f"{event} while the call was {self.state}") from None

    @property
    def is_done(self) -> bool:
        return self.state == DONE

    def end(self, status: Status) -> None:
        """Settle the status, once; nothing more is sent."""
        if self.state != DONE:
            self.advance(ENDED)
        if self.status is None:
            self.status = status
        self.outbox.clear()
        self.unsent = 0
        self.is_sending = False

    @property
    def initial_metadata(self) -> Metadata:
        return decode_metadata(self.initial_fields)

    @property
    def trailing_metadata(self) -> Metadata:
        return decode_metadata(self.trailing_fields)

    def __repr__(self) -> str:
        return f"<Call {self.path} stream={self.stream_id} {self.state}>"
