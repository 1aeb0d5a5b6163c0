"""Connections to one daemon, made when they are needed and made again when they are lost.

What lives here: dialling with back-off, which connection a call takes, retry of what provably
was not processed, fork.  What may not: HTTP/2, messages.

Unary calls share one connection.  Bulk streams and calls that wait for long get one to
themselves: Unix sockets are cheap, and layers then move side by side.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Literal

from ..deadline import Deadline, backoff
from ..debug import LoggedStep
from ..errors import Cancelled, ContainerdError, InvalidArgument, Unavailable
from ..undo import Undo
from ..version import USER_AGENT
from ..wire import metadata as codes
from ..wire.call import Call
from ..wire.connection import Connection
from ..wire.framing import MAX_MESSAGE
from ..wire.framing import compress as squeeze
from ..wire.metadata import Metadata, Status
from .address import DEFAULT, parse_address
from .base import Address
from .link import Link
from .stream import Stream, error_of, open_message, operation, raise_status

if TYPE_CHECKING:
    from .tls import TLS

_LOGGER = logging.getLogger(__package__)
#: Connections kept for the next bulk stream.
_MOST_SPARE = 4
_FIRST_WAIT, _LONGEST_WAIT = 0.05, 10.0
_CLOSED = Status(codes.CANCELLED, "the client was closed", origin="local")
_INTERRUPTED = Status(codes.CANCELLED, "the caller was interrupted", origin="local")
_ABANDONED = Status(codes.CANCELLED, "nobody waits for the call any more", origin="local")
_NEVER = Status(codes.UNAVAILABLE, "the daemon closes every connection", b"", "connection")


def _encoding(compression: str | None) -> str:
    if compression not in (None, "identity", "gzip"):
        raise InvalidArgument(
            f"{compression!r} is no compression that is known here", remedy="gzip is"
        )
    return "gzip" if compression == "gzip" else ""


class Channel:
    """A way to one containerd; safe to use from any number of threads, and after a fork.

    ``connect_timeout`` in seconds bounds a dial and the peer's first word.  ``tls`` is for
    addresses of TCP, which want it; ``False`` says that there is none.  ``max_message`` is the
    limit on messages in bytes, each way.  Nothing is dialled before the first call.
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
            raise InvalidArgument("an Address has its TLS", remedy="Give one of the two")
        self.address = address
        self.name = str(self.address)
        self.connect_timeout = connect_timeout
        self._user_agent = user_agent
        self._max_message = max_message
        #: What dropped streams leave; appended to without a lock, since ``__del__`` does it.
        self.abandoned: deque[tuple[Link, Call]] = deque()
        self._forks: dict[int, threading.Lock] = {}
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._shared: Link | None = None
        self._spare: list[Link] = []
        self._links: set[Link] = set()
        self._pid = os.getpid()  # last: who sees it uses the rest

    def _check_fork(self) -> None:
        pid = os.getpid()
        if self._pid == pid:
            return
        with self._forks.setdefault(pid, threading.Lock()):  # the child's threads may race
            if self._pid == pid:
                return
            links, was_closed = self._links, self._closed.is_set()
            self._reset()  # whoever held the parent's locks does not exist here
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
        """One request, one response, both as bytes; ``path`` is ``/package.Service/Method``.

        ``timeout`` in seconds covers everything, dialling included.  ``wait_for_ready`` keeps
        dialling until then instead of failing at once.  ``dedicated`` takes a connection of the
        call's own.  ``compression`` may be ``gzip``.  Raises the ``ContainerdError`` that the
        status says.
        """
        deadline = Deadline(timeout)
        encoding = _encoding(compression) if compression else ""
        parts = (squeeze(message),) if encoding else message

        def begin(link: Link) -> Call | None:
            return link.unary(path, metadata, deadline, parts, encoding)

        waits: Iterator[float] | None = None
        while True:
            link, call = self._begin(path, begin, deadline, wait_for_ready, dedicated)
            if dedicated or not link.is_usable:
                self.release(link)
            # What the peer provably did not look at is sent once more (gRFC A6).
            if call.status is None or not call.status.is_unprocessed or deadline.expired:
                break
            _LOGGER.debug("call of %s: sent again: %s", path, call.status.message)
            if waits is None:
                waits = backoff(_FIRST_WAIT, _LONGEST_WAIT)
            elif wait_for_ready:
                self._pause(next(waits), deadline)
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
        """Begin a streaming call on a connection of its own.

        A ``message`` is the only one and closes the sending side; without it, use ``send``.
        ``compression`` may be ``gzip``: the messages that are sent are then compressed.
        """
        deadline = Deadline(timeout)
        encoding = _encoding(compression)
        parts = (squeeze(message),) if encoding and message else message or None

        def start(link: Link) -> Call | None:
            return link.start(path, metadata, deadline, parts, encoding)

        def begin() -> tuple[Link, Call]:
            return self._begin(path, start, deadline, wait_for_ready, True)

        return Stream(self, begin, deadline, self.name, is_repeatable=bool(message))

    # ---- connections -----------------------------------------------------------------------

    def _begin(
        self,
        path: str,
        begin: Callable[[Link], Call | None],
        deadline: Deadline,
        wait_for_ready: bool,
        dedicated: bool,
    ) -> tuple[Link, Call]:
        waits = backoff(_FIRST_WAIT, _LONGEST_WAIT) if wait_for_ready else None
        why = _NEVER
        try:
            for _ in range(_MOST_SPARE + 2):  # each of the spare ones may be stale
                if waits is None:
                    link = self._link(deadline, dedicated)
                else:
                    link = self._dial_until(deadline, dedicated, waits)
                try:  # not an Undo: every call comes by
                    call = begin(link)
                except BaseException:
                    self.release(link)
                    raise
                if call is not None:
                    return link, call
                why = link.lost or _NEVER
                self._drop(link)
                if why.code != codes.UNAVAILABLE:
                    break  # not stale: the peer speaks something else
            raise error_of(path, why, deadline, self.name)
        except ContainerdError as error:
            error.operation = operation(path)
            raise

    def _dial_until(self, deadline: Deadline, dedicated: bool, waits: Iterator[float]) -> Link:
        while True:
            try:
                return self._link(deadline, dedicated)
            except Unavailable:
                if deadline.expired:
                    raise
                self._pause(next(waits), deadline)

    def _pause(self, seconds: float, deadline: Deadline) -> None:
        self._closed.wait(deadline.sooner(seconds).remaining())

    def _link(self, deadline: Deadline, dedicated: bool) -> Link:
        """A connection for a call: the shared one, a spare one, or a new one."""
        if self._pid != os.getpid():
            self._check_fork()
        if self.abandoned:
            self._collect()
        shared = self._shared
        if not dedicated and shared is not None and shared.is_usable:
            return shared
        with self._lock:
            if self._closed.is_set():
                raise Cancelled("the client is closed", remedy="Make a new one")
            if dedicated and self._spare:
                return self._spare.pop()
        link = self._dial(deadline)
        with Undo(lambda: link.close(_INTERRUPTED)), self._lock:
            shared = self._shared  # another thread may have been quicker
            is_late = not dedicated and shared is not None and shared.is_usable
            is_closed = self._closed.is_set()
            if not is_closed and not is_late:
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

    def _collect(self) -> None:
        """Settle what dropped streams have left."""
        with suppress(IndexError):
            while self.abandoned:
                link, call = self.abandoned.popleft()
                if link.is_ours:
                    link.cancel(call, _ABANDONED)
                self.release(link)

    def release(self, link: Link) -> None:
        """A call on this connection is over: keep the connection, or let it go."""
        self._check_fork()
        with self._lock:
            if link in self._spare or (link is self._shared and link.is_usable):
                return
            is_wanted = link in self._links and len(self._spare) < _MOST_SPARE
            if is_wanted and link.is_usable and link.is_idle:
                self._spare.append(link)
                return
        self._drop(link)

    def _drop(self, link: Link) -> None:
        """Take no more calls on this connection; it ends with the last one on it."""
        with self._lock:
            if link is self._shared:
                self._shared = None
            if not link.is_idle:
                return
            self._links.discard(link)
        if link.is_ours:
            link.close(Status(codes.UNAVAILABLE, "the connection is closed", b"", "connection"))

    def reconnect(self) -> None:
        """Give up every connection, and with them the calls on them; the next call dials."""
        self._close_links(Status(codes.UNAVAILABLE, "the client reconnects", b"", "local"))

    def close(self) -> None:
        """End every call with ``Cancelled`` and every connection; may be called twice."""
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
