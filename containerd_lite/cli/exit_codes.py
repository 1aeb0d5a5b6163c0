"""The exit codes of the program."""

from __future__ import annotations

from ..errors import (
    ContainerdError,
    DeadlineExceeded,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Unauthenticated,
    Unavailable,
)

OK, FAILED, USAGE, NOT_FOUND, AUTH, UNREACHABLE, TIMEOUT = 0, 1, 2, 3, 4, 5, 6
_CODES: tuple[tuple[type[ContainerdError], int], ...] = (
    (NotFound, NOT_FOUND),
    (Unauthenticated, AUTH),
    (PermissionDenied, AUTH),
    (DeadlineExceeded, TIMEOUT),
    (Unavailable, UNREACHABLE),
    (InvalidArgument, USAGE),
)
#: Commands that end with a container's code.
_OF_CONTAINERS = ("run", "exec")
#: The codes of ``run`` and ``exec`` for a failure of this program or the daemon, for a command that
#: cannot be executed, and for a command that does not exist.
FAILED_HERE, NOT_EXECUTABLE, NO_COMMAND = 125, 126, 127
#: The runtime has no codes for what kept a process from starting: it passes on what execve and
#: the search in PATH said, in words that are Go's.
_WORDS = (
    ("executable file not found in", NO_COMMAND),
    ("no such file or directory", NO_COMMAND),
    ("permission denied", NOT_EXECUTABLE),
    ("exec format error", NOT_EXECUTABLE),
)
_STARTING = ("Tasks.Create", "Tasks.Start", "Tasks.Exec")


def exit_code(error: ContainerdError, command: str) -> int:
    """The code for an error of a command."""
    if command in _OF_CONTAINERS:
        return _of_container(error)
    return next((code for kind, code in _CODES if isinstance(error, kind)), FAILED)


def _of_container(error: ContainerdError) -> int:
    """The code of a command that could not run its process."""
    if error.operation in _STARTING:
        said = error.message.lower()
        return next((code for words, code in _WORDS if words in said), FAILED_HERE)
    return FAILED_HERE
