"""Finds and removes what a private daemon leaves behind.

A private daemon has traces outside its folder: its shims outlive it in sessions of their own, runc
keeps state in /run/containerd/runc, shims put sockets into /run/containerd/s, and containers have
cgroups. This module finds them by the daemon's folder or its namespaces in their names. It thus
never touches the machine's own containerd or the daemons of other tests.
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
"""The daemon's socket in its folder. The name is short: a socket's path has at most 107 bytes."""

_LONGEST_PARENT = 80

_CGROUPS = Path("/sys/fs/cgroup")
TASKS = "io.containerd.runtime.v2.task"
"""The folder of bundles in a daemon's state. It has a folder for each namespace and task."""
_SIGSTORE = ("fulcio", "posix", "rekor-server", "timestamps", "trillian")
_PROGRAM_NAMES = ("containerd", "docker-registry", "registry", *_SIGSTORE)
_LAST_WRITES_SECONDS = 5.0
"""Seconds for which a killed program may still write files."""
_owned: dict[Path, int] = {}
"""The folders that this process made, with the descriptors that hold their locks."""


@dataclass(frozen=True)
class Process:
    """A running process, from /proc."""

    pid: int
    parent: int
    argv: tuple[str, ...]

    def option(self, name: str) -> str:
        """Return the argument after `name`, or an empty string."""
        pairs = zip(self.argv, self.argv[1:], strict=False)
        return next((value for key, value in pairs if key == name), "")


