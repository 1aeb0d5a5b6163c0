"""One gRPC call: its state, its received messages, its unsent data and its flow-control windows.

``TRANSITIONS`` describes the receiving side of a call. The state of the sending side is
``is_sending``. If ``TRANSITIONS`` does not list an event for the call's state, the peer has broken
a rule, and the call ends.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from .framing import MAX_MESSAGE, MessageReader
from .metadata import Headers, Metadata, Status, decode_metadata

# States of the receiving side.
QUEUED = "queued"  # the call has no stream yet, for example because of MAX_CONCURRENT_STREAMS
AWAITING = "awaiting"  # the stream is open, but the response headers have not arrived
RECEIVING = "receiving"  # the response headers have arrived
DONE = "done"  # the status is known, but some messages can still be unread

# Events.
STARTED = "started"
INFORMATIONAL = "informational headers"  # 1xx
RESPONSE = "response headers"
TRAILERS = "trailers"  # a header block with END_STREAM, which can be a Trailers-Only response
MESSAGE_DATA = "DATA"
DATA_END = "DATA with END_STREAM"
ENDED = "ended"  # the client or the peer reset the stream, or the connection was lost

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
#: A number of seconds for ``grpc-timeout``, or a function that returns this number. The function is
#: called when the stream opens, because a queued call can wait a long time for its stream. ``None``
#: means no limit.
Timeout = Callable[[], float | None] | float | None


def views_of(parts: Iterable[Buffer]) -> list[Buffer]:
    """Return the parts that are not empty, each as ``bytes`` or as a memoryview of bytes."""
    views: list[Buffer] = []
    for part in parts:
        if isinstance(part, bytes):
            if part:
                views.append(part)
        elif (view := memoryview(part)).nbytes:
            views.append(view.cast("B"))
    return views


class IllegalEvent(Exception):
    """An event that the call's state does not allow."""


class Call:
    """A call on a connection. Only the connection changes the call.

    ``waiters`` is for the code that drives the connection. The modules in ``wire/`` do not use
    ``waiters``.
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
        self.send_window = 0  # set when the stream opens
        self.state = QUEUED
        self.stream_id = 0
        self.status: Status | None = None
        self.http_status = b""
        self.initial_fields: Headers = _NO_FIELDS
        self.trailing_fields: Headers = _NO_FIELDS
        self.reader = MessageReader(max_message)
        self.debt = 0  # number of read bytes for which the peer has no new credit yet
        self.empty_frames = 0
        self.is_sending = True
        self.outbox: deque[Buffer] = deque()
        self.unsent = 0
        #: The value of content-length minus the number of received bytes of the body.
        self.expected: int | None = None
        self.waiters: list[object] = []

    def advance(self, event: str) -> None:
        """Change the state to the state that follows the event.

        Raises:
            IllegalEvent: ``TRANSITIONS`` does not list the event for the current state.
        """
        try:
            self.state = TRANSITIONS[self.state, event]
        except KeyError:
            raise IllegalEvent(f"received {event} while the call was {self.state}") from None

    @property
    def is_done(self) -> bool:
        """Whether the call has ended. Some of its messages can still be unread."""
        return self.state == DONE

    def end(self, status: Status) -> None:
        """End the call, and drop its unsent data.

        If the call already has a status, ``status`` is ignored.
        """
        if self.state != DONE:
            self.advance(ENDED)
        if self.status is None:
            self.status = status
        self.outbox.clear()
        self.unsent = 0
        self.is_sending = False

    @property
    def initial_metadata(self) -> Metadata:
        """The metadata of the response headers."""
        return decode_metadata(self.initial_fields)

    @property
    def trailing_metadata(self) -> Metadata:
        """The metadata of the trailers."""
        return decode_metadata(self.trailing_fields)

    def __repr__(self) -> str:
        return f"<Call {self.path} stream={self.stream_id} {self.state}>"
