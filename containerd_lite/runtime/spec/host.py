"""Reads what a spec gets from the client's machine: files, devices and capabilities."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from ...errors import InvalidArgument, PermissionDenied
from ...oci.spec.fields import Spec, refuse, text
from ...oci.spec.linux_capabilities import of_mask
from ...printable import quoted
from ...system import is_regular, open_file

_DEVICE_TYPES = {stat.S_IFBLK: "b", stat.S_IFCHR: "c", stat.S_IFIFO: "p"}
#: Folders in /dev that have no devices for a container. The folders are separate filesystems, or
#: belong to other programs (runc #2093).
_SKIPPED_FOLDERS = frozenset(("pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev"))
_DEVICE_FORM = (
    "a device or a folder of devices, such as /dev/fuse, /dev/fuse:/dev/inside or /dev/fuse:rw"
)
_CPUS = Path("/sys/devices/system/cpu")
_CPU = re.compile("cpu([0-9]{1,9})")
#: The file of a CPU from which a container could learn the load of the machine.
_THERMAL = "thermal_throttle"
#: The number of CPUs for which a container on another machine masks paths. In 2026, the largest
#: servers with two sockets have 768 CPUs.
_MOST_CPUS = 1024
#: Maximum size of /proc/self/status, in bytes.
_MAX_STATUS = 64 << 10


def read_file(option: str, path: str | os.PathLike[str], limit: int) -> bytes:
    """Return the content of a regular file. ``option`` is the name of the option in error messages.

    Raise ``InvalidArgument`` if the file is not a regular file, or is larger than ``limit`` bytes.
    Raise ``PermissionDenied`` if this user has no permission to read the file.
    """
    name = os.fsdecode(path)
    if "\0" in name:
        refuse(option, name, "the path of a file")
    try:
        file = open_file(name)
    except OSError as error:
        raise _read_error(option, name, error) from error
    with file:
        if not is_regular(file):
            refuse(option, name, "the path of a regular file")
        data = file.read(limit + 1)
    if len(data) > limit:
        raise InvalidArgument(
            f"{option}: {quoted(name)} is larger than {limit} bytes", remedy="Give a smaller file"
        )
    return data


def _read_error(option: str, name: str, error: OSError) -> InvalidArgument | PermissionDenied:
    kind = PermissionDenied if error.errno in (errno.EACCES, errno.EPERM) else InvalidArgument
    return kind(
        f"{option}: {quoted(name)} cannot be read ({error.strerror})",
        remedy="Give the path of an existing file that this user is allowed to read",
    )


def capabilities() -> list[str]:
    """Return all capabilities that a container can get: the bounding set of this Python process.

    containerd's Go client uses the effective set of its own process. For root, the effective set
    and the bounding set are the same. For other users, the effective set is empty, even if the
    daemon runs as root.
    """
    status = read_file("/proc", "/proc/self/status", _MAX_STATUS).decode()
    found = re.search(r"^CapBnd:\s*([0-9a-f]{1,16})$", status, re.MULTILINE)
    return of_mask(int(found.group(1), 16)) if found else []


def cpu_paths(is_remote: bool = False, folder: Path = _CPUS) -> list[str]:
    """Return the paths that containerd's default spec masks for each CPU of the daemon's machine.

    If the daemon runs on this machine, these are the paths that exist. If the daemon can run on
    another machine, these are the paths of the first 1024 CPUs. The runtime ignores masked paths
    that do not exist. A Unix socket that is forwarded from another machine counts as local.
    """
    if is_remote:
        return [f"{_CPUS}/cpu{number}/{_THERMAL}" for number in range(_MOST_CPUS)]
    try:
        names = os.listdir(folder)
    except OSError:  # /sys is not mounted, or this is not Linux
        return []
    numbers = sorted(int(found.group(1)) for found in map(_CPU.fullmatch, names) if found)
    return [
        f"{_CPUS}/cpu{number}/{_THERMAL}"
        for number in numbers
        if os.path.lexists(folder / f"cpu{number}" / _THERMAL)
    ]


def kernel() -> tuple[int, int]:
    """Return the major and minor version of the running kernel."""
    found = re.match(r"(\d+)\.(\d+)", os.uname().release)
    return (int(found.group(1)), int(found.group(2))) if found else (0, 0)


def devices(option: str, value: object) -> tuple[list[Spec], str]:
    """Parse ``path[:inside][:rwm]``. Return the device nodes for the spec, and the access to them.

    ``path`` is a device or a folder of devices on the client's machine. ``inside`` is the path in
    the container. ``rwm`` is the access: read, write and mknod. Raise ``InvalidArgument`` if
    ``path`` is neither a device nor a folder.
    """
    parts = text(option, value).split(":")
    access = parts.pop() if len(parts) > 1 and not parts[-1].startswith("/") else "rwm"
    if not (0 < len(parts) < 3 and all(part.startswith("/") for part in parts)):
        refuse(option, value, _DEVICE_FORM)
    if not access or len(set(access)) != len(access) or set(access) - set("rwm"):
        refuse(option, value, f"{_DEVICE_FORM}; the access consists of the letters r, w and m")
    path = Path(parts[0])
    try:
        if path.is_dir():
            return list(_devices_in(path, parts[1] if len(parts) > 1 else str(path))), access
        found = _device(path, parts[-1])
    except OSError as error:
        raise InvalidArgument(
            f"{option}: {quoted(parts[0])} cannot be accessed ({error.strerror})",
            remedy=f"Give {_DEVICE_FORM}",
        ) from error
    return [found or refuse(option, value, _DEVICE_FORM)], access


def device_node(path: str, inside: str) -> Spec | None:
    """Return the spec's entry for a device node, or ``None`` if ``path`` is not a device node.

    ``inside`` is the path of the node in the container.
    """
    try:
        return _device(Path(path), inside)
    except (OSError, ValueError):
        return None


def all_devices() -> list[Spec]:
    """Return the device nodes in /dev and its subfolders."""
    return list(_devices_in(Path("/dev"), "/dev"))


def _devices_in(folder: Path, inside: str) -> Iterator[Spec]:
    """Yield the device nodes in a folder and its subfolders, except ``console``.

    ``inside`` is the folder's path in the container. FIFOs and symbolic links are omitted.
    """
    for name in sorted(os.listdir(folder), key=os.fsencode):
        path, path_inside = folder / name, os.path.join(inside, name)
        try:
            mode = path.lstat().st_mode
            if stat.S_ISDIR(mode):
                if name not in _SKIPPED_FOLDERS:
                    yield from _devices_in(path, path_inside)
            elif name != "console" and not stat.S_ISFIFO(mode):
                found = _device(path, path_inside)
                if found:
                    yield found
        except FileNotFoundError:  # the file was removed after listdir
            continue


def _device(path: Path, inside: str) -> Spec | None:
    """Return the spec's entry for a device node or a FIFO, or ``None`` for other files.

    ``inside`` is the path of the node in the container.
    """
    status = path.lstat()
    kind = _DEVICE_TYPES.get(stat.S_IFMT(status.st_mode))
    return kind and {
        "path": inside,
        "type": kind,
        "major": os.major(status.st_rdev),
        "minor": os.minor(status.st_rdev),
        "fileMode": stat.S_IMODE(status.st_mode),
        "uid": status.st_uid,
        "gid": status.st_gid,
    }  # type: ignore[return-value]
