"""Where the pump takes bytes from and puts them.

What lives here: sinks and sources, and descriptors that never block.  What may not: threads.
"""

from __future__ import annotations

import io
import os
import select
import socket
import stat
from collections.abc import Callable
from typing import BinaryIO, Protocol

from ...errors import InvalidArgument, ResourceExhausted

#: As much as a FIFO holds (pipe(7)).
CHUNK = 64 << 10

#: Takes the bytes of a stream as they come, in the serving thread.
Sink = Callable[[bytes], object]
#: What can be written to: a sink, a binary file, a descriptor.
Target = BinaryIO | Sink | int
#: Files of Python that are but a descriptor and a buffer.
_PLAIN = (io.FileIO, io.BufferedReader, io.BufferedWriter, io.BufferedRandom)


class Capture:
    """A sink that keeps what it gets, up to ``limit`` bytes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._parts: list[bytes] = []
        self._size = 0

    def __call__(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > self._limit:
            raise ResourceExhausted(
                f"the process wrote more than the {self._limit} bytes that are kept",
                remedy="Raise max_output=, or give stdout= and stderr= something to write to",
            )
        self._parts.append(data)

    @property
    def data(self) -> bytes:
        return b"".join(self._parts)


def sink_of(target: BinaryIO | Sink) -> Sink:
    """A sink for a binary file or a function; all of the bytes are written, or it raises."""
    return target if callable(target) else _FileSink(target)


class _FileSink:
    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def __call__(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                written: int | None = self._file.write(view)
            except BlockingIOError as error:
                written = error.characters_written
            view = view[written or 0 :]
            if view and not written:
                _wait_for_room(self._file.fileno())


def _wait_for_room(descriptor: int) -> None:
    poller = select.poll()
    poller.register(descriptor, select.POLLOUT)
    poller.poll()


def discard(data: bytes) -> None:
    """The sink of what nobody wants."""


class SinkWriter(Protocol):
    """Something to write to; ``descriptor`` is -1 for what cannot be waited for."""

    descriptor: int

    def write(self, data: memoryview) -> int:
        """Returns how much was written; raises ``BlockingIOError`` where there is no room."""

    def close(self) -> None: ...


class _Call:
    """Writes to a sink."""

    descriptor = -1

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def write(self, data: memoryview) -> int:
        self._sink(bytes(data))
        return len(data)

    def close(self) -> None:
        pass


class DescriptorSink:
    """Writes to a descriptor without ever blocking on it, and without changing it for others.

    A pipe or a terminal is opened once more, with a flag of its own; a socket has a flag for each
    message; a regular file does not block.
    """

    def __init__(self, descriptor: int) -> None:
        self._socket: socket.socket | None = None
        self._is_blocking = False
        self.descriptor = duplicate(descriptor)
        mode = os.fstat(self.descriptor).st_mode
        if stat.S_ISSOCK(mode):
            self._socket = socket.socket(fileno=self.descriptor)
        elif not stat.S_ISREG(mode):
            self._open_again()

    def _open_again(self) -> None:
        flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        given = self.descriptor
        try:
            self.descriptor = os.open(f"/proc/self/fd/{given}", flags)
        except OSError:  # somebody else's terminal
            self._is_blocking = True
        else:
            os.close(given)

    def write(self, data: memoryview) -> int:
        if self._socket is not None:
            return self._socket.send(data, socket.MSG_DONTWAIT)
        if self._is_blocking:
            return self._write_carefully(data)
        return os.write(self.descriptor, data)

    def _write_carefully(self, data: memoryview) -> int:
        poller = select.poll()
        poller.register(self.descriptor, select.POLLOUT)
        if not poller.poll(0):
            raise BlockingIOError
        return os.write(self.descriptor, data[: select.PIPE_BUF])

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        elif self.descriptor >= 0:
            os.close(self.descriptor)
        self.descriptor, self._socket = -1, None


def writer_of(target: Target) -> SinkWriter:
    """What the pump writes to, to be closed by it; the target itself stays open."""
    descriptor = descriptor_of(target)
    if descriptor is None:
        return _Call(target if callable(target) else _FileSink(target))  # type: ignore[arg-type]
    return DescriptorSink(descriptor)


def descriptor_of(target: object) -> int | None:
    """The descriptor of a number or of a plain file, what it has buffered written out."""
    if isinstance(target, int):
        return target
    if not isinstance(target, _PLAIN):
        return None
    try:
        if target.writable():
            target.flush()
        return target.fileno()
    except io.UnsupportedOperation:  # a buffer around something that is no file
        return None


def duplicate(descriptor: int) -> int:
    """A descriptor that stays what it is when the given one is closed.

    Raises ``InvalidArgument`` for one that is not open.
    """
    try:
        return os.dup(descriptor)
    except OSError as error:
        raise InvalidArgument(
            f"descriptor {descriptor} cannot be used: {error.strerror}",
            remedy="Keep the file open, or give PIPE or DEVNULL",
        ) from error
