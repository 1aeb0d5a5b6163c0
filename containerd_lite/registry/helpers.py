"""Docker's credential helpers: programs that keep user names and secrets for registries.

What lives here: the running of one within bounds, and what each answered in this process.
What may not: config files, and what is then done with an answer.  The protocol is that of
docker-credential-helpers (credentials/credentials.go, client/client.go).
"""

from __future__ import annotations

import os
import re
import selectors
import shutil
import signal
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen, TimeoutExpired
from typing import IO

from ..deadline import Deadline
from ..errors import InvalidArgument, RegistryUnauthorized
from ..locks import holding
from ..oci.document import Document, quoted

#: A helper may ask its user something (seconds).
TIME_LIMIT = 30.0
#: Tokens of the clouds have some kilobytes.
_MAX_ANSWER = 1 << 20

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
#: Short enough for a pipe to take it whole, read or not.
_SERVER = re.compile(r"[!-~]{1,1024}")
_FIELDS = ("ServerURL", "Username", "Secret")
#: credentials/error.go; on the standard output, with an exit code that is not 0.
_NOT_FOUND = b"credentials not found in native keychain"


class _Failure(Exception):
    """Why a helper gave no answer, in our words: its own may quote a secret."""


@dataclass
class _Slot:
    """The answer to one question; the lock is held while it is asked."""

    lock: threading.RLock = field(default_factory=threading.RLock)
    answered: bool = False
    login: tuple[str, str] | None = field(default=None, repr=False)


#: By process, program, server and config file: a forked child has locks of its own.
_slots: dict[tuple[int, str, str, str], _Slot] = {}


def ask(
    name: str,
    server: str,
    config: Path,
    environ: Mapping[str, str],
    timeout: float = TIME_LIMIT,
) -> tuple[str, str] | None:
    """The user name and the secret that ``docker-credential-<name>`` keeps for ``server``.

    It is looked for on the ``PATH`` of ``environ``, which it gets whole, and has ``timeout``
    seconds.  ``None`` is its answer that it has none.  An answer is kept for this process, by
    program, server and ``config``, the file that names the helper.  Raises RegistryUnauthorized
    for a helper that is missing, late, fails or cannot be understood; the next call tries again.
    """
    if not _SERVER.fullmatch(server):
        raise InvalidArgument(f"{quoted(server)} is not the name of a registry")
    helper = quoted(f"docker-credential-{name}")
    try:
        return _ask(name, server, config, environ, Deadline(timeout))
    except _Failure as failure:
        reason = str(failure)
    raise RegistryUnauthorized(
        f"the credential helper {helper} gave no credentials for {server}: {reason}",
        remedy=f"Install or mend {helper}, or take it out of {config} and log in to {server} again",
    )


def _ask(
    name: str, server: str, config: Path, environ: Mapping[str, str], deadline: Deadline
) -> tuple[str, str] | None:
    """The answer to a question that one thread asks at a time."""
    program = _find(name, environ)
    slot = _slots.setdefault((os.getpid(), program, server, str(config)), _Slot())
    with holding(slot.lock, deadline) as is_ours:
        if not is_ours:
            raise _Failure("it did not answer in time")
        if not slot.answered:
            slot.login = _understood(*_run(program, server, environ, deadline))
            slot.answered = True
        return slot.login


def _find(name: str, environ: Mapping[str, str]) -> str:
    if not _NAME.fullmatch(name):
        raise _Failure("that cannot be a helper's name")
    # An empty or relative folder would be whichever one the caller happens to stand in.
    folders = environ.get("PATH", os.defpath).split(os.pathsep)
    path = os.pathsep.join(folder for folder in folders if os.path.isabs(folder))
    program = shutil.which(f"docker-credential-{name}", path=path)
    if program is None:
        raise _Failure("there is no such program on PATH")
    return program


def _run(
    program: str, server: str, environ: Mapping[str, str], deadline: Deadline
) -> tuple[int, bytes]:
    """The exit code and the standard output; a helper that goes on is ended with all its group."""
    try:
        # What goes to stderr may quote a secret.
        child = Popen(
            [program, "get"],
            bufsize=0,
            stdin=PIPE,
            stdout=PIPE,
            stderr=DEVNULL,
            env=environ,
            start_new_session=True,
        )
    except OSError as error:
        raise _Failure(f"it cannot be started ({error.strerror})") from None
    with child:
        try:
            output = _talk(child, server, deadline)
            return child.wait(deadline.remaining()), output
        except TimeoutExpired:
            raise _Failure("it did not end in time") from None
        finally:
            # A child that was not waited for still holds its group's number.
            if child.returncode is None:
                with suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)


def _talk(child: Popen[bytes], server: str, deadline: Deadline) -> bytes:
    assert child.stdin is not None  # both were asked for
    assert child.stdout is not None
    with suppress(BrokenPipeError), child.stdin:
        child.stdin.write(server.encode())
    return _read(child.stdout, deadline)


def _read(pipe: IO[bytes], deadline: Deadline) -> bytes:
    """All that comes up to the end of the stream."""
    found = b""
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while selector.select(deadline.remaining()):
            part = os.read(pipe.fileno(), 64 << 10)
            if not part:
                return found
            found += part
            if len(found) > _MAX_ANSWER:
                raise _Failure("it wrote too much")
    raise _Failure("it did not answer in time")


def _understood(code: int, output: bytes) -> tuple[str, str] | None:
    if code:
        if output.strip() == _NOT_FOUND:
            return None
        how = f"exit code {code}" if code > 0 else f"signal {-code}"
        raise _Failure(f"it ended with {how}")
    try:
        answer = Document.parse(output, "the answer", limit=_MAX_ANSWER).known(_FIELDS)
        username, secret = answer.text("Username", None), answer.text("Secret", None)
        if ":" not in username:
            return username, secret
    except InvalidArgument:
        pass  # its message may quote the secret
    raise _Failure("its answer cannot be understood")
