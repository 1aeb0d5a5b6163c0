"""Streaming calls: messages in both directions, the deadline, and the end of the call."""

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
from ..interrupt import check_call
from ..wire import metadata
from ..wire.call import Call
from ..wire.framing import Message, opened
from ..wire.framing import compress as compress_parts
from ..wire.metadata import Metadata, Status
from .link import Link

#: The type_url of an undecoded ``grpc-status-details-bin`` in the details of an error.
UNDECODED = "grpc-status-details-bin"
#: Status codes with which a peer can report that the call's deadline has passed. containerd's
#: handlers report a passed deadline with the code UNKNOWN.
_EXPIRY_CODES = (metadata.CANCELLED, metadata.UNKNOWN)


class Owner(Protocol):
    """The owner of the connections that streams use.

    If a stream is dropped without being closed, it appends its link and its call to ``abandoned``,
    without a lock.
    """

    abandoned: deque[tuple[Link, Call]]

    def release(self, link: Link) -> None:
        """Release the connection of a call that has ended."""
        ...


#: A function that starts a call and returns the connection and the call.
Begin = Callable[[], tuple[Link, Call]]


class Stream:
    """A server-streaming or bidirectional call.

    A stream is a context manager, and an iterator over the received messages. One thread can send
    while another thread receives. Any thread can call ``cancel``. If a stream is closed before the
    call has ended, the call is cancelled.
    """

    def __init__(
        self, owner: Owner, begin: Begin, deadline: Deadline, address: str, *, is_repeatable: bool
    ) -> None:
        """Start the call with ``begin``.

        ``is_repeatable`` means that ``begin`` sends the whole request, so that the stream can call
        ``begin`` again if the peer did not process the call.
        """
        self._owner: Owner | None = None
        self._deadline = deadline
        self._address = address
        self._link, self._call = begin()
        self._restart = begin if is_repeatable else None
        self._owner = self._channel = owner

    def send(
        self,
        *parts: bytes | memoryview,
        last: bool = False,
        compress: bool | None = None,
        timeout: float | None = None,
    ) -> None:
        """Send one message.

        This method returns when the kernel has the whole message. The caller must not change the
        parts before this method returns. If the call has ended, this method does nothing, and
        ``receive`` reports the reason.

        Args:
            *parts: The message in one or more parts. Without parts, no message is sent.
            last: Whether this is the last message. The sending side is closed after this message.
            compress: ``False`` sends this message without compression. Default: the message is
                compressed if the call was started with ``compression``.
            timeout: Maximum number of seconds to send this message. A timeout ends the call.
                Default: only the deadline of the call limits the time.

        Raises:
            DeadlineExceeded: The timeout or the deadline of the call has passed.
            ResourceExhausted: The message is larger than the limit. The call stays usable.
        """
        is_compressed = bool(parts and self._call.encoding and compress is not False)
        if is_compressed:
            parts = (compress_parts(parts),)
        self._restart = None
        try:
            deadline = self._deadline.sooner(timeout)
            in_time = self._link.send(self._call, parts, last, deadline, is_compressed)
        except ContainerdError as error:
            error.operation, error.address = operation(self._call.path), self._address
            raise
        self._check_in_time(in_time)

    def finish_sending(self) -> None:
        """Close the sending side, because no more messages follow."""
        self.send(last=True)

    def receive(self, timeout: float | None = None) -> bytes | bytearray | None:
        """Wait for the next message.

        Args:
            timeout: Maximum number of seconds to wait. The call stays usable after this timeout,
                but not after the deadline of the call. Default: only the deadline limits the wait.

        Returns:
            The message, or ``None`` if the call has ended successfully.

        Raises:
            Cancelled: The caller's operation was interrupted. The call stays usable.
            DeadlineExceeded: The timeout or the deadline of the call has passed.
            ContainerdError: The call has failed. The exception's class depends on the gRPC status.
        """
        deadline = self._deadline.sooner(timeout)
        in_time, message = self._link.receive(self._call, deadline)
        while message is None and self._restart_if_unprocessed():
            in_time, message = self._link.receive(self._call, deadline)
        self._restart = None
        if message is not None:
            return self._open_message(message)
        self._check_in_time(in_time or not self._deadline.expired)
        if not in_time:
            check_call()
            message_text = "no message arrived in time"
            raise DeadlineExceeded(message_text, operation=operation(self._call.path))
        self._release_link()
        raise_status(self._call, self._deadline, self._address)
        return None

    def _restart_if_unprocessed(self) -> bool:
        """Start the call again if the peer has certainly not processed it (gRFC A6)."""
        status, begin = self._call.status, self._restart
        if status is None or not status.is_unprocessed or begin is None:
            return False
        self._release_link()
        self._restart = None
        self._link, self._call = begin()
        self._owner = self._channel
        return True

    def poll(self) -> bytes | bytearray | None:
        """Return the next message if it has already arrived, else ``None``."""
        message = self._link.poll(self._call)
        return None if message is None else self._open_message(message)

    def _open_message(self, message: Message) -> bytes | bytearray:
        """Return the message, decompressed if necessary.

        If the message cannot be decompressed, cancel the call.
        """
        try:
            return open_message(message, self._call.path, self._address)
        except ContainerdError:
            self.cancel()
            raise

    @property
    def is_done(self) -> bool:
        """Whether the call has ended. Received messages can still be unread."""
        return self._call.is_done

    @property
    def is_inherited(self) -> bool:
        """Whether this process is a forked child, and its parent started the call."""
        return not self._link.is_ours

    @property
    def initial_metadata(self) -> Metadata:
        """The metadata of the response headers. It is empty until the headers have arrived."""
        return self._call.initial_metadata

    @property
    def trailing_metadata(self) -> Metadata:
        """The metadata of the trailers. It is empty until the call has ended."""
        return self._call.trailing_metadata

    def cancel(self) -> None:
        """Cancel the call. A thread that waits for the call then raises ``Cancelled``."""
        status = Status(metadata.CANCELLED, "the call was cancelled by the client", origin="local")
        self._link.cancel(self._call, status)

    def close(self) -> None:
        """Cancel the call if it has not ended, and release the connection."""
        if not self._call.is_done and not self.is_inherited:
            self.cancel()
        self._release_link()

    def _release_link(self) -> None:
        owner, self._owner = self._owner, None
        if owner is not None:
            owner.release(self._link)

    def _check_in_time(self, in_time: bool) -> None:
        """If an operation did not finish in time, end the call and raise an exception."""
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
        # This method must not acquire a lock, because garbage collection can call this method in a
        # thread that already holds the lock.
        owner = getattr(self, "_owner", None)
        if owner is not None:
            owner.abandoned.append((self._link, self._call))

    def __repr__(self) -> str:
        return f"<Stream {operation(self._call.path)} {self._call.state}>"


