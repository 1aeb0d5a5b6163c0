"""The FIFOs between a client and the shim, and the folders that hold them.

Each process has its own folder of FIFOs. The client that serves the FIFOs locks the folder (flock),
and removes it at the end. A client that detaches leaves the folder behind; it is removed when the
task is deleted (``discard_fifos``). Later clients also remove folders that are unlocked and that no
shim reads, such as those of killed clients.
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

#: Folder in which containerd's own clients make FIFOs. The daemon must see the same folder.
FIFO_FOLDER = Path("/run/containerd/fifo")
_PREFIX = "lite-"
_STREAMS = ("stdin", "stdout", "stderr")
_OPEN_FLAGS = os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
#: Seconds that a shim may take to open stdin's FIFO, which it does in the background.
_SHIM_TIMEOUT = 2.0
#: Seconds to wait for a folder's lock. Other clients hold it while they check for a shim.
_LOCK_TIMEOUT = 0.5


class FifoFolder:
    """A new, locked folder for the FIFOs of one process.

    Raises:
        PermissionDenied: The folder of all FIFOs cannot be written.
    """

    def __init__(self) -> None:
        base = FIFO_FOLDER
        try:
            base.mkdir(parents=True, exist_ok=True, mode=0o711)
            _remove_abandoned(base)
            self._path, self._lock = _make_folder(base)
        except PermissionError as error:
            raise PermissionDenied(
                f"{base} cannot be written: {error.strerror}",
                remedy="Run as root on the daemon's machine, or use other streams, such as LogFile",
            ) from error

    def add(self, name: str) -> str:
        """Make the FIFO of ``stdin``, ``stdout`` or ``stderr``, and return its path."""
        path = str(self._path / name)
        os.mkfifo(path, 0o600)
        return path

    def close(self, *, keep: bool = False) -> None:
        """Remove the folder; with ``keep``, only if no shim uses it."""
        if self._lock >= 0:
            try:
                if not (keep and _is_used(self._path)):
                    _remove_folder(self._path)
            finally:
                os.close(self._lock)
                self._lock = -1


class FoundFolder(FifoFolder):
    """The folder of an existing FIFO.

    If a client like this one made the folder, it is locked here, and ``close`` may remove it.

    Raises:
        FailedPrecondition: Another client has locked the folder.
        NotFound: The folder does not exist any more.
    """

    def __init__(self, path: str) -> None:
        self._path = Path(path).parent
        self._lock = _wait_for_lock(self._path) if _is_ours(self._path) else -1


# ---- folders ---------------------------------------------------------------------------------


def _make_folder(base: Path) -> tuple[Path, int]:
    while True:
        path = base / f"{_PREFIX}{os.urandom(8).hex()}"
        path.mkdir(mode=0o700)
        # Before this client has locked the folder, another one may remove it as abandoned.
        with suppress(FileNotFoundError):
            lock = _lock_folder(path, fcntl.LOCK_EX)
            if path.exists():
                return path, lock
            os.close(lock)


def _lock_folder(path: Path, mode: int) -> int:
    """Lock a folder, and return the descriptor that holds the lock until it is closed."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags)
    with Undo(lambda: os.close(descriptor)):
        fcntl.flock(descriptor, mode)
    return descriptor


