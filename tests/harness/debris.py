"""What a private daemon leaves behind, and how it is taken away.

A private daemon is not quite private: its shims outlive it in sessions of their own, runc keeps
state under /run/containerd/runc, shims put sockets into /run/containerd/s, containers live in
cgroups. All of it is found here by what bears the daemon's folder or namespaces in its name, so
that a machine's real containerd, and other tests' daemons, are never touched.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import signal
import stat
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from .kernel import INTERRUPTS, RUN, unmount
from .process import wait_until

PREFIX = "ctd-"
SOCKET = "c.sock"
"""The daemon's socket within its folder: short, for a socket's path ends at 107 bytes."""

_LONGEST = 80

_CGROUPS = Path("/sys/fs/cgroup")
TASKS = "io.containerd.runtime.v2.task"
"""The folder of bundles within the state of each daemon: one a namespace, in it one a task."""
_OURS = ("containerd", "docker-registry")
_WRITTEN_SECONDS = 5.0
"""For how long a program that is being ended may go on with its files."""
_owned: dict[Path, int] = {}
"""The folders that this process made, with the descriptors that hold their locks."""


@dataclass(frozen=True)
class Process:
    """A running process, as /proc tells of it."""

    pid: int
    parent: int
    argv: tuple[str, ...]

    def option(self, name: str) -> str:
        """Return the argument that follows `name`, or nothing."""
        pairs = zip(self.argv, self.argv[1:], strict=False)
        return next((value for key, value in pairs if key == name), "")


def make_folder() -> Path:
    """Make a private folder that its owner holds, after removing those whose owners are gone.

    A test run that was killed cannot clean up; the next one does it for it. The owner holds a lock
    on a file in the folder for as long as it lives: a process id would say nothing to those who
    look from another process namespace.
    """
    place = _place()
    for mark in place.glob(f"{PREFIX}*/owner"):
        with contextlib.suppress(OSError):
            about = mark.parent.lstat()
            if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.geteuid():
                continue  # another user's, who may have prepared it
            with mark.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                remove(mark.parent)
    held = signal.pthread_sigmask(signal.SIG_BLOCK, INTERRUPTS)  # no folder without a mark
    try:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))
        draft = folder / "draft"
        _owned[folder] = descriptor = os.open(draft, os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        draft.rename(folder / "owner")  # seen only when it is locked
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)
    return folder


def locks() -> set[int]:
    """Return the descriptors that hold the locks of this process's private folders."""
    return set(_owned.values())


def sweep() -> None:
    """Remove every private folder of this process, with all that its daemons left.

    It is for a process that was interrupted, somewhere between making a thing and noting it.
    """
    for folder in tuple(_owned):
        remove(folder)


def _place() -> Path:
    """Return where private folders are made."""
    place = Path(tempfile.gettempdir())
    return place if len(str(place)) <= _LONGEST else Path("/tmp")


def remove(folder: Path) -> None:
    """Take away a private folder, those in it, and all that their daemons left on the machine."""
    for mark in folder.glob(f"{PREFIX}*/owner"):
        remove(mark.parent)
    containers = _containers(folder)
    found = _programs(folder)
    pipes = {path for one in found for path in _fifos(one.pid)}
    paths = {path for one in found for path in sockets(one.pid)}
    address = folder / SOCKET
    for namespace, name in containers:
        digest = hashlib.sha256(f"{address}/{namespace}/{name}".encode()).hexdigest()
        paths.add(RUN / "s" / digest)
    places = [f"{namespace}/{name}" for namespace, name in containers] + namespaces(folder)
    groups = [group for place in places for group in _cgroups(place)]
    doomed = [*_descendants(found), *(pid for group in groups for pid in _thawed(group))]
    _end([*doomed, *(one.pid for one in found)])
    for _ in range(10):  # the daemon may have seen its shim end, and begun to clean up after it
        if not (late := _programs(folder)):
            break
        _end([*_descendants(late), *(one.pid for one in late)])
    for path in paths:
        path.unlink(missing_ok=True)
    for path in pipes:
        shutil.rmtree(path, ignore_errors=True)
    for mount in reversed(mounts(folder)):
        unmount(mount)
    for group in groups:
        _remove_cgroup(group)
    for place in places:  # a runc that is just being ended may yet write there
        wait_until(partial(_is_gone, RUN / "runc" / place), _WRITTEN_SECONDS)
    for namespace, _ in containers:
        with contextlib.suppress(OSError):  # somebody else's containers are still in it
            (RUN / "runc" / namespace).rmdir()
    if not mounts(folder):  # else this would delete what is mounted there
        shutil.rmtree(folder, ignore_errors=True)
    if (held := _owned.pop(folder, None)) is not None:
        os.close(held)


def _is_gone(folder: Path) -> bool:
    shutil.rmtree(folder, ignore_errors=True)
    return not folder.exists()


def namespaces(folder: Path) -> list[str]:
    """Return the namespaces that were made up for the daemon of this folder: all in them is its."""
    record = folder / "namespaces"
    return record.read_text().split() if record.exists() else []


