"""Channels. A channel opens connections to one daemon when its calls need connections.

Short unary calls share one connection. Each stream and each long unary call has a connection of its
own. Connections to Unix sockets are cheap, and several connections transfer several layers in
parallel.
"""

from __future__ import annotations

# ``records`` imports ``dataclasses`` late, during a call. If another thread forks meanwhile,
# the child waits for the end of that import for ever. h2 before 4.3 does not import it.
import dataclasses  # noqa: F401
import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Literal

from .. import limits
from ..deadline import Deadline, backoff
from ..debug import LoggedStep
from ..errors import Cancelled, ContainerdError, InvalidArgument, Unavailable
from ..interrupt import check_call
from ..printable import printable
from ..undo import Undo
from ..version import USER_AGENT
from ..wire import metadata as codes
from ..wire.call import Call
from ..wire.connection import Connection
from ..wire.framing import MAX_MESSAGE
from ..wire.framing import compress as compress_parts
from ..wire.metadata import Metadata, Status
from .address import DEFAULT, parse_address
from .base import Address
from .link import Link
from .stream import Stream, error_of, open_message, operation, raise_status

if TYPE_CHECKING:
    from .tls import TLS

_LOGGER = logging.getLogger(__package__)
#: Maximum number of idle connections that stay open for later calls.
_MAX_SPARE = 4
#: The first pause and the longest pause between attempts, in seconds.
_FIRST_WAIT, _LONGEST_WAIT = 0.05, 10.0
#: Seconds after which a thread that pauses checks whether its operation was interrupted.
_CHECK_INTERVAL = 0.1
_CLOSED = Status(codes.CANCELLED, "the client was closed", origin="local")
_INTERRUPTED = Status(codes.CANCELLED, "the caller was interrupted", origin="local")
_ABANDONED = Status(codes.CANCELLED, "the stream was dropped without being closed", origin="local")
_ALWAYS_CLOSED = Status(codes.UNAVAILABLE, "the daemon closes every connection", b"", "connection")


def _encoding_of(compression: str | None) -> str:
    if compression not in (None, "identity", "gzip"):
        raise InvalidArgument(f"compression {compression!r} is not supported", remedy="Use gzip")
    return "gzip" if compression == "gzip" else ""


