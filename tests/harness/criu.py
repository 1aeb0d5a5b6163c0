"""CRIU for a daemon: it saves and restores what runs, where the machine's kernel lets it."""

from __future__ import annotations

import shlex

from . import Unavailable, debian
from .daemon import Daemon
from .process import run


def give(daemon: Daemon) -> None:
    """Put CRIU on a daemon's PATH, where its runc looks for it.

    Raises `Unavailable` when there is none, or when it does not work on this machine.
    """
    program = debian.program("criu")
    done = run([*program.argv, "check"], timeout=60)
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise Unavailable(f"CRIU does not work here: {said[-1] if said else done.returncode}")
    place = daemon.folder / "bin" / "criu"
    if not place.exists():
        place.write_text(f'#!/bin/sh\nexec {shlex.join(program.argv)} "$@"\n')
        place.chmod(0o755)
