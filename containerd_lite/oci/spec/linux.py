"""The ``linux`` object of a spec, without resource limits and seccomp.

The functions set namespaces, ID maps, masked and read-only paths, the cgroup, sysctls and devices.
"""

from __future__ import annotations

import posixpath
from collections.abc import Sequence

from ...errors import InvalidArgument
from .fields import (
    Spec,
    entries,
    integer,
    iterable,
    mapping,
    path,
    refuse,
    section,
    table,
    text,
    texts,
)

NAMESPACES = ("pid", "ipc", "uts", "mount", "network", "user", "cgroup", "time")
_PROPAGATIONS = (
    "private", "rprivate", "shared", "rshared", "slave", "rslave", "unbindable", "runbindable",
)  # fmt: skip
#: The largest user or group ID of Linux. The kernel reads the number after it as -1, which is not
#: an ID.
_MAX_ID = (1 << 32) - 2


def set_namespaces(linux: Spec, namespaces: object) -> None:
    """Set a namespace for each item of a mapping of namespace types to values.

    ``set_namespace`` explains the values.
    """
    for kind, value in mapping("namespaces", namespaces).items():
        if kind not in NAMESPACES:
            refuse("namespaces", kind, f"only the namespace types {', '.join(NAMESPACES)}")
        set_namespace(linux, str(kind), value)


def set_namespace(linux: Spec, kind: str, value: object) -> None:
    """Set one namespace.

    Args:
        linux: The ``linux`` object of the spec.
        kind: The type of the namespace, such as ``"network"``.
        value: ``"host"`` for the namespace of the host, ``"private"`` for a new namespace, or the
            absolute path of an existing namespace.

    Raises:
        InvalidArgument: ``value`` is not ``"host"``, ``"private"`` or an absolute path.
    """
    namespaces = entries(linux, "namespaces")
    indexes = [index for index, entry in enumerate(namespaces) if entry.get("type") == kind]
    if value == "host":
        linux["namespaces"] = [entry for entry in namespaces if entry.get("type") != kind]
        return
    entry: Spec = {"type": kind}
    if value != "private":
        if not text("namespaces", value).startswith("/"):
            refuse("namespaces", value, "host, private or an absolute path")
        entry["path"] = value
    if indexes:
        namespaces[indexes[0]] = entry
    else:
        namespaces.append(entry)


def set_id_maps(linux: Spec, uids: object, gids: object) -> None:
    """Set the ID maps, and add a user namespace if the spec has none.

    Each map is a list of ``(inside, outside, size)``: the first ID in the container, the first ID
    on the host, and the number of IDs.
    """
    if uids is None or gids is None:
        raise InvalidArgument(
            "uid_map and gid_map must be given together",
            remedy="Give both, each a list of (inside, outside, size)",
        )
    linux["uidMappings"] = _id_map("uid_map", uids)
    linux["gidMappings"] = _id_map("gid_map", gids)
    if not any(entry.get("type") == "user" for entry in entries(linux, "namespaces")):
        set_namespace(linux, "user", "private")


def _id_map(option: str, value: object) -> list[Spec]:
    wanted = "at least one (inside, outside, size)"
    id_map: list[Spec] = []
    for item in iterable(option, value, wanted):
        numbers = list(iterable(option, item, wanted))
        if len(numbers) != 3:
            refuse(option, item, wanted)
        inside, outside = (integer(option, number, 0, _MAX_ID) for number in numbers[:2])
        size = integer(option, numbers[2], 1, _MAX_ID + 1 - max(inside, outside))
        id_map.append({"containerID": inside, "hostID": outside, "size": size})
    return id_map or refuse(option, value, wanted)


def check_user_namespace(linux: Spec) -> None:
    """Raise ``InvalidArgument`` if the spec has a private user namespace without ID maps."""
    is_private = {"type": "user"} in entries(linux, "namespaces")
    if is_private and not (linux.get("uidMappings") and linux.get("gidMappings")):
        raise InvalidArgument(
            "a private user namespace needs ID maps", remedy="Give uid_map= and gid_map="
        )


def set_cgroup(linux: Spec, cgroup_path: object, parent: object, container_id: str) -> None:
    """Set the path of the container's cgroup.

    Args:
        linux: The ``linux`` object of the spec.
        cgroup_path: The path. ``""`` means that the runtime chooses the cgroup.
        parent: The path of the parent cgroup, in which the cgroup gets the name ``container_id``.
            The caller must not give both ``cgroup_path`` and ``parent``.
        container_id: The ID of the container.
    """
    if cgroup_path is not None and parent is not None:
        raise InvalidArgument(
            "cgroup_path and cgroup_parent must not be given together", remedy="Give one of them"
        )
    if parent is not None:
        linux["cgroupsPath"] = posixpath.join("/", path("cgroup_parent", parent), container_id)
    elif cgroup_path is not None:
        linux["cgroupsPath"] = text("cgroup_path", cgroup_path)
        if not cgroup_path:
            del linux["cgroupsPath"]


def set_paths(linux: Spec, option: str, field: str, value: object) -> None:
    """Replace the list in ``field``, which is ``maskedPaths`` or ``readonlyPaths``."""
    paths = texts(option, value)
    linux[field] = [path(option, item) for item in paths]
    if not paths:
        del linux[field]


def set_propagation(linux: Spec, propagation: object) -> None:
    """Set the mount propagation of the root filesystem."""
    if propagation not in _PROPAGATIONS:
        refuse("rootfs_propagation", propagation, f"one of {', '.join(_PROPAGATIONS)}")
    linux["rootfsPropagation"] = propagation


def set_sysctls(linux: Spec, sysctls: object) -> None:
    """Add sysctls to the spec. New values replace the existing values of the same sysctls."""
    section(linux, "sysctl").update(table("sysctls", sysctls))


def set_rdt_class(linux: Spec, name: object) -> None:
    """Set the class of Intel's Resource Director Technology."""
    linux["intelRdt"] = {"closID": text("rdt_class", name)}


def add_devices(linux: Spec, devices: Sequence[Spec], access: str) -> None:
    """Add device nodes, and give the container ``access`` to them, such as ``"rwm"``."""
    entries(linux, "devices").extend(devices)
    rules = entries(section(linux, "resources"), "devices")
    for device in devices:
        rule = {name: device[name] for name in ("type", "major", "minor")}
        rules.append({"allow": True, **rule, "access": access})


def unconfine(linux: Spec, devices: Sequence[Spec]) -> None:
    """Remove masked paths, read-only paths and seccomp, and allow all devices.

    ``ctr run --privileged`` makes the same changes. ``devices`` are device nodes to add to the
    spec.
    """
    for field in ("maskedPaths", "readonlyPaths", "seccomp"):
        linux.pop(field, None)
    entries(linux, "devices").extend(devices)
    section(linux, "resources")["devices"] = [{"allow": True, "access": "rwm"}]
