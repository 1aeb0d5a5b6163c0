"""A logger, started as the shim starts it."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from containerd_lite.runtime.kept import KeptLog, LogLine
from containerd_lite.runtime.kept.log_reader import LogQuery, read_kept_log

#: Descriptors from here on are none of those that the shim passes.
_HIGH = 32


class LoggerProcess:
    """A logger of the log in a folder, until the end of a ``with`` block.

    Attributes:
        stdout: The descriptor to write the standard output to.
        stderr: The descriptor to write the errors to.
    """

    def __init__(self, folder: Path, *, terminal: bool = False) -> None:
        uri = urlsplit(KeptLog(str(folder), terminal=terminal).stdio.stdout)
        ((option, (text,)),) = parse_qs(uri.query, strict_parsing=True).items()
        (out, self.stdout), (err, self.stderr), (is_ready, ready) = _pipe(), _pipe(), _pipe()
        places = {3: out, 4: err, 5: ready}
        self.pid = os.posix_spawn(
            uri.path,
            [uri.path, option, text],
            {"CONTAINER_ID": "c1", "CONTAINER_NAMESPACE": "ns"},
            file_actions=[(os.POSIX_SPAWN_DUP2, own, place) for place, own in places.items()],
        )
        for descriptor in places.values():
            os.close(descriptor)
        assert os.read(is_ready, 1) == b""
        os.close(is_ready)

    def end_output(self) -> None:
        """Close both streams, and wait until the logger has ended."""
        for descriptor in {self.stdout, self.stderr} - {-1}:
            os.close(descriptor)
        self.stdout = self.stderr = -1
        self.wait()

    def wait(self) -> None:
        """Wait until the logger has ended."""
        pid, self.pid = self.pid, 0
        if pid:
            _, status = os.waitpid(pid, 0)
            assert status == 0

    def __enter__(self) -> LoggerProcess:
        return self

    def __exit__(self, *exception: object) -> None:
        self.end_output()


def _pipe() -> tuple[int, int]:
    low = os.pipe()
    high = tuple(fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _HIGH) for descriptor in low)
    for descriptor in low:
        os.close(descriptor)
    return high[0], high[1]


def query(
    *, lines: bool = False, timestamps: bool = False, since: bytes = b"", tail: int | None = None
) -> LogQuery:
    return LogQuery(lines=lines, timestamps=timestamps, since=since, tail=tail)


def read_bytes(folder: Path, **options: object) -> bytes:
    found = read_kept_log(
        str(folder),
        query(**options),  # type: ignore[arg-type]
        follow=None,
        timeout=None,
    )
    return b"".join(piece for piece in found if isinstance(piece, bytes))


def read_lines(folder: Path, **options: object) -> list[LogLine]:
    found = read_kept_log(
        str(folder),
        query(lines=True, **options),  # type: ignore[arg-type]
        follow=None,
        timeout=None,
    )
    return [line for line in found if isinstance(line, LogLine)]
