"""Reads the logs of detached containers, across the files of a log."""

from __future__ import annotations

import os
import select
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from fcntl import ioctl
from termios import FIONREAD
from typing import BinaryIO, Literal, NamedTuple

from ... import limits
from ...deadline import Deadline
from ...errors import InvalidArgument, NotFound
from ...lazy import lazy_pattern
from ...limits import refused
from ...records import record
from ..watch.logs import CHUNK, POLL_INTERVAL, open_log, read_log
from .logger import FILES, LOG, MAX_TEXT, SYNC

#: Maximum length of a record. A record has a time, the name of a stream, a tag and the text.
_MAX_RECORD = MAX_TEXT + 64
#: Maximum length of a line. A longer line comes in pieces.
_MAX_LINE = 1 << 20
_STREAMS: dict[bytes, Literal["stdout", "stderr"]] = {b"stdout": "stdout", b"stderr": "stderr"}
#: Seconds to wait for the logger.
_PATIENCE = 2.0
#: Milliseconds between looks whether the logger has read the byte.
_SYNC_INTERVAL = 5
#: The form in which the logger writes times.
_TIME = lazy_pattern(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z")


@record(frozen=True)
class LogLine:
    """A line of a log.

    Attributes:
        data: The bytes of the line without the newline at its end.
        stream: The stream of the process. ``None`` if the log is a plain file, which does not
            tell the streams apart.
        time: When the logger read the end of the line. ``None`` if the log is a plain file.
    """

    data: bytes
    stream: Literal["stdout", "stderr"] | None = None
    time: datetime | None = None


@record(frozen=True)
class LogQuery:
    """The part of a log to read, and its form.

    Attributes:
        lines: Whether to yield a ``LogLine`` for each line, or bytes.
        timestamps: Whether each line in the bytes begins with its time.
        since: The time of the first record, as the records have it. Default: no limit.
        tail: How many lines of the end to read. Default: all.
    """

    lines: bool
    timestamps: bool
    since: bytes
    tail: int | None


class _Record(NamedTuple):
    time: bytes
    stream: bytes
    #: ``F``, or ``P`` if the next record of the stream continues the line.
    tag: bytes
    text: bytes


def since_of(value: datetime | float | None) -> bytes:
    """Return the time in ``since=`` in the form of the records.

    Raises:
        InvalidArgument: The value is neither a time with a time zone nor a number from 0.
    """
    if value is None:
        return b""
    wanted = "a datetime with a time zone, or how many seconds ago"
    if isinstance(value, datetime):
        if value.utcoffset() is None:
            raise refused("since", str(value), wanted)
        moment = value
    else:
        try:
            ago = limits.seconds("since", value, may_be_zero=True)
        except InvalidArgument:
            raise refused("since", value, wanted) from None
        if ago is None:
            return b""
        moment = datetime.now(timezone.utc) - timedelta(seconds=ago)
    moment = moment.astimezone(timezone.utc)
    return b"%s000Z" % moment.replace(tzinfo=None).isoformat(timespec="microseconds").encode()


def read_plain_log(
    path: bytes,
    query: LogQuery,
    *,
    follow: Callable[[], bool] | None,
    timeout: float | None,
) -> Iterator[bytes | LogLine]:
    """Yield the content of a plain log file; see ``watch.logs.read_log``."""
    pieces = read_log(path, tail=query.tail, follow=follow, timeout=timeout)
    if not query.lines:
        yield from pieces
        return
    rest = b""
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        yield from map(LogLine, lines)
        if len(rest) >= _MAX_LINE:
            yield LogLine(rest)
            rest = b""
    if rest:
        yield LogLine(rest)


def read_kept_log(
    folder: str,
    query: LogQuery,
    *,
    follow: Callable[[], bool] | None,
    timeout: float | None,
    until_end: bool = False,
) -> Iterator[bytes | LogLine]:
    """Yield the content of a log that a logger writes.

    Args:
        folder: The folder of the log.
        query: What to read.
        follow: As for ``read_log``.
        timeout: As for ``read_log``.
        until_end: Whether to wait for the end of the logger when there is nothing to follow any
            more. The output of a terminal reaches the logger by the shim, so that it may come
            after the end of the process. Otherwise, all of it is in the logger's pipes.

    Raises:
        NotFound: The log does not exist on this machine.
        PermissionDenied: The log cannot be read.
        FailedPrecondition: A file of the log is not a regular file.
    """
    deadline = Deadline(timeout)
    log = _Log(folder, query.since)
    output = _Lines() if query.lines else _Bytes(query.timestamps)
    try:
        if query.tail is not None:
            _wait_for_logger(folder, deadline)
            log.skip_to_tail(query.tail)
        while True:
            # Call ``follow`` before each read: the log is read once more after the task's end.
            may_grow = follow is not None and follow()
            if not may_grow:
                _wait_for_logger(folder, deadline, until_end=until_end)
            yield from output.of(log.records())
            if not may_grow or deadline.expired:
                yield from output.rest()
                return
            remaining = deadline.remaining()
            time.sleep(POLL_INTERVAL if remaining is None else min(POLL_INTERVAL, remaining))
    finally:
        log.close()


class _Bytes:
    """Makes bytes of records, as the process wrote them."""

    def __init__(self, timestamps: bool) -> None:
        self._timestamps = timestamps
        #: The streams whose last line has not ended.
        self._open: set[bytes] = set()

    def of(self, records: Iterator[_Record]) -> Iterator[bytes]:
        parts: list[bytes] = []
        size = 0
        for each in records:
            if self._timestamps and each.stream not in self._open:
                parts.append(each.time + b" ")
            parts.append(each.text)
            if each.tag == b"F":
                parts.append(b"\n")
                self._open.discard(each.stream)
            else:
                self._open.add(each.stream)
            size += len(each.text) + 1
            if size >= CHUNK:
                yield b"".join(parts)
                parts, size = [], 0
        if parts:
            yield b"".join(parts)

    def rest(self) -> Iterator[bytes]:
        return iter(())


class _Lines:
    """Makes lines of records."""

    def __init__(self) -> None:
        #: For each stream, the unfinished line and the time of its last record.
        self._begun: dict[bytes, tuple[bytearray, bytes]] = {}

    def of(self, records: Iterator[_Record]) -> Iterator[LogLine]:
        for each in records:
            line, _ = self._begun.get(each.stream, (bytearray(), b""))
            line += each.text
            self._begun[each.stream] = line, each.time
            if each.tag == b"F" or len(line) >= _MAX_LINE:
                yield self._end(each.stream)

    def rest(self) -> Iterator[LogLine]:
        """Yield the lines that have no end."""
        for stream in [*self._begun]:
            yield self._end(stream)

    def _end(self, stream: bytes) -> LogLine:
        line, time = self._begun.pop(stream)
        # Python's times have microseconds.
        moment = datetime.fromisoformat(time[:26].decode("ascii")).replace(tzinfo=timezone.utc)
        return LogLine(bytes(line), _STREAMS[stream], moment)


class _Log:
    """The open files of a log. Records are read once, also while the logger renames the files.

    Args:
        folder: The folder of the log.
        since: Ignore records from before this time.
    """

    def __init__(self, folder: str, since: bytes) -> None:
        self._folder = folder
        self._since = since
        #: How many lines to leave out.
        self._skipped = 0
        self._files = self._open()
        if not self._files:
            self._open_file(0)  # raises the error
        while len(self._files) > 1 and self._begins_before(self._files[1]):
            self._files.pop(0).close()

    def _begins_before(self, file: BinaryIO) -> bool:
        time = os.pread(file.fileno(), len(self._since), 0)
        return len(time) == len(self._since) and time < self._since

    def close(self) -> None:
        """Close all files."""
        for file in self._files:
            file.close()

    def skip_to_tail(self, lines: int) -> None:
        """Leave out all but some lines at the end. Call this method before ``records``.

        An unfinished line at the end counts as a line.
        """
        found = 0
        for place in range(len(self._files) - 1, -1, -1):
            file, tag = self._files[place], b"F"
            for each in _records(file, self._since):
                tag = each.tag
                found += tag == b"F"
            if place == len(self._files) - 1 and tag != b"F":
                found += 1
            file.seek(0)
            if found >= lines:
                for older in self._files[:place]:
                    older.close()
                del self._files[:place]
                self._skipped = found - lines
                return

    def records(self) -> Iterator[_Record]:
        """Yield the records that have not been read yet."""
        while True:
            # Look before the file is read: nothing is added to a renamed file.
            is_last = len(self._files) == 1 and not self._add_newer()
            for each in _records(self._files[0], self._since):
                if self._skipped:
                    self._skipped -= each.tag == b"F"
                else:
                    yield each
            if is_last:
                return
            self._files.pop(0).close()

    def _add_newer(self) -> bool:
        """Open the files that are newer than the open file. Return whether there are any."""
        key = _key(self._files[0])
        with suppress(OSError):
            newest = os.stat(f"{self._folder}/{LOG}")
            if (newest.st_dev, newest.st_ino) == key:
                return False
        files = self._open()
        keys = [_key(file) for file in files]
        # If the open file has been deleted, all files are newer.
        first = keys.index(key) + 1 if key in keys else 0
        for file in files[:first]:
            file.close()
        self._files += files[first:]
        return bool(files[first:])

    def _open(self) -> list[BinaryIO]:
        """Open all files, the oldest first.

        The logger may rename them at the same time. Because the newest file is opened first, a
        renamed file may be found twice, but is not missed.
        """
        found: dict[tuple[int, int], BinaryIO] = {}
        for number in range(FILES):
            with suppress(NotFound):
                file = self._open_file(number)
                if _key(file) in found:
                    file.close()
                else:
                    found[_key(file)] = file
        return list(reversed(found.values()))

    def _open_file(self, number: int) -> BinaryIO:
        name = f"{LOG}.{number}" if number else LOG
        return open_log(os.fsencode(f"{self._folder}/{name}"), os.O_NOFOLLOW)


def _records(file: BinaryIO, since: bytes) -> Iterator[_Record]:
    """Yield the records of a file from its position, without damaged and old records."""
    while line := file.readline(_MAX_RECORD):
        if not line.endswith(b"\n") and len(line) < _MAX_RECORD:
            file.seek(-len(line), os.SEEK_CUR)  # the logger still writes this record
            return
        parts = line.removesuffix(b"\n").split(b" ", 3)
        if len(parts) == 4 and parts[0] >= since:
            each = _Record(*parts)
            if each.stream in _STREAMS and _TIME.fullmatch(each.time):
                yield each


def _key(file: BinaryIO) -> tuple[int, int]:
    found = os.fstat(file.fileno())
    return found.st_dev, found.st_ino


def _wait_for_logger(folder: str, deadline: Deadline, *, until_end: bool = False) -> None:
    """Wait until the logger has written all output so far, or until it has ended."""
    try:
        sync = os.open(f"{folder}/{SYNC}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError:
        return  # the logger has ended
    try:
        if not stat.S_ISFIFO(os.fstat(sync).st_mode):
            return
        poller, deadline = select.poll(), deadline.sooner(_PATIENCE)
        poller.register(sync, 0)  # an event says that the logger has ended
        with suppress(BlockingIOError, BrokenPipeError):
            os.write(sync, b"s")
        while not deadline.expired and (until_end or _unread(sync)):
            if poller.poll(_SYNC_INTERVAL):
                return
    finally:
        os.close(sync)


def _unread(descriptor: int) -> int:
    """Return how many bytes of a FIFO have not been read."""
    return int.from_bytes(ioctl(descriptor, FIONREAD, bytes(4)), sys.byteorder)
