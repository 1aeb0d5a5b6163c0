"""Makes mounts with mount(2) on a private folder, and unmounts them."""

from __future__ import annotations

import errno
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import lru_cache
from pathlib import Path

from ..errors import FailedPrecondition, InvalidArgument, Unimplemented
from ..printable import quoted
from ..system import of_system
from ..undo import Undo
from ._types import Mount
from .mount_options import flags_and_data

try:
    import ctypes
except ImportError:  # some builds of Python lack it, and can use the rest of the package
    ctypes = None  # type: ignore[assignment]

# Flags of mount(2) and umount2(2), from Linux' sys/mount.h.
_RDONLY, _REMOUNT, _BIND, _REC, _PRIVATE = 0x1, 0x20, 0x1000, 0x4000, 0x40000
_DETACH, _NOFOLLOW = 0x2, 0x8
#: Flags that a remount must repeat to keep: nosuid, nodev, noexec, noatime and nodiratime.
#: statvfs(3) has the same values.
_KEPT = 0x2 | 0x4 | 0x8 | 0x400 | 0x800
_FOLDER = getattr(os, "O_PATH", 0) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LOWER = "lowerdir="
_REMEDIES = {
    errno.EPERM: "Run as root, or with the capability CAP_SYS_ADMIN",
    errno.EACCES: "Run as root, or with the capability CAP_SYS_ADMIN",
    errno.ENOENT: "Run on the daemon's machine, where the mount's source exists",
    errno.ENODEV: "Load the kernel module of the filesystem",
}


@contextmanager
def mounted(mounts: tuple[Mount, ...]) -> Iterator[Path]:
    """Mount a list of mounts on a new folder, in order, while the block runs. Yield the folder.

    Only the owner of the process can reach the folder. After the block, the mounts and the folder
    are removed. If a program still uses the mounts, they are detached.

    Raises:
        PermissionDenied: This process cannot mount.
        NotFound: The source or the target of a mount does not exist.
        InvalidArgument: The target of a mount is not below the folder.
        FailedPrecondition: The kernel cannot make a mount.
        Unimplemented: The operating system is not Linux.
    """
    if sys.platform != "linux":
        raise Unimplemented("only Linux can mount the files of a snapshot", remedy="Run on Linux")
    _libc()  # raises Unimplemented where the clean-up would, too
    # The mounted folder's own mode would let other users in, so the folder above keeps them out.
    outer = Path(tempfile.gettempdir(), f"containerd-lite-{os.urandom(8).hex()}")
    root = outer / "rootfs"
    with Undo(lambda: _remove(root)):
        try:
            outer.mkdir(0o700)
            root.mkdir(0o700)
        except OSError as error:
            raise of_system(error, "mkdir") from error
        for mount in mounts:
            _mount_below(root, mount)
        yield root
        _remove(root)


def is_mount_point(path: str) -> bool:
    """Return whether something is mounted at a path in the mount namespace of this process."""
    try:
        lines = Path("/proc/self/mountinfo").read_bytes().splitlines()
    except OSError as error:
        raise of_system(error) from error
    real = os.fsencode(os.path.realpath(path))
    return any(_unescaped(line.split(b" ", 5)[4]) == real for line in lines)


def _unescaped(text: bytes) -> bytes:
    return re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8)]), text)


def _mount_below(root: Path, mount: Mount) -> None:
    """Make one mount at its target, which is relative to ``root``.

    Source: ``Mount.mount`` in containerd's core/mount/mount_linux.go.
    """
    flags, data = flags_and_data(mount.options)
    try:
        with _opened(root, mount.target) as target, _fitting(mount, data) as text:
            _mount(target, flags, source=mount.source, kind=mount.type, data=text)
        # The opened folder is below the new mount. Only the path leads to the new mount.
        with _opened(root, mount.target) as target:
            # Unmounting below a copy of a shared mount would also unmount the original.
            _mount(target, _REC | _PRIVATE)
            if flags & _BIND and flags & _RDONLY:  # mount(2) ignores other flags of a new bind
                kept = os.statvfs(target).f_flag & _KEPT
                _mount(target, flags | kept | _REMOUNT)
    except OSError as error:
        found = of_system(error, f"mount {mount.type}", mount.target or mount.source)
        found.remedy = _REMEDIES.get(error.errno or 0, found.remedy)
        raise found from error


