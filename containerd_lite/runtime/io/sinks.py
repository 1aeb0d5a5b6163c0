"""The sinks of output, and writers that write to a sink or to a descriptor."""

from __future__ import annotations

import io
import select
import socket
from collections.abc import Callable
from typing import BinaryIO, Protocol

from ... import limits
from ...errors import ResourceExhausted
from ...pipes import PLAIN_FILES, DescriptorSink, socket_of

#: Maximum number of bytes to read at a time, which is the capacity of a FIFO (pipe(7)).
CHUNK = 64 << 10

#: A function that gets the bytes of a stream as they arrive. The thread that serves the streams
#: calls this function.
Sink = Callable[[bytes], object]
#: Target of output: a function that gets bytes, a binary file or a descriptor.
Target = BinaryIO | Sink | int


class Capture:
    """A sink that collects bytes up to a limit.

    Args:
        limit: Maximum number of bytes to collect.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limits.count("limit", limit, 0)
        self._parts: list[bytes] = []
        self._size = 0

    def __call__(self, data: bytes) -> None:
        """Collect the bytes. Raise ``ResourceExhausted`` if all bytes together exceed the limit."""
        self._size += len(data)
        if self._size > self._limit:
            raise ResourceExhausted(
                f"the process wrote more than the {self._limit} bytes that can be captured",
                remedy="Increase max_output=, or give targets with stdout= and stderr=",
            )
        self._parts.append(data)

    @property
    def data(self) -> bytes:
        """The collected bytes."""
        return b"".join(self._parts)

    def __repr__(self) -> str:
        return f"<Capture {self._size}/{self._limit}>"


def sink_of(target: BinaryIO | Sink) -> Sink:
    """Return a sink that passes all bytes to a target.

    Args:
        target: A function that gets bytes, or a binary file.

    Returns:
        ``target`` itself if it is a function. Otherwise a function that writes bytes to the file,
        and raises the file's errors.
    """
    return target if callable(target) else _FileSink(target)


class _FileSink:
    """A sink that writes all bytes to a file. If the file has no room, the sink waits for room."""

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
    """Do nothing. This function is the sink of discarded output."""


class SinkWriter(Protocol):
    """A writer for the pump.

    Attributes:
        descriptor: The descriptor that the pump waits for if the writer has no room, or -1 if the
            pump cannot wait.
    """

    descriptor: int

    def write(self, data: memoryview) -> int:
        """Write some of the bytes, and return the number of written bytes.

        Raise ``BlockingIOError`` if the target has no room for a byte.
        """

    def close(self) -> None:
        """Close the writer. The target stays open."""
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


def writer_of(target: Target) -> SinkWriter:
    """Return a writer for a target. The target stays open when the writer is closed."""
    descriptor = descriptor_of(target)
    if descriptor is None:
        return _SinkCaller(target if callable(target) else _FileSink(target))  # type: ignore[arg-type]
    return DescriptorSink(descriptor)


def descriptor_of(target: object) -> int | None:
    """Return the descriptor of a target, or ``None`` if the target has no usable descriptor.

    If the target is a number, return this number. If the target is a file of Python's own file
    classes, flush the file, and return its descriptor. The file of a socket with TLS has no usable
    descriptor: bytes that were written there would not be encrypted.
    """
    if isinstance(target, int):
        return target
    if not isinstance(target, PLAIN_FILES):
        return None
    if isinstance(getattr(target, "raw", None), socket.SocketIO) and socket_of(target) is None:
        return None
    try:
        if target.writable():
            target.flush()
        return target.fileno()
    except io.UnsupportedOperation:  # a buffer can wrap an object without a descriptor
        return None
