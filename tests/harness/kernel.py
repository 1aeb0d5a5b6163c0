"""What a test may have of its own from the kernel: mounts that nobody else sees, and a network.

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
from collections.abc import Iterator
from pathlib import Path

from . import Unavailable

RUN = Path("/run/containerd")
"""Where shims, runc and clients keep sockets, state and FIFOs, whatever daemon they belong to."""

_NEW_MOUNTS = 0x00020000  # CLONE_NEWNS
_NEW_NETWORK = 0x40000000  # CLONE_NEWNET
_SLAVE_TREE = 0x00084000  # MS_SLAVE | MS_REC
_DETACH = 2  # MNT_DETACH


def own_run() -> None:
    """Give this process and those that it starts an empty `/run/containerd`, if they have none.

    Test runs beside each other, and a containerd of the machine's own, would else see each
    other's. Call it before there are threads: they keep the mounts that they have.

    Raises `Unavailable` where the process may not mount.
    """
    if os.path.ismount(RUN):
        return
    RUN.mkdir(mode=0o711, parents=True, exist_ok=True)
    _call("unshare", _NEW_MOUNTS)
    _call("mount", b"none", b"/", None, _SLAVE_TREE, None)
    _call("mount", b"tmpfs", bytes(RUN), b"tmpfs", 0, b"mode=711")


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
