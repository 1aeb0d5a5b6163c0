"""Makes the ``process`` object of a runtime spec from the caller's options."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import cast

from ...errors import InvalidArgument
from ...oci.spec import process_object as processes
from ...oci.spec.fields import Spec, flag, iterable, refuse, section, text, texts
from ...oci.spec.linux_capabilities import change_capabilities, set_ambient, set_capabilities
from ..users.users import User
from . import host
from .options import ProcessOptions, SpecOptions

#: A function that returns the ids of a user and of further supplementary groups.
FindUser = Callable[[str, Sequence[str]], User]

#: Maximum id: runtimes read ids as signed 32-bit numbers. Larger ids overflowed in containerd, and
#: the process ran as root (CVE-2024-40635).
_MAX_ID = (1 << 31) - 1
#: Maximum size of a file of environment variables, in bytes.
_MAX_ENV_FILE = 1 << 20

#: The options that the caller has set to a value other than ``None``, by name.
Options = Mapping[str, object]


def exec_process(
    spec: Mapping[str, object],
    args: Sequence[str],
    options: ProcessOptions | None = None,
    find_user: FindUser | None = None,
) -> Spec:
    """Return the ``process`` object of a process that is added to a container.

    The result is a copy of the ``process`` object in the container's spec, but with the command
    line ``args``, without a terminal, and with the changes in ``options``. Raise
    ``InvalidArgument`` for an invalid value, and ``TypeError`` for an unknown option.
    """
    given = given_options(options, ProcessOptions)
    process = section(copy_json("spec", spec), "process")
    processes.set_args(process, texts("args", args))
    change_env(process, given)
    change_process(process, {"terminal": False, **given}, None, find_user or numeric_user)
    return process


def numeric_user(user: str, groups: Sequence[str] = ()) -> User:
    """Return the ids of a user and of further groups, without a look-up of names.

    ``user`` is ``""``, ``root``, ``uid`` or ``uid:gid``. ``groups`` are gids.
    """
    gids = tuple(_parse_id(group, group) for group in groups)
    if user in ("", "root"):
        return User(0, 0, gids)
    uid, colon, gid = user.partition(":")
    return User(_parse_id(uid, user), _parse_id(gid, user) if colon else 0, gids)


def _parse_id(digits: str, user: str) -> int:
    if not (digits.isascii() and digits.isdigit() and len(digits) < 11 and int(digits) <= _MAX_ID):
        raise InvalidArgument(
            f"{user!r} does not consist of ids from 0 to {_MAX_ID}",
            remedy="Give user= as uid or uid:gid, and groups= as gids; names need an image",
        )
    return int(digits)


# ---- options ----------------------------------------------------------------------------------


def given_options(
    options: SpecOptions | ProcessOptions | None, options_class: type
) -> dict[str, object]:
    """Return the options that are not ``None``.

    Raise ``TypeError`` for an option that ``options_class`` does not have.
    """
    names: frozenset[str] = options_class.__optional_keys__  # type: ignore[attr-defined]
    unknown = sorted(set(options or ()) - names)
    if unknown:
        raise TypeError(
            f"unknown option {', '.join(unknown)}; see ContainerOptions, RunOptions, "
            "ProcessOptions and ExecOptions in containerd_lite.runtime"
        )
    return {name: value for name, value in (options or {}).items() if value is not None}


def copy_json(option: str, value: Mapping[str, object]) -> Spec:
    """Return a deep copy. Raise ``InvalidArgument`` if the value cannot be written as JSON."""
    try:
        return cast(Spec, json.loads(json.dumps(dict(value), allow_nan=False)))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidArgument(
            f"{option} cannot be written as JSON ({error})", remedy="Give a JSON object"
        ) from error


def change_env(process: Spec, options: Options) -> None:
    """Set the environment variables in ``env_files`` and ``env``. ``env`` overrides the files.

    If neither the files nor ``env`` have ``TERM``, set ``TERM`` for a process with a terminal. If
    neither the files nor ``env`` have ``HOSTNAME``, set ``HOSTNAME`` for a container that shares
    the machine's network.
    """
    pairs: list[tuple[str, str | None]] = []
    for path in iterable("env_files", options.get("env_files", ()), "a list of paths"):
        pairs += _read_env_file(path)
    pairs += processes.env_table(options.get("env", {}))
    named = dict(pairs)
    if options.get("terminal") and "TERM" not in named:
        pairs.append(("TERM", "xterm"))
    if options.get("network") == "host" and "HOSTNAME" not in named:
        pairs.append(("HOSTNAME", os.uname().nodename))
    processes.change_env(process, pairs)


def _read_env_file(path: object) -> list[tuple[str, str | None]]:
    """Return the variables in a file of environment variables, as Go's ``WithEnvFile`` does.

    In such a file, ``#`` and quotes have no special meaning.
    """
    if not isinstance(path, (str, os.PathLike)):
        refuse("env_files", path, "a list of paths")
    try:
        body = host.read_file("env_files", path, _MAX_ENV_FILE).decode()
    except UnicodeDecodeError:
        refuse("env_files", os.fspath(path), "files of UTF-8")
    return processes.env_pairs("env_files", (line.removesuffix("\r") for line in body.split("\n")))


def change_process(
    process: Spec, options: Options, image_user: str | None, find_user: FindUser
) -> None:
    """Apply the options of a process to its ``process`` object, except ``env`` and ``env_files``.

    ``image_user`` is the user of the image, or ``None`` if the object already has a user.
    """
    if "cwd" in options:
        processes.set_cwd(process, options["cwd"])
    _set_user(process, options, image_user, find_user)
    if "terminal" in options or "terminal_size" in options:
        terminal = options.get("terminal", bool(process.get("terminal")))
        processes.set_terminal(process, terminal, options.get("terminal_size"))
    if flag("privileged", options.get("privileged", False)):
        set_capabilities(process, host.capabilities())
        processes.relax(process)
    if "cap_add" in options or "cap_drop" in options:
        added, dropped = options.get("cap_add", ()), options.get("cap_drop", ())
        change_capabilities(process, added, dropped, host.capabilities())
    if "cap_ambient" in options:
        set_ambient(process, options["cap_ambient"], host.capabilities())
    if "no_new_privileges" in options:
        processes.set_new_privileges(process, options["no_new_privileges"])
    if "rlimits" in options:
        processes.set_rlimits(process, options["rlimits"])
    if "apparmor" in options:
        processes.set_label(process, "apparmor", "apparmorProfile", options["apparmor"])
    if "selinux_label" in options:
        processes.set_label(process, "selinux_label", "selinuxLabel", options["selinux_label"])


def _set_user(process: Spec, options: Options, image_user: str | None, find_user: FindUser) -> None:
    """Set the user and the supplementary groups.

    Use the caller's user, or else the image's user. If both are missing, the user of the
    ``process`` object stays, and the caller's groups replace the supplementary groups. Root is
    looked up like any other user, because root can have supplementary groups (CVE-2023-25173).
    """
    groups = texts("groups", options.get("groups", ()))
    user = text("user", options["user"]) if "user" in options else image_user
    if user is None and not groups:
        return
    found = find_user(processes.user_of(process) if user is None else user, groups)
    processes.set_user(process, found.uid, found.gid, found.additional_gids)
