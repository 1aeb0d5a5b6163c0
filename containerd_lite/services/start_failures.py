"""Finds out why a runtime cannot start a process.

The runtime sends no specific error code. Its message contains Go's text for an error of execve, or
of the search in ``PATH``.
"""

from __future__ import annotations

from ..errors import ContainerdError, FailedPrecondition, NotFound
from ..lazy import lazy_pattern

#: The calls in which a runtime starts a process.
_STARTING = ("Tasks.Create", "Tasks.Start", "Tasks.Exec")
#: The beginning of a message about the command. runc writes ``container process: exec: "sh": ...``,
#: crun ``executable file `sh` ...``, and gVisor ``finding executable "sh" ...``. Other messages,
#: such as those about a mount, can contain the same errors of the system.
_OF_COMMAND = lazy_pattern(
    r'container process(?: caused)?: (?:[^"]{0,200}: )?exec:? ["/]'
    r"|executable file `|finding executable"
)
_MISSING = ("executable file not found in", "no such file or directory", "not found in $path")
_NOT_EXECUTABLE = ("permission denied", "exec format error")
#: The beginning of containerd's message if a container cannot get a process in its state.
_WRONG_STATE = "cannot exec in a "


def is_missing_command(error: ContainerdError) -> bool:
    """Return whether a process cannot start, because its command does not exist."""
    return _says(error, _MISSING)


def is_not_executable(error: ContainerdError) -> bool:
    """Return whether a process cannot start, because its command is not executable."""
    return _says(error, _NOT_EXECUTABLE)


def _says(error: ContainerdError, texts: tuple[str, ...]) -> bool:
    message = error.message.lower()
    return (
        error.operation in _STARTING
        and _OF_COMMAND.search(message) is not None
        and any(text in message for text in texts)
    )


def start_failure(error: ContainerdError) -> tuple[type[ContainerdError], str] | None:
    """Return the class and the remedy for an error that the daemon sent as ``Unknown``.

    Return ``None`` if the error does not say why a process cannot start.
    """
    if is_missing_command(error):
        return NotFound, "Use a command that exists in the container"
    if is_not_executable(error):
        return FailedPrecondition, "Use a command that is executable in the container"
    if error.operation == "Tasks.Exec" and error.raw_message.startswith(_WRONG_STATE):
        return FailedPrecondition, "Start a new task of the container"
    return None
