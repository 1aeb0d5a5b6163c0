"""The streaming service, containerd.services.streaming.v1. Since 1.7.

Other calls refer to a stream by its id. ``ByteReader`` and ``ByteWriter`` receive and send bytes
through a stream. The receiver grants credit to the sender, as in containerd's
core/transfer/streaming.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator

from ..errors import Aborted, ProtocolError
from ..schema.pool import CONTAINERD, DynamicMessage, decode, encode
from ..undo import Undo
from ._base import MessageStream, Service
from ._types import AnyValue, any_fields, any_of

_INIT = "containerd.services.streaming.v1.StreamInit"
_EMPTY = "google.protobuf.Empty"
_DATA = "containerd.types.transfer.Data"
_WINDOW_UPDATE = "containerd.types.transfer.WindowUpdate"

#: The maximum number of bytes in one ``Data`` message (core/transfer/streaming/stream.go).
MAX_DATA = 32 << 10
#: The maximum credit of the daemon in bytes (core/transfer/streaming/stream.go).
WINDOW = 64 << 10
#: The maximum credit of a writer in bytes. The daemon's counter has 32 bits.
_MAX_CREDIT = (1 << 31) - 1


class StreamingService(Service):
    """The streams of a namespace. Since 1.7."""

    _name = "containerd.services.streaming.v1.Streaming"

    def stream(self, id: str = "") -> Stream:
        """Open a stream, and wait until the daemon has registered it.

        If the service has a lease (``with_options(lease=)``), garbage collection ends the stream
        after the lease has been deleted. Without a lease, two limitations apply:

        - If no other call uses the stream, the id stays in use after the end of the stream.
        - If the stream is opened before its namespace exists, garbage collection ends the stream.

        Args:
            id: The id of the stream. Default: a random id.

        Raises:
            Unknown: The id is in use. Daemons up to at least 2.1 do not respond with
                ``AlreadyExists``.
            DeadlineExceeded: The daemon did not register the stream within
                ``CallContext.timeout`` seconds.
        """
        id = id or f"lite-{os.urandom(12).hex()}"
        messages = self._begin_stream(CONTAINERD.method(f"{self._name}/Stream"), None)
        stream = Stream(messages, id)
        with Undo(stream.close):
            stream.send(AnyValue(_INIT, encode(CONTAINERD.message(_INIT)(id=id))))
            response = stream.receive(self._context.timeout)
            if response is None or response.type_url != _EMPTY:
                text = "nothing" if response is None else f"a {response.type_url}"
                raise ProtocolError(f"the daemon answered the request for stream {id} with {text}")
        return stream


class Stream:
    """An open stream of ``Any`` values in both directions; an iterator and a context manager.

    The iterator yields the received values. One thread may send values while another thread
    receives values. Any thread may call ``cancel``.

    To the daemon, a cancelled stream looks like a stream that has ended normally. Data that was
    sent before the cancellation may be lost without an error.

    Attributes:
        id: The id of the stream.
    """

    def __init__(self, messages: MessageStream, id: str) -> None:
        self._messages = messages
        self.id = id

    def send(self, value: AnyValue) -> None:
        """Send a value.

        If the stream has ended, this method does nothing. ``receive`` then raises the error that
        ended the stream.
        """
        self._messages.send(any_fields(value))

    def finish_sending(self) -> None:
        """Close the sending side: no more values follow. Receiving remains possible."""
        self._messages.raw.finish_sending()

    def receive(self, timeout: float | None = None) -> AnyValue | None:
        """Return the next value, or ``None`` if the daemon has ended the stream.

        Args:
            timeout: Seconds to wait for the next value. Default: until the call's deadline.

        Raises:
            DeadlineExceeded: No value arrived within ``timeout``. The stream stays open.
            ContainerdError: The stream failed. The gRPC status determines the class of the error.
        """
        message = self._messages.receive(timeout)
        return None if message is None else any_of(message)

    def poll(self) -> AnyValue | None:
        """Return a value that has already arrived, or ``None``. Do not wait."""
        message = self._messages.poll()
        return None if message is None else any_of(message)

    @property
    def is_done(self) -> bool:
        """Whether the stream has ended. ``receive`` may still return values that have arrived."""
        return self._messages.raw.is_done

    def cancel(self) -> None:
        """Cancel the stream. A thread that is waiting for a value then gets ``Cancelled``."""
        self._messages.raw.cancel()

    def close(self) -> None:
        """Cancel the stream if it has not ended. A second call does nothing."""
        self._messages.close()

    def __iter__(self) -> Iterator[AnyValue]:
        while (value := self.receive()) is not None:
            yield value

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Stream {self.id}>"


class ByteReader(io.RawIOBase):
    """A raw file object that reads the bytes from a stream. The object buffers up to 64 KiB.

    The file ends when the daemon ends the stream. When containerd (up to at least 2.3) exports an
    archive, it does not end the archive's stream. To make containerd end the stream after the last
    byte, pass the id of this stream as ``progress_stream`` of the transfer, too. The daemon then
    also sends the ``Progress`` values on this stream, and ``other`` receives these values.

    Closing the file does not close the stream.

    Args:
        stream: The stream.
        other: A function that is called with each value that is not ``Data``. Default: such a
            value raises ``ProtocolError``.
        timeout: Seconds that each wait for bytes may take. Default: no limit.
    """

    def __init__(
        self,
        stream: Stream,
        *,
        other: Callable[[AnyValue], None] | None = None,
        timeout: float | None = None,
    ) -> None:
        self._stream = stream
        self._other = other
        self._timeout = timeout
        self._unread = memoryview(b"")
        self._window = 0  # the number of bytes that the daemon may still send
        self._is_at_end = False

    def readable(self) -> bool:
        """Return true."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Read bytes into a buffer, and return their number. At the end of the stream, return 0.

        Raises:
            ProtocolError: The daemon exceeded its credit or the maximum size of a ``Data`` message,
                or sent an unexpected value.
            DeadlineExceeded: No bytes arrived within the timeout.
            ContainerdError: The stream failed. The gRPC status determines the class of the error.
        """
        view = memoryview(buffer).cast("B")
        while view and not self._unread and not self._is_at_end:
            self._grant_credit()
            self._handle_value(self._stream.receive(self._timeout))
        size = min(len(view), len(self._unread))
        view[:size] = self._unread[:size]
        self._unread = self._unread[size:]
        return size

    def _grant_credit(self) -> None:
        """Increase the daemon's credit to the full window.

        This method is called only when all received bytes have been read. So at most 64 KiB of
        unread bytes can arrive.

        This method sends a grant after each ``Data`` message, as containerd's Go client does. In
        the daemon, a grant wakes only one of the writers that wait for credit. If this writer does
        not use all of the credit, the other writers wait until the next grant. Without a grant
        after each ``Data`` message, the other writers would wait for ever.
        """
        if self._window < WINDOW:
            self._stream.send(_packed(_WINDOW_UPDATE, update=WINDOW - self._window))
            self._window = WINDOW

    def _handle_value(self, value: AnyValue | None) -> None:
        if value is None:
            self._is_at_end = True
        elif value.type_url == _DATA:
            data = memoryview(_unpacked(value).data)
            if len(data) > MAX_DATA:
                raise ProtocolError(
                    f"the daemon sent a message with {len(data)} bytes through stream "
                    f"{self._stream.id}: the maximum is {MAX_DATA} bytes"
                )
            if len(data) > self._window:
                raise ProtocolError(
                    f"the daemon sent {len(data)} bytes through stream {self._stream.id}, "
                    f"but its credit was {self._window} bytes"
                )
            self._window -= len(data)
            self._unread = data
        elif self._other is not None:
            self._other(value)
        else:
            raise ProtocolError(f"the daemon sent a {value.type_url} where bytes were expected")

    def __repr__(self) -> str:
        return f"<ByteReader {self._stream.id}>"


class ByteWriter:
    """Sends bytes through a stream, within the credit that the daemon grants.

    The caller must call ``finish`` after the last byte. This class has no ``close`` and is not a
    context manager, because the daemon treats any end of the stream as the end of the data.

    Args:
        stream: The stream.
        timeout: Seconds that each wait for credit may take. Default: no limit.
    """

    def __init__(self, stream: Stream, *, timeout: float | None = None) -> None:
        self._stream = stream
        self._timeout = timeout
        self._credit = 0

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Send all of ``data``, and return its size in bytes.

        When this method returns, the kernel has all of ``data``.

        If the transfer has failed, the daemon stops reading, but does not end this stream with an
        error. Another thread can then cancel the stream, which ends this call.

        Raises:
            DeadlineExceeded: The daemon granted no credit within the timeout.
            Aborted: The daemon has ended the stream.
            Cancelled: Another thread cancelled the stream.
            ProtocolError: The daemon sent a value that is not credit, or the credit is negative or
                too large.
        """
        view = memoryview(data).cast("B")
        sent = 0
        while sent < len(view):
            self._await_credit()
            chunk = view[sent : sent + min(MAX_DATA, self._credit)]
            self._stream.send(_packed(_DATA, data=bytes(chunk)))
            self._credit -= len(chunk)
            sent += len(chunk)
        return sent

    def finish(self) -> None:
        """Close the sending side: no more bytes follow.

        Do not close the stream before the transfer has ended, because the daemon may not have read
        all bytes yet.
        """
        self._stream.finish_sending()

    def _await_credit(self) -> None:
        while (value := self._stream.poll()) is not None:
            self._add_credit(value)
        while not self._credit or self._stream.is_done:
            value = self._stream.receive(self._timeout)
            if value is None:
                raise Aborted(f"the daemon ended stream {self._stream.id} before all data was sent")
            self._add_credit(value)

    def _add_credit(self, value: AnyValue) -> None:
        if value.type_url != _WINDOW_UPDATE:
            raise ProtocolError(f"the daemon sent a {value.type_url} where credit was expected")
        update = _unpacked(value).update
        if update < 0:
            raise ProtocolError(f"the daemon granted a negative credit of {update} bytes")
        if self._credit + update > _MAX_CREDIT:
            raise ProtocolError(
                f"the daemon granted a credit of {self._credit + update} bytes: "
                f"the maximum is {_MAX_CREDIT} bytes"
            )
        self._credit += update

    def __repr__(self) -> str:
        return f"<ByteWriter {self._stream.id}>"


def _packed(name: str, **fields: object) -> AnyValue:
    return AnyValue(name, encode(CONTAINERD.message(name)(**fields)))


def _unpacked(value: AnyValue) -> DynamicMessage:
    return decode(CONTAINERD.message(value.type_url), value.value)
