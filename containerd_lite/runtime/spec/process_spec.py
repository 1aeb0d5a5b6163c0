"""The process of a runtime spec, from a caller's options."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import cast

from ...errors import InvalidArgument
from ...oci.spec import process_object as processes
from ...oci.spec.fields import Spec, flag, refuse, section, several, text, texts
from ...oci.spec.linux_capabilities import change_capabilities, set_capabilities
from ..users.users import User
from . import host
from .options import ProcessOptions, SpecOptions

#: Who a user's string and the names of more groups stand for.
FindUser = Callable[[str, Sequence[str]], User]

#: Linux keeps ids in 32 bits, and runc reads them into a signed one (CVE-2024-40635).
_MAX_ID = (1 << 31) - 1
_MAX_ENV_FILE = 1 << 20

Options = Mapping[str, object]


def exec_process(
    spec: Mapping[str, object],
    args: Sequence[str],
    options: ProcessOptions | None = None,
    find_user: FindUser | None = None,
) -> Spec:
    """The document of one more process in the container that ``spec`` is of.

    It is the container's own process with other ``args``, without its terminal unless one is
    asked for, changed by ``options``.  Raises ``InvalidArgument``.
    """
    given = given_options(options, ProcessOptions)
    process = section(copy_json("spec", spec), "process")
    processes.set_args(process, texts("args", args))
    change_env(process, given)
    change_process(process, {"terminal": False, **given}, None, find_user or numeric_user)
    return process


def numeric_user(user: str, groups: Sequence[str] = ()) -> User:
    """The user of ``""``, ``root``, ``uid`` or ``uid:gid``, and of groups' numbers."""
    more = tuple(_id(group, group) for group in groups)
    if user in ("", "root"):
        return User(0, 0, more)
    uid, colon, gid = user.partition(":")
    return User(_id(uid, user), _id(gid, user) if colon else 0, more)


def _id(digits: str, user: str) -> int:
    if not (digits.isascii() and digits.isdigit() and len(digits) < 11 and int(digits) <= _MAX_ID):
        raise InvalidArgument(
            f"user {user!r} is not made of numbers up to {_MAX_ID}",
            remedy="Give user= as uid or uid:gid; names are not looked up in the image",
        )
    return int(digits)


# ---- what was given ---------------------------------------------------------------------------


def given_options(options: SpecOptions | ProcessOptions | None, known: type) -> dict[str, object]:
    """The options that are not ``None``.  Raises ``TypeError`` for unknown ones, as Python does."""
    names: frozenset[str] = known.__optional_keys__  # type: ignore[attr-defined]
    unknown = sorted(set(options or ()) - names)
    if unknown:
        raise TypeError(f"there is no option {', '.join(unknown)}; see runtime.options")
    return {name: value for name, value in (options or {}).items() if value is not None}


def copy_json(option: str, given: Mapping[str, object]) -> Spec:
    """A deep copy, which shows that it is JSON."""
    try:
        return cast(Spec, json.loads(json.dumps(dict(given), allow_nan=False)))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidArgument(
            f"{option} cannot be written as JSON ({error})", remedy="Give a JSON object"
        ) from error


def change_env(process: Spec, given: Options) -> None:
    """Files, then the caller's, then what a terminal and the host's network bring along."""
    pairs: list[tuple[str, str | None]] = []
    for path in several("env_files", given.get("env_files", ()), "a list of paths"):
        pairs += _env_file(path)
    pairs += processes.env_table(given.get("env", {}))
    asked = dict(pairs)
    if given.get("terminal") and "TERM" not in asked:
        pairs.append(("TERM", "xterm"))
    if given.get("network") == "host" and "HOSTNAME" not in asked:
        pairs.append(("HOSTNAME", os.uname().nodename))
    processes.change_env(process, pairs)


def _env_file(path: object) -> list[tuple[str, str | None]]:
    """The lines of a file as they are: no comments, no quotes, as in ``WithEnvFile``."""
    if not isinstance(path, (str, os.PathLike)):
        refuse("env_files", path, "a list of paths")
    try:
        body = host.read_file("env_files", path, _MAX_ENV_FILE).decode()
    except UnicodeDecodeError:
        refuse("env_files", os.fspath(path), "files of UTF-8")
    return processes.env_pairs("env_files", (line.removesuffix("\r") for line in body.split("\n")))


def change_process(
    process: Spec, given: Options, image_user: str | None, find_user: FindUser
) -> None:
    if "cwd" in given:
        processes.set_cwd(process, given["cwd"])
    _set_user(process, given, image_user, find_user)
    if "terminal" in given or "terminal_size" in given:
        terminal = given.get("terminal", bool(process.get("terminal")))
        processes.set_terminal(process, terminal, given.get("terminal_size"))
    if flag("privileged", given.get("privileged", False)):
        set_capabilities(process, host.capabilities())
        processes.relax(process)
    if "cap_add" in given or "cap_drop" in given:
        added, dropped = given.get("cap_add", ()), given.get("cap_drop", ())
        change_capabilities(process, added, dropped, host.capabilities())
    if "no_new_privileges" in given:
        processes.set_new_privileges(process, given["no_new_privileges"])
    if "rlimits" in given:
        processes.set_rlimits(process, given["rlimits"])
    if "apparmor" in given:
        processes.set_label(process, "apparmor", "apparmorProfile", given["apparmor"])
    if "selinux_label" in given:
        processes.set_label(process, "selinux_label", "selinuxLabel", given["selinux_label"])


def _set_user(process: Spec, given: Options, image_user: str | None, find_user: FindUser) -> None:
    """The caller's, else the image's; of a process that is somebody already, only if asked.

    Root is looked up, too: it may have supplementary groups (CVE-2023-25173).
    """
    groups = texts("groups", given.get("groups", ()))
    asked = text("user", given["user"]) if "user" in given else image_user
    if asked is None and not groups:
        return
    found = find_user(processes.user_of(process) if asked is None else asked, groups)
    processes.set_user(process, found.uid, found.gid, found.additional_gids)
