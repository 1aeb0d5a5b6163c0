"""Who reads, who writes and who waits, among the threads that use one connection.

What lives here: the lock, the roles of reader and writer, waking.  What may not: what a thread
wants of the connection (``link`` says that), HTTP/2, bytes (``pump`` has them).

There is no thread of ours.  Whoever has something to send, and finds nobody writing, writes; a
caller that waits and finds nobody reading becomes the reader, until it has what it came for, and
then hands over.  Both are done without the lock: nobody holds it over a system call, where Python
would let other threads run into it.  The invariant: whenever the lock is free and somebody waits,
there is a reader, or a waiter has been woken to become one.

An exception may come up anywhere (a signal handler's, KeyboardInterrupt).  While the lock is held,
or bytes are on their way, it breaks the connection, since nobody knows how far things got; while a
caller waits it costs nobody else anything.
"""

from __future__ import annotations

import os
import select
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from ..deadline import Deadline
from ..errors import ContainerdError, FailedPrecondition, Unavailable
from ..wire import metadata
from ..wire.call import DONE, Buffer, Call
from ..wire.connection import Connection
from ..wire.framing import Message
from ..wire.metadata import Status
from .socket_io import Socket, SocketIO

#: poll takes its milliseconds as an int of 32 bits, and a lock has a limit, too: waits are cut.
_LONGEST_WAIT = 3600.0
#: A peer that was heard of so many seconds ago need not be looked at before a write.
_FRESH = 0.01
_BROKEN = select.POLLERR | select.POLLHUP | select.POLLNVAL
#: What a thread does next, without the lock.
_ACT, _WRITE, _READ, _FOLLOW, _LEAVE = range(5)
#: For a visit that waits for nothing.
NOW = Deadline(None)


class Waiter:
    """One thread's business with the link: what it does, and what it waits for."""

    __slots__ = (
        "call",
        "event",
        "is_here",
        "is_moving",
        "is_ready",
        "is_sending",
        "message",
        "takes",
        "written",
    )

    def __init__(
        self,
        call: Call | None = None,
        is_ready: Callable[[Call], bool] | None = None,
        is_sending: bool = False,
        takes: bool = False,
    ) -> None:
        self.call = call
        self.is_ready = is_ready  # beside the end of the call; None: it waits for nothing
        self.is_sending = is_sending  # waits for room, too
        self.takes = takes  # when the wait is over, the call's oldest message
        self.message: Message | None = None
        self.is_here = False  # it has a role, or waits, and must leave
        self.is_moving = False  # bytes are between the socket and the wire
        self.written: list[Buffer] = []
        self.event: threading.Lock | None = None  # once it follows


