"""Lists what a runtime spec lets a container do that containerd's default spec does not.

A spec of an unknown author can make a container root on the machine: by a hook, a mount of the
machine's files, a device, a capability or a namespace of the machine. So the functions know the
fields and values that are safe, and list everything else. Go ignores the case of field names, so a
known field in another case is listed, too.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from ...printable import quoted
from .default import CAPABILITIES, DEVICES, MASKED_PATHS, NAMESPACES, READONLY_PATHS
from .fields import iterable, mapping, texts

_Object = Mapping[object, object]

_SPEC = frozenset(("ociVersion", "process", "root", "mounts", "linux", "hostname", "domainname"))
_PROCESS = frozenset(
    (
        "terminal",
        "consoleSize",
        "user",
        "args",
        "env",
        "cwd",
        "capabilities",
        "rlimits",
        "noNewPrivileges",
        "apparmorProfile",
        "oomScoreAdj",
    )
)
_LINUX = frozenset(
    (
        "resources",
        "cgroupsPath",
        "namespaces",
        "maskedPaths",
        "readonlyPaths",
        "seccomp",
        "rootfsPropagation",
        "uidMappings",
        "gidMappings",
        "timeOffsets",
        "personality",
    )
)
_RESOURCES = frozenset(
    ("devices", "memory", "cpu", "pids", "blockIO", "hugepageLimits", "network", "rdma")
)
_MOUNT = frozenset(("destination", "type", "source", "options"))
_RULE = frozenset(("allow", "type", "major", "minor", "access"))
_SECCOMP = frozenset(("defaultAction", "defaultErrnoRet", "architectures", "flags", "syscalls"))
#: The types of mounts that show nothing of the machine at any place.
_HARMLESS = ("tmpfs", "devpts", "mqueue")
#: The types of mounts that are safe at one place only, because the default spec masks paths there,
#: or makes paths read-only. The second value says whether the mount must be read-only.
_PLACES: dict[str, tuple[str, bool]] = {
    "proc": ("/proc", False),
    "sysfs": ("/sys", True),
    "cgroup": ("/sys/fs/cgroup", True),
}
#: The paths that containerd 1.6 does not mask. Older specs do not contain these paths.
_NEWER_MASKS = frozenset(("/proc/interrupts", "/sys/devices/virtual/powercap"))
#: The values of ``rootfsPropagation`` with which the container's mounts do not reach the machine.
_PROPAGATIONS = ("", "private", "rprivate", "slave", "rslave", "unbindable", "runbindable")


def beyond_default(spec: Mapping[str, object], namespace: str) -> Iterator[str]:
    """Yield a short description of each field that is not known to be safe.

    Args:
        spec: The runtime spec as a JSON object.
        namespace: The containerd namespace. Below its cgroup, the container may have any cgroup.

    Raises:
        InvalidArgument: A field of the spec has the wrong type.
    """
    yield from _unknown("", spec, _SPEC)
    process = _section(spec, "process")
    yield from _unknown("process.", process, _PROCESS)
    for kind, names in _section(process, "capabilities").items():
        extra = sorted({*texts("spec: capabilities", names or ())} - {*CAPABILITIES})
        if extra:
            yield f"process.capabilities.{kind}: {', '.join(map(quoted, extra))}"
    root = _section(spec, "root")
    yield from _unknown("root.", root, {"path", "readonly"})
    if root.get("path") != "rootfs":
        yield f"root.path: {quoted(root.get('path'))}"
    for mount in _objects(spec, "mounts"):
        yield from _mount(mount)
    yield from _linux(_section(spec, "linux"), namespace)


def _section(parent: Mapping[Any, object], name: str) -> _Object:
    return mapping(f"spec: {name}", parent.get(name) or {})


def _objects(parent: Mapping[Any, object], name: str) -> Iterator[_Object]:
    for item in iterable(f"spec: {name}", parent.get(name) or (), "a list of objects"):
        yield mapping(f"spec: {name}", item)


def _unknown(where: str, fields: Mapping[Any, object], known: Collection[str]) -> Iterator[str]:
    """Yield the fields that are not known, unless their value is empty."""
    for name, value in fields.items():
        if name not in known and value not in (None, "", [], {}, False):
            yield f"{where}{str(name)[:80]}"


def _mount(mount: _Object) -> Iterator[str]:
    kind, target = mount.get("type"), mount.get("destination")
    options = set(texts("spec: mounts", mount.get("options") or ()))
    yield from _unknown("mounts: ", mount, _MOUNT)
    place, must_be_readonly = None, False
    if isinstance(kind, str):
        place, must_be_readonly = _PLACES.get(kind, (None, False))
    is_safe = (
        not options & {"bind", "rbind"}
        and (kind in _HARMLESS or (place is not None and target == place))
        and (not must_be_readonly or ("ro" in options and "rw" not in options))
    )
    if not is_safe:
        yield f"a mount of type {quoted(kind)} at {quoted(target)}"


def _linux(linux: _Object, namespace: str) -> Iterator[str]:
    yield from _unknown("linux.", linux, _LINUX)
    yield from _namespaces(linux)
    for name, wanted in (
        ("maskedPaths", {*MASKED_PATHS} - _NEWER_MASKS),
        ("readonlyPaths", {*READONLY_PATHS}),
    ):
        missing = sorted(wanted - {*texts(f"spec: {name}", linux.get(name) or ())})
        if missing:
            yield f"linux.{name} without {', '.join(missing)}"
    cgroup = linux.get("cgroupsPath")
    parts = cgroup.split("/") if isinstance(cgroup, str) else []
    if parts[:2] != ["", namespace] or len(parts) != 3 or parts[2] in ("", ".", ".."):
        yield f"linux.cgroupsPath: {quoted(cgroup)}"
    propagation = linux.get("rootfsPropagation")
    if propagation is not None and propagation not in _PROPAGATIONS:
        yield f"linux.rootfsPropagation: {quoted(propagation)}"
    yield from _unknown("linux.seccomp.", _section(linux, "seccomp"), _SECCOMP)
    resources = _section(linux, "resources")
    yield from _unknown("linux.resources.", resources, _RESOURCES)
    yield from _device_rules(resources)


def _namespaces(linux: _Object) -> Iterator[str]:
    own = []
    for item in _objects(linux, "namespaces"):
        yield from _unknown("linux.namespaces: ", item, {"type", "path"})
        if item.get("path"):
            yield f"a {str(item.get('type'))[:20]} namespace that exists"
        own.append(item.get("type"))
    for kind in NAMESPACES:
        if kind not in own:
            yield f"the machine's {kind} namespace"


def _device_rules(resources: _Object) -> Iterator[str]:
    """Yield the rules that allow other devices than the default spec.

    The first rule must deny all devices.
    """
    rules = list(_objects(resources, "devices"))
    first = rules[0] if rules else {}
    wildcards = (None, "", "a")
    if (
        first.get("allow")
        or first.get("access") != "rwm"
        or any(first.get(name) not in wildcards for name in ("type", "major", "minor"))
    ):
        yield "access to all devices"
    for rule in rules:
        yield from _unknown("linux.resources.devices: ", rule, _RULE)
        if not rule.get("allow"):
            continue
        numbers = (rule.get("major"), rule.get("minor"))
        is_default = numbers in DEVICES or (numbers[0], None) in DEVICES
        if rule.get("type") != "c" or not is_default:
            yield f"access to the device {quoted(rule.get('type'))} {numbers[0]}:{numbers[1]}"
