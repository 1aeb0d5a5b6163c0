"""The running of a CNI plugin: a program that reads a document and answers with another.

What lives here: finding it, running it within bounds, its errors.  What may not: what the documents
say, the order in which plugins run.
"""

from __future__ import annotations

import json
import logging
import os
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

_MAX_WORDS = 500
#: The specification's section 5, "Error"; 100 and above are a plugin's own.
_ERRORS: Mapping[int, type[ContainerdError]] = {
    **dict.fromkeys((1, 2, 4, 6, 7), InvalidArgument),
    3: NotFound,
    11: Unavailable,
}
#: Plugins call iptables and the like, whose folders many a PATH lacks.
_PATH = ":/usr/local/sbin:/usr/sbin:/sbin"


def find_plugin(name: str, folders: Sequence[Path]) -> Path:
    """The program of a plugin, out of the first folder that has it.  Raises ``NotFound``."""
    for folder in folders:
        path = folder / check_name(name, "a plugin's name")
        if path.is_file() and os.access(path, os.X_OK):
            return path
    places = ", ".join(map(str, folders))
    raise NotFound(
        f"the CNI plugin {name} is not in {places}", remedy="Install it, or name its folder"
    )


def run_plugin(
    program: Path, config: Json, parameters: Mapping[str, str], deadline: Deadline
) -> bytes:
    """What a plugin answers; ``parameters`` are its ``CNI_…`` variables.

    Of this process's environment it has the ``PATH`` alone.  Raises ``DeadlineExceeded`` for one
    that goes on and ``ResourceExhausted`` for one that says too much, which are killed with their
    children; ``InvalidArgument``, ``NotFound``, ``Unavailable`` or ``Unknown`` by the code of its
    error.
    """
    what = f"{parameters['CNI_COMMAND']} by the CNI plugin {program.name}"
    environment = {"PATH": os.environ.get("PATH", os.defpath) + _PATH, **parameters}
    try:
        with LoggedStep(_LOGGER, "%s", what):
            ended = run_child(
                [str(program)],
                what,
                input=json.dumps(config).encode(),
                environment=environment,
                deadline=deadline,
                max_output=MAX_DOCUMENT,
                kept_stderr=_MAX_WORDS,
                folder="/",
            )
    except DeadlineExceeded as error:
        error.remedy = "Raise timeout="
        raise
    if ended.code:
        raise _failure(what, ended)
    return ended.stdout


def _failure(what: str, ended: Ended) -> ContainerdError:
    """An error of the plugin's own words, or of what else is known."""
    kind: type[ContainerdError] = Unknown
    try:
        document = Document.parse(ended.stdout, "its answer", limit=MAX_DOCUMENT)
        kind = _ERRORS.get(document.integer("code", 0), Unknown)
        words = [document.text("msg"), document.text("details")]
    except InvalidArgument:
        words = [ended.stderr.decode("utf-8", "replace").strip()]
    told = "; ".join(filter(None, words))[:_MAX_WORDS]
    printable = "".join(letter if letter.isprintable() else " " for letter in told)
    return kind(f"{what}: {printable or ended.how}")
