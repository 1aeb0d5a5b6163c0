"""The FIFOs between a client and the shim, and the folders of the FIFOs.

Each process has its own folder of FIFOs. The client that serves the FIFOs locks the folder (flock),
and removes the folder when it closes its streams. If the client detaches, the folder stays until
the process is deleted (``discard_fifos``). If the client is killed, the folder stays, too. Later
clients remove each folder that no client has locked and whose FIFOs no shim uses.
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

#: Folder in which containerd's own clients make FIFOs. The client and the daemon must see the same
#: folder at this path.
FIFO_FOLDER = Path("/run/containerd/fifo")
_PREFIX = "lite-"
_STREAMS = ("stdin", "stdout", "stderr")
_OPEN_FLAGS = os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
#: Seconds to wait for a shim that opens stdin's FIFO in the background.
_SHIM_TIMEOUT = 2.0
#: Seconds to wait for a folder's lock. Other clients hold the lock while they check whether a shim
#: uses the folder.
_LOCK_TIMEOUT = 0.5


class FifoFolder:
    """A new, locked folder for the FIFOs of one process.

    Raises:
        PermissionDenied: This user has no permission to write to ``FIFO_FOLDER``.
    """

    _lock = -1

    def __init__(self) -> None:
        base = FIFO_FOLDER
        self._pid = os.getpid()
        try:
            base.mkdir(parents=True, exist_ok=True, mode=0o711)
            _remove_abandoned(base)
            self._path, self._lock = _make_folder(base)
        except PermissionError as error:
            raise PermissionDenied(
                f"folder {base} cannot be written: {error.strerror}",
                remedy="Run as root on the daemon's machine, or use other streams, such as LogFile",
            ) from error

    def add(self, name: str) -> str:
        """Make a FIFO with the name ``stdin``, ``stdout`` or ``stderr``, and return its path."""
        path = str(self._path / name)
        os.mkfifo(path, 0o600)
        return path

    def close(self, *, keep: bool = False) -> None:
        """Remove the folder. If ``keep`` is true, keep a folder that a shim uses."""
        if self._lock >= 0:
            try:
                if not (keep and _is_used(self._path)):
                    _remove_folder(self._path)
            finally:
                os.close(self._lock)
                self._lock = -1

    def __del__(self) -> None:
        # An interrupt can drop this object before its owner has it. A forked child does not own it.
        if self._lock >= 0 and self._pid == os.getpid():
            self.close(keep=True)


class FoundFolder(FifoFolder):
    """The folder of an existing FIFO.

    If this package has made the folder, the folder is locked, and ``close`` can remove it. Folders
    of other programs are not changed.

    Raises:
        FailedPrecondition: Another client has locked the folder.
        NotFound: The folder does not exist any more.
    """

    def __init__(self, path: str) -> None:
        self._pid = os.getpid()
        self._path = Path(path).parent
        self._lock = _wait_for_lock(self._path) if _is_ours(self._path) else -1


# ---- folders ---------------------------------------------------------------------------------


def _make_folder(base: Path) -> tuple[Path, int]:
    while True:
        path = base / f"{_PREFIX}{os.urandom(8).hex()}"
        # Until the folder is locked, another client can remove it as an abandoned folder.
        with Undo(lambda: _remove_folder(path)), suppress(FileNotFoundError):  # noqa: B023
            path.mkdir(mode=0o700)
            lock = _lock_folder(path, fcntl.LOCK_EX)
            if path.exists():
                return path, lock
            os.close(lock)


def _lock_folder(path: Path, mode: int) -> int:
    """Lock a folder, and return a descriptor. The lock ends when the descriptor is closed."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags)
    with Undo(lambda: os.close(descriptor)):
        fcntl.flock(descriptor, mode)
    return descriptor


def _wait_for_lock(path: Path) -> int:
    """Lock a folder. If another client has locked the folder, wait up to half a second.

    Raise ``FailedPrecondition`` if the other client does not release the lock. Raise ``NotFound``
    if the folder does not exist.
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
    """Return whether this package has made the folder, in this process or in another process."""
    return folder.parent == FIFO_FOLDER and folder.name.startswith(_PREFIX)


def _is_used(folder: Path) -> bool:
    """Return whether a shim has opened the FIFOs in a folder for reading.

    runc's shim opens even the FIFOs of the outputs for reading. If there are outputs, stdin is not
    checked, because the shim can keep stdin open after the process has ended.
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
    """Remove a folder if no client has locked it.

    If ``keep_used`` is true, keep a folder that a shim uses.
    """
    # An OSError means that the folder does not exist any more, is locked, or has other files.
    with suppress(OSError):
        lock = _lock_folder(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            if not (keep_used and _is_used(folder)):
                _remove_folder(folder)
        finally:
            os.close(lock)


def discard_fifos(stdio: Stdio) -> None:
    """Remove the FIFOs of a deleted process, if this package has made the FIFOs.

    If a client still serves the FIFOs, this function does not remove them. The client that serves
    the FIFOs removes them when it closes its streams.

    Args:
        stdio: The paths of the process's FIFOs, from its status before the deletion.
    """
    for folder in {Path(path).parent for path in (stdio.stdin, stdio.stdout, stdio.stderr)}:
        if _is_ours(folder):
            _remove_if_unlocked(folder, keep_used=False)


@cache
def _remove_abandoned(base: Path) -> None:
    """Remove the folders of killed clients.

    The decorator ``cache`` makes a program check the folders only once.
    """
    with suppress(OSError):
        for name in os.listdir(base):
            if name.startswith(_PREFIX):
                _remove_if_unlocked(base / name, keep_used=True)


# ---- single FIFOs ----------------------------------------------------------------------------


def check_fifo(path: str) -> None:
    """Check that a file is a FIFO.

    Raise ``NotFound`` if the file does not exist, or ``FailedPrecondition`` if it is not a FIFO.
    """
    try:
        _check_mode(path, os.stat(path).st_mode)
    except FileNotFoundError as error:
        raise _not_found(path) from error


def open_output(path: str) -> int:
    """Open the FIFO of an output for reading, and return a descriptor that does not block.

    Raise ``NotFound`` if the file does not exist, or ``FailedPrecondition`` if it is not a FIFO.
    """
    return _open_fifo(path, os.O_RDONLY)


def open_input(path: str) -> int:
    """Open the FIFO of stdin for writing, and return a descriptor that does not block.

    Raise ``NotFound`` if the file does not exist. Raise ``FailedPrecondition`` if the file is not a
    FIFO, or has no reader.
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
    """Wait until the shim has opened the FIFO of stdin, then open the FIFO for writing.

    Call this function for a process that was just started. If the shim does not open the FIFO
    within two seconds, return a pipe without a reader. A write to this pipe fails, like a write to
    the FIFO of a process that has ended.
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
        remedy="Use existing FIFOs, and run this program on the daemon's machine",
    )
