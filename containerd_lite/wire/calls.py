"""This side of a connection's calls: begun, queued, sent to, read from, ended.

What lives here: the table of calls, the queue behind the peer's MAX_CONCURRENT_STREAMS.  What may
not: received frames (``connection`` has them), sockets, clocks, locks.
"""

from __future__ import annotations

import logging
from collections import deque
from itertools import count

from ..errors import InvalidArgument, ResourceExhausted
from . import call as states
from . import frames, metadata
from .call import Buffer, Call, Timeout, views_of
from .credit import STREAM_WINDOW, Credit
from .frame_log import LOGGER, FrameLog
from .framing import MAX_MESSAGE, PREFIX_SIZE, Message, prefix
from .headers import HeaderCodec
from .metadata import Metadata, Status
from .sender import MAX_UNSENT, Sender
from .settings import PeerSettings

_REPLACED = Status(
    metadata.UNAVAILABLE,
    "the connection takes no more calls",
    b"",
    "connection",
    is_unprocessed=True,
)

#: Numbers connections, in debug output.
_NUMBERS = count(1)


class Calls:
    """The calls of one connection, and what they have to send.

    ``number`` is the connection's, in debug output.  ``sent_log`` is to be given what was sent; it
    is ``None`` unless the logger was on when the connection was made.
    """

    def __init__(
        self,
        *,
        authority: str = "localhost",
        scheme: str = "http",
        user_agent: str = "containerd-lite",
        max_message: int = MAX_MESSAGE,
    ) -> None:
        self.lost: Status | None = None
        self.is_draining = False
        self.number = next(_NUMBERS)
        self.sent_log: FrameLog | None = None
        self._received_log: FrameLog | None = None
        if LOGGER.isEnabledFor(logging.DEBUG):
            self.sent_log = FrameLog(f"connection {self.number} sent", frames.PREFACE_SIZE)
            self._received_log = FrameLog(f"connection {self.number} received")
        self._settings = PeerSettings()
        self._codec = HeaderCodec(self._settings.h2, authority, user_agent, scheme)
        self._max_message = max_message
        self._sender = Sender()
        self.outgoing = self._sender.outgoing
        self.outgoing.append(self._settings.greeting)
        self._credit = Credit(self.outgoing)
        self._calls: dict[int, Call] = {}
        self._queued: deque[Call] = deque()
        self.touched: dict[Call, None] = {}
        self._next_id = 1
        self._max_calls = 1 << 31

    def start(
        self,
        path: str,
        request: Metadata = (),
        timeout: Timeout = None,
        encoding: str = "",
        message: list[Buffer] | None = None,
    ) -> Call:
        """Begin a call of ``/package.Service/Method``; ``timeout`` in seconds goes to the peer.

        ``encoding`` is the ``grpc-encoding`` of messages that are sent compressed.  ``message`` is
        the only one, as ``views_of`` makes it; with an ``encoding`` it is compressed.
        Raises ``InvalidArgument``, and ``ResourceExhausted`` for a message that is too large; then
        nothing has begun.
        """
        call = Call(
            path,
            request,
            timeout,
            receive_window=STREAM_WINDOW,
            max_message=self._max_message,
            encoding=encoding,
        )
        if message is not None:
            self._put(call, message, True, bool(encoding))
        if self.lost or self.is_draining:
            closing = Status(metadata.UNAVAILABLE, "the connection is closing", b"", "connection")
            call.end(self.lost or closing)
        elif len(self._calls) >= self._max_calls or len(self.outgoing) >= MAX_UNSENT:
            self._codec.fragments(path, request, encoding)  # what is wrong, is wrong now
            self._queued.append(call)
        else:
            self._open(call)
        return call

    def _open(self, call: Call) -> None:
        timeout = call.timeout() if callable(call.timeout) else call.timeout
        block = self._codec.encode(call.path, call.request, timeout, call.encoding)
        call.stream_id, self._next_id = self._next_id, self._next_id + 2
        if self._next_id > frames.MAX_WINDOW:
            self.is_draining = True  # stream ids are used up
        call.send_window = self._sender.initial_window
        self._calls[call.stream_id] = call
        call.advance(states.STARTED)
        self.outgoing.append(frames.headers(call.stream_id, block, self._sender.max_frame))
        if self.sent_log is not None:
            LOGGER.debug(
                "connection %d, stream %d: call of %s", self.number, call.stream_id, call.path
            )
        if call.unsent or not call.is_sending:
            self._sender.offer(call)

    def send(
        self, call: Call, *parts: Buffer, last: bool = False, is_compressed: bool = False
    ) -> None:
        """Queue one message, given in parts that are sent as they are: do not change them.

        ``last`` closes the sending side behind it; with no parts it only does that.
        Raises ``ResourceExhausted`` for a message that is too large, and then queues nothing.
        """
        if parts:
            self.send_message(call, views_of(parts), last, is_compressed)
        else:
            self.send_end(call)

    def send_message(
        self, call: Call, views: list[Buffer], last: bool, is_compressed: bool = False
    ) -> None:
        """As ``send``, of what ``views_of`` makes; an empty list is an empty message."""
        self._put(call, views, last, is_compressed)
        if call.unsent and call.stream_id:
            self._offer(call)

    def _put(self, call: Call, views: list[Buffer], last: bool, is_compressed: bool) -> None:
        """Add a message to a call's outbox, unless it has ended."""
        length = sum(map(len, views))
        if length > self._max_message:
            raise ResourceExhausted(
                f"a message of {length} bytes cannot be sent: the limit is {self._max_message}",
                remedy="containerd takes 16 MiB; send content in smaller pieces",
            )
        if call.state == states.DONE or not call.is_sending:
            return
        call.outbox.append(prefix(length, is_compressed))
        call.outbox += views
        call.unsent += PREFIX_SIZE + length
        call.is_sending = not last

    def send_end(self, call: Call) -> None:
        """Close the sending side."""
        if call.state != states.DONE and call.is_sending:
            call.is_sending = False
            if call.stream_id:
                self._offer(call)

    def cancel(self, call: Call, status: Status) -> None:
        """End a call from this side with ``status``; does nothing to a call that is done."""
        if call.is_done:
            return
        if call.stream_id:
            self.outgoing.append(frames.rst_stream(call.stream_id, frames.CANCEL))
        else:
            self._queued.remove(call)
        self._end(call, status)

    def take(self, call: Call) -> Message | None:
        """The call's oldest unread message, ``None`` if there is none; returns its credit."""
        return self._credit.take(call)

    def _offer(self, call: Call) -> None:
        if self._sender.offer(call):
            self.touched[call] = None

    def _pump(self) -> None:
        if self._sender.blocked:
            for call in self._sender.pump():
                self.touched[call] = None

    def _end(self, call: Call, status: Status) -> None:
        call.end(status)
        self.touched[call] = None
        self._calls.pop(call.stream_id, None)
        if self._sender.blocked:
            self._sender.forget(call)
        if self._queued:
            self._open_queued()

    def make_room(self) -> None:
        """To be called when some of ``outgoing`` has gone: what waited for that is added."""
        if self._sender.has_room:
            self._pump()
            if self._queued:
                self._open_queued()

    def _open_queued(self) -> None:
        while self._queued and len(self._calls) < self._max_calls and not self.is_draining:
            if len(self.outgoing) >= MAX_UNSENT:
                return
            call = self._queued.popleft()
            self.touched[call] = None
            try:
                self._open(call)
            except InvalidArgument as error:  # the peer changed what it takes
                call.end(Status(metadata.RESOURCE_EXHAUSTED, error.message, origin="local"))
        if self.is_draining:
            self._end_queued(self.lost or _REPLACED)

    def _end_queued(self, status: Status) -> None:
        while self._queued:
            call = self._queued.popleft()
            call.end(status)
            self.touched[call] = None

    def take_touched(self) -> list[Call]:
        """The calls that something happened to since this was asked last."""
        if not self.touched:
            return []
        touched, self.touched = self.touched, {}
        return list(touched)

    @property
    def is_idle(self) -> bool:
        return not self._calls and not self._queued

    def lose(self, status: Status) -> None:
        """The connection is gone, or given up: every call ends with ``status``."""
        if self.lost is not None:
            return
        self.lost = status
        self.is_draining = True
        self._end_queued(status)
        for call in list(self._calls.values()):
            self._end(call, status)
