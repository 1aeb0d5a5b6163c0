"""One streaming call as its caller sees it.

What lives here: messages out and in, the deadline, the end.  What may not: connections, HTTP/2.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Protocol

from ..deadline import Deadline
from ..errors import (
    BY_CODE,
    ConnectionLost,
    ContainerdError,
    DeadlineExceeded,
    ProtocolError,
    ResourceExhausted,
    Unknown,
)
from ..wire import metadata
from ..wire.call import Call
from ..wire.framing import Message, opened
from ..wire.framing import compress as squeeze
from ..wire.metadata import Metadata, Status
from .link import Link

#: The type_url under which an error carries ``grpc-status-details-bin`` until it is decoded.
UNDECODED = "grpc-status-details-bin"
#: What a peer says of a call whose deadline, which it was told, has passed; containerd's handlers
#: pass the expiry on as an error that they do not know.
_OUT_OF_TIME = (metadata.CANCELLED, metadata.UNKNOWN)


class Owner(Protocol):
    """Who lent the link, and wants it back.

    ``abandoned`` takes what a stream holds that was dropped; it is appended to without a lock.
    """

    abandoned: deque[tuple[Link, Call]]

    def release(self, link: Link) -> None: ...


#: Begins a call anew, on whatever connection there is.
Begin = Callable[[], tuple[Link, Call]]


class Stream:
    """A server-streaming or bidirectional call; a context manager and an iterator of messages.

    One thread may send while another receives, and any thread may ``cancel``.  A stream that is
    left before its end is cancelled.
    """

    def __init__(
        self, owner: Owner, begin: Begin, deadline: Deadline, address: str, *, is_repeatable: bool
    ) -> None:
        """``is_repeatable``: ``begin`` sends all that there is to send, and may be done twice."""
        self._owner: Owner | None = None
        self._deadline = deadline
        self._address = address
        self._link, self._call = begin()
        self._again = begin if is_repeatable else None
        self._owner = self._lender = owner

    def send(
        self,
        *parts: bytes | memoryview,
        last: bool = False,
        compress: bool | None = None,
        timeout: float | None = None,
    ) -> None:
        """Send one message, given in parts; ``last`` says that no more will come.

        ``timeout`` in seconds bounds this message alone; a call that cannot have it in that time
        is ended.

        Returns when the kernel has all of it, so that the parts may be used again.  Sending to a
        call that has ended does nothing: ``receive`` tells how it ended.  In a call with a
        ``compression`` a message is compressed unless ``compress`` is false.
        Raises ``DeadlineExceeded``, and ``ResourceExhausted`` for a message over the limit, which
        leaves the call as it was.
        """
        is_compressed = bool(parts and self._call.encoding and compress is not False)
        if is_compressed:
            parts = (squeeze(parts),)
        self._again = None
        try:
            deadline = self._deadline.sooner(timeout)
            in_time = self._link.send(self._call, parts, last, deadline, is_compressed)
        except ContainerdError as error:
            error.operation, error.address = operation(self._call.path), self._address
            raise
        self._expect(in_time)

    def finish_sending(self) -> None:
        self.send(last=True)

    def receive(self, timeout: float | None = None) -> bytes | bytearray | None:
        """The next message; ``None`` where the call has ended well.

        ``timeout`` in seconds bounds this wait alone and leaves the call as it is; the call's own
        deadline ends it.  Raises ``DeadlineExceeded``, and how the peer says the call failed.
        """
        deadline = self._deadline.sooner(timeout)
        in_time, message = self._link.receive(self._call, deadline)
        while message is None and self._begin_again():
            in_time, message = self._link.receive(self._call, deadline)
        self._again = None
        if message is not None:
            return self._opened(message)
        self._expect(in_time or not self._deadline.expired)
        if not in_time:
            said = "no message came in time"
            raise DeadlineExceeded(said, operation=operation(self._call.path))
        self._give_back()
        raise_status(self._call, self._deadline, self._address)
        return None

    def _begin_again(self) -> bool:
        """Once more, from the start, if the peer provably did not look at the call (gRFC A6)."""
        status, again = self._call.status, self._again
        if status is None or not status.is_unprocessed or again is None:
            return False
        self._give_back()
        self._again = None
        self._link, self._call = again()
        self._owner = self._lender
        return True

    def poll(self) -> bytes | bytearray | None:
        """A message that has come already, else ``None``; never waits."""
        message = self._link.poll(self._call)
        return None if message is None else self._opened(message)

    def _opened(self, message: Message) -> bytes | bytearray:
        """The message, decompressed; a call whose message cannot be opened is over."""
        try:
            return open_message(message, self._call.path, self._address)
        except ContainerdError:
            self.cancel()
            raise

    @property
    def is_done(self) -> bool:
        return self._call.is_done

    @property
    def initial_metadata(self) -> Metadata:
        return self._call.initial_metadata

    @property
    def trailing_metadata(self) -> Metadata:
        return self._call.trailing_metadata

    def cancel(self) -> None:
        """End the call now; a thread that waits for it gets ``Cancelled``."""
        status = Status(metadata.CANCELLED, "the call was cancelled from this end", origin="local")
        self._link.cancel(self._call, status)

    def close(self) -> None:
        """Cancel what is not over, and give the connection back."""
        if not self._call.is_done and self._link.is_ours:
            self.cancel()
        self._give_back()

    def _give_back(self) -> None:
        owner, self._owner = self._owner, None
        if owner is not None:
            owner.release(self._link)

    def _expect(self, in_time: bool) -> None:
        if not in_time:
            self._link.expire(self._call)
            raise_status(self._call, self._deadline, self._address)

    def __iter__(self) -> Iterator[bytes | bytearray]:
        while (message := self.receive()) is not None:
            yield message

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __del__(self) -> None:
        # No lock may be taken here: this can run in the middle of anything.
        owner = getattr(self, "_owner", None)
        if owner is not None:
            owner.abandoned.append((self._link, self._call))

    def __repr__(self) -> str:
        return f"<Stream {operation(self._call.path)} {self._call.state}>"


def operation(path: str) -> str:
    """``Version.Version`` for ``/containerd.services.version.v1.Version/Version``."""
    service, _, method = path.rpartition("/")
    return f"{service.rpartition('.')[2]}.{method}"


def open_message(message: Message, path: str, address: str) -> bytes | bytearray:
    """A message as its reader wants it.  Raises ``ResourceExhausted`` or ``ProtocolError``."""
    try:
        return opened(message)
    except ContainerdError as error:
        exhausted = isinstance(error, ResourceExhausted)
        code = metadata.RESOURCE_EXHAUSTED if exhausted else metadata.INTERNAL
        status = Status(code, error.message, b"", "stream")
        raise error_of(path, status, Deadline(None), address) from None


def raise_status(call: Call, deadline: Deadline, address: str) -> None:
    """Raise what the call's status says; return if that is OK."""
    status = call.status or Status(metadata.UNKNOWN, "the call has no status", origin="local")
    if status.code != metadata.OK:
        raise error_of(call.path, status, deadline, address)


def error_of(path: str, status: Status, deadline: Deadline, address: str) -> ContainerdError:
    """The exception for a status that is not OK."""
    code = status.code
    if code in _OUT_OF_TIME and status.origin != "local" and deadline.expired:
        code = metadata.DEADLINE_EXCEEDED  # the peer noticed first
    kind: type[ContainerdError] = BY_CODE.get(code, Unknown)
    remedy = ""
    if status.origin in ("stream", "connection") and code == metadata.INTERNAL:
        kind = ProtocolError
        remedy = "Is this the gRPC socket of containerd?" if "HTTP/2" in status.message else ""
    elif status.origin == "connection" and code == metadata.UNAVAILABLE:
        kind = ConnectionLost
        remedy = "If the daemon restarts, wait_for_ready= waits for it; look at what it did first"
    details = ((UNDECODED, status.details),) if status.details else ()
    error = kind(
        status.message or kind.__name__,
        operation=operation(path),
        address=address,
        remedy=remedy,
    )
    error.details = details
    return error
