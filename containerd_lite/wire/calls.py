"""The client's operations on the calls of a connection: start, send, read and cancel.

``Calls`` has a dict of the open calls, and a queue of the calls that exceed the peer's
MAX_CONCURRENT_STREAMS. The module ``connection`` handles received frames.
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

_NO_MORE_CALLS = Status(
    metadata.UNAVAILABLE,
    "the connection accepts no more calls",
    b"",
    "connection",
    is_unprocessed=True,
)

#: The numbers of connections in debug output.
_CONNECTION_NUMBERS = count(1)


class Calls:
    """The calls of one connection, and the data that the calls send.

    ``number`` identifies the connection in debug output. ``sent_log`` logs the sent frames. The
    code that sends ``outgoing`` must pass the sent bytes to ``sent_log``. If debug output was
    disabled when the connection was made, ``sent_log`` is ``None``.
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
        self.number = next(_CONNECTION_NUMBERS)
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
        """Start a call.

        If this method raises an error, it has not started a call.

        Args:
            path: The method as ``/package.Service/Method``.
            request: The metadata to send.
            timeout: A number of seconds for ``grpc-timeout``, or a function that returns this
                number. Default: no limit.
            encoding: The value of ``grpc-encoding`` if the client sends compressed messages.
                Default: the client does not compress messages.
            message: The only message of the request, as a list that ``views_of`` returned. If
                ``encoding`` is not empty, the message must already be compressed. If ``message`` is
                ``None``, the caller passes the messages to ``send``.

        Raises:
            InvalidArgument: The path or the metadata cannot be sent.
            ResourceExhausted: The message is too large.
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
            self._add_to_outbox(call, message, True, bool(encoding))
        if self.lost or self.is_draining:
            closing = Status(metadata.UNAVAILABLE, "the connection is closing", b"", "connection")
            call.end(self.lost or closing)
        elif len(self._calls) >= self._max_calls or len(self.outgoing) >= MAX_UNSENT:
            # Raise InvalidArgument for invalid arguments now, instead of later in _open_stream.
            self._codec.fragments(path, request, encoding)
            self._queued.append(call)
        else:
            self._open_stream(call)
        return call

    def _open_stream(self, call: Call) -> None:
        """Set the call's stream id, and append the call's HEADERS and data to ``outgoing``."""
        timeout = call.timeout() if callable(call.timeout) else call.timeout
        block = self._codec.encode(call.path, call.request, timeout, call.encoding)
        call.stream_id, self._next_id = self._next_id, self._next_id + 2
        if self._next_id > frames.MAX_WINDOW:
            self.is_draining = True  # no stream id remains for another call
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
        """Queue one message, which consists of ``parts``.

        The caller must not change the parts, because they are not copied before they are sent. If
        ``last`` is true, this method closes the sending side after the message. Without parts, this
        method only closes the sending side.

        Raises:
            ResourceExhausted: The message is too large. This method has queued no part of it.
        """
        if parts:
            self.send_message(call, views_of(parts), last, is_compressed)
        else:
            self.send_end(call)

    def send_message(
        self, call: Call, views: list[Buffer], last: bool, is_compressed: bool = False
    ) -> None:
        """Queue one message. ``views`` is a list that ``views_of`` returned.

        An empty list means an empty message.
        """
        self._add_to_outbox(call, views, last, is_compressed)
        if call.unsent and call.stream_id:
            self._send_outbox(call)

    def _add_to_outbox(
        self, call: Call, views: list[Buffer], last: bool, is_compressed: bool
    ) -> None:
        """Add a message to the call's outbox, unless the call or its sending side has ended."""
        length = sum(map(len, views))
        if length > self._max_message:
            raise ResourceExhausted(
                f"a message of {length} bytes cannot be sent: the limit is {self._max_message}",
                remedy="Send content in smaller messages: containerd accepts messages up to 16 MiB",
            )
        if call.state == states.DONE or not call.is_sending:
            return
        call.outbox.append(prefix(length, is_compressed))
        call.outbox += views
        call.unsent += PREFIX_SIZE + length
        call.is_sending = not last

    def send_end(self, call: Call) -> None:
        """Close the sending side of a call."""
        if call.state != states.DONE and call.is_sending:
            call.is_sending = False
            if call.stream_id:
                self._send_outbox(call)

    def cancel(self, call: Call, status: Status) -> None:
        """End a call with ``status``, and reset the call's stream.

        If the call has already ended, do nothing.
        """
        if call.is_done:
            return
        if call.stream_id:
            self.outgoing.append(frames.rst_stream(call.stream_id, frames.CANCEL))
        else:
            self._queued.remove(call)
        self._end_call(call, status)

    def take(self, call: Call) -> Message | None:
        """Return the call's oldest unread message, or ``None`` if all messages are read.

        The peer gets flow-control credit for the returned message.
        """
        return self._credit.take(call)

    def _send_outbox(self, call: Call) -> None:
        """Make DATA frames from the call's outbox as far as flow control allows."""
        if self._sender.offer(call):
            self.touched[call] = None

    def _send_blocked(self) -> None:
        """Make DATA frames from the outboxes of blocked calls as far as flow control allows."""
        if self._sender.blocked:
            for call in self._sender.offer_blocked():
                self.touched[call] = None

    def _end_call(self, call: Call, status: Status) -> None:
        call.end(status)
        self.touched[call] = None
        self._calls.pop(call.stream_id, None)
        if self._sender.blocked:
            self._sender.forget(call)
        if self._queued:
            self._open_queued()

    def add_waiting_frames(self) -> None:
        """Append the frames that had to wait while ``outgoing`` was too long.

        The code that sends ``outgoing`` must call this method after it has sent some buffers.
        """
        if self._sender.has_room:
            self._send_blocked()
            if self._queued:
                self._open_queued()

    def _open_queued(self) -> None:
        """Open streams for queued calls, up to the limits of the peer and of ``outgoing``."""
        while self._queued and len(self._calls) < self._max_calls and not self.is_draining:
            if len(self.outgoing) >= MAX_UNSENT:
                return
            call = self._queued.popleft()
            self.touched[call] = None
            try:
                self._open_stream(call)
            except InvalidArgument as error:  # the peer has lowered its limit for header lists
                call.end(Status(metadata.RESOURCE_EXHAUSTED, error.message, origin="local"))
        if self.is_draining:
            self._end_queued(self.lost or _NO_MORE_CALLS)

    def _end_queued(self, status: Status) -> None:
        while self._queued:
            call = self._queued.popleft()
            call.end(status)
            self.touched[call] = None

    def take_touched(self) -> list[Call]:
        """Return the calls that have changed since the last call of this method."""
        if not self.touched:
            return []
        touched, self.touched = self.touched, {}
        return list(touched)

    @property
    def is_idle(self) -> bool:
        """Whether the connection has no open calls and no queued calls."""
        return not self._calls and not self._queued

    def lose(self, status: Status) -> None:
        """Mark the connection as lost, and end every call with ``status``."""
        if self.lost is not None:
            return
        self.lost = status
        self.is_draining = True
        self._end_queued(status)
        for call in list(self._calls.values()):
            self._end_call(call, status)
