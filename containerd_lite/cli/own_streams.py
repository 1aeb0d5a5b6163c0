"""Replaces ``sys.stdout`` and ``sys.stderr``, to handle closed streams and failed writes."""

from __future__ import annotations

import io
import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from typing_extensions import Buffer

_NUMBERS = _STDIN, _STDOUT, _STDERR = 0, 1, 2


@contextmanager
def standard_streams() -> Iterator[None]:
    """Replace ``sys.stdout`` and ``sys.stderr`` for the block.

    A failed write to stdout raises an ``OSError`` that names the stream. A failed write to stderr
    is ignored, and the command continues. If stdout or stderr is closed, its output is discarded.
    Characters that the encoding does not support are escaped. If other code has already replaced a
    stream, this function does not replace the stream again.
    """
    _open_closed()
    former = sys.stdout, sys.stderr
    sys.stdout = _stream(sys.stdout, sys.__stdout__, _STDOUT)
    sys.stderr = _stream(sys.stderr, sys.__stderr__, _STDERR)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            _flush(stream)
        sys.stdout, sys.stderr = former


def _open_closed() -> None:
    """Open ``/dev/null`` for each standard stream that is closed.

    Otherwise, a new socket could get the file descriptor of the closed stream, and a container
    would inherit the socket.
    """
    for number in _NUMBERS:
        try:
            os.fstat(number)
        except OSError:
            # open() returns the lowest free file descriptor, which is ``number``, because all lower
            # file descriptors are in use.
            with suppress(OSError):
                os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


def _stream(given: TextIO | None, original: TextIO | None, number: int) -> TextIO:
    if given is None:
        raw = io.BufferedWriter(_Stream(number, drops=True))
        return io.TextIOWrapper(raw, encoding="utf-8", errors="backslashreplace")
    if given is not original or not isinstance(given, io.TextIOWrapper):
        return given
    with suppress(OSError):
        given.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(_Stream(number)),
        encoding=given.encoding,
        errors="backslashreplace",
        line_buffering=given.line_buffering,
        write_through=given.write_through,
    )


def _flush(stream: TextIO) -> None:
    """Flush a stream. Ignore an error, because an earlier write has already raised the error."""
    with suppress(OSError):
        stream.flush()
    raw = getattr(getattr(stream, "buffer", None), "raw", None)
    if isinstance(raw, _Stream):
        raw.drops = True


class _Stream(io.FileIO):
    """A standard stream whose file descriptor stays open after ``close``.

    If ``drops`` is true, the stream discards all data.
    """

    def __init__(self, number: int, *, drops: bool = False) -> None:
        super().__init__(number, "wb", closefd=False)
        self.drops = drops

    def write(self, data: Buffer) -> int:
        try:
            while not self.drops:
                written: int | None = super().write(data)
                if written is not None:
                    return written
                # Another process made the file non-blocking, so wait until the file is writable.
                select.select((), (self.fileno(),), ())
        except OSError as error:
            if self.fileno() == _STDOUT:
                error.filename = "standard output"
                raise
            self.drops = True
        return memoryview(data).nbytes
