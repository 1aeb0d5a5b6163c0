"""The kinds and the options of mounts, as containerd's core/mount reads them."""

from __future__ import annotations

from collections.abc import Iterable

from ..records import replace
from ._types import Mount

#: Options that set or clear a flag of mount(2), by their names: the flag, and whether the option
#: sets the flag. The values are those of Linux' sys/mount.h. All other options are data for the
#: filesystem.
_FLAGS = {
    "ro": (0x1, True),
    "rw": (0x1, False),
    "nosuid": (0x2, True),
    "suid": (0x2, False),
    "nodev": (0x4, True),
    "dev": (0x4, False),
    "noexec": (0x8, True),
    "exec": (0x8, False),
    "sync": (0x10, True),
    "async": (0x10, False),
    "remount": (0x20, True),
    "mand": (0x40, True),
    "nomand": (0x40, False),
    "dirsync": (0x80, True),
    "noatime": (0x400, True),
    "atime": (0x400, False),
    "nodiratime": (0x800, True),
    "diratime": (0x800, False),
    "bind": (0x1000, True),
    "rbind": (0x1000 | 0x4000, True),
    "relatime": (0x200000, True),
    "norelatime": (0x200000, False),
    "strictatime": (0x1000000, True),
    "nostrictatime": (0x1000000, False),
}
#: Kinds of mounts that need a handler or a helper program.
_HANDLED = ("erofs", "loop", "fuse.", "fuse3.")
#: Options of an overlay that a read-only mount does not have.
_ONLY_TO_WRITE = ("workdir", "uidmap", "gidmap", "ro", "rw")
#: Options of an overlay that cannot be mounted a second time.
_VOLATILE = ("volatile", "fsync=volatile")
#: Options that map the ids of users and groups. The kernel does not know them.
_ID_MAPS = ("uidmap=", "gidmap=")


def flags_and_data(options: Iterable[str]) -> tuple[int, list[str]]:
    """Split the options of a mount into the flags of mount(2) and the data for the filesystem."""
    flags, data = 0, []
    for option in options:
        flag, is_set = _FLAGS.get(option, (0, False))
        if not flag:
            data.append(option)
        elif is_set:
            flags |= flag
        else:
            flags &= ~flag
    return flags, data


def needs_daemon(mount: Mount) -> bool:
    """Return whether the kernel alone cannot make a mount.

    This is so if the type contains a transform (``format/…``), if the mount needs a handler or a
    loop device, or if a value is a template.
    """
    return (
        "/" in mount.type
        or mount.type.startswith(_HANDLED)
        or any("{{" in text for text in (mount.source, mount.target, *mount.options))
        or any(option == "loop" or option.startswith("X-containerd.") for option in mount.options)
    )


def without_id_maps(mount: Mount) -> Mount:
    """Return a mount that shows the ids of users and groups as they are in the snapshot."""
    return replace(mount, options=tuple(o for o in mount.options if not o.startswith(_ID_MAPS)))


def read_only(mount: Mount) -> Mount:
    """Return a mount that shows the same files, but cannot be written.

    An overlay does not use its work directory, which may be in use by a running container. A mount
    whose type contains a transform stays as it is.

    Source: ``readonlyMounts`` in containerd's core/mount/mount.go.
    """
    if mount.type == "overlay":
        return replace(mount, options=_without_upper(mount.options))
    if "/" in mount.type:
        return mount
    return replace(mount, options=(*(o for o in mount.options if o not in ("ro", "rw")), "ro"))


def _without_upper(options: Iterable[str]) -> tuple[str, ...]:
    """Return the options of an overlay, with its upper directory as the first lower directory."""
    kept, upper = [], ""
    for option in options:
        name, _, value = option.partition("=")
        if name == "upperdir":
            upper = value
        elif name not in _ONLY_TO_WRITE:
            kept.append(option)
    if upper:
        kept = [f"lowerdir={upper}:{o[9:]}" if o.startswith("lowerdir=") else o for o in kept]
    return (*kept, "ro")


def mountable_again(mount: Mount) -> Mount:
    """Return a mount without the options that keep an overlay from being mounted a second time.

    Source: ``RemoveVolatileOption`` in containerd's core/mount/temp.go.
    """
    if mount.type.rpartition("/")[2] != "overlay":
        return mount
    return replace(mount, options=tuple(o for o in mount.options if o not in _VOLATILE))
