"""Pipes, sockets and terminals that can block, and waits for them that an interrupt ends.

The flag ``O_NONBLOCK`` belongs to the file description, which other programs can share. So this
module never sets the flag on a file of the caller.
"""

from __future__ import annotations

import errno
import io
import os
import select
import socket
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import BinaryIO, cast

from .deadline import Deadline
from .errors import InvalidArgument
from .interrupt import check, pause
from .system import open_file

#: Seconds between checks whether the operation was interrupted, and between attempts to open a FIFO
#: that has no reader.
_CHECK_INTERVAL = 0.05
#: Maximum number of bytes of one read.
_MOST = 256 << 10
#: Python's file classes that pass bytes to a descriptor without changing the bytes.
PLAIN_FILES = (io.FileIO, io.BufferedReader, io.BufferedWriter, io.BufferedRandom)
#: The classes of the files below a buffer that belong to a descriptor.
_RAW_FILES = (io.FileIO, socket.SocketIO)


class DescriptorSink:
    """A writer that writes to a descriptor without blocking.

    The writer does not set ``O_NONBLOCK`` on the descriptor, because other programs can share the
    file description. Instead, the writer opens a pipe or a terminal a second time with
    ``O_NONBLOCK``. For a socket, the writer sets the flag ``MSG_DONTWAIT`` in each call. A write to
    a regular file never blocks.

    Args:
        descriptor: The descriptor. The writer uses a duplicate of the descriptor, and does not
            close the original descriptor.
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
        except OSError:  # for instance, the terminal belongs to another user
            self._is_blocking = True
        else:
            os.close(original)

    def write(self, data: memoryview) -> int:
        """Write some of the bytes, and return the number of written bytes.

        Raise ``BlockingIOError`` if the target has no room for a byte.
        """
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


class WaitingReader:
    """Reads from a pipe, a socket or a terminal. An interrupt of the operation ends each wait.

    Args:
        file: The file, which must be one for which ``_can_wait`` returns true.
    """

    def __init__(self, file: BinaryIO) -> None:
        # ``read1`` returns the bytes in the file's buffer, or else reads past the buffer. So the
        # buffer is empty afterwards, and the descriptor alone says whether there are more bytes.
        self._read = getattr(file, "read1", file.read)
        self._wait = _Readiness(file, file.fileno(), select.POLLIN)

    def read(self, size: int) -> bytes:
        """Wait for bytes, and return up to ``size`` of them. At the end, return ``b""``."""
        while True:
            self._wait()
            data: bytes | None = self._read(min(size, _MOST))
            if data is not None:  # else another reader took the bytes
                return data

    def readinto(self, buffer: memoryview) -> int:
        """Wait for bytes, read some of them into ``buffer``, and return their number."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


class WaitingWriter:
    """Writes to a pipe, a socket or a terminal. An interrupt of the operation ends each wait.

    Args:
        file: The file, which must be one for which ``_can_wait`` returns true. It stays open.
    """

    def __init__(self, file: BinaryIO) -> None:
        descriptor = file.fileno()
        wait = _Readiness(file, descriptor, select.POLLOUT)
        wait()
        file.flush()  # the bytes that the caller wrote before come first
        self._sink = DescriptorSink(descriptor)
        self._wait = _Readiness(file, self._sink.descriptor, select.POLLOUT)

    def write(self, data: bytes | memoryview) -> int:
        """Wait for room, write some of the bytes, and return their number."""
        while True:
            check()
            try:
                return self._sink.write(memoryview(data))
            except BlockingIOError:
                self._wait()

    def close(self) -> None:
        """Free the resources of this object."""
        self._sink.close()


class _Readiness:
    """Waits until a descriptor is ready, or until the operation is interrupted."""

    def __init__(self, file: BinaryIO, descriptor: int, events: int) -> None:
        self._poller = select.poll()
        self._poller.register(descriptor, events)
        own_socket = socket_of(file)
        self._seconds = None if own_socket is None else own_socket.gettimeout()

    def __call__(self) -> None:
        """Wait.

        Raises:
            Cancelled: The operation was interrupted.
            TimeoutError: The file is a socket's, and the socket's own time limit has passed.
        """
        deadline = Deadline(self._seconds)
        check()
        while not self._poller.poll(1000 * (deadline.sooner(_CHECK_INTERVAL).remaining() or 0)):
            check()
            if deadline.expired:
                raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))


def readable(file: BinaryIO) -> BinaryIO | WaitingReader:
    """Return a reader of a file. If the file can block, an interrupt ends each wait, if possible.

    It is possible if the file belongs to one of Python's own classes, which pass all bytes on
    unchanged. It is not possible if the file belongs to a socket with TLS.
    """
    return WaitingReader(file) if _can_wait(file) else file


@contextmanager
def writable(file: BinaryIO) -> Iterator[BinaryIO]:
    """Yield a writer to a file, for which the same holds as for ``readable``.

    The block must not use the file itself. The file stays open.
    """
    if not _can_wait(file):
        yield file
        return
    with closing(WaitingWriter(file)) as writer:
        yield cast("BinaryIO", writer)


def _can_wait(file: BinaryIO) -> bool:
    raw = getattr(file, "raw", file)
    if type(file) not in (*PLAIN_FILES, socket.SocketIO) or type(raw) not in _RAW_FILES:
        return False
    mode = os.fstat(file.fileno()).st_mode
    if stat.S_ISSOCK(mode):
        own_socket = socket_of(file)
        return own_socket is not None and own_socket.gettimeout() != 0
    return stat.S_ISFIFO(mode) or file.isatty()


def socket_of(file: BinaryIO) -> socket.socket | None:
    """Return the socket that has made a file with ``makefile``, unless the socket uses TLS."""
    found = getattr(getattr(file, "raw", file), "_sock", None)
    return found if type(found) is socket.socket else None


def open_for_reading(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a file for reading. If the file is a FIFO, the first read waits for a writer.

    Raises:
        OSError: The file cannot be opened.
    """
    return _blocking(open_file(path))


def open_for_writing(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a FIFO or a device for writing. Wait until a FIFO has a reader.

    Raises:
        Cancelled: The operation was interrupted.
        OSError: The file cannot be opened.
    """

    def opener(path: str, usual: int) -> int:
        return os.open(path, usual | os.O_NONBLOCK)

    while True:
        try:
            return _blocking(open(path, "wb", opener=opener))
        except OSError as error:
            if error.errno != errno.ENXIO or not stat.S_ISFIFO(os.stat(path).st_mode):
                raise
        pause(_CHECK_INTERVAL)


def _blocking(file: BinaryIO) -> BinaryIO:
    """Clear ``O_NONBLOCK``, which a file only needs while it is opened. Return the file."""
    os.set_blocking(file.fileno(), True)
    return file


def duplicate(descriptor: int) -> int:
    """Return a duplicate of a descriptor.

    Raise ``InvalidArgument`` if the descriptor is not open.
    """
    try:
        return os.dup(descriptor)
    except OSError as error:
        raise InvalidArgument(
            f"descriptor {descriptor} cannot be used: {error.strerror}",
            remedy="Keep the file open, or give PIPE or DEVNULL",
        ) from error
