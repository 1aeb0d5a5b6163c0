"""What the options of mounts mean, by containerd's core/mount."""

from __future__ import annotations

import pytest

from containerd_lite.services._types import Mount
from containerd_lite.services.mount_options import (
    flags_and_data,
    mountable_again,
    needs_daemon,
    read_only,
    without_id_maps,
)

pytestmark = pytest.mark.backend

OVERLAY = ("index=off", "workdir=/w", "upperdir=/u", "lowerdir=/a:/b")


@pytest.mark.parametrize(
    ("options", "flags", "data"),
    [
        ((), 0, []),
        (("rbind", "ro"), 0x5001, []),
        (("bind", "ro", "rw"), 0x1000, []),
        (("ro", "nosuid", "nodev", "noexec"), 0xF, []),
        (("nosuid", "suid", "nodev", "dev", "exec", "atime"), 0, []),
        (("noatime", "relatime", "strictatime"), 0x1200400, []),
        (OVERLAY, 0, list(OVERLAY)),
        (("ro", "defaults", "size=1"), 0x1, ["defaults", "size=1"]),
    ],
)
def test_flags_and_data(options: tuple[str, ...], flags: int, data: list[str]) -> None:
    """core/mount/mount_linux.go, parseMountOptions."""
    assert flags_and_data(options) == (flags, data)


@pytest.mark.parametrize(
    ("mount", "expected"),
    [
        (Mount("bind", "/a", "", ("rbind", "ro")), False),
        (Mount("overlay", "overlay", "", OVERLAY), False),
        (Mount("btrfs", "/dev/a", "", ("subvolid=1",)), False),
        (Mount("ext4", "/dev/mapper/a"), False),
        (Mount("ext4", "/a", "", ("ro", "loop")), True),
        (Mount("erofs", "/a", "", ("ro", "loop")), True),
        (Mount("loop", "/a"), True),
        (Mount("fuse3.fuse-overlayfs", "overlay", "", OVERLAY), True),
        (Mount("format/bind", "/a"), True),
        (Mount("nope/bind", "/a"), True),
        (Mount("bind", "{{ mount 0 }}"), True),
        (Mount("bind", "/a", "{{ target 0 }}"), True),
        (Mount("overlay", "overlay", "", ("lowerdir={{ overlay 0 1 }}",)), True),
        (Mount("ext4", "/dev/a", "", ("X-containerd.dmverity=/b",)), True),
    ],
)
def test_what_the_kernel_alone_cannot_mount(mount: Mount, expected: bool) -> None:
    assert needs_daemon(mount) is expected


@pytest.mark.parametrize(
    ("mount", "options"),
    [
        (Mount("bind", "/a", "", ("rbind", "rw")), ("rbind", "ro")),
        (Mount("bind", "/a", "", ("ro", "rbind")), ("rbind", "ro")),
        (Mount("ext4", "/a"), ("ro",)),
        (Mount("overlay", "overlay", "", OVERLAY), ("index=off", "lowerdir=/u:/a:/b", "ro")),
        (Mount("overlay", "overlay", "", ("lowerdir=/a:/b",)), ("lowerdir=/a:/b", "ro")),
        (
            Mount("overlay", "overlay", "", ("uidmap=0:1:1", "gidmap=0:1:1", "lowerdir=/a", "rw")),
            ("lowerdir=/a", "ro"),
        ),
        (Mount("format/overlay", "overlay", "", OVERLAY), OVERLAY),
    ],
)
def test_read_only(mount: Mount, options: tuple[str, ...]) -> None:
    """core/mount/mount.go, readonlyMounts."""
    assert read_only(mount) == Mount(mount.type, mount.source, "", options)


@pytest.mark.parametrize("type", ["overlay", "format/mkdir/overlay"])
def test_mountable_again(type: str) -> None:
    """core/mount/temp.go, RemoveVolatileOption."""
    mount = Mount(type, "overlay", "", ("volatile", *OVERLAY, "fsync=volatile"))
    assert mountable_again(mount) == Mount(type, "overlay", "", OVERLAY)
    other = Mount("bind", "/a", "", ("volatile",))
    assert mountable_again(other) == other


def test_without_id_maps() -> None:
    """core/mount/temp.go, RemoveIDMapOption."""
    mount = Mount("bind", "/a", "", ("uidmap=0:1:1", "rbind", "gidmap=0:1:1"))
    assert without_id_maps(mount) == Mount("bind", "/a", "", ("rbind",))
