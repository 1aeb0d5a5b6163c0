"""Runs Docker's credential helpers: programs that store user names and secrets for registries.

The answers of the helpers are cached in this process. The helpers use the protocol of
docker-credential-helpers (credentials/credentials.go, client/client.go).
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from ...child import Ended, run_child
from ...deadline import Deadline
from ...debug import LoggedStep
from ...errors import (
    ContainerdError,
    FailedPrecondition,
    InvalidArgument,
    RegistryUnauthorized,
)
from ...lazy import lazy_pattern
from ...locks import holding
from ...oci.document import Document
from ...printable import quoted
from ...records import field, record
from ...system import file_version

_LOGGER = logging.getLogger(__package__)

#: Seconds that a helper may take. Some helpers wait for input from the user.
TIME_LIMIT = 30.0
#: Largest output of a helper in bytes. Tokens of cloud providers have a few kilobytes.
_MAX_OUTPUT = 1 << 20

_NAME = lazy_pattern(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_SERVER = lazy_pattern(r"[!-~]{1,1024}")
_FIELDS = ("ServerURL", "Username", "Secret")
#: The text that a helper writes to standard output if it has no credentials for a registry
#: (credentials/error.go). The helper's exit code is then not 0.
_NOT_FOUND = b"credentials not found in native keychain"

_Result = TypeVar("_Result")


class _HelperError(Exception):
    """The reason why a helper failed. The message never quotes the helper's output."""


@record
class _AnswerSlot:
    """The cached answer of one helper. A thread holds ``lock`` while it runs the helper."""

    lock: threading.RLock = field(default_factory=threading.RLock)
    #: The version of the config file when the helper answered, ``None`` before the first answer.
    version: tuple[int, ...] | None = None
    login: tuple[str, str] | None = field(default=None, repr=False)


#: The cached answers. A key consists of the process, the program, the server and the config file.
#: The key contains the process, so that a forked child uses its own locks.
_slots: dict[tuple[int, str, str, str], _AnswerSlot] = {}


def ask_helper(
    name: str,
    server: str,
    config: Path,
    environ: Mapping[str, str],
    timeout: float = TIME_LIMIT,
) -> tuple[str, str] | None:
    """Return the user name and the secret that ``docker-credential-<name>`` stores for ``server``.

    The program is looked up on the ``PATH`` of ``environ``, and gets ``environ`` as its
    environment. This process caches the program's answer for the server and the config file. A
    failure, or an answer without credentials, is not cached: the next call runs the program again.
    A change of the config file also ends the caching, because ``docker login`` and ``docker
    logout`` write the file. ``skopeo login`` and ``oras login`` do not write the file.

    Args:
        name: The name of the helper.
        server: The registry's name, as Docker spells it.
        config: The config file that names the helper.
        environ: The environment variables.
        timeout: Seconds that the helper may take.

    Returns:
        The user name and the secret, or ``None`` if the helper answers that it has no credentials.

    Raises:
        InvalidArgument: ``server`` is not the name of a registry.
        RegistryUnauthorized: The helper is missing, too slow or fails, or its output is invalid.
    """
    if not _SERVER.fullmatch(server):
        raise InvalidArgument(f"{quoted(server)} is not the name of a registry")
    helper = quoted(f"docker-credential-{name}")
    try:
        return _cached_answer(name, server, config, environ, Deadline(timeout))
    except _HelperError as failure:
        reason = str(failure)
    raise RegistryUnauthorized(
        f"the credential helper {helper} gave no credentials for {server}: {reason}",
        remedy=f"Install or repair {helper}, or remove it from {config} and log in to {server}",
    )


def store_in_helper(
    name: str, server: str, login: tuple[str, str], environ: Mapping[str, str]
) -> None:
    """Let ``docker-credential-<name>`` store a user name and a secret for ``server``.

    Afterwards, the caller must write the config file, which ends the caching of earlier answers.

    Args:
        name: The name of the helper.
        server: The registry's name, as Docker spells it.
        login: The user name and the secret.
        environ: The environment variables.

    Raises:
        FailedPrecondition: The helper is missing, too slow or fails.
    """
    message = {"ServerURL": server, "Username": login[0], "Secret": login[1]}

    def store(program: str, deadline: Deadline) -> None:
        body = json.dumps(message).encode("ascii") + b"\n"
        _check_end(_run_program(program, "store", body, environ, deadline))

    _change(name, store, f"did not store the credentials for {server}", environ)


