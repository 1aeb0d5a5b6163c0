"""Finds and runs CNI plugins: programs that read a JSON document and write a JSON document.

A plugin that takes too long or writes too much is killed.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from ...child import Ended, run_child
from ...deadline import Deadline
from ...debug import LoggedStep
from ...errors import (
    ContainerdError,
    DeadlineExceeded,
    InvalidArgument,
    NotFound,
    Unavailable,
    Unknown,
)
from ...oci.document import Document
from .cni import MAX_DOCUMENT, Json, check_name

_LOGGER = logging.getLogger(__package__)

#: Maximum number of characters to show of a plugin's error message.
_MAX_MESSAGE = 500
#: The error class for each error code of the specification (section 5, "Error"). From 100 on, each
#: plugin has its own codes.
_ERRORS: Mapping[int, type[ContainerdError]] = {
    **dict.fromkeys((1, 2, 4, 6, 7), InvalidArgument),
    3: NotFound,
    11: Unavailable,
}
#: Folders to add to ``PATH`` for the programs that plugins call, such as iptables.
_PATH = ":/usr/local/sbin:/usr/sbin:/sbin"


def find_plugin(name: str, folders: Sequence[Path]) -> Path:
    """Return the path of a plugin's program in the first folder that has the program.

    Raises:
        NotFound: No folder has the program.
        InvalidArgument: The name is not valid.
    """
    for folder in folders:
        path = folder / check_name(name, "a plugin's name")
        if path.is_file() and os.access(path, os.X_OK):
            return path
    searched = ", ".join(map(str, folders))
    raise NotFound(
        f"the CNI plugin {name} is not in {searched}",
        remedy="Install the plugin, or set plugins= to the plugin's folder",
    )


def has_program(name: str) -> bool:
    """Return whether the plugins find a program, such as iptables."""
    return shutil.which(name, path=_path()) is not None


def _path() -> str:
    return os.environ.get("PATH", os.defpath) + _PATH


def run_plugin(
    program: Path, config: Json, parameters: Mapping[str, str], deadline: Deadline
) -> bytes:
    """Run a plugin and return its standard output.

    The plugin gets only ``PATH`` from this process's environment.

    Args:
        program: The path of the plugin.
        config: The JSON object that the plugin reads from its standard input.
        parameters: The plugin's ``CNI_…`` environment variables.
        deadline: The time at which the plugin and its children are killed.

    Raises:
        DeadlineExceeded: The plugin did not end in time.
        ResourceExhausted: The plugin wrote too much, and was killed with its children.
        InvalidArgument: The plugin failed with a code for an invalid configuration or call.
        NotFound: The plugin failed with the code "unknown container".
        Unavailable: The plugin failed with the code "try again later".
        Unknown: The plugin failed with another code, or cannot be started.
    """
    what = f"{parameters['CNI_COMMAND']} by the CNI plugin {program.name}"
    try:
        body = json.dumps(config).encode()
    except RecursionError:
        raise InvalidArgument(f"the configuration for {what} is nested too deeply") from None
    environment = {"PATH": _path(), **parameters}
    try:
        with LoggedStep(_LOGGER, "%s", what):
            ended = run_child(
                [str(program)],
                what,
                input=body,
                environment=environment,
                deadline=deadline,
                max_output=MAX_DOCUMENT,
                kept_stderr=_MAX_MESSAGE,
                folder="/",
            )
    except DeadlineExceeded as error:
        error.remedy = "Raise timeout="
        raise
    if ended.code:
        raise _plugin_error(what, ended)
    return ended.stdout


def _plugin_error(what: str, ended: Ended) -> ContainerdError:
    """Return the error that a plugin wrote to its standard output, or else to standard error."""
    kind: type[ContainerdError] = Unknown
    try:
        document = Document.parse(ended.stdout, "the plugin's error", limit=MAX_DOCUMENT)
        kind = _ERRORS.get(document.integer("code", 0), Unknown)
        parts = [document.text("msg"), document.text("details")]
    except InvalidArgument:
        parts = [ended.stderr.decode("utf-8", "replace").strip()]
    message = "; ".join(filter(None, parts))[:_MAX_MESSAGE]
    return kind(f"{what}: {message or ended.how}")