@contextmanager
def _opened(root: Path, target: str) -> Iterator[str]:
    """Open a folder below ``root`` without following links, and yield a path of the open folder."""
    names = [name for name in target.split("/") if name not in ("", ".")]
    if ".." in names or "\0" in target:
        raise InvalidArgument(
            f"the target {quoted(target)} of a mount is not below the root filesystem",
            remedy="Pass the mounts that the snapshotter returned",
        )
    with ExitStack() as stack:
        stack.callback(os.close, folder := os.open(root, _FOLDER))
        for name in names:
            stack.callback(os.close, folder := os.open(name, _FOLDER, dir_fd=folder))
        yield f"/proc/self/fd/{folder}"


@contextmanager
def _fitting(mount: Mount, data: list[str]) -> Iterator[str]:
    """Yield the data of a mount as one text, which must fit into a page of memory.

    The lower directories of an overlay with many layers are abbreviated: they begin with the path
    of a folder that is open while the block runs.

    Raises:
        FailedPrecondition: The text is too long.
    """
    most = os.sysconf("SC_PAGE_SIZE") - 1
    text = ",".join(data)
    lower = next((one.split("=", 1)[1].split(":") for one in data if one.startswith(_LOWER)), [])
    with ExitStack() as stack:
        if len(os.fsencode(text)) > most and lower and all(map(os.path.isabs, lower)):
            base = os.path.commonpath(lower)
            stack.callback(os.close, folder := os.open(base, _FOLDER))
            short = (f"/proc/self/fd/{folder}/{os.path.relpath(path, base)}" for path in lower)
            rest = (one for one in data if not one.startswith(_LOWER))
            text = ",".join([*rest, _LOWER + ":".join(short)])
        if len(os.fsencode(text)) > most:
            raise FailedPrecondition(
                f"the options of the {mount.type} mount have more than {most} bytes",
                remedy="Make an image with fewer layers",
            )
        yield text


def _remove(root: Path) -> None:
    """Unmount everything on ``root``, and delete the folder. Do nothing if it does not exist.

    Never delete the content of a folder: it could be a filesystem that is still mounted.
    """
    try:
        with suppress(FileNotFoundError):
            while _unmounted(root):
                pass
        for folder in (root, root.parent):
            with suppress(FileNotFoundError):
                folder.rmdir()
    except OSError as error:
        raise of_system(error, "unmount", root) from error


def _unmounted(root: Path) -> bool:
    """Unmount the topmost mount at a folder. Return false if nothing is mounted there."""
    for flag in (0, _DETACH):
        try:
            _check(_libc().umount2(os.fsencode(root), flag | _NOFOLLOW))
        except OSError as error:
            # EPERM comes first: who may not unmount could not mount either.
            if error.errno in (errno.EINVAL, errno.EPERM):
                return False
            if error.errno != errno.EBUSY or flag:
                raise
        else:
            return True
    raise AssertionError("unreachable")


@lru_cache(maxsize=1)
def _libc() -> ctypes.CDLL:
    """Return the C library.

    Raises:
        Unimplemented: This Python has no ``ctypes``.
    """
    if ctypes is None:
        raise Unimplemented(
            "this Python cannot call mount(2)", remedy="Use a Python with the module ctypes"
        )
    text = ctypes.c_char_p
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mount.argtypes = [text, text, text, ctypes.c_ulong, text]
    libc.umount2.argtypes = [text, ctypes.c_int]
    return libc


def _mount(
    target: str, flags: int, *, source: str = "none", kind: str = "none", data: str = ""
) -> None:
    """Call mount(2). Raise ``OSError`` if it fails."""
    texts = (source, target, kind, data)
    if any("\0" in text for text in texts):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    path, place, name, options = map(os.fsencode, texts)
    _check(_libc().mount(path, place, name, flags, options))


def _check(result: int) -> None:
    """Raise the ``OSError`` of a call that failed."""
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