def erase_in_helper(name: str, server: str, environ: Mapping[str, str]) -> bool:
    """Let ``docker-credential-<name>`` erase what it has for ``server``.

    Afterwards, the caller must write the config file, which ends the caching of earlier answers.

    Args:
        name: The name of the helper.
        server: The registry's name, as Docker spells it.
        environ: The environment variables.

    Returns:
        Whether the helper had credentials for ``server``.

    Raises:
        FailedPrecondition: The helper is missing, too slow or fails.
    """

    def erase(program: str, deadline: Deadline) -> bool:
        body = server.encode()
        if _parse_output(_run_program(program, "get", body, environ, deadline)) is None:
            return False
        _check_end(_run_program(program, "erase", body, environ, deadline))
        return True

    return _change(name, erase, f"did not erase the credentials for {server}", environ)


def _change(
    name: str,
    change: Callable[[str, Deadline], _Result],
    failure: str,
    environ: Mapping[str, str],
) -> _Result:
    """Return the result of ``change``, which runs the helper's program."""
    try:
        return change(_find_program(name, environ), Deadline(TIME_LIMIT))
    except _HelperError as error:
        reason = str(error)
    helper = quoted(f"docker-credential-{name}")
    raise FailedPrecondition(
        f"the credential helper {helper} {failure}: {reason}",
        remedy=f"Install or repair {helper}, or remove it from the file that names it",
    )


def _cached_answer(
    name: str, server: str, config: Path, environ: Mapping[str, str], deadline: Deadline
) -> tuple[str, str] | None:
    """Return the cached answer, or run the helper. Only one thread at a time runs the helper."""
    program = _find_program(name, environ)
    slot = _slots.setdefault((os.getpid(), program, server, str(config)), _AnswerSlot())
    with holding(slot.lock, deadline) as has_lock:
        if not has_lock:
            raise _HelperError("it did not answer in time")
        version = file_version(config)
        if slot.version != version:
            output = _run_program(program, "get", server.encode(), environ, deadline)
            slot.login = _parse_output(output)
            slot.version = None if slot.login is None else version
        return slot.login


def _find_program(name: str, environ: Mapping[str, str]) -> str:
    """Return the path of the helper's program."""
    if not _NAME.fullmatch(name):
        raise _HelperError("the helper's name is invalid")
    # Empty and relative folders on PATH are ignored, because they depend on the current directory.
    folders = environ.get("PATH", os.defpath).split(os.pathsep)
    path = os.pathsep.join(folder for folder in folders if os.path.isabs(folder))
    program = shutil.which(f"docker-credential-{name}", path=path)
    if program is None:
        raise _HelperError("no such program on PATH")
    return program


def _run_program(
    program: str, action: str, body: bytes, environ: Mapping[str, str], deadline: Deadline
) -> Ended:
    try:
        # The helper's standard error is dropped, because it may quote a secret.
        with LoggedStep(_LOGGER, "%s %s", program, action):
            return run_child(
                [program, action],
                "it",
                input=body,
                environment=environ,
                deadline=deadline,
                max_output=_MAX_OUTPUT,
            )
    except ContainerdError as error:
        raise _HelperError(error.message) from None


def _check_end(ended: Ended) -> None:
    if ended.code:
        raise _HelperError(f"it ended with {ended.how}")


def _parse_output(ended: Ended) -> tuple[str, str] | None:
    """Return the user name and the secret in the helper's output."""
    if ended.code and ended.stdout.strip() == _NOT_FOUND:
        return None
    _check_end(ended)
    try:
        answer = Document.parse(ended.stdout, "the answer", limit=_MAX_OUTPUT).check_case(_FIELDS)
        username, secret = answer.text("Username", None), answer.text("Secret", None)
        if ":" not in username:
            return username, secret
        reason = "the user name in its output contains a colon"
    except InvalidArgument:  # the error's message may quote the secret
        reason = "its output is not the JSON object that Docker expects"
    raise _HelperError(reason)
