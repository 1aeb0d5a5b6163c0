"""The streaming service, containerd.services.streaming.v1. Since 1.7.

A stream has a name, by which other calls use it. ``ByteReader`` and ``ByteWriter`` move bytes
through a stream. The receiver grants credit to the sender, as when transfers move archives
(containerd's core/transfer/streaming).
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

#: The maximum number of bytes in one ``Data`` (core/transfer/streaming/stream.go).
MAX_DATA = 32 << 10
#: The maximum number of bytes that the daemon may send ahead of the reader (the same file).
WINDOW = 64 << 10
#: The maximum credit of a writer in bytes, because the daemon counts in 32 bits.
_MAX_CREDIT = (1 << 31) - 1


class StreamingService(Service):
    """The streams of a namespace, by their names. Since 1.7."""

    _name = "containerd.services.streaming.v1.Streaming"

    def stream(self, id: str = "") -> Stream:
        """Open a stream, and wait until the daemon has registered it.

        If the call belongs to a lease (``with_options(lease=)``), the daemon ends the stream when
        the lease is collected. Without a lease, two limitations apply:

        - The id of the stream stays in use if no other call has used the stream.
        - Garbage collection ends the stream if the namespace does not exist yet.

        Args:
            id: The name of the stream. Default: a random one.

        Raises:
            Unknown: The id is in use. Daemons up to 2.1, at least, do not say ``AlreadyExists``.
            DeadlineExceeded: The daemon does not register the stream within the deadline of
                calls that only touch metadata.
        """
        id = id or f"lite-{os.urandom(12).hex()}"
        messages = self._begin(CONTAINERD.method(f"{self._name}/Stream"), None)
        stream = Stream(messages, id)
        with Undo(stream.close):
            stream.send(AnyValue(_INIT, encode(CONTAINERD.message(_INIT)(id=id))))
            response = stream.receive(self._context.timeout)
            if response is None or response.type_url != _EMPTY:
                text = "nothing" if response is None else f"a {response.type_url}"
                raise ProtocolError(f"the daemon answered the opening of stream {id} with {text}")
        return stream


class Stream:
    """An open stream of ``Any`` values in both directions; an iterator and a context manager.

    It iterates over the received values. One thread may send while another one receives, and any
    thread may ``cancel``.

    The daemon treats a cancelled stream as one that has ended. Data that was sent before may be
    lost without an error.

    Attributes:
        id: The name of the stream.
    """

    def __init__(self, messages: MessageStream, id: str) -> None:
        self._messages = messages
        self.id = id

    def send(self, value: AnyValue) -> None:
        """Send a value.

        On a stream that has ended this does nothing; ``receive`` raises the error that ended it.
        """
        self._messages.send(any_fields(value))

    def finish_sending(self) -> None:
        """Tell the daemon that no more values follow. Receiving remains possible."""
        self._messages.raw.finish_sending()

    def receive(self, timeout: float | None = None) -> AnyValue | None:
        """Return the next value, ``None`` if the daemon has ended the stream.

        Args:
            timeout: Seconds to wait for this value. Default: until the call's deadline.

        Raises:
            DeadlineExceeded: No value arrived within ``timeout``. The stream continues.
            ContainerdError: The stream failed; the class is that of its status.
        """
        message = self._messages.receive(timeout)
        return None if message is None else any_of(message)

    def poll(self) -> AnyValue | None:
        """Return a value that has already arrived, or ``None``, without waiting."""
        message = self._messages.poll()
        return None if message is None else any_of(message)

    @property
    def is_done(self) -> bool:
        """Whether the stream has ended. Values may remain to be received."""
        return self._messages.raw.is_done

    def cancel(self) -> None:
        """End the stream now. A thread that waits for it gets ``Cancelled``."""
        self._messages.raw.cancel()

    def close(self) -> None:
        """Cancel the stream if it has not ended. This method may be called twice."""
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
    """A raw file of the bytes that arrive through a stream. It buffers up to 64 KiB.

    The file ends when the daemon ends the stream. containerd (up to 2.3, at least) does not end
    the stream of an export by itself. It does if the ``progress_stream`` of the transfer is this
    stream, too: it ends the stream after the last byte, and ``other`` receives the progress.

    Closing the file does not close the stream.

    Args:
        stream: The stream.
        other: A function that receives the values between the bytes. Default: none; such a value
            raises ``ProtocolError``.
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
        self._window = 0  # the bytes that the daemon may still send
        self._is_at_end = False

    def readable(self) -> bool:
        """Return true."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Read bytes into a buffer and return their number, 0 at the end.

        Raises:
            ProtocolError: The daemon sent more than it may, or a value that is not bytes.
            DeadlineExceeded: No bytes arrived within the timeout.
            ContainerdError: The stream failed; the class is that of its status.
        """
        view = memoryview(buffer).cast("B")
        while view and not self._unread and not self._is_at_end:
            self._grant_credit()
            self._process(self._stream.receive(self._timeout))
        size = min(len(view), len(self._unread))
        view[:size] = self._unread[:size]
        self._unread = self._unread[size:]
        return size

    def _grant_credit(self) -> None:
        """Grant the daemon a full window of credit.

        All received bytes are read by then, so that at most 64 KiB wait.

        Each ``Data`` leads to a grant, as in Go's client. In the daemon, a grant wakes only one of
        the writers that wait for credit. If this writer leaves credit unused, the others wait
        until the next grant. Without a grant after each ``Data``, they would wait for ever.
        """
        if self._window < WINDOW:
            self._stream.send(_packed(_WINDOW_UPDATE, update=WINDOW - self._window))
            self._window = WINDOW

    def _process(self, value: AnyValue | None) -> None:
        if value is None:
            self._is_at_end = True
        elif value.type_url == _DATA:
            data = memoryview(_unpacked(value).data)
            if len(data) > min(MAX_DATA, self._window):
                raise ProtocolError(
                    f"the daemon sent {len(data)} bytes at once through stream {self._stream.id}, "
                    f"but only {min(MAX_DATA, self._window)} were allowed"
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

    It has no ``close`` and is not a context manager, because the daemon treats the end of a stream
    as the end of the bytes. A caller that has written all bytes calls ``finish``.

    Args:
        stream: The stream.
        timeout: Seconds that each wait for credit may take. Default: no limit.
    """

    def __init__(self, stream: Stream, *, timeout: float | None = None) -> None:
        self._stream = stream
        self._timeout = timeout
        self._credit = 0

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Send all of ``data``, and return its size. The kernel then has all of it.

        If a transfer has failed, the daemon reads no more and does not say so. Another thread that
        knows of the failure may ``cancel`` the stream.

        Raises:
            DeadlineExceeded: The daemon granted no credit within the timeout.
            Aborted: The daemon has ended the stream.
            Cancelled: Another thread cancelled the stream.
            ProtocolError: The daemon sent another value than credit, or too much credit.
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
        """Tell the daemon that no more bytes follow.

        The daemon has read all bytes when the transfer ends. Do not close the stream before.
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
        if not 0 <= update <= _MAX_CREDIT - self._credit:
            raise ProtocolError(
                f"the daemon granted {update} bytes of credit on top of {self._credit}"
            )
        self._credit += update

    def __repr__(self) -> str:
        return f"<ByteWriter {self._stream.id}>"


def _packed(name: str, **fields: object) -> AnyValue:
    return AnyValue(name, encode(CONTAINERD.message(name)(**fields)))


def _unpacked(value: AnyValue) -> DynamicMessage:
    return decode(CONTAINERD.message(value.type_url), value.value)
