"""One connection that many threads use and none owns.

What lives here: the lock, the reader among the callers.  What may not: HTTP/2
(``wire.Connection`` has it), bytes (``pump`` has them), messages, reconnecting.

There is no thread of ours.  A caller that waits and finds nobody reading becomes the reader: it
polls without the lock, reads with it, wakes whoever got something, and hands over when it has
what it came for.  The invariant: whenever the lock is free and somebody waits, there is a reader,
or a waiter has been woken to become one.

An exception may come up anywhere (a signal handler's, KeyboardInterrupt).  While the lock is held
it breaks the connection, since nobody knows how far things got; while a caller waits it costs
nobody else anything.
"""

from __future__ import annotations

import os
import select
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

from ..deadline import Deadline
from ..errors import ContainerdError, FailedPrecondition, Unavailable
from ..wire import metadata
from ..wire.call import Call, views_of
from ..wire.connection import Connection
from ..wire.metadata import Status
from .pump import Pump

#: poll takes its milliseconds as an int of 32 bits, and a lock has a limit, too: waits are cut.
_LONGEST_WAIT = 3600.0
#: An empty message has no part worth sending, and is a message all the same.
_EMPTY = memoryview(b"")
_BROKEN = select.POLLERR | select.POLLHUP | select.POLLNVAL


_P = ParamSpec("_P")
_T = TypeVar("_T")


class _Waiter:
    """A thread that waits for something of one call."""

    __slots__ = ("call", "event", "is_here", "is_sending")

    def __init__(self, call: Call, is_sending: bool) -> None:
        self.call = call
        self.is_sending = is_sending  # waits for room, too
        self.is_here = True
        self.event = threading.Lock()
        self.event.acquire()

    def wake(self) -> None:
        if self.event.locked():
            self.event.release()


def _seconds(deadline: Deadline) -> float:
    remaining = deadline.remaining()
    return _LONGEST_WAIT if remaining is None else min(remaining, _LONGEST_WAIT)


def _locked(
    method: Callable[Concatenate[Link, _P], _T],
) -> Callable[Concatenate[Link, _P], _T]:
    """Run a method of a link with its lock held; whatever interrupts it breaks the link."""

    @wraps(method)
    def guarded(link: Link, /, *args: _P.args, **named: _P.kwargs) -> _T:
        link.check_process()
        with link._lock:
            try:
                return method(link, *args, **named)
            except ContainerdError:
                raise
            except BaseException:
                link._break()
                raise

    return guarded


