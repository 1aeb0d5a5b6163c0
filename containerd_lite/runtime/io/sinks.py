"""The sinks of output, and descriptors that are written without blocking."""

from __future__ import annotations

import io
import os
import select
import socket
import stat
from collections.abc import Callable
from typing import BinaryIO, Protocol

from ...errors import InvalidArgument, ResourceExhausted

#: Bytes to move at a time: the capacity of a FIFO (pipe(7)).
CHUNK = 64 << 10

#: Function that gets the bytes of a stream as they arrive. The serving thread calls it.
Sink = Callable[[bytes], object]
#: Target of output: a function of bytes, a binary file or a descriptor.
Target = BinaryIO | Sink | int
#: Python's file classes that consist of a descriptor and a buffer only.
_PLAIN_FILES = (io.FileIO, io.BufferedReader, io.BufferedWriter, io.BufferedRandom)


class Capture:
    """A sink that keeps the bytes it gets, up to a limit.

    Args:
        limit: Largest number of bytes to keep.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._parts: list[bytes] = []
        self._size = 0

    def __call__(self, data: bytes) -> None:
        """Keep the bytes. Raise ``ResourceExhausted`` if they exceed the limit."""
        self._size += len(data)
        if self._size > self._limit:
            raise ResourceExhausted(
                f"the process wrote more than the {self._limit} bytes that are kept",
                remedy="Raise max_output=, or give targets with stdout= and stderr=",
            )
        self._parts.append(data)

    @property
    def data(self) -> bytes:
        """The bytes that were kept."""
        return b"".join(self._parts)


def sink_of(target: BinaryIO | Sink) -> Sink:
    """Return a sink that passes all bytes to a target.

    Args:
        target: A function of bytes, which is returned as it is, or a binary file.

    Returns:
        A function that writes all bytes it gets, or raises the file's error.
    """
    return target if callable(target) else _FileSink(target)


class _FileSink:
    """A sink that writes all bytes to a file, and waits for room if necessary."""

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
    """Do nothing: the sink of discarded output."""


class SinkWriter(Protocol):
    """A writer for the pump; ``descriptor`` is -1 if the pump cannot wait for room."""

    descriptor: int

    def write(self, data: memoryview) -> int:
        """Write and return the number of bytes written; raise ``BlockingIOError`` without room."""

    def close(self) -> None:
        """Close the writer, not its target."""
        ...


class _SinkCaller:
    """A writer that calls a sink."""

    descriptor = -1

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def write(self, data: memoryview) -> int:
        self._sink(bytes(data))
        return len(data)

    def close(self) -> None:
        pass


class DescriptorSink:
    """A writer to a descriptor that never blocks.

    It does not set ``O_NONBLOCK`` on the descriptor, which other programs may share. Instead, it
    opens a pipe or a terminal again, and sends to a socket with a flag for each message. A regular
    file does not block.

    Args:
        descriptor: The descriptor, which is duplicated and stays open.
    """

    def __init__(self, descriptor: int) -> None:
        self._socket: socket.socket | None = None
        self._is_blocking = False
        self.descriptor = duplicate(descriptor)
        mode = os.fstat(self.descriptor).st_mode
        if stat.S_ISSOCK(mode):
            self._socket = socket.socket(fileno=self.descriptor)
        elif not stat.S_ISREG(mode):
            self._reopen()

    def _reopen(self) -> None:
        flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        original = self.descriptor
        try:
            self.descriptor = os.open(f"/proc/self/fd/{original}", flags)
        except OSError:  # for instance a terminal of another user
            self._is_blocking = True
        else:
            os.close(original)

    def write(self, data: memoryview) -> int:
        """Write and return the number of bytes written; raise ``BlockingIOError`` without room."""
        if self._socket is not None:
            return self._socket.send(data, socket.MSG_DONTWAIT)
        if self._is_blocking:
            return self._write_if_ready(data)
        return os.write(self.descriptor, data)

    def _write_if_ready(self, data: memoryview) -> int:
        poller = select.poll()
        poller.register(self.descriptor, select.POLLOUT)
        if not poller.poll(0):
            raise BlockingIOError
        return os.write(self.descriptor, data[: select.PIPE_BUF])

    def close(self) -> None:
        """Close the duplicate of the descriptor."""
        if self._socket is not None:
            self._socket.close()
        elif self.descriptor >= 0:
            os.close(self.descriptor)
        self.descriptor, self._socket = -1, None


def writer_of(target: Target) -> SinkWriter:
    """Return a writer to a target. The pump closes the writer; the target stays open."""
    descriptor = descriptor_of(target)
    if descriptor is None:
        return _SinkCaller(target if callable(target) else _FileSink(target))  # type: ignore[arg-type]
    return DescriptorSink(descriptor)


def descriptor_of(target: object) -> int | None:
    """Return the descriptor of a plain file, or the target itself if it is a number.

    Flush the file first. Return ``None`` for other targets.
    """
    if isinstance(target, int):
        return target
    if not isinstance(target, _PLAIN_FILES):
        return None
    try:
        if target.writable():
            target.flush()
        return target.fileno()
    except io.UnsupportedOperation:  # a buffer around an object without a descriptor
        return None


def duplicate(descriptor: int) -> int:
    """Return a duplicate, which stays open when the caller closes the descriptor.

    Raise ``InvalidArgument`` if the descriptor is not open.
    """
    try:
        return os.dup(descriptor)
    except OSError as error:
        raise InvalidArgument(
            f"descriptor {descriptor} cannot be used: {error.strerror}",
            remedy="Keep the file open, or give PIPE or DEVNULL",
        ) from error
