"""containerd.services.streaming.v1: pipes that have a name, for other calls to use; since 1.7.

What lives here: ``Stream``, and on it bytes under credit, as transfers move archives
(core/transfer/streaming).  What may not: what the bytes are.
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

#: Bytes of one ``Data``, at most (core/transfer/streaming/stream.go).
MAX_DATA = 32 << 10
#: Bytes that a reader lets come before it has read them (the same).
WINDOW = 64 << 10
#: What a writer is given never adds up to more: the daemon counts in 32 bits.
_MAX_CREDIT = (1 << 31) - 1


class StreamingService(Service):
    """Streams by their names, in a namespace; since 1.7."""

    _name = "containerd.services.streaming.v1.Streaming"

    def stream(self, id: str = "") -> Stream:
        """Open a stream, and wait until the daemon has it; ``""`` makes an id up.

        In a lease (``with_options(lease=)``) the daemon ends it when the lease is collected.
        Out of one it remembers the id of a stream that no other call has taken, and garbage
        collection ends the stream if the namespace does not exist yet.  Raises
        ``Unknown`` for an id that is in use: that is all that daemons tell, up to 2.1 at least.
        """
        id = id or f"lite-{os.urandom(12).hex()}"
        messages = self._begin(CONTAINERD.method(f"{self._name}/Stream"), None)
        stream = Stream(messages, id)
        with Undo(stream.close):
            stream.send(AnyValue(_INIT, encode(CONTAINERD.message(_INIT)(id=id))))
            answer = stream.receive(self._context.timeout)
            if answer is None or answer.type_url != _EMPTY:
                said = "nothing" if answer is None else f"a {answer.type_url}"
                raise ProtocolError(f"the daemon answered the opening of stream {id} by {said}")
        return stream


class Stream:
    """An open stream of ``Any`` values, both ways; a context manager and an iterator.

    One thread may send while another receives, and any thread may ``cancel``.  The daemon takes
    a stream that is cancelled for one that has ended: what was sent may be cut off, unnoticed.
    """

    def __init__(self, messages: MessageStream, id: str) -> None:
        self._messages = messages
        self.id = id

    def send(self, value: AnyValue) -> None:
        """Does nothing on a stream that has ended: ``receive`` tells how it did."""
        self._messages.send(any_fields(value))

    def finish_sending(self) -> None:
        """Say that no more will come; what comes back can still be received."""
        self._messages.raw.finish_sending()

    def receive(self, timeout: float | None = None) -> AnyValue | None:
        """The next value, ``None`` where the daemon has ended the stream.

        ``timeout`` in seconds bounds this wait alone; then ``DeadlineExceeded`` is raised, and
        the stream is as it was.
        """
        message = self._messages.receive(timeout)
        return None if message is None else any_of(message)

    def poll(self) -> AnyValue | None:
        """A value that has come already, else ``None``; never waits."""
        message = self._messages.poll()
        return None if message is None else any_of(message)

    @property
    def is_done(self) -> bool:
        """Whether the stream has ended; values may still wait to be received."""
        return self._messages.raw.is_done

    def cancel(self) -> None:
        """End the stream now; a thread that waits for it gets ``Cancelled``."""
        self._messages.raw.cancel()

    def close(self) -> None:
        """Cancel the stream if it has not ended; may be called twice."""
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
    """The bytes that come through a stream, as a raw file; at most 64 KiB wait to be read.

    A file that ends is a stream that the daemon has ended.  containerd does not end the stream
    of an export by itself (up to 2.3 at least): give its id as the transfer's
    ``progress_stream`` too, then it is ended behind the last byte, and ``other`` takes the
    progress.  The stream stays its owner's to close.
    """

    def __init__(
        self,
        stream: Stream,
        *,
        other: Callable[[AnyValue], None] | None = None,
        timeout: float | None = None,
    ) -> None:
        """``other`` is called with what comes between the bytes, for which there is a
        ``ProtocolError`` without it.  ``timeout`` in seconds bounds each wait."""
        self._stream = stream
        self._other = other
        self._timeout = timeout
        self._rest = memoryview(b"")
        self._window = 0  # what may come still
        self._is_over = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Raises ``ProtocolError`` for a daemon that sends more than it may,
        ``DeadlineExceeded``, and how the daemon says the stream failed."""
        view = memoryview(buffer).cast("B")
        while view and not self._rest and not self._is_over:
            self._grant()
            self._take(self._stream.receive(self._timeout))
        size = min(len(view), len(self._rest))
        view[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size

    def _grant(self) -> None:
        """Credit is given when all that came was read, so that 64 KiB is all that waits.

        For every ``Data``, as Go's client does: of several writers in the daemon a grant wakes
        one, and where that leaves credit the others would wait for ever.
        """
        if self._window < WINDOW:
            self._stream.send(_packed(_WINDOW_UPDATE, update=WINDOW - self._window))
            self._window = WINDOW

    def _take(self, value: AnyValue | None) -> None:
        if value is None:
            self._is_over = True
        elif value.type_url == _DATA:
            data = memoryview(_unpacked(value).data)
            if len(data) > min(MAX_DATA, self._window):
                raise ProtocolError(
                    f"{len(data)} bytes came through stream {self._stream.id} at once, "
                    f"of {self._window} that were allowed"
                )
            self._window -= len(data)
            self._rest = data
        elif self._other is not None:
            self._other(value)
        else:
            raise ProtocolError(f"a {value.type_url} came where bytes were expected")

    def __repr__(self) -> str:
        return f"<ByteReader {self._stream.id}>"


class ByteWriter:
    """Sends bytes through a stream, as far as the other end gives credit; what it sends, ``write``
    returns for.

    No ``with`` and no ``close``: whoever knows that all was written says so by ``finish``.  The
    daemon would take the end of a stream for the end of the bytes.
    """

    def __init__(self, stream: Stream, *, timeout: float | None = None) -> None:
        """``timeout`` in seconds bounds each wait for credit."""
        self._stream = stream
        self._timeout = timeout
        self._credit = 0

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Send all of ``data``; returns when the kernel has it.

        A daemon that wants no more, because the transfer has failed, says nothing: another
        thread that knows may ``cancel`` the stream.  Raises ``DeadlineExceeded``, ``Aborted``
        where the daemon has ended the stream, ``ProtocolError``.
        """
        view = memoryview(data).cast("B")
        at = 0
        while at < len(view):
            self._await_credit()
            piece = view[at : at + min(MAX_DATA, self._credit)]
            self._stream.send(_packed(_DATA, data=bytes(piece)))
            self._credit -= len(piece)
            at += len(piece)
        return at

    def finish(self) -> None:
        """Say that these are all the bytes.  That they were read, the end of the transfer tells:
        until then the stream must not be closed."""
        self._stream.finish_sending()

    def _await_credit(self) -> None:
        while (value := self._stream.poll()) is not None:
            self._take(value)
        while not self._credit or self._stream.is_done:
            value = self._stream.receive(self._timeout)
            if value is None:
                raise Aborted(f"the daemon ended stream {self._stream.id} before all was sent")
            self._take(value)

    def _take(self, value: AnyValue) -> None:
        if value.type_url != _WINDOW_UPDATE:
            raise ProtocolError(f"a {value.type_url} came where credit was expected")
        update = _unpacked(value).update
        if not 0 <= update <= _MAX_CREDIT - self._credit:
            raise ProtocolError(f"credit of {update} bytes came on top of {self._credit}")
        self._credit += update

    def __repr__(self) -> str:
        return f"<ByteWriter {self._stream.id}>"


def _packed(name: str, **fields: object) -> AnyValue:
    return AnyValue(name, encode(CONTAINERD.message(name)(**fields)))


def _unpacked(value: AnyValue) -> DynamicMessage:
    return decode(CONTAINERD.message(value.type_url), value.value)