def make_folder() -> Path:
    """Make a private folder that this process owns. First remove those whose owners are gone.

    A test run that was killed cannot clean up, so the next run does it. As long as the owner
    lives, it holds a lock on a file in the folder. A process ID would have no meaning in another
    PID namespace.
    """
    parent = _parent()
    for lock_file in parent.glob(f"{PREFIX}*/owner"):
        with contextlib.suppress(OSError):
            status = lock_file.parent.lstat()
            if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
                continue  # it belongs to another user, and may be a trap
            with lock_file.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                remove(lock_file.parent)
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, INTERRUPTS)  # no folder without a lock
    try:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        draft = folder / "draft"
        _owned[folder] = descriptor = os.open(draft, os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        draft.rename(folder / "owner")  # visible only once it is locked
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    return folder


def locks() -> set[int]:
    """Return the descriptors that hold the locks of this process's private folders."""
    return set(_owned.values())


def sweep() -> None:
    """Remove every private folder of this process, with everything that its daemons left.

    An interrupted process calls it, because it may not know everything that it made.
    """
    for folder in tuple(_owned):
        remove(folder)


def _parent() -> Path:
    """Return the folder for private folders."""
    parent = Path(tempfile.gettempdir())
    return parent if len(str(parent)) <= _LONGEST_PARENT else Path("/tmp")


def remove(folder: Path) -> None:
    """Remove a private folder, those in it, and everything that their daemons left."""
    for lock_file in folder.glob(f"{PREFIX}*/owner"):
        remove(lock_file.parent)
    containers = _containers(folder)
    programs = _programs(folder)
    fifo_folders = {path for program in programs for path in _fifos(program.pid)}
    socket_paths = {path for program in programs for path in sockets(program.pid)}
    address = folder / SOCKET
    for namespace, name in containers:
        digest = hashlib.sha256(f"{address}/{namespace}/{name}".encode()).hexdigest()
        socket_paths.add(RUN / "s" / digest)
    names = [f"{namespace}/{name}" for namespace, name in containers] + namespaces(folder)
    groups = [group for name in names for group in _cgroups(name)]
    children = [*_descendants(programs), *(pid for group in groups for pid in _thawed(group))]
    _kill([*children, *(program.pid for program in programs)])
    for _ in range(10):  # the daemon may have started a program to clean up after a killed shim
        if not (late := _programs(folder)):
            break
        _kill([*_descendants(late), *(program.pid for program in late)])
    for path in socket_paths:
        path.unlink(missing_ok=True)
    for path in fifo_folders:
        shutil.rmtree(path, ignore_errors=True)
    for mount in reversed(mounts(folder)):
        unmount(mount)
    for group in groups:
        _remove_cgroup(group)
    for name in names:  # a killed runc may still write there
        wait_until(partial(_delete, RUN / "runc" / name), _LAST_WRITES_SECONDS)
    for namespace, _ in containers:
        with contextlib.suppress(OSError):  # it still has containers of another daemon
            (RUN / "runc" / namespace).rmdir()
    if not mounts(folder):  # else this would delete what is mounted there
        shutil.rmtree(folder, ignore_errors=True)
    if (descriptor := _owned.pop(folder, None)) is not None:
        os.close(descriptor)


def _delete(folder: Path) -> bool:
    """Delete a folder; return whether it is gone."""
    shutil.rmtree(folder, ignore_errors=True)
    return not folder.exists()


def namespaces(folder: Path) -> list[str]:
    """Return the namespaces that only the daemon of this folder uses."""
    record = folder / "namespaces"
    return record.read_text().split() if record.exists() else []


def shims(folder: Path, namespace: str | None = None) -> list[Process]:
    """Return the shims of this folder's daemon, in one namespace or in all."""
    return [
        process
        for process in processes()
        if process.option("-address") == str(folder / SOCKET)
        and namespace in (None, process.option("-namespace"))
    ]


def mounts(folder: Path) -> list[Path]:
    """Return the mount points below a folder, in the order of mounting."""
    points = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        escaped = line.split()[4]
        point = re.sub(r"\\(\d{3})", lambda octal: chr(int(octal.group(1), 8)), escaped)
        if point.startswith(f"{folder}/"):
            points.append(Path(point))
    return points


def namespace_of(mount: Path) -> str:
    """Return the namespace of the task whose root filesystem this mount is, or an empty string."""
    parts = mount.parts
    return parts[parts.index(TASKS) + 1] if TASKS in parts[:-1] else ""


def fifos(folder: Path, namespace: str | None = None) -> set[str]:
    """Return the folders of FIFOs that clients made, except those that other shims use.

    Other shims are those of other daemons and, with a namespace, of other namespaces. The name of
    a folder shows neither. A folder that no shim uses is thus in every result.
    """
    parent = RUN / "fifo"
    own = {shim.pid for shim in shims(folder, namespace)}
    others = (shim for shim in processes() if shim.option("-address") and shim.pid not in own)
    foreign = {path.name for shim in others for path in _fifos(shim.pid)}
    return set(os.listdir(parent)) - foreign if parent.is_dir() else set()


def runc_states(namespace: str) -> list[str]:
    """Return the IDs of the containers for which runc keeps state."""
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
    """Return the fields of /proc/PID/stat after the name, which may contain any character."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _programs(folder: Path) -> list[Process]:
    """Return the daemons, shims and servers whose arguments have a path in this folder."""
    return [
        process
        for process in processes()
        if process.argv
        and Path(process.argv[0]).name.startswith(_PROGRAM_NAMES)
        and any(argument.startswith(f"{folder}/") for argument in process.argv[1:])
    ]


def _descendants(roots: Iterable[Process]) -> list[int]:
    """Return the descendants of these processes. Containers must end before their shims."""
    everything = list(processes())
    descendants: list[int] = []
    pending = [root.pid for root in roots]
    while pending:
        parent = pending.pop()
        children = [process.pid for process in everything if process.parent == parent]
        descendants += children
        pending += children
    return descendants


def _kill(pids: Iterable[int]) -> None:
    """Kill processes, and wait until they are gone or zombies."""
    killed = set(pids) - {0, 1, os.getpid()}
    for pid in killed:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not any(_is_alive(pid) for pid in killed), 5)


def _is_alive(pid: int) -> bool:
    try:
        return _stat(pid)[0] not in "ZX"
    except OSError:
        return False


def _open_files(pid: int) -> set[str]:
    """Return the open files of a process, with their names in /proc."""
    files = set()
    with contextlib.suppress(OSError):
        for descriptor in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                files.add(os.readlink(f"/proc/{pid}/fd/{descriptor}"))
    return files


def _fifos(pid: int) -> set[Path]:
    """Return the folders in /run/containerd/fifo in which a process has an open file."""
    files = [Path(name) for name in _open_files(pid)]
    folders = {*files, *(path.parent for path in files)}  # some clients lock the folder itself
    return {path for path in folders if path.parent == RUN / "fifo"}


def _cgroups(name: str) -> list[Path]:
    """Return the folders of a cgroup: one in the unified hierarchy, else one per controller."""
    return [*_CGROUPS.glob(name), *_CGROUPS.glob(f"*/{name}")]


def _thawed(group: Path) -> list[int]:
    """Thaw a cgroup and those below it; return their processes. A frozen process cannot die."""
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
