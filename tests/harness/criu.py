"""CRIU for a daemon: it checkpoints and restores containers, if the kernel supports it."""

from __future__ import annotations

import shlex

from . import Unavailable, debian
from .daemon import Daemon
from .process import run


def give(daemon: Daemon) -> None:
    """Put CRIU on a daemon's PATH, where its runc looks for it.

    Raises `Unavailable` if CRIU cannot be fetched, or does not work on this machine.
    """
    program = debian.program("criu")
    done = run([*program.argv, "check"], timeout=60)
    if done.returncode:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise Unavailable(f"CRIU does not work here: {lines[-1] if lines else done.returncode}")
    script = daemon.folder / "bin" / "criu"
    if not script.exists():
        script.write_text(f'#!/bin/sh\nexec {shlex.join(program.argv)} "$@"\n')
        script.chmod(0o755)