def _wait_for_lock(path: Path) -> int:
    """Lock a folder; wait a moment for a client that checks whether a shim uses it.

    Raise ``FailedPrecondition`` if another client keeps the lock, ``NotFound`` if the folder does
    not exist.
    """
    deadline, pauses = Deadline(_LOCK_TIMEOUT), backoff(0.001, 0.02)
    while True:
        try:
            return _lock_folder(path, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except FileNotFoundError as error:
            raise _not_found(str(path)) from error
        except BlockingIOError as error:
            if deadline.expired:
                raise FailedPrecondition(
                    f"another client serves the streams in {path}",
                    remedy="Detach that client first: two clients cannot share the output",
                ) from error
        time.sleep(next(pauses))


def _is_ours(folder: Path) -> bool:
    """Return whether a client like this one made the folder."""
    return folder.parent == FIFO_FOLDER and folder.name.startswith(_PREFIX)


def _is_used(folder: Path) -> bool:
    """Return whether a shim has the FIFOs open for reading.

    runc's shim also opens the outputs for reading. If there are outputs, stdin is not checked: the
    shim may keep it open after the process has ended.
    """
    outputs = [folder / name for name in ("stdout", "stderr") if (folder / name).exists()]
    return any(map(_has_reader, outputs or [folder / "stdin"]))


def _has_reader(path: Path) -> bool:
    try:
        os.close(os.open(path, os.O_WRONLY | _OPEN_FLAGS))
    except OSError as error:
        return error.errno not in (errno.ENXIO, errno.ENOENT)
    return True


def _remove_folder(folder: Path) -> None:
    for name in _STREAMS:
        (folder / name).unlink(missing_ok=True)
    with suppress(FileNotFoundError):
        folder.rmdir()


def _remove_if_unlocked(folder: Path, *, keep_used: bool) -> None:
    """Remove a folder if no client has locked it; with ``keep_used``, only if no shim uses it."""
    # An OSError means that the folder is gone, is locked, or has other files.
    with suppress(OSError):
        lock = _lock_folder(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            if not (keep_used and _is_used(folder)):
                _remove_folder(folder)
        finally:
            os.close(lock)


def discard_fifos(stdio: Stdio) -> None:
    """Remove the FIFOs of a deleted process, if a client like this one made them.

    If a client still serves the FIFOs, they stay; that client removes them at its end.

    Args:
        stdio: The paths of the process's FIFOs, from its status before the deletion.
    """
    for folder in {Path(path).parent for path in (stdio.stdin, stdio.stdout, stdio.stderr)}:
        if _is_ours(folder):
            _remove_if_unlocked(folder, keep_used=False)


@cache
def _remove_abandoned(base: Path) -> None:
    """Remove the folders of killed clients.

    The result is cached, so that a program checks all the folders only once.
    """
    with suppress(OSError):
        for name in os.listdir(base):
            if name.startswith(_PREFIX):
                _remove_if_unlocked(base / name, keep_used=True)


# ---- single FIFOs ----------------------------------------------------------------------------


def check_fifo(path: str) -> None:
    """Raise ``NotFound`` if the file does not exist, ``FailedPrecondition`` if it is not a FIFO."""
    try:
        _check_mode(path, os.stat(path).st_mode)
    except FileNotFoundError as error:
        raise _not_found(path) from error


def open_output(path: str) -> int:
    """Open the FIFO of an output for reading, and return a descriptor that does not block.

    Raise ``NotFound`` if the file does not exist, ``FailedPrecondition`` if it is not a FIFO.
    """
    return _open_fifo(path, os.O_RDONLY)


def open_input(path: str) -> int:
    """Open the FIFO of stdin for writing, and return a descriptor that does not block.

    Raise ``NotFound`` if the file does not exist, ``FailedPrecondition`` if it is not a FIFO or has
    no reader.
    """
    try:
        return _open_fifo(path, os.O_WRONLY)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        raise FailedPrecondition(
            f"{path} has no reader: the process has closed its input, or has ended",
            remedy="Attach without stdin=",
        ) from error


def await_input(path: str) -> int:
    """Do as ``open_input`` for a process that was just started; wait for its shim.

    If the shim does not open the FIFO, return a pipe without a reader. Writing to it fails, as it
    does for a process that has ended.
    """
    deadline, pauses = Deadline(_SHIM_TIMEOUT), backoff(0.001, 0.02)
    while not deadline.expired:
        with suppress(FailedPrecondition):
            return open_input(path)
        time.sleep(next(pauses))
    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    os.close(reader)
    return writer


def _open_fifo(path: str, mode: int) -> int:
    try:
        descriptor = os.open(path, mode | _OPEN_FLAGS)
    except FileNotFoundError as error:
        raise _not_found(path) from error
    with Undo(lambda: os.close(descriptor)):
        _check_mode(path, os.fstat(descriptor).st_mode)
    return descriptor


def _check_mode(path: str, mode: int) -> None:
    if not stat.S_ISFIFO(mode):
        raise FailedPrecondition(f"{path} is not a FIFO", remedy="Make one with mkfifo")


def _not_found(path: str) -> NotFound:
    return NotFound(
        f"{path} does not exist",
        remedy="Use FIFOs on the daemon's machine; a client removes its FIFOs at its end",
    )
