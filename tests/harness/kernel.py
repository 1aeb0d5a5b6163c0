"""Namespaces for tests: processes, mounts and networks of their own.

    code = run_apart(work)  # the processes that `work` starts end with it
    own_run()
    with own_network():
        ...  # bridges are made in a namespace that ends here
    with small_disk(folder, 1 << 20):
        ...  # files written to the folder soon fill it

Processes outside do not see these mounts and networks, which end with the last process inside.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

from . import Unavailable

RUN = Path("/run/containerd")
"""Here shims, runc and clients keep sockets, state and FIFOs, for every daemon."""

INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_NEW_MOUNTS = 0x00020000  # CLONE_NEWNS
_NEW_PROCESSES = 0x20000000  # CLONE_NEWPID
_NEW_NETWORK = 0x40000000  # CLONE_NEWNET
_SLAVE_TREE = 0x00084000  # MS_SLAVE | MS_REC
_DETACH = 2  # MNT_DETACH
_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG


def run_apart(work: Callable[[], int]) -> int:
    """Run `work` in the first process of a new PID namespace; return the exit code.

    When that process ends for any reason, the kernel kills all processes in the namespace. Their
    mounts and network namespaces end, too. The process ends when the caller is killed, and gets
    SIGTERM for each signal that would end the caller. Call this function once, before there are
    threads.

    Raises `Unavailable` if the caller may not make namespaces.
    """
    _call("unshare", _NEW_PROCESSES)
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, INTERRUPTS)
    child = os.fork()
    if child == 0:
        _run_first(work, blocked)

    def pass_on(number: int, where: FrameType | None) -> None:
        os.kill(child, signal.SIGTERM)

    for number in INTERRUPTS:
        signal.signal(number, pass_on)
    signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _run_first(work: Callable[[], int], signals: set[int | signal.Signals]) -> None:
    """Run `work` in the child that `run_apart` forked, and exit. It never returns."""
    code = 1
    try:
        _call("prctl", _PARENT_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
        os.setpgid(0, 0)  # Ctrl-C then reaches only the parent, which passes it on
        _own_mounts()
        _call("mount", b"proc", b"/proc", b"proc", 0, None)
        signal.pthread_sigmask(signal.SIG_SETMASK, signals)
        code = work()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def own_run() -> None:
    """Give this process and those that it starts an empty `/run/containerd`.

    This separates concurrent test runs from each other and from the machine's own containerd.
    Threads that exist already keep their mounts.

    Raises `Unavailable` if the process may not mount.
    """
    RUN.mkdir(mode=0o711, parents=True, exist_ok=True)
    _own_mounts()
    _call("mount", b"tmpfs", bytes(RUN), b"tmpfs", 0, b"mode=711")


def _own_mounts() -> None:
    """Give this process a mount namespace: only it and its children see its new mounts."""
    _call("unshare", _NEW_MOUNTS)
    _call("mount", b"none", b"/", None, _SLAVE_TREE, None)


def unmount(point: Path) -> None:
    """Detach a mount, if there is one, without the program umount, which may be missing."""
    with contextlib.suppress(Unavailable):
        _call("umount2", bytes(point), _DETACH)


@contextlib.contextmanager
def small_disk(point: Path, size: int) -> Iterator[None]:
    """Mount an empty disk of `size` bytes on a folder.

    Raises `Unavailable` if the process may not mount.
    """
    _call("mount", b"tmpfs", bytes(point), b"tmpfs", 0, b"size=%d" % size)
    try:
        yield
    finally:
        unmount(point)


@contextlib.contextmanager
def own_network() -> Iterator[None]:
    """Give this thread, and the processes it starts, a network whose interfaces are all down.

    Raises `Unavailable` if the process may not make network namespaces.
    """
    previous = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _call("unshare", _NEW_NETWORK)
        try:
            yield
        finally:
            _call("setns", previous, _NEW_NETWORK)
    finally:
        os.close(previous)


def _call(name: str, *args: int | bytes | None) -> None:
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*args):
        raise Unavailable(f"{name}: {os.strerror(ctypes.get_errno())}")