class Link:
    """A socket, a ``wire.Connection`` and the lock around both.

    Every method may be called from any thread; those with a leading underscore want the lock.
    """

    def __init__(self, sock: socket.socket, wire: Connection, ready_by: Deadline) -> None:
        """Raises ``Unavailable`` where there are no more descriptors; the socket is then open."""
        try:
            self._wake_in, self._wake_out = socket.socketpair()
        except OSError as error:
            raise Unavailable(f"cannot make a socket pair: {error.strerror or error}") from error
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)
        self._pid = os.getpid()
        self._pump = Pump(sock, wire)
        self._wire = wire
        self._ready_by = ready_by
        self._lock = threading.Lock()
        self._reader: _Waiter | None = None
        self._is_polling = False  # the reader is, and has not been told to look again
        self._waiters: dict[_Waiter, None] = {}
        self._polled = select.POLLIN
        self._poller = select.poll()
        self._poller.register(sock, select.POLLIN)
        self._poller.register(self._wake_in, select.POLLIN)

    # ---- for callers -----------------------------------------------------------------------

    def start(
        self,
        path: str,
        request: metadata.Metadata,
        timeout: float | None,
        message: tuple[bytes | memoryview, ...] | None,
    ) -> Call | None:
        """Begin a call, with its only message if it has just one; ``None``: the link is over.

        In the second case nothing of the call was sent.  Raises ``InvalidArgument``.
        """
        views = None if message is None else views_of(message)
        return self._start(path, request, timeout, views)

    @_locked
    def _start(
        self,
        path: str,
        request: metadata.Metadata,
        timeout: float | None,
        message: list[memoryview] | None,
    ) -> Call | None:
        self._look()
        if self._wire.is_draining:
            return None
        sent = self._pump.sent
        call = self._wire.start(path, request, timeout)
        if message is not None:
            self._wire.send(call, *(message or [_EMPTY]), last=True)
        self._settle()
        return None if self._wire.lost and self._pump.sent == sent else call

    def send(
        self, call: Call, parts: tuple[bytes | memoryview, ...], last: bool, deadline: Deadline
    ) -> bool:
        """Send one message; returns when the peer's window took it all, false at the deadline."""
        self._send(call, views_of(parts) or ([_EMPTY] if parts else []), last)
        return self._wait(
            call, lambda: not call.unsent and not self._wire.outgoing, deadline, is_sending=True
        )

    @_locked
    def _send(self, call: Call, parts: list[memoryview], last: bool) -> None:
        self._wire.send(call, *parts, last=last)
        self._settle()

    def receive(self, call: Call, deadline: Deadline) -> tuple[bool, bytes | bytearray | None]:
        """The next message, ``None`` where no more will come; false at the deadline."""
        while True:
            in_time = self._wait(call, lambda: call.has_news, deadline)
            message, is_over = self._take(call)
            if message is not None or is_over or not in_time:
                return in_time, message

    @_locked
    def _take(self, call: Call) -> tuple[bytes | bytearray | None, bool]:
        message = self._wire.take(call)
        self._settle()  # the credit: the peer goes on while the caller works on the message
        return message, call.is_done

    @_locked
    def poll(self, call: Call) -> bytes | bytearray | None:
        """The next message if it is here already; never waits for the peer."""
        self._look()
        message = self._wire.take(call)
        self._settle()
        return message

    def finish(self, call: Call, deadline: Deadline) -> bool:
        """Wait until the call is done, or has more than the one response that a unary call may.

        False at the deadline.  The messages stay in the call's inbox.
        """
        return self._wait(call, lambda: len(call.reader.messages) > 1, deadline)

    @_locked
    def cancel(self, call: Call, status: Status) -> None:
        """End a call with ``status`` and tell the peer; wakes whoever waits for it."""
        self._wire.cancel(call, status)
        self._settle()

    @_locked
    def close(self, status: Status) -> None:
        """End the connection and every call on it, whoever waits for them."""
        self._pump.lose(status)
        self._settle()

    @property
    def is_ours(self) -> bool:
        """Whether this is the process that made the connection, not one forked from it."""
        return self._pid == os.getpid()

    def check_process(self) -> None:
        """Raises ``FailedPrecondition`` in a forked child: the connection is its parent's."""
        if not self.is_ours:
            raise FailedPrecondition(
                "the call belongs to the process that this one was forked from",
                remedy="Begin calls in the process that goes on with them",
            )

    def forget(self) -> None:
        """Close the descriptors without a word to the daemon: in a forked child, or at the end."""
        for sock in (self._pump.sock, self._wake_in, self._wake_out):
            sock.close()

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

    # ---- waiting ---------------------------------------------------------------------------

    def _wait(
        self,
        call: Call,
        is_ready: Callable[[], bool],
        deadline: Deadline,
        *,
        is_sending: bool = False,
    ) -> bool:
        """Without the lock: wait for ``is_ready`` or the call's end; false at the deadline."""
        self.check_process()
        me: _Waiter | None = None
        ready: list[tuple[int, int]] = []
        try:
            try:
                while True:
                    with self._lock:
                        try:
                            if me is not None and self._reader is me:
                                self._take_in(ready)
                            in_time = is_ready() or call.is_done
                            if not in_time and self._reader in (me, None):
                                self._settle()  # not before: acknowledgements ride on a write
                                in_time = is_ready() or call.is_done
                            if in_time or deadline.expired:
                                self._leave(me)
                                return in_time
                            me = me or _Waiter(call, is_sending)
                            seconds = self._enrol(me, deadline)
                            is_reader = self._reader is me
                        except BaseException:
                            self._break()
                            raise
                    if is_reader:
                        ready = self._poller.poll(seconds * 1000)
                    else:
                        me.event.acquire(timeout=seconds)
            finally:
                self._leave_late(me)
        finally:
            self._leave_late(me)  # again: a signal may have come in the middle of leaving

    def _enrol(self, me: _Waiter, deadline: Deadline) -> float:
        """Become the reader or a follower; returns the seconds to wait for the time being."""
        if self._reader is None:
            self._waiters.pop(me, None)
            self._reader = me
        if self._reader is not me:
            self._waiters[me] = None
            return _seconds(deadline)
        until = deadline if self._wire.is_ready else deadline.sooner(self._ready_by.remaining())
        wanted = select.POLLIN | (select.POLLOUT if self._wire.outgoing else 0)
        if wanted != self._polled:
            self._poller.modify(self._pump.sock, wanted)
            self._polled = wanted
        self._is_polling = True
        return _seconds(until)

    def _leave(self, me: _Waiter | None) -> None:
        """Stop waiting, and see to it that somebody reads; may be done twice."""
        if me is None:
            return
        self._waiters.pop(me, None)
        if self._reader is me:
            self._reader = None
            self._is_polling = False
        if self._reader is None:
            if self._wire.lost:
                self.forget()  # not while somebody polls the descriptors
            if self._waiters:
                next(iter(self._waiters)).wake()
        me.is_here = False

    def _leave_late(self, me: _Waiter | None) -> None:
        """Without the lock: leave, if an exception came before that."""
        if me is not None and me.is_here:
            with self._lock:
                self._leave(me)

    def _take_in(self, ready: list[tuple[int, int]]) -> None:
        """As the reader, back from ``poll``: read, send, and wake who got something."""
        self._is_polling = False
        if not ready and not self._wire.is_ready and self._ready_by.expired:
            said = "the peer took the connection and said nothing"
            # Not "unprocessed": it may be asleep, and find the call in its socket later.
            self._pump.lose(Status(metadata.UNAVAILABLE, said, b"", "connection"))
        self._handle(ready)

    def _handle(self, ready: list[tuple[int, int]]) -> None:
        for descriptor, events in ready:
            if self._wire.lost:
                break
            if descriptor == self._wake_in.fileno():
                self._drain_wakes()
            elif events & (select.POLLIN | _BROKEN):
                self._pump.receive()
        self._wake()

    def _look(self) -> None:
        """Before a write: see whether the peer has gone."""
        if self._reader is None and not self._wire.lost:
            ready = self._poller.poll(0)
            if ready:
                self._handle(ready)

    def _drain_wakes(self) -> None:
        with suppress(BlockingIOError):
            while self._wake_in.recv(4096):
                pass

    def _settle(self) -> None:
        """After something was done: send, and wake who has something to see or to do."""
        self._pump.flush()
        if self._wire.outgoing and not self._polled & select.POLLOUT:
            self._kick()  # the reader shall wait for room as well
        self._wake()

    def _wake(self) -> None:
        """Wake whoever has something to see: of a call, or that all is sent."""
        if self._wire.lost and self._reader is None:
            self.forget()
        touched = self._wire.take_touched()
        drained, self._pump.has_drained = self._pump.has_drained, False
        if not touched and not drained:
            return
        calls = set(touched)
        for waiter in self._waiters:
            if waiter.call in calls or (drained and waiter.is_sending):
                waiter.wake()
        reader = self._reader
        if reader is not None and (reader.call in calls or (drained and reader.is_sending)):
            self._kick()

    def _kick(self) -> None:
        """Make the reader look again, if it is in ``poll``."""
        if self._is_polling:
            self._is_polling = False
            with suppress(BlockingIOError):  # it is full, so the reader will wake
                self._wake_out.send(b"!")

    def _break(self) -> None:
        """Bytes may be gone, sent twice or half taken in: nothing that comes can be trusted."""
        said = "the connection was given up: a thread was interrupted in the middle of using it"
        self._pump.lose(Status(metadata.UNAVAILABLE, said, b"", "connection"))
        self._settle()
        for waiter in self._waiters:  # who was to be woken may be forgotten, too
            waiter.wake()
        self._kick()
