"""Finds what a test leaves behind: in the daemon, on the machine, and in its own process."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path

from . import debris
from .daemon import Daemon
from .process import wait_until

_SETTLE_SECONDS = 5.0
"""Seconds for the daemon to collect garbage, and for threads to end."""


def open_files() -> dict[int, str]:
    """Return the open files of this process: descriptor → the kernel's name of the file.

    The locks of the harness's own folders are left out: a fixture may start during a test.
    """
    files = {}
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the descriptor of the listing itself
            files[int(name)] = os.readlink(f"/proc/self/fd/{name}")
    return {number: file for number, file in files.items() if number not in debris.locks()}


def traces(folder: Path, namespace: str) -> list[str]:
    """Return the folders, mounts, cgroups and processes of a daemon that are left on the machine.

    Zombies do not count: an init process may be slow to reap them.
    """
    found = [str(folder)] if folder.exists() else []
    found += [line for line in Path("/proc/mounts").read_text().splitlines() if str(folder) in line]
    for root in (Path("/run/containerd"), Path("/sys/fs/cgroup")):
        for parent, folders, _ in os.walk(root):
            found += [f"{parent}/{name}" for name in folders if name == namespace]
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if "\nState:\tZ" in (entry / "status").read_text():
                continue
            if str(folder).encode() in (entry / "cmdline").read_bytes():
                found.append(entry.name)
            if f"/{namespace}/" in (entry / "cgroup").read_text():
                found.append(entry.name)
        except OSError:
            continue  # it has ended
    return found


class Watch:
    """Records the present state, and later lists what was added."""

    def __init__(self, daemon: Daemon, namespace: str) -> None:
        """Record what the namespace has, and this process's descriptors and threads."""
        self._daemon = daemon
        self._namespace = namespace
        self._ignored_suffixes: tuple[str, ...] = ()
        self._files = set(open_files().items())
        self._threads = set(threading.enumerate())
        self._leftovers = self._left()

    def keep_snapshots(self) -> None:
        """Allow committed snapshots, which an unpacked image has."""
        self._ignored_suffixes = (" committed",)

    def found(self) -> list[str]:
        """Return a line for each thing that was added since the start."""
        lines = [line for line in self._left() if line not in self._leftovers]
        lines += (f"descriptor {n}: {file}" for n, file in open_files().items() - self._files)
        started = {thread for thread in threading.enumerate() if thread.ident is not None}
        lines += (f"thread {thread.name}" for thread in started - self._threads)
        return sorted(line for line in lines if not line.endswith(self._ignored_suffixes))

    def check(self) -> None:
        """Raise `AssertionError` if anything that was added stays."""
        if not wait_until(lambda: not self.found(), _SETTLE_SECONDS):
            raise AssertionError("left over:\n" + "\n".join(self.found()))

    def _left(self) -> list[str]:
        logs = Path(os.environ.get("CONTAINERD_LITE_LOGS", "/nowhere")) / self._namespace
        return [*self._daemon.leftovers(self._namespace), *map(str, logs.glob("*"))]
