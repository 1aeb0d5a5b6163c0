"""What a test leaves behind: in the daemon, on the machine, and in its own process."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path

from . import debris
from .daemon import Daemon
from .process import wait_until

_SETTLE_SECONDS = 5.0
"""How long the daemon may take to collect what was let go, and threads to end."""


def open_files() -> dict[int, str]:
    """Return what this process has open: descriptor → what it is, as the kernel names it.

    The locks of the harness's own folders are left out: a fixture may come in the midst of a test.
    """
    found = {}
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the listing's own
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
    return {number: what for number, what in found.items() if number not in debris.locks()}


def traces(folder: Path, namespace: str) -> list[str]:
    """Return what is left on the machine of a daemon, as the kernel tells of it.

    Ended processes that nobody waited for yet are not counted: their parent may be a lazy init.
    """
    found = [str(folder)] if folder.exists() else []
    found += [line for line in Path("/proc/mounts").read_text().splitlines() if str(folder) in line]
    for place in (Path("/run/containerd"), Path("/sys/fs/cgroup")):
        for parent, folders, _ in os.walk(place):
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
            continue  # it ended meanwhile
    return found


class Watch:
    """Remembers how things are, and tells later what came to them."""

    def __init__(self, daemon: Daemon, namespace: str) -> None:
        """Take stock of the namespace, of this process's descriptors and of its threads."""
        self._daemon = daemon
        self._namespace = namespace
        self._kept: tuple[str, ...] = ()
        self._files = set(open_files().items())
        self._threads = set(threading.enumerate())
        self._leftovers = self._left()

    def keep_snapshots(self) -> None:
        """Let committed snapshots stay: an image that was unpacked has some."""
        self._kept = (" committed",)

    def found(self) -> list[str]:
        """Return a line for each thing that is there now and was not at first."""
        lines = [one for one in self._left() if one not in self._leftovers]
        lines += (f"descriptor {n}: {what}" for n, what in open_files().items() - self._files)
        lines += (f"thread {one.name}" for one in set(threading.enumerate()) - self._threads)
        return sorted(line for line in lines if not line.endswith(self._kept))

    def check(self) -> None:
        """Fail if anything stays."""
        if not wait_until(lambda: not self.found(), _SETTLE_SECONDS):
            raise AssertionError("left over:\n" + "\n".join(self.found()))

    def _left(self) -> list[str]:
        return self._daemon.leftovers(self._namespace)
