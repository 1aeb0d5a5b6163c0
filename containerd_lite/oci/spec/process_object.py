"""The ``process`` object of a spec: command line, environment, user, terminal and limits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ...errors import InvalidArgument
from ...printable import quoted
from .fields import (
    Spec,
    entries,
    flag,
    integer,
    iterable,
    mapping,
    path,
    refuse,
    section,
    text,
    texts,
)

#: The value by which the kernel marks a resource as unlimited (RLIM_INFINITY).
INFINITY = (1 << 64) - 1
_RLIMITS = (
    "AS", "CORE", "CPU", "DATA", "FSIZE", "LOCKS", "MEMLOCK", "MSGQUEUE", "NICE", "NOFILE", "NPROC",
    "RSS", "RTPRIO", "RTTIME", "SIGPENDING", "STACK",
)  # fmt: skip
#: The largest number of columns or rows. The kernel stores each number in 16 bits (ioctl_tty(2)).
_MAX_TERMINAL_SIZE = (1 << 16) - 1


def env_pairs(option: str, lines: Iterable[str]) -> list[tuple[str, str | None]]:
    """Return a pair of name and value for each line ``NAME=value``.

    As in containerd's Go client, a line without ``=`` removes the variable with this name. The
    pair for a line without ``=`` is ``(name, None)``.
    """
    pairs: list[tuple[str, str | None]] = []
    for line in lines:
        name, equals, value = text(option, line).partition("=")
        if equals and not name:
            refuse(option, line, "NAME=value")
        if name:
            pairs.append((name, value if equals else None))
    return pairs


def env_table(variables: object) -> list[tuple[str, str | None]]:
    """Return a pair of name and value for each item of a mapping of names to values.

    The value ``None`` removes the variable.
    """
    pairs: list[tuple[str, str | None]] = []
    for name, value in mapping("env", variables).items():
        if not isinstance(name, str) or not name or "=" in name or "\0" in name:
            raise InvalidArgument(
                f"{quoted(name)} cannot be the name of an environment variable",
                remedy="Give names that are not empty and contain neither = nor NUL",
            )
        pairs.append((name, None if value is None else text(f"environment {name}", value)))
    return pairs


def change_env(process: Spec, pairs: Iterable[tuple[str, str | None]]) -> None:
    """Set and remove environment variables.

    ``pairs`` are names and values; the value ``None`` removes the variable. Existing variables keep
    their position. If a name occurs twice, the last value is used.
    """
    lines = texts("spec: env", process.get("env") or ())
    table = dict(line.partition("=")[::2] for line in lines)
    for name, value in pairs:
        if value is None:
            table.pop(name, None)
        else:
            table[name] = value
    process["env"] = [f"{name}={value}" for name, value in table.items()]


def set_args(process: Spec, args: Sequence[str]) -> None:
    """Set the command line.

    Raises:
        InvalidArgument: The command line or the name of the program is empty.
    """
    if not args:
        raise InvalidArgument(
            "neither the image nor the caller says what to run", remedy="Give args="
        )
    if not args[0]:
        raise InvalidArgument(
            "the name of the program is empty", remedy="Give the program as the first item of args="
        )
    process["args"] = list(args)
    process.pop("commandLine", None)


def set_cwd(process: Spec, cwd: object) -> None:
    """Set the working directory."""
    process["cwd"] = path("cwd", cwd)


def set_user(process: Spec, uid: int, gid: int, additional_gids: Iterable[int]) -> None:
    """Set the user and the groups. ``gid`` is added to the additional groups (CVE-2023-25173)."""
    gids = list(additional_gids)
    user = section(process, "user")
    user.pop("username", None)  # only specs for Windows have a user name
    user.update(uid=uid, gid=gid, additionalGids=gids if gid in gids else [gid, *gids])


def set_umask(process: Spec, umask: object) -> None:
    """Set the umask: a number, or octal digits as text."""
    wanted = "a mask from 0 to 0o777, or its octal digits such as '022'"
    if isinstance(umask, str):
        is_octal = 0 < len(umask) <= 4 and all(digit in "01234567" for digit in umask)
        umask = int(umask, 8) if is_octal else refuse("umask", umask, wanted)
    if not isinstance(umask, int) or isinstance(umask, bool) or not 0 <= umask <= 0o777:
        refuse("umask", umask, wanted)
    section(process, "user")["umask"] = umask


def set_terminal(process: Spec, terminal: object, size: object) -> None:
    """Give the process a terminal, or remove the terminal.

    If ``size`` is not ``None``, set the terminal's size. ``size`` consists of columns and rows.
    """
    if flag("terminal", terminal):
        process["terminal"] = True
    else:
        process.pop("terminal", None)
    if size is None:
        return
    numbers = list(iterable("terminal_size", size, "columns and rows"))
    if len(numbers) != 2:
        refuse("terminal_size", size, "columns and rows")
    columns, rows = (integer("terminal_size", number, 0, _MAX_TERMINAL_SIZE) for number in numbers)
    process["consoleSize"] = {"width": columns, "height": rows}


def set_new_privileges(process: Spec, forbidden: object) -> None:
    """Set or remove ``noNewPrivileges``."""
    if flag("no_new_privileges", forbidden):
        process["noNewPrivileges"] = True
    else:
        process.pop("noNewPrivileges", None)


def set_rlimits(process: Spec, rlimits: object) -> None:
    """Set resource limits.

    ``rlimits`` maps the name of each limit, with or without ``RLIMIT_``, to one number or to
    ``(soft, hard)``. -1 means unlimited, as in Python's ``resource`` module.
    """
    limits = entries(process, "rlimits")
    for name, value in mapping("rlimits", rlimits).items():
        soft, hard = _soft_and_hard(value)
        kind = f"RLIMIT_{_limit_name(name)}"
        entry: Spec = {"type": kind, "hard": hard, "soft": soft}
        indexes = [index for index, limit in enumerate(limits) if limit.get("type") == kind]
        if indexes:
            limits[indexes[0]] = entry
        else:
            limits.append(entry)


def _limit_name(name: object) -> str:
    limit = text("rlimits", name).upper().removeprefix("RLIMIT_")
    if limit not in _RLIMITS:
        refuse("rlimits", name, f"names of getrlimit(2): {', '.join(_RLIMITS).lower()}")
    return limit


def _soft_and_hard(value: object) -> tuple[int, int]:
    wanted = "a number or (soft, hard)"
    pair = [value, value] if isinstance(value, int) else list(iterable("rlimits", value, wanted))
    if len(pair) != 2:
        refuse("rlimits", value, wanted)
    soft, hard = (
        INFINITY if number == -1 else integer("rlimits", number, 0, INFINITY) for number in pair
    )
    if soft > hard:
        refuse("rlimits", value, "a soft limit that is not above the hard limit")
    return soft, hard


def set_oom_score(process: Spec, score: object) -> None:
    """Set ``oomScoreAdj`` to a score from -1000 to 1000."""
    process["oomScoreAdj"] = integer("oom_score_adj", score, -1000, 1000)


def set_label(process: Spec, option: str, field: str, label: object) -> None:
    """Set the AppArmor profile or the SELinux label in ``field``.

    If ``label`` is empty, remove the field.
    """
    process[field] = text(option, label)
    if not label:
        del process[field]


def relax(process: Spec) -> None:
    """Remove the AppArmor profile and the SELinux label, as ``ctr run --privileged`` does."""
    for field in ("apparmorProfile", "selinuxLabel"):
        process.pop(field, None)


def user_of(process: Mapping[str, object]) -> str:
    """Return the user and the group of a process as the IDs ``uid:gid``."""
    user = process.get("user")
    ids = user if isinstance(user, dict) else {}
    return f"{ids.get('uid', 0)}:{ids.get('gid', 0)}"
