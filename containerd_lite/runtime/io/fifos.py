"""FIFOs between us and the shim: made, found, opened, removed.

What lives here: folders of FIFOs and who may remove them.  What may not: moving bytes.

Each process's FIFOs are in a folder of their own, which is locked (flock) by the client that
serves them: it removes the folder at its end.  A client that detaches leaves it; then it goes
when the task is deleted (``discard_fifos``), or when a later client finds that no client has
locked it and no shim reads it, which is also how the folders of killed clients go.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

from ...deadline import Deadline, backoff
from ...errors import FailedPrecondition, NotFound, PermissionDenied
from ...services.tasks import Stdio
from ...undo import Undo

#: Where containerd's own clients make them; the daemon must see the same folder.
FIFO_FOLDER = Path("/run/containerd/fifo")
_PREFIX = "lite-"
_NAMES = ("stdin", "stdout", "stderr")
_OPEN = os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
#: How long a shim may take to open its end (seconds): it does so in the background.
_SHIM_PATIENCE = 2.0
#: How long others look at a folder, at most (seconds).
_LOCK_PATIENCE = 0.5


class FifoFolder:
    """A new folder for the FIFOs of one process, locked.  Raises ``PermissionDenied``."""

    def __init__(self) -> None:
        base = FIFO_FOLDER
        try:
            base.mkdir(parents=True, exist_ok=True, mode=0o711)
            _remove_abandoned(base)
            self._path, self._lock = _new_folder(base)
        except PermissionError as error:
            raise PermissionDenied(
                f"{base} cannot be written: {error.strerror}",
                remedy="Run as root on the daemon's machine, or use streams of another kind",
            ) from error

    def add(self, name: str) -> str:
        """Make a FIFO, one of stdin, stdout and stderr; returns its path."""
        path = str(self._path / name)
        os.mkfifo(path, 0o600)
        return path

    def close(self, *, keep: bool = False) -> None:
        """Remove the folder; with ``keep`` only if no shim uses it."""
        if self._lock >= 0:
            try:
                if not (keep and _is_used(self._path)):
                    _remove(self._path)
            finally:
                os.close(self._lock)
                self._lock = -1


class FoundFolder(FifoFolder):
    """The folder of a FIFO that is there already: locked, and ours to remove, if one of us made it.

    Raises ``FailedPrecondition`` where another client has it, ``NotFound``.
    """

    def __init__(self, path: str) -> None:
        self._path = Path(path).parent
        self._lock = _lock_patiently(self._path) if _is_ours(self._path) else -1


# ---- folders ---------------------------------------------------------------------------------


def _new_folder(base: Path) -> tuple[Path, int]:
    while True:
        path = base / f"{_PREFIX}{os.urandom(8).hex()}"
        path.mkdir(mode=0o700)
        # Between these two a client that cleans up may take it.
        with suppress(FileNotFoundError):
            lock = _lock(path, fcntl.LOCK_EX)
            if path.exists():
                return path, lock
            os.close(lock)


def _lock(path: Path, mode: int) -> int:
    """A descriptor that holds the lock of a folder until it is closed."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags)
    with Undo(lambda: os.close(descriptor)):
        fcntl.flock(descriptor, mode)
    return descriptor


def _lock_patiently(path: Path) -> int:
    """Who only looks whether the folder is used has it for a moment."""
    patience, pauses = Deadline(_LOCK_PATIENCE), backoff(0.001, 0.02)
    while True:
        try:
            return _lock(path, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except FileNotFoundError as error:
            raise _gone(str(path)) from error
        except BlockingIOError as error:
            if patience.expired:
                raise FailedPrecondition(
                    f"another client serves the streams in {path}",
                    remedy="Let it detach: what one client reads, another would miss",
                ) from error
        time.sleep(next(pauses))


def _is_ours(folder: Path) -> bool:
    return folder.parent == FIFO_FOLDER and folder.name.startswith(_PREFIX)


def _is_used(folder: Path) -> bool:
    """Whether somebody reads these FIFOs: runc's shim reads, too, what it writes.

    It may go on reading stdin after a process's end; outputs tell better, where there are some.
    """
    outputs = [folder / name for name in ("stdout", "stderr") if (folder / name).exists()]
    return any(map(_has_reader, outputs or [folder / "stdin"]))


def _has_reader(path: Path) -> bool:
    try:
        os.close(os.open(path, os.O_WRONLY | _OPEN))
    except OSError as error:
        return error.errno not in (errno.ENXIO, errno.ENOENT)
    return True


def _remove(folder: Path) -> None:
    for name in _NAMES:
        (folder / name).unlink(missing_ok=True)
    with suppress(FileNotFoundError):
        folder.rmdir()


def _discard(folder: Path, *, keep_used: bool) -> None:
    """Remove a folder that no client has locked."""
    # What others have removed, locked or put something into is not ours to take.
    with suppress(OSError):
        lock = _lock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            if not (keep_used and _is_used(folder)):
                _remove(folder)
        finally:
            os.close(lock)


def discard_fifos(stdio: Stdio) -> None:
    """Remove the FIFOs of a process that was deleted, if clients like this one made them.

    Those that a client still serves go when it ends.
    """
    for folder in {Path(path).parent for path in (stdio.stdin, stdio.stdout, stdio.stderr)}:
        if _is_ours(folder):
            _discard(folder, keep_used=False)


@cache
def _remove_abandoned(base: Path) -> None:
    """Remove what killed clients left; once in a process, for it takes a look at every folder."""
    with suppress(OSError):
        for name in os.listdir(base):
            if name.startswith(_PREFIX):
                _discard(base / name, keep_used=True)


# ---- single FIFOs ----------------------------------------------------------------------------


def check_fifo(path: str) -> None:
    """Raises ``NotFound``, or ``FailedPrecondition`` for something that is no FIFO."""
    try:
        _check_mode(path, os.stat(path).st_mode)
    except FileNotFoundError as error:
        raise _gone(path) from error


def open_output(path: str) -> int:
    """A descriptor to read what a process writes, without blocking.

    Raises ``NotFound``, ``FailedPrecondition``.
    """
    return _open_fifo(path, os.O_RDONLY)


def open_input(path: str) -> int:
    """A descriptor to write what a process reads, without blocking.

    Raises ``NotFound``, and ``FailedPrecondition`` if nobody reads it.
    """
    try:
        return _open_fifo(path, os.O_WRONLY)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        raise FailedPrecondition(
            f"nobody reads {path}",
            remedy="The process has closed its input, or has ended: attach without stdin",
        ) from error


def await_input(path: str) -> int:
    """As ``open_input``, of a process that was just started.

    Where no shim comes, what is written goes nowhere, as with a process that has ended.
    """
    patience, pauses = Deadline(_SHIM_PATIENCE), backoff(0.001, 0.02)
    while not patience.expired:
        with suppress(FailedPrecondition):
            return open_input(path)
        time.sleep(next(pauses))
    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    os.close(reader)
    return writer


def _open_fifo(path: str, mode: int) -> int:
    try:
        descriptor = os.open(path, mode | _OPEN)
    except FileNotFoundError as error:
        raise _gone(path) from error
    with Undo(lambda: os.close(descriptor)):
        _check_mode(path, os.fstat(descriptor).st_mode)
    return descriptor


def _check_mode(path: str, mode: int) -> None:
    if not stat.S_ISFIFO(mode):
        raise FailedPrecondition(f"{path} is no FIFO", remedy="Make one with mkfifo")


def _gone(path: str) -> NotFound:
    return NotFound(
        f"there is no {path}",
        remedy="FIFOs are on the daemon's machine, and go when the client that made them ends",
    )
