"""Shares one connection among threads: decides which thread reads, writes or waits.

The package starts no thread of its own to read or write. A caller with bytes to send becomes the
writer if no other thread is writing. A caller that waits becomes the reader if no other thread is
reading. All other waiting callers are followers. When the reader's own wait is over, the reader
stops reading, and wakes a follower, which becomes the next reader.

The reader and the writer do not hold the lock while they use the socket. Python runs other threads
during a system call, and these threads would have to wait for the lock. One condition always holds:
if the lock is free and a caller waits, there is a reader, or a follower was woken to become the
reader.

A signal handler can raise an exception at any point (for example, KeyboardInterrupt). If a handler
raises while the thread holds the lock or transfers bytes, the state of the connection is unknown,
so the thread ends the connection. An exception in a thread that only waits does not affect other
threads.
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
from ..interrupt import call_limit
from ..wire import metadata
from ..wire.call import DONE, Buffer, Call
from ..wire.connection import Connection
from ..wire.framing import Message
from ..wire.metadata import Status
from .socket_io import Socket, SocketIO

#: Maximum number of seconds of a single wait. A longer wait is split into several waits, because
#: ``poll`` accepts only a 32-bit number of milliseconds, and lock timeouts are limited, too.
_LONGEST_WAIT = 3600.0
#: The liveness check before a call is skipped if data arrived within this number of seconds.
_LIVENESS_SECONDS = 0.01
_BROKEN = select.POLLERR | select.POLLHUP | select.POLLNVAL
#: The steps of a thread. The thread holds the lock during ``_ACT``, but not during the other steps.
_ACT, _WRITE, _READ, _FOLLOW, _LEAVE = range(5)
#: The deadline to pass to ``_drive`` if the waiter does not wait.
NOW = Deadline(None)


class Waiter:
    """The state of one thread that uses the connection."""

    __slots__ = (
        "buffers",
        "call",
        "event",
        "interrupt",
        "is_interrupted",
        "is_ready",
        "is_sending",
        "is_transferring",
        "message",
        "must_leave",
        "patience",
        "takes_message",
    )

    def __init__(
        self,
        call: Call | None = None,
        is_ready: Callable[[Call], bool] | None = None,
        is_sending: bool = False,
        takes_message: bool = False,
        grace: float = 0.0,
    ) -> None:
        self.call = call
        #: The interrupt that ends the wait, and the seconds that the thread still waits after it.
        self.interrupt, self.patience = (None, 0.0) if is_ready is None else call_limit(grace)
        #: Whether the interrupt has ended the wait.
        self.is_interrupted = False
        #: A function that returns whether the thread can stop waiting for the call. The wait also
        #: stops when the call ends. ``None`` means that the thread does not wait.
        self.is_ready = is_ready
        #: Whether to wake the thread when the connection has sent all outgoing bytes, even if
        #: ``is_ready`` is false.
        self.is_sending = is_sending
        #: Whether the thread takes the call's oldest message after the wait.
        self.takes_message = takes_message
        #: The message that the thread has taken from the call.
        self.message: Message | None = None
        #: Whether the thread is the reader, the writer or a follower.
        self.must_leave = False
        #: Whether the thread moves bytes between the socket and the ``wire.Connection``.
        self.is_transferring = False
        #: The buffers that the thread is writing.
        self.buffers: list[Buffer] = []
        #: A lock that a follower tries to acquire. The release of this lock wakes the follower.
        self.event: threading.Lock | None = None

    def shortened(self, seconds: float) -> float:
        """Return how long the thread may wait, if ``seconds`` is the limit without an interrupt."""
        left = None if self.interrupt is None else self.interrupt.patience(self.patience)
        if left is None:
            return seconds
        self.is_interrupted = left == 0
        return min(seconds, left)


class Multiplexer:
    """A socket, a ``wire.Connection`` and the lock that guards both.

    The caller of a private method must hold the lock, unless the method's docstring says otherwise.
    """

    def __init__(self, sock: Socket, wire: Connection, ready_by: Deadline) -> None:
        """Make the pair of sockets with which other threads wake the reader.

        Raises:
            Unavailable: The process has no free file descriptors. ``sock`` stays open.
        """
        try:
            self._wake_in, self._wake_out = socket.socketpair()
        except OSError as error:
            raise Unavailable(f"cannot make a socket pair: {error.strerror or error}") from error
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)
        self._pid = os.getpid()
        self._socket_io = SocketIO(sock, wire)
        self._wire = wire
        self._ready_by = ready_by
        self._lock = threading.Lock()
        self._reader: Waiter | None = None
        self._is_polling = False  # whether the reader is in poll, and was not woken
        self._is_writing = False
        self._is_urgent = False  # whether the outgoing bytes must be sent without delay
        self._write_failure: Status | None = None  # why a write failed, for the reader to process
        self._followers: dict[Waiter, None] = {}
        self._sender_count = 0  # the number of registered waiters whose is_sending is true
        self._last_read = 0.0  # the time of the last read, on the monotonic clock
        self._polled_events = select.POLLIN
        self._poller = select.poll()
        self._poller.register(sock.fileno(), select.POLLIN)
        self._poller.register(self._wake_in, select.POLLIN)
        self._socket_fd = sock.fileno()

    @property
    def is_ours(self) -> bool:
        """Whether this process made the connection. The value is false in a forked child."""
        return self._pid == os.getpid()

    def check_process(self) -> None:
        """Check that this process made the connection.

        Raises:
            FailedPrecondition: This process is a forked child, and its parent made the connection.
        """
        if not self.is_ours:
            raise FailedPrecondition(
                "this process was forked, and the call belongs to the parent process",
                remedy="Start and continue a call in the same process",
            )

    def forget(self) -> None:
        """Close the file descriptors without sending anything.

        Callers use this method in a forked child, or after the connection has ended.
        """
        for sock in (self._socket_io.sock, self._wake_in, self._wake_out):
            sock.close()

    # ---- the steps of a thread -------------------------------------------------------------

    def _drive(self, waiter: Waiter, action: Callable[[], None] | None, deadline: Deadline) -> bool:
        """Perform an action, send the outgoing bytes, and wait.

        Return false if the wait ended at the deadline, or by the waiter's interrupt. The caller
        must not hold the lock. If the action raises a ``ContainerdError``, the action has changed
        nothing, so the connection stays usable.
        """
        if self._pid != os.getpid():
            self.check_process()
        if waiter.interrupt is None:
            return self._take_steps(waiter, action, deadline)

        def wake() -> None:
            with self._lock:
                self._wake_waiter(waiter)

        waiter.interrupt.add(wake)
        try:
            return self._take_steps(waiter, action, deadline)
        finally:
            waiter.interrupt.drop(wake)

    def _take_steps(
        self, waiter: Waiter, action: Callable[[], None] | None, deadline: Deadline
    ) -> bool:
        """Perform an action, send and wait, as ``_drive`` does."""
        step = _ACT
        argument: Any = None
        result: Any = None
        try:
            try:
                while True:
                    with self._lock:
                        try:
                            if step == _WRITE:
                                self._after_write(waiter, result)
                            elif step == _READ:
                                self._after_read(waiter, result)
                            elif action is not None:
                                pending, action = action, None
                                self._perform(pending)
                            step, argument = self._next_step(waiter, deadline)
                        except ContainerdError:
                            raise
                        except BaseException:
                            self._break_connection()
                            raise
                    if step == _WRITE:
                        result = self._socket_io.write(waiter.buffers)
                    elif step == _READ:
                        result = self._read(waiter, argument)
                    elif step == _FOLLOW:
                        argument[0].acquire(timeout=argument[1])
                    else:
                        return bool(argument)
            finally:
                if waiter.must_leave:
                    self._leave_after_exception(waiter)
        finally:
            if waiter.must_leave:  # a signal can have interrupted the first call of this method
                self._leave_after_exception(waiter)

    def _perform(self, action: Callable[[], None]) -> None:
        """Perform an action. If the action adds outgoing bytes, these bytes are urgent."""
        if self._reader is None:
            self._socket_io.is_blocked = False  # try to write, because no reader polls for room
        before = len(self._wire.outgoing)
        action()
        if len(self._wire.outgoing) > before:
            self._is_urgent = True

    def _take_message(self, waiter: Waiter, call: Call) -> None:
        """Take the call's oldest message, and give the peer flow-control credit for the message.

        ``_perform`` must call this method, so that the credit is sent without delay. The peer can
        then send more messages while the caller processes this message.
        """
        waiter.message = self._wire.take(call)

    def _next_step(self, waiter: Waiter, deadline: Deadline) -> tuple[int, Any]:
        """Wake the threads that can continue. Return this thread's next step and its argument."""
        socket_io, call, is_ready = self._socket_io, waiter.call, waiter.is_ready
        if socket_io.wire.touched or socket_io.has_drained or socket_io.is_shut:
            self._wake_waiters()
        is_over = call is None or is_ready is None or call.state == DONE or is_ready(call)
        if is_over and waiter.takes_message and call is not None:
            # When the message is removed from the call, is_ready can return false again.
            waiter.takes_message, waiter.is_ready = False, None
            self._perform(lambda: self._take_message(waiter, call))
        # Bytes that are not urgent, such as acknowledgements, are sent together with urgent bytes,
        # or before this thread waits.
        if (self._is_urgent or not is_over) and socket_io.wire.outgoing:
            if not self._is_writing and not socket_io.is_blocked:
                waiter.must_leave = True
                waiter.buffers = socket_io.next_buffers()
                self._is_writing = waiter.is_transferring = True
                self._is_urgent = False
                return _WRITE, None
            self._request_room()
        seconds = 0.0 if is_over else waiter.shortened(_seconds(deadline))
        if not seconds:
            self._leave(waiter)
            return _LEAVE, is_over
        waiter.must_leave = True
        if self._reader is None or self._reader is waiter:
            return _READ, self._prepare_poll(waiter, deadline, seconds)
        if waiter.event is None and call is not None:
            self._register(waiter, call)
        self._followers[waiter] = None
        return _FOLLOW, (waiter.event, seconds)

    def _register(self, waiter: Waiter, call: Call) -> None:
        """Add the waiter to its call, so that a change of the call wakes the waiter."""
        waiter.event = threading.Lock()
        waiter.event.acquire()
        call.waiters.append(waiter)
        self._sender_count += waiter.is_sending

    def _prepare_poll(self, waiter: Waiter, deadline: Deadline, seconds: float) -> float:
        """Make this thread the reader, and return the number of seconds to poll."""
        if self._reader is None:
            self._followers.pop(waiter, None)
            self._reader = waiter
        wanted = select.POLLIN | (select.POLLOUT if self._socket_io.is_blocked else 0)
        if wanted != self._polled_events:
            self._poller.modify(self._socket_fd, wanted)
            self._polled_events = wanted
        self._is_polling = True
        return seconds if self._wire.is_ready else min(seconds, _seconds(self._ready_by))

    def _read(self, waiter: Waiter, seconds: float) -> tuple[int | Status, bool, bool]:
        """Poll the socket, and read from it. The reader calls this method without the lock.

        Returns:
            Three values: the result of ``SocketIO.read``, whether the socket has room for a write,
            and whether ``poll`` reported an event.
        """
        received: int | Status = 0
        has_room = False
        ready = self._poller.poll(seconds * 1000)
        for fd, events in ready:
            if fd != self._socket_fd:
                self._empty_wake_socket()
                continue
            has_room = bool(events & select.POLLOUT)
            if events & (select.POLLIN | _BROKEN):
                waiter.is_transferring = True
                received = self._socket_io.read()
        return received, has_room, bool(ready)

    def _after_read(self, waiter: Waiter, result: Any) -> None:
        """Process the result of ``_read``."""
        received, has_room, was_woken = result
        waiter.is_transferring = self._is_polling = False
        if has_room:
            self._socket_io.is_blocked = False
        if received:
            self._last_read = time.monotonic()
            self._process_received(received)
        elif not was_woken and not self._wire.is_ready and self._ready_by.expired:
            message = "the peer accepted the connection but sent nothing"
            # is_unprocessed stays false, because the peer can read the call later, for example if
            # SIGSTOP paused the peer.
            self._socket_io.lose(Status(metadata.UNAVAILABLE, message, b"", "connection"))
        if self._write_failure is not None:
            self._socket_io.drain(self._write_failure)

    def _process_received(self, received: int | Status) -> None:
        self._socket_io.process(received)
        if self._wire.lost:
            self._end_connection(self._wire.lost)

    def _end_connection(self, status: Status) -> None:
        """End the connection. If a thread is writing, that thread later closes the socket."""
        self._wire.lose(status)
        if not self._is_writing:
            self._socket_io.finish(status)

    def _after_write(self, waiter: Waiter, result: Any) -> None:
        """Process the result of ``SocketIO.write``."""
        self._is_writing = waiter.is_transferring = False
        buffers, waiter.buffers = waiter.buffers, []
        if isinstance(result, Status) and self._reader not in (waiter, None):
            self._write_failure = result
            self._wire.outgoing.clear()
            self._wake_reader()
            return
        self._socket_io.process_sent(buffers, result)
        if self._wire.outgoing:
            self._is_urgent = True  # other threads rely on this thread to send these bytes
        if self._wire.lost:
            self._socket_io.finish(self._wire.lost)

    def _leave(self, waiter: Waiter) -> None:
        """End the thread's use of the connection. If no thread is the reader now, wake a follower.

        This method can be called twice for a waiter.
        """
        if waiter.event is not None and waiter.call is not None and waiter in waiter.call.waiters:
            waiter.call.waiters.remove(waiter)
            self._sender_count -= waiter.is_sending
            self._followers.pop(waiter, None)
        if self._reader is waiter:
            self._reader = None
            self._is_polling = False
        if self._reader is None:
            if self._socket_io.is_shut and not self._is_writing:
                self.forget()  # no thread uses the file descriptors now
            for follower in self._followers:
                self._wake_waiter(follower)
                break
        waiter.must_leave = False

    def _leave_after_exception(self, waiter: Waiter) -> None:
        """Call ``_leave`` after an exception. The caller must not hold the lock."""
        with self._lock:
            if waiter.buffers:
                self._is_writing = False
            if waiter.is_transferring:
                self._break_connection()
            self._leave(waiter)

    # ---- waking ----------------------------------------------------------------------------

    def _check_liveness(self) -> None:
        """Check before a call whether the peer has closed the connection.

        The check is skipped if data arrived a short time ago, or if another call is active.
        """
        if time.monotonic() - self._last_read > _LIVENESS_SECONDS and self._wire.is_idle:
            self._read_available()

    def _read_available(self) -> None:
        """Read and process the bytes that have arrived, unless another thread is the reader."""
        if self._reader is None and not self._wire.lost:
            for fd, _ in self._poller.poll(0):
                if fd == self._socket_fd and (received := self._socket_io.read()):
                    self._process_received(received)

    def _empty_wake_socket(self) -> None:
        with suppress(BlockingIOError):
            while self._wake_in.recv(4096):
                pass

    def _wake_waiters(self) -> None:
        """Wake the waiters of changed calls. If all bytes are sent, also wake the senders."""
        reader = self._reader
        for call in self._wire.take_touched():
            for waiter in call.waiters:
                self._wake_waiter(waiter)
            if self._is_polling and reader is not None and reader.call is call:
                self._wake_reader()
        if self._socket_io.has_drained:
            self._socket_io.has_drained = False
            if self._sender_count:
                for follower in self._followers:
                    if follower.is_sending:
                        self._wake_waiter(follower)
            if reader is not None and reader.is_sending:
                self._wake_reader()
        if self._socket_io.is_shut and reader is None and not self._is_writing:
            self.forget()

    def _wake_waiter(self, waiter: Any) -> None:
        if waiter is self._reader:
            self._wake_reader()
        elif waiter.event is not None and waiter.event.locked():
            waiter.event.release()

    def _request_room(self) -> None:
        """If the socket is full, make the reader also poll for room to write."""
        if self._socket_io.is_blocked and not self._polled_events & select.POLLOUT:
            self._wake_reader()

    def _wake_reader(self) -> None:
        """Wake the reader if it is in ``poll``."""
        if self._is_polling:
            self._is_polling = False
            with suppress(BlockingIOError):  # if the wake socket is full, the reader wakes anyway
                self._wake_out.send(b"!")

    def _break_connection(self) -> None:
        """End the connection after an interrupt, because the connection's state is unknown.

        For example, bytes can be lost or sent twice.
        """
        message = "the connection was closed: a thread was interrupted while it used the connection"
        self._socket_io.lose(Status(metadata.UNAVAILABLE, message, b"", "connection"))
        self._wake_waiters()
        # Wake all followers, because the interrupt can have prevented an earlier wake-up.
        for follower in self._followers:
            self._wake_waiter(follower)
        self._wake_reader()


def _seconds(deadline: Deadline) -> float:
    remaining = deadline.remaining()
    return _LONGEST_WAIT if remaining is None else min(remaining, _LONGEST_WAIT)
