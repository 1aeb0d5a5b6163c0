"""Docker's credential helpers: programs that keep user names and secrets for registries.

What lives here: the running of one within bounds, and what each answered in this process.
What may not: config files, and what is then done with an answer.  The protocol is that of
docker-credential-helpers (credentials/credentials.go, client/client.go).
"""

from __future__ import annotations

import logging
import os
import shutil
import threading
from collections.abc import Mapping
from pathlib import Path

from ..child import Ended, run_child
from ..deadline import Deadline
from ..debug import LoggedStep
from ..errors import ContainerdError, InvalidArgument, RegistryUnauthorized
from ..lazy import lazy_pattern
from ..locks import holding
from ..oci.document import Document, quoted
from ..records import field, record

_LOGGER = logging.getLogger(__package__)

#: A helper may ask its user something (seconds).
TIME_LIMIT = 30.0
#: Tokens of the clouds have some kilobytes.
_MAX_ANSWER = 1 << 20

_NAME = lazy_pattern(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_SERVER = lazy_pattern(r"[!-~]{1,1024}")
_FIELDS = ("ServerURL", "Username", "Secret")
#: credentials/error.go; on the standard output, with an exit code that is not 0.
_NOT_FOUND = b"credentials not found in native keychain"


class _Failure(Exception):
    """Why a helper gave no answer, in our words: its own may quote a secret."""


@record
class _AnswerSlot:
    """The answer to one question; the lock is held while it is asked."""

    lock: threading.RLock = field(default_factory=threading.RLock)
    answered: bool = False
    login: tuple[str, str] | None = field(default=None, repr=False)


#: By process, program, server and config file: a forked child has locks of its own.
_slots: dict[tuple[int, str, str, str], _AnswerSlot] = {}


def ask_helper(
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
    slot = _slots.setdefault((os.getpid(), program, server, str(config)), _AnswerSlot())
    with holding(slot.lock, deadline) as is_ours:
        if not is_ours:
            raise _Failure("it did not answer in time")
        if not slot.answered:
            slot.login = _understood(_run(program, server, environ, deadline))
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


def _run(program: str, server: str, environ: Mapping[str, str], deadline: Deadline) -> Ended:
    try:
        # Its standard error, which may quote a secret, is thrown away.
        with LoggedStep(_LOGGER, "%s get %s", program, server):
            return run_child(
                [program, "get"],
                "it",
                input=server.encode(),
                environment=environ,
                deadline=deadline,
                max_output=_MAX_ANSWER,
            )
    except ContainerdError as error:
        raise _Failure(error.message) from None


def _understood(ended: Ended) -> tuple[str, str] | None:
    if ended.code:
        if ended.stdout.strip() == _NOT_FOUND:
            return None
        raise _Failure(f"it ended with {ended.how}")
    try:
        answer = Document.parse(ended.stdout, "the answer", limit=_MAX_ANSWER).known(_FIELDS)
        username, secret = answer.text("Username", None), answer.text("Secret", None)
        if ":" not in username:
            return username, secret
    except InvalidArgument:
        pass  # its message may quote the secret
    raise _Failure("its answer cannot be understood")
