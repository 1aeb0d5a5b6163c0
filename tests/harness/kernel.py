"""Namespaces for tests: processes, mounts and a network of their own.

    code = run_apart(work)  # whatever `work` starts ends with it
    own_run()
    with own_network():
        ...  # bridges are made in a namespace that ends here
    with small_disk(folder, 1 << 20):
        ...  # what is written there fills it

What is mounted or made in there is not seen outside, and goes with the last process.
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
"""Where shims, runc and clients keep sockets, state and FIFOs, whatever daemon they belong to."""

INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_NEW_MOUNTS = 0x00020000  # CLONE_NEWNS
_NEW_PROCESSES = 0x20000000  # CLONE_NEWPID
_NEW_NETWORK = 0x40000000  # CLONE_NEWNET
_SLAVE_TREE = 0x00084000  # MS_SLAVE | MS_REC
_DETACH = 2  # MNT_DETACH
_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG


def run_apart(work: Callable[[], int]) -> int:
    """Run `work` in a process namespace of its own, as its first process; returns its exit code.

    When that process ends, however it ends, the kernel kills all that were started in it. Their
    mounts and network namespaces go with them. It ends when the caller is killed, and gets SIGTERM
    for each signal that would end the caller. Call it once, before there are threads.

    Raises `Unavailable` where the process may not have namespaces.
    """
    _call("unshare", _NEW_PROCESSES)
    held = signal.pthread_sigmask(signal.SIG_BLOCK, INTERRUPTS)
    child = os.fork()
    if child == 0:
        _be_first(work, held)

    def pass_on(number: int, where: FrameType | None) -> None:
        os.kill(child, signal.SIGTERM)

    for number in INTERRUPTS:
        signal.signal(number, pass_on)
    signal.pthread_sigmask(signal.SIG_SETMASK, held)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _be_first(work: Callable[[], int], signals: set[int | signal.Signals]) -> None:
    """Run `work` in the child that `run_apart` forked, and end; never returns."""
    code = 1
    try:
        _call("prctl", _PARENT_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
        os.setpgid(0, 0)  # a terminal's Ctrl-C reaches the parent alone, which passes it on
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

    It keeps test runs beside each other, and the machine's own containerd, apart. Threads that
    exist already keep the mounts that they have.

    Raises `Unavailable` where the process may not mount.
    """
    RUN.mkdir(mode=0o711, parents=True, exist_ok=True)
    _own_mounts()
    _call("mount", b"tmpfs", bytes(RUN), b"tmpfs", 0, b"mode=711")


def _own_mounts() -> None:
    """Give this process a mount namespace: only it and its children see what it mounts."""
    _call("unshare", _NEW_MOUNTS)
    _call("mount", b"none", b"/", None, _SLAVE_TREE, None)


def unmount(point: Path) -> None:
    """Detach a mount, if it is there; the machine may be too bare to have umount."""
    with contextlib.suppress(Unavailable):
        _call("umount2", bytes(point), _DETACH)


@contextlib.contextmanager
def small_disk(point: Path, size: int) -> Iterator[None]:
    """Let a folder be a disk of so many bytes, empty.

    Raises `Unavailable` where the process may not mount.
    """
    _call("mount", b"tmpfs", bytes(point), b"tmpfs", 0, b"size=%d" % size)
    try:
        yield
    finally:
        unmount(point)


@contextlib.contextmanager
def own_network() -> Iterator[None]:
    """Let this thread, and what it starts, have a network of its own, in which nothing is up.

    Raises `Unavailable` where the process may not.
    """
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _call("unshare", _NEW_NETWORK)
        try:
            yield
        finally:
            _call("setns", before, _NEW_NETWORK)
    finally:
        os.close(before)


def _call(name: str, *args: int | bytes | None) -> None:
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*args):
        raise Unavailable(f"{name}: {os.strerror(ctypes.get_errno())}")
