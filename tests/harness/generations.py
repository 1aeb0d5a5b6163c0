"""The generations of containerd that tests run on, and where their programs come from.

A generation is named by its version: 1.6, 1.7 and 2.1 are Debian's (bookworm, trixie, sid), and Go
builds 2.0, 2.3 and 2.4. `$CONTAINERD_LITE_DAEMONS` adds folders, with a colon between two: a folder
has the programs containerd, ctr and containerd-shim-runc-v2, and the folder's path is the name of
that generation. All generations run with bookworm's runc, unless such a folder has another one.
`VARIANTS` are the newest containerd with another runc.
"""

from __future__ import annotations

import os
import shutil
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from . import Unavailable, debian, golang

FOLDERS_VARIABLE = "CONTAINERD_LITE_DAEMONS"

DEBIAN = {"1.6": "bookworm", "1.7": "trixie", "2.1": "sid"}
"""The Debian release of each generation that is Debian's."""
GENERATIONS = tuple(sorted([*DEBIAN, *golang.CONTAINERD]))
OLDEST, NEWEST = GENERATIONS[0], GENERATIONS[-1]
VARIANTS = (f"{NEWEST}+runc1.5",)
"""With `--daemons all`, the runtime tests also run on these."""

_SHIM = "containerd-shim-runc-v2"
_NAMES = ("containerd", "ctr", _SHIM, "runc")


@dataclass(frozen=True)
class Programs:
    """The four programs that a daemon of one generation needs."""

    containerd: debian.Program
    ctr: debian.Program
    shim: debian.Program
    runc: debian.Program


def folders() -> list[str]:
    """Return the folders of `$CONTAINERD_LITE_DAEMONS`."""
    return [name for name in os.environ.get(FOLDERS_VARIABLE, "").split(os.pathsep) if name]


def find(generation: str, *, prefer_path: bool = False) -> Programs:
    """Return the programs of one generation. Fetch Debian's if they are missing.

    With `prefer_path`, return the machine's own programs if all four are on the PATH.

    Raises `Unavailable` if the machine cannot have or run the programs.
    """
    if os.geteuid() != 0:
        raise Unavailable("a private containerd needs root: it mounts, and it makes cgroups")
    if prefer_path and all(shutil.which(name) for name in _NAMES):
        return Programs(*(debian.program(name, prefer_path=True) for name in _NAMES))
    if generation in VARIANTS:
        return replace(find(NEWEST), runc=_plain(golang.program(golang.RUNC, "runc")))
    if generation in DEBIAN:
        suite = DEBIAN[generation]
        daemon, ctr, shim = (debian.program(name, "containerd", suite) for name in _NAMES[:3])
    elif generation in golang.CONTAINERD:
        build = golang.CONTAINERD[generation]
        daemon, ctr, shim = (_plain(golang.program(build, name)) for name in _NAMES[:3])
    elif generation in folders():
        daemon, ctr, shim = (_plain(Path(generation, name).absolute()) for name in _NAMES[:3])
    else:
        known = ", ".join([*GENERATIONS, *VARIANTS, *folders()])
        raise ValueError(f"no such generation: {generation!r}; choose from {known}")
    found = Programs(daemon, ctr, shim, _runc(generation))
    for program in (found.containerd, found.shim, found.runc):
        if not program.path.exists():
            raise Unavailable(f"there is no {program.path}")
    for program in (found.shim, found.runc):
        if not program.plain:  # it executes /proc/self/exe, which would be the dynamic loader
            raise Unavailable(f"{program.path.name} lacks libraries on this machine: install them")
    return found


def available() -> dict[str, Programs | Unavailable]:
    """Return the programs of each generation, or why they are missing. Start no daemon."""
    found: dict[str, Programs | Unavailable] = {}
    for generation in (*GENERATIONS, *folders()):
        try:
            found[generation] = find(generation)
        except Unavailable as reason:
            found[generation] = reason
    return found


def newest(*, prefer_path: bool = False) -> str:
    """Return the newest generation that `find` finds, or else the oldest.

    With `prefer_path`, nothing is fetched if the machine has programs of its own.
    """
    for generation in reversed(GENERATIONS):
        with suppress(Unavailable):
            find(generation, prefer_path=prefer_path)
            return generation
    return OLDEST


def by_turns(commit: str, found: Mapping[str, Programs | Unavailable]) -> list[str]:
    """Return the generations of an ordinary run: the oldest, the newest, and one between them.

    The commit chooses the one between. The folders of the environment are added. A machine without
    the newest takes another one between. `found` is the result of `available`.
    """
    between = [name for name in GENERATIONS[1:-1] if isinstance(found[name], Programs)]
    chosen = [OLDEST]
    if between:
        chosen.append(between.pop(zlib.crc32(commit.encode()) % len(between)))
    if isinstance(found[NEWEST], Programs):
        chosen.append(NEWEST)
    elif between:
        chosen.append(between[-1])
    return [*chosen, *folders()]


def without_between(turn: Sequence[str]) -> tuple[str, ...]:
    """Return the result of `by_turns` without the generation between the other two."""
    others = len(folders())
    return (turn[0], *turn[-1 - others :]) if len(turn) - others > 2 else tuple(turn)


def _plain(path: Path) -> debian.Program:
    return debian.Program([str(path)], path)


def _runc(generation: str) -> debian.Program:
    own = Path(generation, "runc").absolute()
    return _plain(own) if generation in folders() and own.exists() else debian.program("runc")
