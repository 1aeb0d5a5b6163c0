"""A folder whose files other users may have made: bounded reads, atomic writes, no links."""

from __future__ import annotations

import fcntl
import io
import os
import stat
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import BinaryIO, TypeVar, cast

from ..deadline import Deadline, backoff
from ..errors import ContainerdError, InvalidArgument, NotFound, SizeMismatch, Unavailable
from ..system import of_system
from ..undo import Undo

#: ``O_NONBLOCK`` lets the opening of a FIFO return at once, and has no effect on regular files.
_FILE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
#: The seconds to wait while another process holds the folder's lock. Writers of this package hold
#: the lock for a few milliseconds.
_LOCK_SECONDS = 60.0

_Result = TypeVar("_Result")


@contextmanager
def explained(folder: Path) -> Iterator[None]:
    """Turn each ``OSError`` of the block into a ``ContainerdError`` that names the path.

    Args:
        folder: The path that the message names if the ``OSError`` has no path.

    Raises:
        ResourceExhausted: The disk or a quota is full, or too many files are open.
        PermissionDenied: The user is not allowed to access the file.
        NotFound: The file does not exist.
        InvalidArgument: The path is not valid for this use. For example, the path leads to a
            folder, but a file is needed.
        DataLoss: The disk cannot be read or written.
        FailedPrecondition: Any other error of the operating system.
    """
    try:
        yield
    # Some subclasses of ContainerdError are also subclasses of OSError.
    except ContainerdError:
        raise
    except OSError as error:
        raise of_system(error, place=folder) from error


class UntrustedFolder:
    """A folder. Names of files in it are relative, such as ``"blobs/sha256/abc"``.

    The caller trusts the path of the folder, but not its content, which another user can have made.
    So no method follows a link below the folder, and no method opens a FIFO, a device
    or a socket. Otherwise, a link could lead a push or a pull to a file outside the folder.

    All methods raise the errors of ``explained``. The methods that take the name of a file also
    raise ``InvalidArgument`` if the name belongs to a link, or to a file that is not regular.

    Args:
        path: The path of the folder, which need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._text = os.fspath(path)

    def _at(
        self, name: str, action: Callable[[int, str], _Result], *, make: bool = False
    ) -> _Result:
        """Call ``action`` with a descriptor of the folder that contains a file, and its base name.

        Args:
            name: The name of the file.
            action: The function to call. Its result is returned.
            make: Whether to make missing folders below this folder.
        """
        *folders, base = name.split("/")
        opened: list[str] = []
        descriptors = _Descriptors()
        try:
            try:
                _open_into(descriptors, self._text, _FOLDER)
                for folder in folders:
                    opened.append(folder)
                    _open_below(descriptors, folder, make)
                opened.append(base)
                return action(descriptors[-1], base)
            finally:
                descriptors.close()
        except ContainerdError:
            raise
        except OSError as error:
            place = self.path.joinpath(*opened)
            error.filename = str(place)  # the error has only the base name
            if opened and os.path.islink(place):
                raise _not_regular(place) from error
            raise of_system(error) from error

    def open(self, name: str, flags: int = os.O_RDONLY) -> io.FileIO:
        """Open a regular file without a buffer.

        Args:
            name: The name of the file.
            flags: The access mode, and further flags for ``os.open``. ``os.O_CREAT`` makes missing
                folders, too.
        """
        is_writable = flags & os.O_ACCMODE != os.O_RDONLY

        mode = "r+b" if is_writable else "rb"

        def open_at(parent: int, base: str) -> io.FileIO:
            files: list[io.FileIO] = []
            held = _Descriptors()
            try:
                _open_into(held, base, flags | _FILE, parent)
                if not stat.S_ISREG(os.fstat(held[0]).st_mode):
                    raise _not_regular(self.path / name)
                # The file object closes its descriptor even if an interrupt drops the object.
                files += map(partial(io.FileIO, mode=mode), map(held.pop, (0,)))
            finally:
                held.close()
            return files[0]

        return self._at(name, open_at, make=bool(flags & os.O_CREAT))

    def reader(self, name: str) -> BinaryIO:
        """Open a regular file for buffered reading."""
        return cast(BinaryIO, io.BufferedReader(self.open(name)))

    def stat(self, name: str) -> os.stat_result:
        """Return the status of a regular file."""
        found = self._at(name, _stat_at)
        if not stat.S_ISREG(found.st_mode):
            raise _not_regular(self.path / name)
        return found

    def has(self, name: str) -> bool:
        """Return whether a regular file exists."""
        with suppress(NotFound):
            self.stat(name)
            return True
        return False

    def names(self, name: str = "") -> list[str]:
        """Return the sorted names in a folder; an empty list if the folder does not exist.

        Args:
            name: The name of the folder. Default: this folder.
        """
        with suppress(NotFound):
            return self._at(
                f"{name}/." if name else ".", lambda folder, _: sorted(os.listdir(folder))
            )
        return []

    def read(self, name: str, limit: int) -> bytes:
        """Return the content of a file.

        Raises:
            SizeMismatch: The file has more than ``limit`` bytes.
        """
        with self.reader(name) as file, explained(self.path / name):
            # Request the file's size and one more byte: Python allocates a buffer of the requested
            # size, so a request for "limit" bytes would allocate far too much.
            body = file.read(min(limit, os.fstat(file.fileno()).st_size) + 1)
        if len(body) > limit:
            raise SizeMismatch(f"{self.path / name} is larger than the {limit} bytes allowed")
        return body

    def replace(self, name: str, body: bytes) -> None:
        """Replace the content of a file atomically: readers see the old or the new content.

        This also holds after a crash of the machine.
        """
        scratch = f"{scratch_of(name)}{os.urandom(4).hex()}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        with Undo(lambda: self.remove(scratch)), explained(self.path / name):
            with self.open(scratch, flags) as file:
                rest = memoryview(body)
                while rest:
                    rest = rest[file.write(rest) :]
                os.fsync(file.fileno())
            self.rename(scratch, name)

    def rename(self, old: str, new: str) -> None:
        """Rename a file. If a file has the new name, replace it."""

        def rename_to(to: int, base: str) -> None:
            def rename_from(parent: int, old_base: str) -> None:
                os.rename(old_base, base, src_dir_fd=parent, dst_dir_fd=to)

            self._at(old, rename_from)

        self._at(new, rename_to, make=True)

    def remove(self, name: str) -> None:
        """Delete a file or a link."""
        self._at(name, lambda parent, base: os.unlink(base, dir_fd=parent))

    def make(self, name: str) -> None:
        """Make a folder, and its missing parents, unless it exists."""
        self.path.mkdir(parents=True, exist_ok=True)
        self._at(f"{name}/.", lambda folder, _: None, make=True)

    def remove_empty(self, name: str) -> None:
        """Delete a folder. Raise ``FailedPrecondition`` if it is not empty."""
        self._at(name, lambda parent, base: os.rmdir(base, dir_fd=parent))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock of the folder during the block.

        Raises:
            Unavailable: Another process has held the lock for a minute.
        """
        descriptors = _Descriptors()
        try:
            with explained(self.path):
                _open_into(descriptors, self.path, _FOLDER)
            (folder,) = descriptors
            _lock(lambda: fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB), self.path)
            yield
        finally:
            descriptors.close()


