"""The program that writes the output of a detached container to the container's log.

The shim starts one such process for each task (see ``kept_log``), and it ends when the
output ends. Records have the CRI's log format: ``TIME stdout|stderr F|P TEXT``. The tag ``P`` means
that the line continues in the next record of the stream.

This module imports nothing of the package and few modules of Python, because each container has
such a process.
"""

from __future__ import annotations

import os
import select
import time

# The module signal, which imports enum, costs 1 MiB of memory and a quarter of the start.
from _signal import SIG_IGN, SIGHUP, SIGINT, SIGTERM, signal  # type: ignore[import-not-found]

#: The file with the newest records. Older files have a dot and a number; the oldest has 4.
LOG = "container.log"
FILES = 5
#: Maximum size of a file, in bytes.
FILE_SIZE = 10 << 20
#: A FIFO. A byte written to it is read when all output so far is in the log.
SYNC = "sync"
#: Bytes of a line that a record has at most, as in the logs of the CRI.
MAX_TEXT = 16 << 10
#: The capacity of a pipe (pipe(7)).
_CHUNK = 64 << 10
#: Milliseconds that an unfinished line waits for its end, before it is written as a record of
#: its own.
_PATIENCE = 20
#: The descriptors that the shim passes: the two streams, and one to close when ready.
_STDOUT, _STDERR, _READY = 3, 4, 5


def main(folder: str, *, has_stderr: bool = True) -> None:
    """Copy the output to the log until it ends. Nothing stops this function before that.

    Args:
        folder: The folder of the log, which must exist.
        has_stderr: Whether the container has a stream for errors. A terminal has none, and the
            shim leaves its descriptor open.
    """
    for number in (SIGHUP, SIGINT, SIGTERM):
        signal(number, SIG_IGN)
    log = Log(folder)
    streams = {_STDOUT: Stream(b"stdout")}
    if has_stderr:
        streams[_STDERR] = Stream(b"stderr")
    sync = _open_sync(folder)
    os.close(_READY)
    poller = select.poll()
    for descriptor in (*streams, *(() if sync is None else (sync,))):
        poller.register(descriptor, select.POLLIN)
    while streams:
        waits = any(stream.rest for stream in streams.values())
        ready = dict(poller.poll(_PATIENCE if waits else None))
        if sync in ready:
            ready = dict(poller.poll(0))  # output may have come just before the byte
        for descriptor in streams.keys() & ready.keys():
            data = os.read(descriptor, _CHUNK)
            stream = streams[descriptor]
            log.write(*(stream.records(data) if data else stream.flush()))
            if not data:
                poller.unregister(descriptor)
                del streams[descriptor]
        if sync in ready or not streams.keys() & ready.keys():
            for stream in streams.values():
                log.write(*stream.flush())
        if sync in ready:
            os.read(sync, _CHUNK)


def _open_sync(folder: str) -> int | None:
    """Open the FIFO also for writing: without a writer, it would always be ready to be read."""
    try:
        return os.open(f"{folder}/{SYNC}", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None


class Stream:
    """Turns the bytes of one stream into records.

    Args:
        name: ``stdout`` or ``stderr``.

    Attributes:
        rest: The beginning of a line whose end has not been read yet.
    """

    def __init__(self, name: bytes) -> None:
        self._name = name
        self.rest = b""

    def records(self, data: bytes) -> tuple[bytes, int]:
        """Return records of the lines in ``data``, and how many bytes of output they contain.

        Keep up to 16 KiB of an unfinished line.
        """
        body, newline, rest = (self.rest + data).rpartition(b"\n")
        size = len(body) + len(newline)
        full, part = (b"%s %s %s " % (now(), self._name, tag) for tag in (b"F", b"P"))
        found = []
        if newline:
            if _has_long_line(body):
                for line in body.split(b"\n"):
                    *parts, last = _cut(line)
                    found += [part + text for text in parts]
                    found.append(full + last)
            else:
                found.append(full + body.replace(b"\n", b"\n" + full))
        *parts, self.rest = _cut(rest)
        found += [part + text for text in parts]
        return b"\n".join([*found, b""]), size + len(rest) - len(self.rest)

    def flush(self) -> tuple[bytes, int]:
        """Return a record of the unfinished line, and how many bytes of output it contains."""
        text, self.rest = self.rest, b""
        return (b"%s %s P %s\n" % (now(), self._name, text) if text else b""), len(text)


def _has_long_line(body: bytes) -> bool:
    """Return whether a line has more than 16 KiB."""
    start = 0
    while len(body) - start > MAX_TEXT:
        # Continue behind the last newline of the next 16 KiB.
        start = body.rfind(b"\n", start, start + MAX_TEXT + 1) + 1
        if not start:
            return True
    return False


def _cut(line: bytes) -> list[bytes]:
    """Cut a line into pieces of up to 16 KiB."""
    return [line[at : at + MAX_TEXT] for at in range(0, len(line), MAX_TEXT)] or [line]


def now() -> bytes:
    """Return the time in the form of RFC 3339, always with nine digits of the second."""
    seconds, rest = divmod(time.time_ns(), 1_000_000_000)
    return b"%s.%09dZ" % (time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)).encode(), rest)


class Log:
    """The files of a log.

    If the disk is full, or a file cannot be written for another reason, records are dropped. The
    next record that can be written follows a record that says how many bytes are missing. The
    files belong to the owner of the folder, also if the logger is root.

    Args:
        folder: The folder of the log.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._file = -1
        self._size = 0
        self._lost, self._cause = 0, ""
        try:
            self._open()
        except OSError as error:  # write tries again
            self._cause = error.strerror or type(error).__name__

    def write(self, records: bytes, size: int) -> None:
        """Append records. This method raises no ``OSError``.

        Args:
            records: The records.
            size: How many bytes of output they contain.
        """
        if not records:
            return
        if self._lost:
            note = f"[containerd-lite: {self._lost} bytes are missing here: {self._cause}]"
            records = b"%s stderr F %s\n%s" % (now(), note.encode(), records)
        try:
            if self._file < 0:
                self._open()
            if self._size and self._size + len(records) > FILE_SIZE:
                self._rotate()
            view = memoryview(records)
            while view:
                view = view[os.write(self._file, view) :]
        except OSError as error:
            self._lost, self._cause = self._lost + size, error.strerror or type(error).__name__
            if self._file >= 0:
                self._drop_half_written()
        else:
            self._lost = 0
            self._size += len(records)

    def _drop_half_written(self) -> None:
        try:
            os.ftruncate(self._file, self._size)
        except OSError:
            os.close(self._file)
            self._file = -1

    def _path(self, number: int) -> str:
        return f"{self._folder}/{LOG}.{number}" if number else f"{self._folder}/{LOG}"

    def _open(self) -> None:
        owner = os.stat(self._folder)
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        file = os.open(self._path(0), flags, 0o600)
        self._size = os.fstat(file).st_size
        if os.geteuid() != owner.st_uid:
            os.fchown(file, owner.st_uid, owner.st_gid)
        self._file = file
        if self._size and os.pread(file, 1, self._size - 1) != b"\n":
            # An earlier logger was killed while it wrote a record.
            self._size += os.write(file, b"\n")

    def _rotate(self) -> None:
        """Give each file the next number, which deletes the oldest file, and open a new one."""
        for number in range(FILES - 1, 0, -1):
            if os.path.exists(self._path(number - 1)):
                os.rename(self._path(number - 1), self._path(number))
        os.close(self._file)
        self._file = -1
        self._open()
