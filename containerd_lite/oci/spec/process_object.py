"""The process of a spec: what it runs, with which environment, directory, user and limits.

What lives here: the rules of each field.  What may not: images, who a user's name stands for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ...errors import InvalidArgument
from ..document import quoted
from .fields import Spec, entries, flag, mapping, path, refuse, section, several, text, texts, whole

#: What the kernel takes for no limit.
INFINITY = (1 << 64) - 1
_RLIMITS = (
    "AS", "CORE", "CPU", "DATA", "FSIZE", "LOCKS", "MEMLOCK", "MSGQUEUE", "NICE", "NOFILE", "NPROC",
    "RSS", "RTPRIO", "RTTIME", "SIGPENDING", "STACK",
)  # fmt: skip
#: Columns and rows are 16 bits to the kernel (ioctl_tty(2)).
_MAX_SIZE = (1 << 16) - 1


def env_pairs(option: str, lines: Iterable[str]) -> list[tuple[str, str | None]]:
    """``NAME=value`` as pairs; a bare ``NAME`` asks for there to be none, as in a Go client."""
    found: list[tuple[str, str | None]] = []
    for line in lines:
        name, equals, value = text(option, line).partition("=")
        if equals and not name:
            refuse(option, line, "NAME=value")
        if name:
            found.append((name, value if equals else None))
    return found


def env_table(given: object) -> list[tuple[str, str | None]]:
    """A mapping of names to values as pairs; ``None`` asks for there to be none."""
    found: list[tuple[str, str | None]] = []
    for name, value in mapping("env", given).items():
        if not isinstance(name, str) or not name or "=" in name or "\0" in name:
            raise InvalidArgument(
                f"{quoted(name)} cannot be an environment variable",
                remedy="Give env= as a mapping of names without = to values",
            )
        found.append((name, None if value is None else text(f"environment {name}", value)))
    return found


def change_env(process: Spec, pairs: Iterable[tuple[str, str | None]]) -> None:
    """Set and remove variables; what there is keeps its place; the last of a name counts."""
    lines = texts("spec: env", process.get("env") or ())
    table = dict(line.partition("=")[::2] for line in lines)
    for name, value in pairs:
        if value is None:
            table.pop(name, None)
        else:
            table[name] = value
    process["env"] = [f"{name}={value}" for name, value in table.items()]


def set_args(process: Spec, args: Sequence[str]) -> None:
    """Say what to run.  Raises ``InvalidArgument`` for nothing, or a program without a name."""
    if not args or not args[0]:
        raise InvalidArgument(
            "neither the image nor the caller says what to run", remedy="Give args="
        )
    process["args"] = list(args)
    process.pop("commandLine", None)


def set_cwd(process: Spec, cwd: object) -> None:
    process["cwd"] = path("cwd", cwd)


def set_user(process: Spec, uid: int, gid: int, additional_gids: Iterable[int]) -> None:
    """Say who it is to be; the gid is made one of the additional ones (CVE-2023-25173)."""
    gids = list(additional_gids)
    user = section(process, "user")
    user.pop("username", None)  # which would be Windows'
    user.update(uid=uid, gid=gid, additionalGids=gids if gid in gids else [gid, *gids])


def set_terminal(process: Spec, terminal: object, size: object) -> None:
    """Give it a terminal, or none; ``size`` is ``(columns, rows)``."""
    if flag("terminal", terminal):
        process["terminal"] = True
    else:
        process.pop("terminal", None)
    if size is None:
        return
    numbers = list(several("terminal_size", size, "columns and rows"))
    if len(numbers) != 2:
        refuse("terminal_size", size, "columns and rows")
    columns, rows = (whole("terminal_size", number, 0, _MAX_SIZE) for number in numbers)
    process["consoleSize"] = {"width": columns, "height": rows}


def set_new_privileges(process: Spec, forbidden: object) -> None:
    if flag("no_new_privileges", forbidden):
        process["noNewPrivileges"] = True
    else:
        process.pop("noNewPrivileges", None)


def set_rlimits(process: Spec, given: object) -> None:
    """Set limits by name, with or without ``RLIMIT_``, to one number or ``(soft, hard)``.

    -1 is no limit, as in Python's ``resource``.
    """
    limits = entries(process, "rlimits")
    for name, value in mapping("rlimits", given).items():
        soft, hard = _limits(value)
        kind = f"RLIMIT_{_limit_name(name)}"
        entry: Spec = {"type": kind, "hard": hard, "soft": soft}
        places = [place for place, limit in enumerate(limits) if limit.get("type") == kind]
        if places:
            limits[places[0]] = entry
        else:
            limits.append(entry)


def _limit_name(name: object) -> str:
    found = text("rlimits", name).upper().removeprefix("RLIMIT_")
    if found not in _RLIMITS:
        refuse("rlimits", name, f"names of getrlimit(2): {', '.join(_RLIMITS).lower()}")
    return found


def _limits(value: object) -> tuple[int, int]:
    wanted = "a number or (soft, hard)"
    pair = [value, value] if isinstance(value, int) else list(several("rlimits", value, wanted))
    if len(pair) != 2:
        refuse("rlimits", value, wanted)
    soft, hard = (
        INFINITY if number == -1 else whole("rlimits", number, 0, INFINITY) for number in pair
    )
    if soft > hard:
        refuse("rlimits", value, "a soft limit that is not above the hard one")
    return soft, hard


def set_oom_score(process: Spec, score: object) -> None:
    process["oomScoreAdj"] = whole("oom_score_adj", score, -1000, 1000)


def set_label(process: Spec, option: str, field: str, label: object) -> None:
    """An AppArmor profile or an SELinux label; ``""`` is none."""
    process[field] = text(option, label)
    if not label:
        del process[field]


def relax(process: Spec) -> None:
    """Take the security modules' hold off, as ``ctr run --privileged`` does."""
    for field in ("apparmorProfile", "selinuxLabel"):
        process.pop(field, None)


def user_of(process: Mapping[str, object]) -> str:
    """``uid:gid`` of a process."""
    user = process.get("user")
    found = user if isinstance(user, dict) else {}
    return f"{found.get('uid', 0)}:{found.get('gid', 0)}"