def _stat_at(parent: int, base: str) -> os.stat_result:
    return os.stat(base, dir_fd=parent, follow_symlinks=False)


class _Descriptors(list[int]):
    """Open descriptors. They are closed by ``close``, or else when the list is dropped.

    Python runs signal handlers between two bytecode instructions. ``deque`` takes and closes all
    descriptors within one instruction. So an exception from a handler loses none of them.
    """

    def close(self) -> None:
        deque(map(os.close, map(self.pop, [-1] * len(self))), maxlen=0)

    def __del__(self) -> None:
        self.close()


def _open_into(
    descriptors: _Descriptors, path: str | Path, flags: int, parent: int | None = None
) -> None:
    """Open a file or folder, and append its descriptor to a list.

    ``map`` calls ``open`` within one instruction, too.
    """
    descriptors += map(partial(os.open, flags=flags, mode=0o666, dir_fd=parent), (path,))


def _open_below(descriptors: _Descriptors, name: str, make: bool) -> None:
    """Open a folder in the last folder of a list, and append its descriptor to the list.

    If ``make`` is true, make the folder if it does not exist.
    """
    flags, parent = _FOLDER | os.O_NOFOLLOW, descriptors[-1]
    try:
        _open_into(descriptors, name, flags, parent)
        return
    except FileNotFoundError:
        if not make:
            raise
    with suppress(FileExistsError):  # another process has just made it
        os.mkdir(name, dir_fd=parent)
    _open_into(descriptors, name, flags, parent)


def _lock(attempt: Callable[[], None], path: Path) -> None:
    deadline = Deadline(_LOCK_SECONDS)
    for wait in backoff(0.001, 0.1):
        try:
            attempt()
        except BlockingIOError:
            if deadline.expired:
                raise Unavailable(
                    f"another process has locked {path} for {_LOCK_SECONDS:.0f} s",
                    remedy="Find the process with lslocks or fuser, or use another folder",
                ) from None
            time.sleep(wait)
        else:
            return


def _not_regular(path: Path) -> InvalidArgument:
    return InvalidArgument(
        f"{path} is not a regular file, or is behind a link",
        remedy="Copy the layout with cp -RL, or use another folder",
    )


def scratch_of(name: str) -> str:
    """Return the prefix of the names of temporary files that ``replace`` renames to ``name``."""
    return f".{name}.new-"


def file_time(seconds: float) -> datetime:
    """Return the time of a file; a time that ``datetime`` cannot hold becomes the last one."""
    try:
        return datetime.fromtimestamp(seconds, timezone.utc)
    except (ValueError, OverflowError, OSError):
        return datetime.max.replace(tzinfo=timezone.utc)
