"""What callers may ask of one connection that many threads use and none owns.

What lives here: calls begun, sent to, received from, ended.  What may not: HTTP/2
(``wire.Connection`` has it), who reads and who waits (``turns`` has that), messages, reconnecting.
"""

from __future__ import annotations

from ..deadline import Deadline
from ..wire import metadata
from ..wire.call import DONE, Call, views_of
from ..wire.framing import Message
from ..wire.metadata import Metadata, Status
from .multiplexer import NOW, Multiplexer, Waiter

_INTERRUPTED = Status(metadata.CANCELLED, "the caller was interrupted", origin="local")
_EXPIRED = Status(
    metadata.DEADLINE_EXCEEDED, "the deadline passed before the daemon answered", origin="local"
)
_NONE = Status(metadata.INTERNAL, "a unary call ended well without a response", b"", "stream")
_TOO_MANY = Status(metadata.INTERNAL, "several responses to a unary call", b"", "stream")

#: One message, in parts.
Parts = tuple[bytes | memoryview, ...]


def _has_too_many(call: Call) -> bool:
    """What a unary call waits for, beside its end."""
    return len(call.reader.messages) > 1


def _has_message(call: Call) -> bool:
    return bool(call.reader.messages)


def _at_once(call: Call) -> bool:
    return True


class Link(Multiplexer):
    """One connection.  Every method may be called from any thread, without the lock."""

    def start(
        self,
        path: str,
        request: Metadata,
        deadline: Deadline,
        message: Parts | None,
        encoding: str = "",
    ) -> Call | None:
        """Begin a call, with its only message if it has just one; ``None``: the link is over.

        In the second case nothing of the call was sent.  A message with an ``encoding`` is given
        compressed.  Raises ``InvalidArgument``, ``ResourceExhausted`` for a message too large.
        """
        return self._begin(
            Waiter(), path, request, deadline=deadline, message=message, encoding=encoding
        )

    def unary(
        self, path: str, request: Metadata, deadline: Deadline, message: Parts, encoding: str = ""
    ) -> Call | None:
        """A call of one request and one response, from its beginning to its end.

        ``None`` as in ``start``.  The messages stay in the call's inbox.
        """
        visit = Waiter(None, _has_too_many)
        try:
            call = self._begin(
                visit, path, request, deadline=deadline, message=message, encoding=encoding
            )
        except BaseException:
            if visit.call is not None:
                self.cancel(visit.call, _INTERRUPTED)
            raise
        if call is None:
            return None
        if call.state != DONE:
            self.cancel(call, _TOO_MANY if _has_too_many(call) else _EXPIRED)
        # Only now: until it was done, another thread may have read its response.
        responses = len(call.reader.messages)
        if responses != 1 and call.status is not None and call.status.code == metadata.OK:
            call.status = _TOO_MANY if responses else _NONE
        return call

    def _begin(
        self,
        visit: Waiter,
        path: str,
        request: Metadata,
        deadline: Deadline,
        message: Parts | None,
        encoding: str,
    ) -> Call | None:
        views = None if message is None else views_of(message)
        wire, pump = self._wire, self._pump
        first = 0  # how many bytes the connection sends before this call's

        def begin() -> None:
            nonlocal first
            self._look()
            first = pump.sent
            if wire.outgoing:
                first += sum(map(len, wire.outgoing))
            if not wire.is_draining:
                visit.call = wire.start(path, request, deadline.remaining, encoding, views)

        self._drive(visit, begin, deadline)
        return None if wire.lost and pump.sent <= first else visit.call

    def send(
        self,
        call: Call,
        parts: Parts,
        last: bool,
        deadline: Deadline,
        is_compressed: bool = False,
    ) -> bool:
        """Send one message; returns when the peer's window took it all, false at the deadline.

        Raises ``ResourceExhausted`` for a message that is too large: the call goes on.
        """
        views, wire = views_of(parts), self._wire

        def send() -> None:
            if parts:
                wire.send_message(call, views, last, is_compressed)
            elif last:
                wire.send_end(call)

        visit = Waiter(call, lambda call: not call.unsent and not wire.outgoing, True)
        return self._drive(visit, send, deadline)

    def receive(self, call: Call, deadline: Deadline) -> tuple[bool, Message | None]:
        """The next message, ``None`` where no more will come; false at the deadline."""
        visit = Waiter(call, _has_message, takes=True)
        return self._drive(visit, None, deadline), visit.message

    def poll(self, call: Call) -> Message | None:
        """The next message if it is here already; never waits for the peer."""
        visit = Waiter(call, _at_once, takes=True)
        self._drive(visit, None if call.reader.messages else self._look_closely, NOW)
        return visit.message

    def cancel(self, call: Call, status: Status) -> None:
        """End a call with ``status`` and tell the peer; wakes whoever waits for it."""
        self._drive(Waiter(), lambda: self._wire.cancel(call, status), NOW)

    def expire(self, call: Call) -> None:
        """End a call whose deadline passed here, before the peer said so."""
        self.cancel(call, _EXPIRED)

    def close(self, status: Status) -> None:
        """End the connection and every call on it, whoever waits for them."""
        self._drive(Waiter(), lambda: self._finish(status), NOW)

    @property
    def is_usable(self) -> bool:
        return not self._wire.is_draining

    @property
    def lost(self) -> Status | None:
        """What ended the connection, if it has ended."""
        return self._wire.lost

    @property
    def is_idle(self) -> bool:
        return self._wire.is_idle
