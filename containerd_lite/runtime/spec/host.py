"""What a spec takes from this machine: files, devices, capabilities.

What lives here: bounded reading, and looking at device nodes.  What may not: what is made of it.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from ...errors import InvalidArgument, PermissionDenied
from ...oci.document import quoted
from ...oci.spec.fields import Spec, refuse, text
from ...oci.spec.linux_capabilities import of_mask
from ...system import is_regular, open_file

_KINDS = {stat.S_IFBLK: "b", stat.S_IFCHR: "c", stat.S_IFIFO: "p"}
#: Folders below /dev that are file systems of their own, or other programs' (runc #2093).
_SKIPPED = frozenset(("pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev"))
_DEVICE = "a device or a folder of devices, as /dev/fuse, /dev/fuse:/dev/inside or /dev/fuse:rw"
_MAX_STATUS = 64 << 10


def read_file(option: str, path: str | os.PathLike[str], limit: int) -> bytes:
    """A regular file of at most ``limit`` bytes.

    Raises ``InvalidArgument`` for a larger one and for what is none, ``PermissionDenied``.
    """
    name = os.fsdecode(path)
    if "\0" in name:
        refuse(option, name, "the path of a file")
    try:
        file = open_file(name)
    except OSError as error:
        raise _unreadable(option, name, error) from error
    with file:
        if not is_regular(file):
            refuse(option, name, "the path of a regular file")
        data = file.read(limit + 1)
    if len(data) > limit:
        raise InvalidArgument(
            f"{option}: {quoted(name)} has more than {limit} bytes", remedy="Give a smaller file"
        )
    return data


def _unreadable(option: str, name: str, error: OSError) -> InvalidArgument | PermissionDenied:
    kind = PermissionDenied if error.errno in (errno.EACCES, errno.EPERM) else InvalidArgument
    return kind(
        f"{option}: {quoted(name)} cannot be read ({error.strerror})",
        remedy="Give the path of a file that is there and readable",
    )


def capabilities() -> list[str]:
    """All that a process of ours could be given: the bounding set.

    A Go client takes its own effective ones, which are the same for root; for another user, who
    may well speak to a daemon that runs as root, they are none.
    """
    status = read_file("/proc", "/proc/self/status", _MAX_STATUS).decode()
    found = re.search(r"^CapBnd:\s*([0-9a-f]{1,16})$", status, re.MULTILINE)
    return of_mask(int(found.group(1), 16)) if found else []


def kernel() -> tuple[int, int]:
    """Major and minor number of the running kernel."""
    found = re.match(r"(\d+)\.(\d+)", os.uname().release)
    return (int(found.group(1)), int(found.group(2))) if found else (0, 0)


def devices(option: str, given: object) -> tuple[list[Spec], str]:
    """Device nodes as a spec has them, and the access wanted, of ``path[:inside][:rwm]``.

    Raises ``InvalidArgument`` for a path that is neither a device nor a folder.
    """
    parts = text(option, given).split(":")
    access = parts.pop() if len(parts) > 1 and not parts[-1].startswith("/") else "rwm"
    if not (0 < len(parts) < 3 and all(part.startswith("/") for part in parts)):
        refuse(option, given, _DEVICE)
    if not access or len(set(access)) != len(access) or set(access) - set("rwm"):
        refuse(option, given, f"{_DEVICE}; access is made of r, w and m")
    path = Path(parts[0])
    try:
        if path.is_dir():
            return list(_below(path, parts[1] if len(parts) > 1 else str(path))), access
        found = _device(path, parts[-1])
    except OSError as error:
        raise InvalidArgument(
            f"{option}: {quoted(parts[0])} cannot be looked at ({error.strerror})",
            remedy=f"Give {_DEVICE}",
        ) from error
    return [found or refuse(option, given, _DEVICE)], access


def all_devices() -> list[Spec]:
    """Every device node below /dev."""
    return list(_below(Path("/dev"), "/dev"))


def _below(folder: Path, inside: str) -> Iterator[Spec]:
    """The nodes of a folder and those below, but consoles, FIFOs and links."""
    for name in sorted(os.listdir(folder), key=os.fsencode):
        path, place = folder / name, os.path.join(inside, name)
        try:
            mode = path.lstat().st_mode
            if stat.S_ISDIR(mode):
                if name not in _SKIPPED:
                    yield from _below(path, place)
            elif name != "console" and not stat.S_ISFIFO(mode):
                found = _device(path, place)
                if found:
                    yield found
        except FileNotFoundError:  # it went while we looked
            continue


def _device(path: Path, inside: str) -> Spec | None:
    found = path.lstat()
    kind = _KINDS.get(stat.S_IFMT(found.st_mode))
    return kind and {
        "path": inside,
        "type": kind,
        "major": os.major(found.st_rdev),
        "minor": os.minor(found.st_rdev),
        "fileMode": stat.S_IMODE(found.st_mode),
        "uid": found.st_uid,
        "gid": found.st_gid,
    }  # type: ignore[return-value]
