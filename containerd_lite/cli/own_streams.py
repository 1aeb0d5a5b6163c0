"""This program's own streams: whatever is behind them, commands can write to them.

What lives here: what ``sys.stdout`` and ``sys.stderr`` are while a command runs.  What may not:
what is written.
"""

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
    """A block in which both streams can be written to.

    Output that cannot be written is an ``OSError``, which names the stream.  What is said beside
    it is dropped: nobody need listen, and no work is given up for it.  What was closed leads
    nowhere, and characters that an encoding lacks are escaped.

    Streams that our caller has put in the place of Python's own are the caller's affair, and stay.
    """
    _open_closed()
    former = sys.stdout, sys.stderr
    sys.stdout = _stream(sys.stdout, sys.__stdout__, _STDOUT)
    sys.stderr = _stream(sys.stderr, sys.__stderr__, _STDERR)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            _leave(stream)
        sys.stdout, sys.stderr = former


def _open_closed() -> None:
    """Have something behind the numbers of all standard streams.

    Else a socket would get one of them, and a container what is said on it.
    """
    for number in _NUMBERS:
        try:
            os.fstat(number)
        except OSError:
            # The lowest number that is free is this one: those below it are open by now.
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


def _leave(stream: TextIO) -> None:
    """Write what is left; if that fails, something has failed before, and is what counts."""
    with suppress(OSError):
        stream.flush()
    raw = getattr(getattr(stream, "buffer", None), "raw", None)
    if isinstance(raw, _Stream):
        raw.drops = True


class _Stream(io.FileIO):
    """A standard stream, which stays open; what it ``drops`` counts as written."""

    def __init__(self, number: int, *, drops: bool = False) -> None:
        super().__init__(number, "wb", closefd=False)
        self.drops = drops

    def write(self, data: Buffer) -> int:
        try:
            while not self.drops:
                written: int | None = super().write(data)
                if written is not None:
                    return written
                # Somebody else who has it open does not want to wait; we do.
                select.select((), (self.fileno(),), ())
        except OSError as error:
            if self.fileno() == _STDOUT:
                error.filename = "standard output"
                raise
            self.drops = True
        return memoryview(data).nbytes
