"""Applies the ``containerEdits`` of a CDI device to a runtime spec.

Source: https://github.com/cncf-tags/container-device-interface (SPEC.md).
"""

from __future__ import annotations

from collections.abc import Callable

from ...errors import InvalidArgument
from ...printable import quoted
from ..document import Document
from . import linux as linuxes
from . import mounts
from . import process_object as processes
from .fields import Spec, entries, section

#: The edits that ``apply_edits`` knows. Without one of its edits, a device may not work, so others
#: are refused.
_EDITS = ("env", "deviceNodes", "mounts", "hooks", "intelRdt", "additionalGids")
_HOOKS = (
    "prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop",
)  # fmt: skip
_RDT = ("closID", "l3CacheSchema", "memBwSchema")

#: A function that returns the spec's entry for a device node on this machine, with a path in the
#: container. It returns ``None`` if there is no such node.
FindNode = Callable[[str, str], Spec | None]


def apply_edits(spec: Spec, edits: Document, find_node: FindNode) -> None:
    """Apply edits to a spec, whose user is already set.

    Raises:
        InvalidArgument: The edits are malformed, or a device node does not exist.
    """
    _check_known(edits, _EDITS)
    process, linux = section(spec, "process"), section(spec, "linux")
    lines = edits.texts("env")
    if wrong := next((line for line in lines if line.find("=") < 1), None):
        raise InvalidArgument(f"{edits.what}: env has {quoted(wrong)}, which is not NAME=value")
    processes.change_env(process, processes.env_pairs(f"{edits.what}: env", lines))
    for device in edits.each("deviceNodes", lambda item: item):
        _add_device(linux, section(process, "user"), device, find_node)
    added = sorted(edits.each("mounts", _mount), key=lambda mount: str(mount["destination"]))
    mounts.replace_mounts(spec, added)
    for hook in edits.each("hooks", lambda item: item):
        _add_hook(spec, hook)
    rdt = edits.document("intelRdt")
    if rdt is not None:
        _check_known(rdt, _RDT)
        linux["intelRdt"] = {name: rdt.text(name) for name in _RDT if rdt.has(name)}
    _add_groups(section(process, "user"), edits)


def _check_known(document: Document, names: tuple[str, ...]) -> None:
    if unknown := [name for name in document.fields if name not in names]:
        raise InvalidArgument(
            f"{document.what} has {quoted(unknown[0])}, which this package cannot apply",
            remedy=f"Generate a CDI file that has only {', '.join(names)} there",
        )


def _path(document: Document, name: str) -> str:
    path = document.text(name, None)
    if not path.startswith("/"):
        raise InvalidArgument(f"{document.what}: {name} {quoted(path)} is not an absolute path")
    return path


def _add_device(linux: Spec, user: Spec, device: Document, find_node: FindNode) -> None:
    """Add a device node. The node on this machine supplies what the edits leave out."""
    inside = _path(device, "path")
    outside = _path(device, "hostPath") if device.has("hostPath") else inside
    given: Spec = {"path": inside}
    if device.has("type"):
        given["type"] = device.text("type")
    has_numbers = device.integer("major", 0) > 0  # 0 means: those of the node on this machine
    for name in (*(("major", "minor") if has_numbers else ()), "fileMode", "uid", "gid"):
        if device.has(name):
            given[name] = device.integer(name)
    found = find_node(outside, inside)
    if "type" in given and (has_numbers or given["type"] == "p"):
        found = {"fileMode": found["fileMode"]} if found else {}
    elif found is None:
        raise InvalidArgument(
            f"{device.what}: {quoted(outside)} is not a device of this machine",
            remedy="Load the driver of the device, or generate the CDI file again",
        )
    elif given.get("type", found["type"]) != found["type"]:
        raise InvalidArgument(
            f"{device.what}: {quoted(outside)} has the type {found['type']} on this machine"
        )
    owner = {name: user[name] for name in ("uid", "gid") if user.get(name)}
    known = {name: value for name, value in found.items() if name not in ("uid", "gid")}
    node: Spec = {**owner, **known, **given}
    linux["devices"] = [each for each in entries(linux, "devices") if each.get("path") != inside]
    if node["type"] == "p":
        entries(linux, "devices").append(node)
    else:
        linuxes.add_devices(linux, [{"minor": 0, **node}], device.text("permissions") or "rwm")


def _mount(item: Document) -> Spec:
    mount: Spec = {"destination": _path(item, "containerPath"), "source": _path(item, "hostPath")}
    if item.has("type"):
        mount["type"] = item.text("type")
    return {**mount, "options": list(item.texts("options"))}


def _add_hook(spec: Spec, hook: Document) -> None:
    name = hook.text("hookName", None)
    if name not in _HOOKS:
        raise InvalidArgument(f"{hook.what}: hookName is {quoted(name)}, not {', '.join(_HOOKS)}")
    fields: Spec = {"path": _path(hook, "path")}
    for field in ("args", "env"):
        if hook.has(field):
            fields[field] = list(hook.texts(field))
    if hook.has("timeout"):
        fields["timeout"] = hook.integer("timeout")
    entries(section(spec, "hooks"), name).append(fields)


def _add_groups(user: Spec, edits: Document) -> None:
    wanted = edits.fields.get("additionalGids") or []
    if not isinstance(wanted, list) or not all(type(gid) is int and gid >= 0 for gid in wanted):
        raise InvalidArgument(f"{edits.what}: additionalGids is not a list of gids")
    known = user.get("additionalGids")
    gids = [*(known if isinstance(known, list) else ()), *filter(None, wanted)]
    if gids:
        user["additionalGids"] = list(dict.fromkeys(gids))