class Channel:
    """A channel for gRPC calls to one daemon.

    Any number of threads can use a channel at the same time. A forked child can use the channel of
    its parent. The channel opens its first connection when the first call needs one.

    Args:
        address: The address of the daemon. Default: containerd's Unix socket.
        connect_timeout: Maximum number of seconds until the client has connected and the daemon has
            sent its first bytes. ``None`` means no limit.
        tls: The TLS settings if ``address`` is the text of a TCP address, or ``False`` for a daemon
            without TLS. Must be ``None`` for other addresses.
        user_agent: The ``user-agent`` header of requests.
        max_message: Maximum size in bytes of a sent or received message.

    Raises:
        InvalidArgument: ``address`` is not an address, ``tls`` does not fit the address, or a
            number is not above 0.
    """

    def __init__(
        self,
        address: str | Address = DEFAULT,
        *,
        connect_timeout: float | None = 10.0,
        tls: TLS | Literal[False] | None = None,
        user_agent: str = USER_AGENT,
        max_message: int = MAX_MESSAGE,
    ) -> None:
        if isinstance(address, str):
            address = parse_address(address, tls=tls)
        elif tls is not None:
            raise InvalidArgument(
                "an Address already contains its TLS settings", remedy="Leave out the tls argument"
            )
        self.address = address
        self.name = str(self.address)
        self.connect_timeout = limits.seconds("connect_timeout", connect_timeout)
        self._user_agent = user_agent
        self._max_message = limits.count("max_message", max_message)
        #: The connections and calls of dropped streams. ``Stream.__del__`` appends to this deque
        #: without a lock.
        self.abandoned: deque[tuple[Link, Call]] = deque()
        self._fork_locks: dict[int, threading.Lock] = {}
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._shared: Link | None = None
        self._spare: list[Link] = []
        self._links: set[Link] = set()
        # ``_pid`` is set last: a thread that sees the new value relies on the other new attributes.
        self._pid = os.getpid()

    def _check_fork(self) -> None:
        """If this process is a forked child, drop the connections of its parent."""
        pid = os.getpid()
        if self._pid == pid:
            return
        # Several threads of the child can run this method at the same time.
        with self._fork_locks.setdefault(pid, threading.Lock()):
            if self._pid == pid:
                return
            links, was_closed = self._links, self._closed.is_set()
            # Make new locks: the thread that held a lock in the parent does not exist in the child.
            self._reset()
            if was_closed:
                self._closed.set()
            for link in links:
                link.forget()

    # ---- calls -----------------------------------------------------------------------------

    def unary(
        self,
        path: str,
        *message: bytes | memoryview,
        metadata: Metadata = (),
        timeout: float | None = None,
        wait_for_ready: bool = False,
        dedicated: bool = False,
        compression: str | None = None,
    ) -> bytes | bytearray:
        """Perform a call with one request and one response.

        Args:
            path: The method, as ``/package.Service/Method``.
            *message: The request, in one or more parts.
            metadata: The metadata of the request.
            timeout: Maximum number of seconds for the call, including the time to connect. Default:
                no limit.
            wait_for_ready: If the daemon is not available, ``True`` tries to connect until the
                timeout, and ``False`` lets the call fail at once.
            dedicated: Whether the call has a connection of its own.
            compression: ``"gzip"`` compresses the request. Default: no compression.

        Returns:
            The response.

        Raises:
            ContainerdError: The call has failed. The exception's class depends on the gRPC status.
        """
        deadline = Deadline(timeout)
        encoding = _encoding_of(compression) if compression else ""
        parts = (compress_parts(message),) if encoding else message

        def start(link: Link) -> Call | None:
            return link.unary(path, metadata, deadline, parts, encoding)

        pauses: Iterator[float] | None = None
        while True:
            link, call = self._start_call(path, start, deadline, wait_for_ready, dedicated)
            if dedicated or not link.is_usable:
                self.release(link)
            # If the peer has certainly not processed the call, send the call again (gRFC A6).
            # With wait_for_ready, the call is sent again and again until the deadline. Without
            # wait_for_ready, the call is sent again only once.
            if call.status is None or not call.status.is_unprocessed or deadline.expired:
                break
            _LOGGER.debug("call of %s: sent again: %s", path, printable(call.status.message))
            if pauses is None:
                pauses = backoff(_FIRST_WAIT, _LONGEST_WAIT)
            elif wait_for_ready:
                self._pause(next(pauses), deadline)
            else:
                break
        if call.status is None or call.status.code != codes.OK:
            raise_status(call, deadline, self.name)
        return open_message(call.reader.messages[0], path, self.name)

    def stream(
        self,
        path: str,
        *message: bytes | memoryview,
        metadata: Metadata = (),
        timeout: float | None = None,
        wait_for_ready: bool = False,
        compression: str | None = None,
    ) -> Stream:
        """Start a streaming call on a connection of its own.

        Args:
            path: The method, as ``/package.Service/Method``.
            *message: The only request message, in one or more parts. The sending side is closed
                after this message. Without ``message``, the caller sends messages with
                ``Stream.send``.
            metadata: The metadata of the request.
            timeout: Maximum number of seconds for the call, including the time to connect. Default:
                no limit.
            wait_for_ready: If the daemon is not available, ``True`` tries to connect until the
                timeout, and ``False`` lets the call fail at once.
            compression: ``"gzip"`` compresses the messages that the client sends. Default: no
                compression.

        Returns:
            The stream.

        Raises:
            ContainerdError: The call cannot be started.
        """
        deadline = Deadline(timeout)
        encoding = _encoding_of(compression)
        parts = (compress_parts(message),) if encoding and message else message or None

        def start(link: Link) -> Call | None:
            return link.start(path, metadata, deadline, parts, encoding)

        def begin() -> tuple[Link, Call]:
            return self._start_call(path, start, deadline, wait_for_ready, True)

        return Stream(self, begin, deadline, self.name, is_repeatable=bool(message))

    # ---- connections -----------------------------------------------------------------------

    def _start_call(
        self,
        path: str,
        start: Callable[[Link], Call | None],
        deadline: Deadline,
        wait_for_ready: bool,
        dedicated: bool,
    ) -> tuple[Link, Call]:
        """Start a call on a connection that is still open. Return the connection and the call."""
        pauses = backoff(_FIRST_WAIT, _LONGEST_WAIT) if wait_for_ready else None
        status = _ALWAYS_CLOSED
        try:
            check_call()
            for _ in range(_MAX_SPARE + 2):  # the peer can have closed all spare connections
                if pauses is None:
                    link = self._link_for_call(deadline, dedicated)
                else:
                    link = self._link_when_ready(deadline, dedicated, pauses)
                try:  # the class Undo could replace this code, but would make every call slower
                    call = start(link)
                except BaseException:
                    self.release(link)
                    raise
                if call is not None:
                    return link, call
                status = link.lost or _ALWAYS_CLOSED
                self._retire(link)
                if status.code != codes.UNAVAILABLE:
                    break  # the peer did not close the connection, but speaks another protocol
            raise error_of(path, status, deadline, self.name)
        except ContainerdError as error:
            error.operation = operation(path)
            raise

    def _link_when_ready(
        self, deadline: Deadline, dedicated: bool, pauses: Iterator[float]
    ) -> Link:
        """Return a connection for a call, and retry while the daemon is unavailable."""
        while True:
            try:
                return self._link_for_call(deadline, dedicated)
            except Unavailable:
                if deadline.expired:
                    raise
                self._pause(next(pauses), deadline)

    def _pause(self, seconds: float, deadline: Deadline) -> None:
        end = deadline.sooner(seconds)
        while not self._closed.wait(end.sooner(_CHECK_INTERVAL).remaining()) and not end.expired:
            check_call()

    def _link_for_call(self, deadline: Deadline, dedicated: bool) -> Link:
        """Return a connection for a call: the shared connection, a spare one, or a new one."""
        if self._pid != os.getpid():
            self._check_fork()
        if self.abandoned:
            self._end_abandoned()
        shared = self._shared
        if not dedicated and shared is not None and shared.is_usable:
            return shared
        with self._lock:
            if self._closed.is_set():
                raise Cancelled("the client is closed", remedy="Create a new client")
            if dedicated and self._spare:
                return self._spare.pop()
        link = self._dial(deadline)
        with Undo(lambda: link.close(_INTERRUPTED)), self._lock:
            shared = self._shared  # another thread can have opened a connection during _dial
            is_redundant = not dedicated and shared is not None and shared.is_usable
            is_closed = self._closed.is_set()
            if not is_closed and not is_redundant:
                self._links.add(link)
                self._shared = shared if dedicated else link
                return link
        link.close(_CLOSED)
        if is_closed or shared is None:
            raise Cancelled("the client was closed")
        return shared

    def _dial(self, deadline: Deadline) -> Link:
        wire = Connection(
            authority=self.address.authority,
            scheme=self.address.scheme,
            user_agent=self._user_agent,
            max_message=self._max_message,
        )
        ready_by = Deadline(self.connect_timeout)
        with LoggedStep(_LOGGER, "connection %d: dial %s", wire.number, self.name):
            sock = self.address.dial(deadline.sooner(self.connect_timeout).remaining())
        with Undo(sock.close):
            return Link(sock, wire, ready_by)

    def _end_abandoned(self) -> None:
        """Cancel the calls of dropped streams, and release their connections."""
        with suppress(IndexError):
            while self.abandoned:
                link, call = self.abandoned.popleft()
                if link.is_ours:
                    link.cancel(call, _ABANDONED)
                self.release(link)

    def release(self, link: Link) -> None:
        """Keep the connection of an ended call for later calls, or close it."""
        self._check_fork()
        with self._lock:
            if link in self._spare or (link is self._shared and link.is_usable):
                return
            is_wanted = link in self._links and len(self._spare) < _MAX_SPARE
            if is_wanted and link.is_usable and link.is_idle:
                self._spare.append(link)
                return
        self._retire(link)

    def _retire(self, link: Link) -> None:
        """Start no more calls on this connection. Close the connection if its calls have ended."""
        with self._lock:
            if link is self._shared:
                self._shared = None
            if not link.is_idle:
                return
            self._links.discard(link)
        if link.is_ours:
            link.close(Status(codes.UNAVAILABLE, "the connection is closed", b"", "connection"))

    def reconnect(self) -> None:
        """Close all connections, so that the next call opens a new connection.

        The calls on these connections fail with ``Unavailable``.
        """
        self._close_links(Status(codes.UNAVAILABLE, "the client reconnects", b"", "local"))

    def close(self) -> None:
        """Close all connections. The calls on these connections end with ``Cancelled``.

        This method can be called several times.
        """
        self._check_fork()
        self._closed.set()
        self._close_links(_CLOSED)

    def _close_links(self, status: Status) -> None:
        self._check_fork()
        with self._lock:
            links, self._links = self._links, set()
            self._shared, self._spare = None, []
        for link in links:
            link.close(status)

    def __enter__(self) -> Channel:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Channel {self.address}>"
