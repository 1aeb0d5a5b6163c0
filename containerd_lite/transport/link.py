"""One connection that many threads use and none owns.

What lives here: the lock, the reader among the callers, the socket.  What may not: HTTP/2
(``wire.Connection`` has it), messages, reconnecting.

There is no thread of ours.  A caller that waits and finds nobody reading becomes the reader: it
polls without the lock, reads with it, wakes whoever got something, and hands over when it has
what it came for.  The invariant: whenever the lock is free and somebody waits, there is a reader,
or a waiter has been woken to become one.
"""

from __future__ import annotations

import os
import select
import socket
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from itertools import islice

from ..deadline import Deadline
from ..wire import metadata
from ..wire.call import Call
from ..wire.connection import Connection
from ..wire.metadata import Status

_RECEIVE_BUFFER = 256 << 10
#: Buffers in one sendmsg; Linux takes up to 1024 (IOV_MAX).
_MOST_BUFFERS = 256
_BROKEN = select.POLLERR | select.POLLHUP | select.POLLNVAL


class _Waiter:
    """A thread that waits for something of one call."""

    __slots__ = ("call", "event")

    def __init__(self, call: Call) -> None:
        self.call = call
        self.event = threading.Lock()
        self.event.acquire()

    def wake(self) -> None:
        if self.event.locked():
            self.event.release()


