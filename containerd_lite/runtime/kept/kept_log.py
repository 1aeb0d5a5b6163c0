"""Where the log of a detached container is, and the streams that write it."""

from __future__ import annotations

import errno
import logging
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import suppress
from urllib.parse import parse_qs, urlsplit

from ...errors import FailedPrecondition
from ...lazy import lazy_pattern
from ...services.tasks import NULL_STDIO, Stdio
from ...system import of_system
from ...undo import Undo
from ..io.base import StreamedProcess
from ..io.elsewhere import BinaryLogger, LogFile, NullIO
from . import logger
from .daemon_process import daemon_process

_LOGGER = logging.getLogger(__package__.rpartition(".")[0])

#: The file to which the shim itself writes the output, if the logger cannot run.
PLAIN = "output.log"
#: An environment variable: the folder for logs of clients that have no other.
_VARIABLE = "CONTAINERD_LITE_LOGS"
_OF_ROOT = "/var/log/containerd-lite"
#: The names of all files of a log.
_NAMES = (
    *(f"{logger.LOG}.{number}" for number in range(1, logger.FILES)),
    *(logger.LOG, logger.SYNC, PLAIN),
)
#: Options of Python: use no environment variable and no installed package, and run a text. The
#: shim passes the parameters of the URI in any order, so there is only one.
_RUN_TEXT = "-ISc"
#: Names of Python's programs. A program that contains Python, such as uwsgi, has another name.
_PYTHON = lazy_pattern(r"(python|pypy)[0-9.]*t?")


class KeptLog(NullIO):
    """The streams of a process whose output goes to the log of its container.

    Args:
        folder: The folder of the log.
        terminal: Whether the process has a terminal.

    Attributes:
        folder: The folder of the log.
    """

    def __init__(self, folder: str, *, terminal: bool = False) -> None:
        super().__init__()
        self.folder = folder
        is_plain = os.path.exists(f"{folder}/{PLAIN}")  # see ``new_log``
        self._logger = None if is_plain else _logger(folder, terminal=terminal)
        self.stdio = self._logger or _plain(folder, terminal=terminal)

    def start(self, process: StreamedProcess) -> None:
        """Check that the logger runs: the shim cannot tell whether it has failed.

        Raises:
            FailedPrecondition: The logger has made no log.
        """
        if self._logger and not os.path.exists(f"{self.folder}/{logger.LOG}"):
            raise FailedPrecondition(
                f"the logger has made no log in {self.folder}",
                remedy="Check the disk, or give streams=NullIO() to discard the output",
            )


def new_log(address: str, root: str | None, namespace: str, id: str) -> str | None:
    """Make the folder of a container's log, which only this user can read.

    Args:
        address: The address of the daemon.
        root: The folder for logs. Default: ``$CONTAINERD_LITE_LOGS``, or a folder of this user.
        namespace: The namespace of the container.
        id: The container's id. Neither may be usable as a path.

    Returns:
        The folder, which no other container has had. If the daemon cannot start the logger, it has
        a plain file. ``None`` if the daemon may see other files than this process, so that this
        process could not read the log.

    Raises:
        ContainerdError: The folder cannot be made.
    """
    daemon = daemon_process(address)
    if daemon is None or not daemon.can_write() or not daemon.sees("/"):
        return None
    folder = _make_folder(root, namespace, id)
    with Undo(lambda: remove_log(folder)):
        if not daemon.sees(folder):
            remove_log(folder)
            return None
        program = _program()
        if program is None or not all(map(daemon.sees, _places(*program))):
            os.close(os.open(f"{folder}/{PLAIN}", os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    return folder


def _places(python: str, folder: str) -> tuple[str, ...]:
    """Return the paths that a process must see to start the logger."""
    return os.path.dirname(python), os.path.realpath(python), folder


def is_log_of(uri: str, folder: str) -> bool:
    """Return whether a URI makes the shim start the logger of this folder."""
    parts = urlsplit(uri)
    text = parse_qs(parts.query).get(_RUN_TEXT, [""])[0]
    return parts.scheme == "binary" and ascii(folder) in text


def last_uri(folder: str) -> str:
    """Return the URI of a log for a container without a task, to which later tasks write."""
    return KeptLog(folder).stdio.stdout if folder else ""


def remove_log(folder: str) -> None:
    """Remove a log, also if a part of it is missing. Nothing else in the folder is removed."""
    try:
        place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return  # it is gone, or on another machine
    try:
        for name in _NAMES:
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=place)
        os.rmdir(folder)
    except OSError as error:
        _LOGGER.warning("the log in %s cannot be removed: %s", folder, error.strerror)
    finally:
        os.close(place)


def _program() -> tuple[str, str] | None:
    """Return Python, and the folder of the logger's file. ``None`` without such a program."""
    spec, python = logger.__spec__, sys.executable or ""
    source = spec.origin if spec is not None else None
    if not source or not os.path.isfile(source):
        return None  # the package is in an archive
    if not os.path.isabs(python) or not _PYTHON.fullmatch(os.path.basename(python)):
        return None
    return python, os.path.dirname(os.path.abspath(source))


def _logger(folder: str, *, terminal: bool) -> Stdio | None:
    """Return the streams that make the shim start the logger; ``None`` without a program."""
    program = _program()
    if program is None:
        return None
    python, place = program
    text = (
        f"import sys; sys.path.append({place!a}); from logger import main; "
        f"main({folder!a}, has_stderr={not terminal})"
    )
    return BinaryLogger(python, {_RUN_TEXT: text}, terminal=terminal).stdio


def _plain(folder: str, *, terminal: bool) -> Stdio:
    """Return the streams that make the shim write a plain file, which no terminal can have."""
    return NULL_STDIO if terminal else LogFile(f"{folder}/{PLAIN}").stdio


def _make_folder(root: str | None, namespace: str, id: str) -> str:
    failure = OSError()
    for place in _roots(root):
        try:
            return _make_within(place, namespace, id)
        except OSError as error:
            failure = failure if failure.errno else error
    found = of_system(failure, "Client.run")
    found.remedy = (
        f"Choose a folder with Client(logs_dir=) or ${_VARIABLE}, or give streams=NullIO() to "
        "discard the output"
    )
    raise found from failure


def _make_within(place: str, namespace: str, id: str) -> str:
    folder = f"{place}/{namespace}"
    for parent in (place, folder):
        os.makedirs(parent, 0o700, exist_ok=True)
    owner = os.stat(place, follow_symlinks=False)
    if place.startswith(_temporary()) and (
        owner.st_uid != os.geteuid() or stat.S_IMODE(owner.st_mode) & 0o077
    ):
        raise PermissionError(errno.EPERM, "it belongs to another user", place)
    folder = f"{folder}/{id}-{os.urandom(4).hex()}"
    os.mkdir(folder, 0o700)
    with Undo(lambda: remove_log(folder)):
        os.mkfifo(f"{folder}/{logger.SYNC}", 0o600)
    return folder


def _roots(root: str | None) -> Iterator[str]:
    """Yield the folders for logs to try, one after the other."""
    if chosen := root or os.environ.get(_VARIABLE):
        yield os.path.abspath(chosen)
        return
    if not os.geteuid():
        yield _OF_ROOT
    else:
        state = os.environ.get("XDG_STATE_HOME", "")
        state = state if os.path.isabs(state) else os.path.expanduser("~/.local/state")
        yield f"{state}/containerd-lite/logs"
    yield _temporary()  # for the users of services, who have no home


def _temporary() -> str:
    return f"{os.path.abspath(os.environ.get('TMPDIR') or '/tmp')}/containerd-lite-{os.geteuid()}"
