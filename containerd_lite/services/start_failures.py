"""Finds out why a runtime cannot start a process, and cannot pause or resume a container.

The runtime and the shim send no specific error code. The runtime's message contains Go's text for
an error of execve, or of the search in ``PATH``. The shim's message names the state.
"""

from __future__ import annotations

from ..errors import ContainerdError, FailedPrecondition, InvalidArgument, NotFound
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
#: The shim's message if the state of a container or of its first process forbids the call.
_WRONG_STATE = lazy_pattern(r"cannot (exec in|pause|resume) a ([a-z]+)")
#: The remedies, by the states in the shim's message.
_STATE_REMEDIES = {
    "created": "Start the task first",
    "paused": "Resume the container first",
    "running": "Pause the container first",
    "stopped": "Start a new task of the container",
    "deleted": "Start a new task of the container",
}
#: The daemon's message if it does not find the shim of a runtime, and its reason for a name that no
#: runtime can have.
_NO_RUNTIME, _BAD_NAME = "failed to resolve runtime path: ", "invalid runtime name"


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

    Return ``None`` if the error does not say why the call cannot succeed.
    """
    if is_missing_command(error):
        return NotFound, "Use a command that exists in the container"
    if is_not_executable(error):
        return FailedPrecondition, "Use a command that is executable in the container"
    if error.operation.startswith("Tasks.") and (found := _WRONG_STATE.match(error.raw_message)):
        return FailedPrecondition, _STATE_REMEDIES.get(found[2], "")
    if _NO_RUNTIME in error.raw_message:
        remedy = "Pass the name of an installed runtime as runtime=, or install the runtime"
        return InvalidArgument if _BAD_NAME in error.raw_message else NotFound, remedy
    return None