def shims(folder: Path, namespace: str | None = None) -> list[Process]:
    """Return the shims of this folder's daemon, of one namespace or of all."""
    return [
        one
        for one in processes()
        if one.option("-address") == str(folder / SOCKET)
        and namespace in (None, one.option("-namespace"))
    ]


def mounts(folder: Path) -> list[Path]:
    """Return what is mounted below a folder, in the order of mounting."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        escaped = line.split()[4]
        point = re.sub(r"\\(\d{3})", lambda octal: chr(int(octal.group(1), 8)), escaped)
        if point.startswith(f"{folder}/"):
            found.append(Path(point))
    return found


def namespace_of(mount: Path) -> str:
    """Return the namespace of a task whose root file system is mounted here, or nothing."""
    parts = mount.parts
    return parts[parts.index(TASKS) + 1] if TASKS in parts[:-1] else ""


def fifos(folder: Path, namespace: str | None = None) -> set[str]:
    """Return the folders of FIFOs that clients made, but for those that others' shims use.

    Others are other daemons and, if a namespace is given, other namespaces. The folders bear no
    such name themselves: one that no shim uses counts wherever it is asked for.
    """
    place = RUN / "fifo"
    own = {one.pid for one in shims(folder, namespace)}
    others = (one for one in processes() if one.option("-address") and one.pid not in own)
    foreign = {path.name for shim in others for path in _fifos(shim.pid)}
    return set(os.listdir(place)) - foreign if place.is_dir() else set()


def runc_states(namespace: str) -> list[str]:
    """Return the ids of the containers of which runc keeps state."""
    folder = RUN / "runc" / namespace
    return sorted(os.listdir(folder)) if folder.is_dir() else []


def sockets(pid: int) -> list[Path]:
    """Return the sockets under /run/containerd/s on which a process listens."""
    inodes = _open_files(pid)
    table = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()[1:]]
    paths = [Path(row[7]) for row in table if len(row) == 8 and f"socket:[{row[6]}]" in inodes]
    return [path for path in paths if path.parent == RUN / "s"]


def _containers(folder: Path) -> list[tuple[str, str]]:
    """Return (namespace, id) of the containers whose bundles the daemon still has."""
    bundles = folder.glob(f"*/{TASKS}/*/*")
    return sorted({(bundle.parent.name, bundle.name) for bundle in bundles})


def processes() -> Iterator[Process]:
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError, IndexError):
                argv = Path(f"/proc/{entry}/cmdline").read_bytes().decode("utf-8", "replace")
                yield Process(int(entry), int(_stat(int(entry))[1]), tuple(argv.split("\0")[:-1]))


def _stat(pid: int) -> list[str]:
    """Return the fields of a process from its state on; the name before may hold anything."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _programs(folder: Path) -> list[Process]:
    """Return daemons, shims and registries that were started with a path in this folder."""
    return [
        one
        for one in processes()
        if one.argv
        and Path(one.argv[0]).name.startswith(_OURS)
        and any(argument.startswith(f"{folder}/") for argument in one.argv[1:])
    ]


def _descendants(roots: Iterable[Process]) -> list[int]:
    """Return the children of these processes, and theirs: containers end before their shims."""
    everybody = list(processes())
    found: list[int] = []
    pending = [one.pid for one in roots]
    while pending:
        parent = pending.pop()
        children = [one.pid for one in everybody if one.parent == parent]
        found += children
        pending += children
    return found


def _end(pids: Iterable[int]) -> None:
    """Kill processes and wait until they are gone or only await their parent's notice."""
    doomed = set(pids) - {0, 1, os.getpid()}
    for pid in doomed:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not any(_alive(pid) for pid in doomed), 5)


def _alive(pid: int) -> bool:
    try:
        return _stat(pid)[0] not in "ZX"
    except OSError:
        return False


def _open_files(pid: int) -> set[str]:
    """Return what a process has open, as /proc names it."""
    found = set()
    with contextlib.suppress(OSError):
        for descriptor in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                found.add(os.readlink(f"/proc/{pid}/fd/{descriptor}"))
    return found


def _fifos(pid: int) -> set[Path]:
    """Return the folders under /run/containerd/fifo in which a process has something open."""
    found = [Path(name) for name in _open_files(pid)]
    folders = {*found, *(path.parent for path in found)}  # some clients lock the folder itself
    return {path for path in folders if path.parent == RUN / "fifo"}


def _cgroups(place: str) -> list[Path]:
    """Return the folders of a cgroup: one in the unified hierarchy, else one a controller."""
    return [*_CGROUPS.glob(place), *_CGROUPS.glob(f"*/{place}")]


def _thawed(group: Path) -> list[int]:
    """Return the processes of a cgroup and those below it, thawed: a frozen one cannot die."""
    pids: list[int] = []
    for folder, _, files in os.walk(group):
        for name, value in (("freezer.state", "THAWED"), ("cgroup.freeze", "0")):
            if name in files:
                with contextlib.suppress(OSError):
                    Path(folder, name).write_text(value)
        with contextlib.suppress(OSError):
            pids += map(int, Path(folder, "cgroup.procs").read_text().split())
    return pids


def _remove_cgroup(group: Path) -> None:
    for folder, _, _ in os.walk(group, topdown=False):
        with contextlib.suppress(OSError):
            os.rmdir(folder)
