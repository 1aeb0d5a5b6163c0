"""The ``linux`` object of a spec beside resources: namespaces, id maps, paths, cgroup.

What lives here: the rules of each field.  What may not: limits, seccomp.
"""

from __future__ import annotations

import posixpath
from collections.abc import Sequence

from ...errors import InvalidArgument
from .fields import (
    Spec,
    entries,
    mapping,
    path,
    refuse,
    section,
    several,
    table,
    text,
    texts,
    whole,
)

NAMESPACES = ("pid", "ipc", "uts", "mount", "network", "user", "cgroup", "time")
_PROPAGATIONS = (
    "private", "rprivate", "shared", "rshared", "slave", "rslave", "unbindable", "runbindable",
)  # fmt: skip
#: Linux's last id; the one above stands for none.
_MAX_ID = (1 << 32) - 2


def set_namespaces(linux: Spec, given: object) -> None:
    """Set each kind to ``"host"``, ``"private"`` or the path of one that there is."""
    for kind, where in mapping("namespaces", given).items():
        if kind not in NAMESPACES:
            refuse("namespaces", kind, f"some of {', '.join(NAMESPACES)}")
        set_namespace(linux, str(kind), where)


def set_namespace(linux: Spec, kind: str, where: object) -> None:
    """Set one kind; raises ``InvalidArgument`` for what is none of the three."""
    found = entries(linux, "namespaces")
    places = [place for place, entry in enumerate(found) if entry.get("type") == kind]
    if where == "host":
        linux["namespaces"] = [entry for entry in found if entry.get("type") != kind]
        return
    entry: Spec = {"type": kind}
    if where != "private":
        if not text("namespaces", where).startswith("/"):
            refuse("namespaces", where, "host, private or an absolute path")
        entry["path"] = where
    if places:
        found[places[0]] = entry
    else:
        found.append(entry)


def set_id_maps(linux: Spec, uids: object, gids: object) -> None:
    """Put it into a user namespace; each map is made of ``(inside, outside, size)``."""
    if uids is None or gids is None:
        raise InvalidArgument(
            "uid_map and gid_map belong together", remedy="Give both, each (inside, outside, size)"
        )
    linux["uidMappings"] = _id_map("uid_map", uids)
    linux["gidMappings"] = _id_map("gid_map", gids)
    if not any(entry.get("type") == "user" for entry in entries(linux, "namespaces")):
        set_namespace(linux, "user", "private")


def _id_map(option: str, given: object) -> list[Spec]:
    wanted = "at least one (inside, outside, size)"
    found: list[Spec] = []
    for item in several(option, given, wanted):
        numbers = list(several(option, item, wanted))
        if len(numbers) != 3:
            refuse(option, item, wanted)
        inside, outside = (whole(option, number, 0, _MAX_ID) for number in numbers[:2])
        size = whole(option, numbers[2], 1, _MAX_ID + 1 - max(inside, outside))
        found.append({"containerID": inside, "hostID": outside, "size": size})
    return found or refuse(option, given, wanted)


def check_user_namespace(linux: Spec) -> None:
    """Raises ``InvalidArgument`` for a new user namespace in which nobody is anybody."""
    new = {"type": "user"} in entries(linux, "namespaces")
    if new and not (linux.get("uidMappings") and linux.get("gidMappings")):
        raise InvalidArgument(
            "a user namespace of its own needs maps", remedy="Give uid_map= and gid_map="
        )


def set_cgroup(linux: Spec, place: object, parent: object, container_id: str) -> None:
    """Set the path of its cgroup, or of the one above; an empty path leaves it to the runtime."""
    if place is not None and parent is not None:
        raise InvalidArgument(
            "cgroup_path and cgroup_parent say the same thing", remedy="Give one of them"
        )
    if parent is not None:
        linux["cgroupsPath"] = posixpath.join("/", path("cgroup_parent", parent), container_id)
    elif place is not None:
        linux["cgroupsPath"] = text("cgroup_path", place)
        if not place:
            del linux["cgroupsPath"]


def set_paths(linux: Spec, option: str, field: str, given: object) -> None:
    """Replace the paths that are masked, or read-only."""
    paths = texts(option, given)
    linux[field] = [path(option, item) for item in paths]
    if not paths:
        del linux[field]


def set_propagation(linux: Spec, given: object) -> None:
    if given not in _PROPAGATIONS:
        refuse("rootfs_propagation", given, f"one of {', '.join(_PROPAGATIONS)}")
    linux["rootfsPropagation"] = given


def set_sysctls(linux: Spec, given: object) -> None:
    section(linux, "sysctl").update(table("sysctls", given))


def set_rdt_class(linux: Spec, name: object) -> None:
    linux["intelRdt"] = {"closID": text("rdt_class", name)}


def add_devices(linux: Spec, devices: Sequence[Spec], access: str) -> None:
    """Add device nodes, and let it use them."""
    entries(linux, "devices").extend(devices)
    rules = entries(section(linux, "resources"), "devices")
    for device in devices:
        rule = {name: device[name] for name in ("type", "major", "minor")}
        rules.append({"allow": True, **rule, "access": access})


def unconfine(linux: Spec, devices: Sequence[Spec]) -> None:
    """Show it everything and let it use every device, as ``ctr run --privileged`` does."""
    for field in ("maskedPaths", "readonlyPaths", "seccomp"):
        linux.pop(field, None)
    entries(linux, "devices").extend(devices)
    section(linux, "resources")["devices"] = [{"allow": True, "access": "rwm"}]