class Link:
    """A socket, a ``wire.Connection`` and the lock around both.

    Every method may be called from any thread; those with a leading underscore want the lock.
    """

    def __init__(self, sock: socket.socket, wire: Connection, ready_by: Deadline) -> None:
        self.pid = os.getpid()
        #: Calls whose owners are gone; appended to without the lock, since ``__del__`` may do it.
        self.abandoned: deque[Call] = deque()
        self._sock = sock
        self._wire = wire
        self._ready_by = ready_by
        self._lock = threading.Lock()
        self._reader: _Waiter | None = None
        self._waiters: dict[_Waiter, None] = {}
        self._buffer = memoryview(bytearray(_RECEIVE_BUFFER))
        self._filled = 0
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)
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

        In the second case nothing of the call was sent.
        """
        with self._lock:
            self._look()
            if self._wire.is_draining:
                return None
            call = self._wire.start(path, request, timeout)
            if message is not None:
                self._wire.send(call, *message, last=True)
            self._flush()
            return call

    def send(
        self, call: Call, parts: tuple[bytes | memoryview, ...], last: bool, deadline: Deadline
    ) -> bool:
        """Send one message; returns when the peer's window took it all, false at the deadline."""
        with self._lock:
            self._wire.send(call, *parts, last=last)
            self._flush()
            return self._wait(call, lambda: not call.unsent and not self._wire.outgoing, deadline)

    def receive(self, call: Call, deadline: Deadline) -> tuple[bool, bytes | bytearray | None]:
        """The next message, ``None`` where no more will come; false at the deadline."""
        with self._lock:
            in_time = self._wait(call, lambda: call.has_news, deadline)
            message = self._wire.take(call)
            self._flush()  # the credit: the peer goes on while the caller works on the message
            return in_time, message

    def poll(self, call: Call) -> bytes | bytearray | None:
        """The next message if it is here already; never waits for the peer."""
        with self._lock:
            self._look()
            return self._wire.take(call)

    def finish(self, call: Call, deadline: Deadline) -> bool:
        """Wait until the call is done; false at the deadline.  Its messages stay in its inbox."""
        with self._lock:
            return self._wait(call, lambda: call.is_done, deadline)

    def cancel(self, call: Call, status: Status) -> None:
        """End a call with ``status`` and tell the peer; wakes whoever waits for it."""
        with self._lock:
            self._wire.cancel(call, status)
            self._flush()
            self._wake_touched()

    def close(self, status: Status) -> None:
        """End the connection and every call on it, whoever waits for them."""
        with self._lock:
            self._lose(status)

    def forget(self) -> None:
        """In a forked child: let go of the parent's socket without a word to the daemon."""
        for sock in (self._sock, self._wake_in, self._wake_out):
            sock.close()

    @property
    def is_usable(self) -> bool:
        return not self._wire.is_draining

    @property
    def is_idle(self) -> bool:
        return self._wire.is_idle and not self._waiters

    # ---- waiting ---------------------------------------------------------------------------

    def _wait(self, call: Call, is_ready: Callable[[], bool], deadline: Deadline) -> bool:
        """Wait for ``is_ready``, or the end of the call; false at the deadline."""
        me: _Waiter | None = None
        try:
            while not (is_ready() or call.is_done):
                if deadline.expired:
                    return False
                me = me or _Waiter(call)
                if self._reader is None or self._reader is me:
                    self._reader = me
                    self._read_once(deadline)
                else:
                    self._follow(me, deadline)
            return True
        finally:
            if me is not None and self._reader is me:
                self._reader = None
                if self._wire.lost:
                    self.forget()  # not while somebody polls the descriptors
            if self._reader is None and self._waiters:
                next(iter(self._waiters)).wake()

    def _follow(self, me: _Waiter, deadline: Deadline) -> None:
        remaining = deadline.remaining()
        self._waiters[me] = None
        try:
            self._lock.release()
            me.event.acquire(timeout=-1 if remaining is None else remaining)
        finally:
            self._lock.acquire()
            del self._waiters[me]

    def _read_once(self, deadline: Deadline) -> None:
        """Wait for the socket without the lock; then read, send, and wake who got something."""
        self._flush()
        until = deadline if self._wire.is_ready else deadline.sooner(self._ready_by.remaining())
        remaining = until.remaining()
        self._set_polled()
        try:
            self._lock.release()
            ready = self._poller.poll(None if remaining is None else remaining * 1000)
        finally:
            self._lock.acquire()
        if not self._wire.is_ready and self._ready_by.expired and not ready:
            self._lose(self._gone("the peer took the connection and said nothing"))
        self._handle(ready)

    def _set_polled(self) -> None:
        wanted = select.POLLIN | (select.POLLOUT if self._wire.outgoing else 0)
        if wanted != self._polled and not self._wire.lost:
            self._poller.modify(self._sock, wanted)
            self._polled = wanted

    def _handle(self, ready: list[tuple[int, int]]) -> None:
        for descriptor, events in ready:
            if self._wire.lost:
                break
            if descriptor == self._wake_in.fileno():
                self._drain_wakes()
                continue
            if events & (select.POLLIN | _BROKEN):
                self._receive()
            if events & select.POLLOUT:
                self._flush()
        self._wake_touched()

    def _look(self) -> None:
        """Before a write: settle what is overdue, and see whether the peer has gone."""
        while self.abandoned:
            self._wire.cancel(self.abandoned.popleft(), Status(metadata.CANCELLED, "abandoned"))
        if self._reader is None and not self._wire.lost:
            self._handle(self._poller.poll(0))

    def _drain_wakes(self) -> None:
        with suppress(BlockingIOError):
            while self._wake_in.recv(4096):
                pass

    def _wake_touched(self) -> None:
        touched = self._wire.take_touched()
        if not touched:
            return
        for waiter in self._waiters:
            if waiter.call in touched:
                waiter.wake()
        if self._reader is not None and self._reader.call in touched:
            self._kick()

    def _kick(self) -> None:
        """Make the reader look again, if it is in ``poll``."""
        with suppress(BlockingIOError):  # it is full, so the reader will wake
            self._wake_out.send(b"!")

    # ---- the socket ------------------------------------------------------------------------

    def _receive(self) -> None:
        try:
            count = self._sock.recv_into(self._buffer[self._filled :])
            if not count:
                self._lose(self._gone("the peer closed the connection"))
                return
            self._filled += count
            used = self._wire.receive(self._buffer[: self._filled])
            left = self._filled - used
            if left and used:
                self._buffer[:left] = self._buffer[used : self._filled]
            self._filled = left
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._lose(self._gone(f"the connection was lost: {error.strerror or error}"))
            return
        except BaseException:
            # Bytes may be gone, or half taken in: nothing that comes later can be trusted.
            self._lose(Status(metadata.INTERNAL, "reading was interrupted", b"", "local"))
            raise
        if self._wire.lost:
            self._flush()  # its GOAWAY, if the socket takes it
            self._lose(self._wire.lost)

    def _flush(self) -> None:
        """Send what the socket takes; the rest stays, and the reader is told to poll for it."""
        outgoing = self._wire.outgoing
        try:
            while outgoing:
                sent = self._sock.sendmsg(list(islice(outgoing, _MOST_BUFFERS)))
                while sent:
                    first = outgoing.popleft()
                    if len(first) > sent:
                        outgoing.appendleft(memoryview(first)[sent:])
                        break
                    sent -= len(first)
        except (BlockingIOError, InterruptedError):
            if self._reader is not None and not self._polled & select.POLLOUT:
                self._kick()
        except OSError as error:
            # The peer may have said why before it closed: read that first.
            self._wire.outgoing.clear()
            if not self._wire.lost:
                self._receive()
                self._lose(self._gone(f"the connection was lost: {error.strerror or error}"))

    def _lose(self, status: Status) -> None:
        self._wire.lose(status)
        self._wire.outgoing.clear()
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)  # a forked child may hold it open, too
        self._wake_touched()
        if self._reader is None:
            self.forget()
        else:
            self._kick()

    def _gone(self, said: str) -> Status:
        """The connection's end; a peer that never said a word provably did nothing."""
        return Status(metadata.UNAVAILABLE, said, b"", "transport", not self._wire.is_ready)
