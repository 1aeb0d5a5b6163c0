"""The operations on one connection: start a call, send, receive, cancel, close.

The ``Multiplexer`` shares the connection among threads, and the ``wire.Connection`` speaks HTTP/2.
"""

from __future__ import annotations

from ..deadline import Deadline
from ..interrupt import CALL_GRACE, call_limit
from ..wire import metadata
from ..wire.call import DONE, Call, views_of
from ..wire.framing import Message
from ..wire.metadata import Metadata, Status
from .multiplexer import NOW, Multiplexer, Waiter

_INTERRUPTED = Status(metadata.CANCELLED, "the caller was interrupted", origin="local")
_EXPIRED = Status(
    metadata.DEADLINE_EXCEEDED, "the deadline passed before the daemon answered", origin="local"
)
_NO_RESPONSE = Status(
    metadata.INTERNAL, "a unary call ended with OK but without a response", b"", "stream"
)
_SEVERAL_RESPONSES = Status(
    metadata.INTERNAL, "the peer sent several responses to a unary call", b"", "stream"
)

#: One message in parts, which are sent one after another.
Parts = tuple[bytes | memoryview, ...]


def _has_several_messages(call: Call) -> bool:
    """Return whether a unary call has several responses, which is an error."""
    return len(call.reader.messages) > 1


def _has_message(call: Call) -> bool:
    return bool(call.reader.messages)


def _always(call: Call) -> bool:
    return True


class Link(Multiplexer):
    """One connection to the daemon.

    Any thread can call the public methods, but it must not hold the lock of the connection.
    """

    def start(
        self,
        path: str,
        request: Metadata,
        deadline: Deadline,
        message: Parts | None,
        encoding: str = "",
    ) -> Call | None:
        """Start a call.

        Args:
            path: The method, as ``/package.Service/Method``.
            request: The metadata of the request.
            deadline: The deadline of the call, which is also sent to the peer.
            message: The only message of the call. The sending side is closed after this message. If
                ``message`` is ``None``, the caller sends messages with ``send``.
            encoding: The value of ``grpc-encoding`` if the client sends compressed messages. If
                ``encoding`` is not empty, ``message`` must already be compressed.

        Returns:
            The call, or ``None`` if the connection accepts no calls, or if the connection ended
            before any byte of the call was sent.

        Raises:
            InvalidArgument: The metadata is invalid.
            ResourceExhausted: The message is too large.
        """
        return self._start_call(
            Waiter(), path, request, deadline=deadline, message=message, encoding=encoding
        )

    def unary(
        self, path: str, request: Metadata, deadline: Deadline, message: Parts, encoding: str = ""
    ) -> Call | None:
        """Perform a call with one request and one response. Return the ended call.

        The response stays in ``call.reader.messages``. Like ``start``, this method returns ``None``
        if the call cannot start on this connection, and raises the same exceptions.
        """
        waiter = Waiter(None, _has_several_messages, grace=CALL_GRACE)
        try:
            call = self._start_call(
                waiter, path, request, deadline=deadline, message=message, encoding=encoding
            )
        except BaseException:
            if waiter.call is not None:
                self.cancel(waiter.call, _INTERRUPTED)
            raise
        if call is None:
            return None
        if call.state != DONE:
            too_late = _INTERRUPTED if waiter.is_interrupted else _EXPIRED
            self.cancel(call, _SEVERAL_RESPONSES if _has_several_messages(call) else too_late)
        # Count the responses only now, after the call has ended. Before the call ends, another
        # thread can still receive a response.
        responses = len(call.reader.messages)
        if responses != 1 and call.status is not None and call.status.code == metadata.OK:
            call.status = _SEVERAL_RESPONSES if responses else _NO_RESPONSE
        return call

    def _start_call(
        self,
        waiter: Waiter,
        path: str,
        request: Metadata,
        deadline: Deadline,
        message: Parts | None,
        encoding: str,
    ) -> Call | None:
        """Start a call in ``_drive``, and wait until ``waiter`` has its result."""
        views = None if message is None else views_of(message)
        wire, socket_io = self._wire, self._socket_io
        bytes_before = 0  # the number of bytes that the connection sends before the call's bytes

        def start() -> None:
            nonlocal bytes_before
            self._check_liveness()
            bytes_before = socket_io.sent
            if wire.outgoing:
                bytes_before += sum(map(len, wire.outgoing))
            if not wire.is_draining:
                waiter.call = wire.start(path, request, deadline.remaining, encoding, views)

        self._drive(waiter, start, deadline)
        return None if wire.lost and socket_io.sent <= bytes_before else waiter.call

    def send(
        self,
        call: Call,
        parts: Parts,
        last: bool,
        deadline: Deadline,
        is_compressed: bool = False,
    ) -> bool:
        """Send one message. Return whether the kernel got the whole message.

        It did not if the deadline has passed, or if an interrupt has ended the wait.

        Args:
            call: The call.
            parts: The parts of the message. Without parts, no message is sent.
            last: Whether the sending side is closed after the message.
            deadline: The time at which this method stops waiting.
            is_compressed: Whether the message is compressed.

        Raises:
            ResourceExhausted: The message is too large. The call stays usable.
        """
        views, wire = views_of(parts), self._wire

        def send() -> None:
            if parts:
                wire.send_message(call, views, last, is_compressed)
            elif last:
                wire.send_end(call)

        waiter = Waiter(call, lambda call: not call.unsent and not wire.outgoing, True)
        return self._drive(waiter, send, deadline)

    def receive(self, call: Call, deadline: Deadline) -> tuple[bool, Message | None]:
        """Wait for the next message.

        The wait ends when a message arrives, when the call ends, at the deadline, or by an
        interrupt. The first returned value is false in the last two cases. The second returned
        value is the message, or ``None`` if no message has arrived.
        """
        waiter = Waiter(call, _has_message, takes_message=True)
        return self._drive(waiter, None, deadline), waiter.message

    def poll(self, call: Call) -> Message | None:
        """Return the next message if it has already arrived, else ``None``."""
        waiter = Waiter(call, _always, takes_message=True)
        self._drive(waiter, None if call.reader.messages else self._read_available, NOW)
        return waiter.message

    def cancel(self, call: Call, status: Status) -> None:
        """End a call with ``status``, reset its stream, and wake the threads that wait for it."""
        self._drive(Waiter(), lambda: self._wire.cancel(call, status), NOW)

    def expire(self, call: Call) -> None:
        """End a call whose deadline has passed, or whose caller was interrupted."""
        interrupt, patience = call_limit()
        is_interrupted = interrupt is not None and interrupt.patience(patience) == 0
        self.cancel(call, _INTERRUPTED if is_interrupted else _EXPIRED)

    def close(self, status: Status) -> None:
        """End the connection and all its calls with ``status``."""
        self._drive(Waiter(), lambda: self._end_connection(status), NOW)

    @property
    def is_usable(self) -> bool:
        """Whether the connection accepts new calls."""
        return not self._wire.is_draining

    @property
    def lost(self) -> Status | None:
        """The status with which the connection ended, or ``None`` while the connection is open."""
        return self._wire.lost

    @property
    def is_idle(self) -> bool:
        """Whether the connection has no calls."""
        return self._wire.is_idle
