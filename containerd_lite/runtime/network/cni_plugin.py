"""The running of a CNI plugin: a program that reads a document and answers with another.

What lives here: finding it, running it within bounds, its errors.  What may not: what the documents
say, the order in which plugins run.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from subprocess import PIPE, Popen, TimeoutExpired
from tempfile import TemporaryFile
from typing import IO

from ...deadline import Deadline
from ...errors import (
    ContainerdError,
    DeadlineExceeded,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Unavailable,
    Unknown,
)
from ...oci.document import Document
from .cni import MAX_DOCUMENT, Json, check_name

_MAX_WORDS = 500
_CHUNK = 64 << 10
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
    with TemporaryFile() as given:
        given.write(json.dumps(config).encode())
        given.seek(0)
        with _started(program, given, environment, what, deadline) as child:
            said, complaint = _read(child, what, deadline)
            code = child.wait(deadline.remaining())
    if code:
        raise _failure(what, code, said, complaint)
    return said


@contextmanager
def _started(
    program: Path, given: IO[bytes], environment: Mapping[str, str], what: str, deadline: Deadline
) -> Iterator[Popen[bytes]]:
    """A plugin that runs, and is killed with its group where the block ends before it."""
    try:
        child = Popen(
            [program],
            bufsize=0,
            stdin=given,
            stdout=PIPE,
            stderr=PIPE,
            env=environment,
            cwd="/",
            start_new_session=True,
        )
    except OSError as error:
        raise Unknown(f"{what}: it cannot be started ({error.strerror})") from None
    with child:
        try:
            yield child
        except TimeoutExpired:
            raise DeadlineExceeded(f"{what} did not end in time", remedy="Raise timeout=") from None
        finally:
            # A child that was not waited for still holds its group's number.
            if child.returncode is None:
                with suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)


def _read(child: Popen[bytes], what: str, deadline: Deadline) -> tuple[bytes, bytes]:
    """Its standard output, and the beginning of its standard error."""
    assert child.stdout is not None  # both were asked for
    assert child.stderr is not None
    said, complaint = bytearray(), bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ, said)
        selector.register(child.stderr, selectors.EVENT_READ, complaint)
        while selector.get_map():
            ready = selector.select(deadline.remaining())
            if deadline.expired:
                raise TimeoutExpired(what, 0)
            for key, _ in ready:
                part = os.read(key.fd, _CHUNK)
                key.data.extend(part)
                if not part:
                    selector.unregister(key.fileobj)
            del complaint[_MAX_WORDS:]
            if len(said) > MAX_DOCUMENT:
                raise ResourceExhausted(f"{what} says more than {MAX_DOCUMENT} bytes")
    return bytes(said), bytes(complaint)


def _failure(what: str, code: int, said: bytes, complaint: bytes) -> ContainerdError:
    """An error of the plugin's own words, or of what else is known."""
    kind: type[ContainerdError] = Unknown
    try:
        document = Document.parse(said, "its answer", limit=MAX_DOCUMENT)
        kind = _ERRORS.get(document.integer("code", 0), Unknown)
        words = [document.text("msg"), document.text("details")]
    except InvalidArgument:
        words = [complaint.decode("utf-8", "replace").strip()]
    told = "; ".join(filter(None, words))[:_MAX_WORDS]
    printable = "".join(letter if letter.isprintable() else " " for letter in told)
    how = f"exit code {code}" if code > 0 else f"signal {-code}"
    return kind(f"{what}: {printable or how}")
