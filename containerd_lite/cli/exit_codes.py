"""The exit codes of ``containerd-lite``."""

from __future__ import annotations

from ..errors import (
    ContainerdError,
    DeadlineExceeded,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    SignatureError,
    SignaturesUnavailable,
    Unauthenticated,
    Unavailable,
)
from ..services.start_failures import is_missing_command, is_not_executable

OK, FAILED, USAGE, NOT_FOUND, AUTH, UNREACHABLE, TIMEOUT, REFUSED = 0, 1, 2, 3, 4, 5, 6, 7
_CODES: tuple[tuple[type[ContainerdError], int], ...] = (
    (SignaturesUnavailable, UNREACHABLE),
    (SignatureError, REFUSED),
    (NotFound, NOT_FOUND),
    (Unauthenticated, AUTH),
    (PermissionDenied, AUTH),
    (DeadlineExceeded, TIMEOUT),
    (Unavailable, UNREACHABLE),
    (InvalidArgument, USAGE),
)
#: Commands that exit with the exit code of a container's process.
_OF_CONTAINERS = ("run", "exec")
#: Exit codes of ``run`` and ``exec``. 125: this program or the daemon failed. 126: the command
#: cannot be executed. 127: the command does not exist.
FAILED_HERE, NOT_EXECUTABLE, NO_COMMAND = 125, 126, 127


def exit_code(error: ContainerdError, command: str) -> int:
    """Return the exit code for an error of a command."""
    if command in _OF_CONTAINERS:
        return _of_container(error)
    return next((code for kind, code in _CODES if isinstance(error, kind)), FAILED)


def _of_container(error: ContainerdError) -> int:
    """Return the exit code of ``run`` or ``exec`` for an error."""
    if is_missing_command(error):
        return NO_COMMAND
    return NOT_EXECUTABLE if is_not_executable(error) else FAILED_HERE