def operation(path: str) -> str:
    """Return ``Version.Version`` for ``/containerd.services.version.v1.Version/Version``."""
    service, _, method = path.rpartition("/")
    return f"{service.rpartition('.')[2]}.{method}"


def open_message(message: Message, path: str, address: str) -> bytes | bytearray:
    """Return a message, decompressed if necessary.

    Raises:
        ResourceExhausted: The decompressed message is larger than the limit.
        ProtocolError: The message is not valid gzip.
    """
    try:
        return opened(message)
    except ContainerdError as error:
        is_too_large = isinstance(error, ResourceExhausted)
        code = metadata.RESOURCE_EXHAUSTED if is_too_large else metadata.INTERNAL
        status = Status(code, error.message, b"", "stream")
        raise error_of(path, status, Deadline(None), address) from None


def raise_status(call: Call, deadline: Deadline, address: str) -> None:
    """Raise the exception for the call's status, unless the status is OK."""
    status = call.status or Status(metadata.UNKNOWN, "the call has no status", origin="local")
    if status.code != metadata.OK:
        raise error_of(call.path, status, deadline, address)


def error_of(path: str, status: Status, deadline: Deadline, address: str) -> ContainerdError:
    """Return the exception for a status that is not OK."""
    code = status.code
    if code in _EXPIRY_CODES and status.origin != "local" and deadline.expired:
        code = metadata.DEADLINE_EXCEEDED  # the peer ended the call at the deadline
    error_class: type[ContainerdError] = BY_CODE.get(code, Unknown)
    remedy = ""
    if status.origin in ("stream", "connection") and code == metadata.INTERNAL:
        error_class = ProtocolError
        if "does not speak HTTP/2" in status.message:
            remedy = "Check that this is the gRPC socket of containerd"
    elif status.origin == "connection" and code == metadata.UNAVAILABLE:
        error_class = ConnectionLost
        remedy = (
            "Check whether the daemon carried out the call; wait_for_ready=True waits for a daemon "
            "that restarts"
        )
    details = ((UNDECODED, status.details),) if status.details else ()
    error = error_class(
        status.message or error_class.__name__,
        operation=operation(path),
        address=address,
        remedy=remedy,
    )
    error.details = details
    return error
