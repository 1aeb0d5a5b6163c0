"""containerd's default runtime spec of a Linux container.

Source: containerd's ``pkg/oci`` (populateDefaultUnixSpec, WithDefaultUnixDevices).
"""

from __future__ import annotations

from collections.abc import Iterable

from .fields import Spec

#: The version of the runtime-spec that new specs state. The runc of every supported containerd
#: release supports this version.
VERSION = "1.0.2"

CAPABILITIES = (
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW",
    "CAP_SETGID", "CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
)  # fmt: skip
NAMESPACES = ("pid", "ipc", "uts", "mount", "network")
#: containerd masks ``/proc/interrupts`` since 2.2.9, 2.3.6 and 2.4.0. A container could learn from
#: it what other containers do, and when.
MASKED_PATHS = (
    "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys",
    "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug",
    "/sys/firmware", "/sys/devices/virtual/powercap", "/proc/scsi",
)  # fmt: skip
READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

#: The destination, type, source and options of each mount.
_MOUNTS = (
    ("/proc", "proc", "proc", "nosuid noexec nodev"),
    ("/dev", "tmpfs", "tmpfs", "nosuid strictatime mode=755 size=65536k"),
    ("/dev/pts", "devpts", "devpts", "nosuid noexec newinstance ptmxmode=0666 mode=0620 gid=5"),
    ("/dev/shm", "tmpfs", "shm", "nosuid noexec nodev mode=1777 size=65536k"),
    ("/dev/mqueue", "mqueue", "mqueue", "nosuid noexec nodev"),
    ("/sys", "sysfs", "sysfs", "nosuid noexec nodev ro"),
    ("/run", "tmpfs", "tmpfs", "nosuid strictatime mode=755 size=65536k"),
)
#: The major and minor numbers of the devices null, random, full, tty, zero, urandom, console, pts/*
#: and ptmx. ``None`` allows every minor number.
DEVICES = ((1, 3), (1, 8), (1, 7), (5, 0), (1, 5), (1, 9), (5, 1), (136, None), (5, 2))


def default_spec(cgroups_path: str, masked_paths: Iterable[str] = ()) -> Spec:
    """Return the default spec as a JSON object, with an empty command line.

    Args:
        cgroups_path: The path of the container's cgroup: ``/<namespace>/<id>``.
        masked_paths: Paths to mask in addition to ``MASKED_PATHS``.
    """
    return {
        "ociVersion": VERSION,
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": [],
            "env": [PATH],
            "cwd": "/",
            "capabilities": {
                name: list(CAPABILITIES) for name in ("bounding", "effective", "permitted")
            },
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs"},
        "mounts": [
            {"destination": target, "type": kind, "source": source, "options": options.split()}
            for target, kind, source, options in _MOUNTS
        ],
        "linux": {
            "resources": {"devices": _device_rules()},
            "cgroupsPath": cgroups_path,
            "namespaces": [{"type": kind} for kind in NAMESPACES],
            "maskedPaths": [*MASKED_PATHS, *masked_paths],
            "readonlyPaths": list(READONLY_PATHS),
        },
    }


def _device_rules() -> list[Spec]:
    rules: list[Spec] = [{"allow": False, "access": "rwm"}]
    for major, minor in DEVICES:
        rule: Spec = {"allow": True, "type": "c", "major": major, "access": "rwm"}
        if minor is not None:
            rule["minor"] = minor
        rules.append(rule)
    return rules