class Multiplexer:
    """A socket, a ``wire.Connection`` and the lock around both.

    Methods want the lock, save those that say that they do not.
    """

    def __init__(self, sock: Socket, wire: Connection, ready_by: Deadline) -> None:
        """Raises ``Unavailable`` where there are no more descriptors; the socket is then open."""
        try:
            self._wake_in, self._wake_out = socket.socketpair()
        except OSError as error:
            raise Unavailable(f"cannot make a socket pair: {error.strerror or error}") from error
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)
        self._pid = os.getpid()
        self._pump = SocketIO(sock, wire)
        self._wire = wire
        self._ready_by = ready_by
        self._lock = threading.Lock()
        self._reader: Waiter | None = None
        self._is_polling = False  # the reader is, and has not been told to look again
        self._is_writing = False
        self._is_urgent = False  # what waits to go out shall not wait for the next to write
        self._failure: Status | None = None  # of a write, until the reader has seen to it
        self._followers: dict[Waiter, None] = {}
        self._senders = 0  # how many of those that have followed wait for room
        self._heard = 0.0  # when somebody read, on the monotonic clock
        self._polled = select.POLLIN
        self._poller = select.poll()
        self._poller.register(sock.fileno(), select.POLLIN)
        self._poller.register(self._wake_in, select.POLLIN)
        self._descriptor = sock.fileno()

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

    # ---- the turns of a visit --------------------------------------------------------------

    def _drive(self, me: Waiter, act: Callable[[], None] | None, deadline: Deadline) -> bool:
        """Without the lock: do something, send what is to be sent, and wait; false at the deadline.

        What ``act`` refuses with a ``ContainerdError`` has not happened, and harms nobody.
        """
        if self._pid != os.getpid():
            self.check_process()
        turn = _ACT
        what: Any = None
        came: Any = None
        try:
            try:
                while True:
                    with self._lock:
                        try:
                            if turn == _WRITE:
                                self._wrote(me, came)
                            elif turn == _READ:
                                self._have_read(me, came)
                            elif act is not None:
                                action, act = act, None
                                self._act(action)
                            turn, what = self._next(me, deadline)
                        except ContainerdError:
                            raise
                        except BaseException:
                            self._break()
                            raise
                    if turn == _WRITE:
                        came = self._pump.write(me.written)
                    elif turn == _READ:
                        came = self._read(me, what)
                    elif turn == _FOLLOW:
                        what[0].acquire(timeout=what[1])
                    else:
                        return bool(what)
            finally:
                if me.is_here:
                    self._leave_late(me)
        finally:
            if me.is_here:  # again: a signal may have come in the middle of leaving
                self._leave_late(me)

    def _act(self, action: Callable[[], None]) -> None:
        if self._reader is None:
            self._pump.is_blocked = False  # nobody polls for room: try again
        before = len(self._wire.outgoing)
        action()
        if len(self._wire.outgoing) > before:
            self._is_urgent = True

    def _take(self, me: Waiter, call: Call) -> None:
        """The credit goes out at once: the peer goes on while the caller works on the message."""
        me.message = self._wire.take(call)

    def _next(self, me: Waiter, deadline: Deadline) -> tuple[int, Any]:
        """What a thread is to do, and with what; everybody whom this concerns has been woken."""
        pump, call, is_ready = self._pump, me.call, me.is_ready
        if pump.wire.touched or pump.has_drained or pump.is_shut:
            self._wake()
        is_over = call is None or is_ready is None or call.state == DONE or is_ready(call)
        if is_over and me.takes and call is not None:
            me.takes, me.is_ready = False, None  # what it waited for is gone from the inbox
            self._act(lambda: self._take(me, call))
        # Acknowledgements ride on a write, or go alone before somebody blocks.
        if (self._is_urgent or not is_over) and pump.wire.outgoing:
            if not self._is_writing and not pump.is_blocked:
                me.is_here = True
                me.written = pump.next_buffers()
                self._is_writing = me.is_moving = True
                self._is_urgent = False
                return _WRITE, None
            self._kick_for_room()
        seconds = 0.0 if is_over else _seconds(deadline)
        if not seconds:
            self._leave(me)
            return _LEAVE, is_over
        me.is_here = True
        if self._reader is None or self._reader is me:
            return _READ, self._begin_reading(me, deadline, seconds)
        if me.event is None and call is not None:
            self._enrol(me, call)
        self._followers[me] = None
        return _FOLLOW, (me.event, seconds)

    def _enrol(self, me: Waiter, call: Call) -> None:
        """From now on it is woken when something happens to its call, and may follow."""
        me.event = threading.Lock()
        me.event.acquire()
        call.waiters.append(me)
        self._senders += me.is_sending

    def _begin_reading(self, me: Waiter, deadline: Deadline, seconds: float) -> float:
        if self._reader is None:
            self._followers.pop(me, None)
            self._reader = me
        wanted = select.POLLIN | (select.POLLOUT if self._pump.is_blocked else 0)
        if wanted != self._polled:
            self._poller.modify(self._descriptor, wanted)
            self._polled = wanted
        self._is_polling = True
        return seconds if self._wire.is_ready else min(seconds, _seconds(self._ready_by))

    def _read(self, me: Waiter, seconds: float) -> tuple[int | Status, bool, bool]:
        """Without the lock, as the reader: what came, whether there is room, or was anything."""
        came: int | Status = 0
        has_room = False
        ready = self._poller.poll(seconds * 1000)
        for descriptor, events in ready:
            if descriptor != self._descriptor:
                self._drain_wakes()
                continue
            has_room = bool(events & select.POLLOUT)
            if events & (select.POLLIN | _BROKEN):
                me.is_moving = True
                came = self._pump.read()
        return came, has_room, bool(ready)

    def _have_read(self, me: Waiter, result: Any) -> None:
        came, has_room, was_woken = result
        me.is_moving = self._is_polling = False
        if has_room:
            self._pump.is_blocked = False
        if came:
            self._heard = time.monotonic()
            self._take_in(came)
        elif not was_woken and not self._wire.is_ready and self._ready_by.expired:
            said = "the peer took the connection and said nothing"
            # Not "unprocessed": it may be asleep, and find the call in its socket later.
            self._pump.lose(Status(metadata.UNAVAILABLE, said, b"", "connection"))
        if self._failure is not None:
            self._pump.drain(self._failure)

    def _take_in(self, came: int | Status) -> None:
        self._pump.take_in(came)
        if self._wire.lost:
            self._finish(self._wire.lost)

    def _finish(self, status: Status) -> None:
        """End the connection; if somebody writes, that thread does the rest when it is back."""
        self._wire.lose(status)
        if not self._is_writing:
            self._pump.finish(status)

    def _wrote(self, me: Waiter, went: Any) -> None:
        self._is_writing = me.is_moving = False
        written, me.written = me.written, []
        if isinstance(went, Status) and self._reader not in (me, None):
            self._failure = went
            self._wire.outgoing.clear()
            self._kick()
            return
        self._pump.wrote(written, went)
        if self._wire.outgoing:
            self._is_urgent = True  # whoever left it to this thread relies on its going out
        if self._wire.lost:
            self._pump.finish(self._wire.lost)

    def _leave(self, me: Waiter) -> None:
        """End a visit, and see to it that somebody reads; may be done twice."""
        if me.event is not None and me.call is not None and me in me.call.waiters:
            me.call.waiters.remove(me)
            self._senders -= me.is_sending
            self._followers.pop(me, None)
        if self._reader is me:
            self._reader = None
            self._is_polling = False
        if self._reader is None:
            if self._pump.is_shut and not self._is_writing:
                self.forget()  # not while somebody uses the descriptors
            for follower in self._followers:
                self._rouse(follower)
                break
        me.is_here = False

    def _leave_late(self, me: Waiter) -> None:
        """Without the lock: leave, where an exception came before that."""
        with self._lock:
            if me.written:
                self._is_writing = False
            if me.is_moving:
                self._break()
            self._leave(me)

    # ---- waking ----------------------------------------------------------------------------

    def _look(self) -> None:
        """Before the first write after a while: see whether the peer has gone."""
        if time.monotonic() - self._heard > _FRESH and self._wire.is_idle:
            self._look_closely()

    def _look_closely(self) -> None:
        """Take in what has come, unless somebody reads."""
        if self._reader is None and not self._wire.lost:
            for descriptor, _ in self._poller.poll(0):
                if descriptor == self._descriptor and (came := self._pump.read()):
                    self._take_in(came)

    def _drain_wakes(self) -> None:
        with suppress(BlockingIOError):
            while self._wake_in.recv(4096):
                pass

    def _wake(self) -> None:
        """Wake whoever has something to see: of a call, or that all is sent."""
        reader = self._reader
        for call in self._wire.take_touched():
            for waiter in call.waiters:
                self._rouse(waiter)
            if self._is_polling and reader is not None and reader.call is call:
                self._kick()
        if self._pump.has_drained:
            self._pump.has_drained = False
            if self._senders:
                for follower in self._followers:
                    if follower.is_sending:
                        self._rouse(follower)
            if reader is not None and reader.is_sending:
                self._kick()
        if self._pump.is_shut and reader is None and not self._is_writing:
            self.forget()

    def _rouse(self, waiter: Any) -> None:
        if waiter is self._reader:
            self._kick()
        elif waiter.event is not None and waiter.event.locked():
            waiter.event.release()

    def _kick_for_room(self) -> None:
        """The socket is full: the reader shall wait for room as well."""
        if self._pump.is_blocked and not self._polled & select.POLLOUT:
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
        self._wake()
        for follower in self._followers:  # who was to be woken may be forgotten, too
            self._rouse(follower)
        self._kick()


def _seconds(deadline: Deadline) -> float:
    remaining = deadline.remaining()
    return _LONGEST_WAIT if remaining is None else min(remaining, _LONGEST_WAIT)
