"""A runtime spec from an image's config and a caller's options.

What lives here: which option changes what, and in which order, as ``ctr run`` has it.  What may
not: the rules of each part (``oci.spec`` has them), files of the image.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import cast

from ...errors import InvalidArgument
from ...oci.config import ImageConfig
from ...oci.document import MAX_DOCUMENT, Document
from ...oci.spec import linux as linuxes
from ...oci.spec import mounts
from ...oci.spec import process_object as processes
from ...oci.spec.default import default_spec
from ...oci.spec.fields import Spec, flag, mapping, refuse, section, several, table, text, texts
from ...oci.spec.linux_capabilities import change_capabilities, set_capabilities
from ...oci.spec.resources import set_resources
from ...oci.spec.seccomp import default_profile
from ..users.users import User
from . import host
from .options import ContainerOptions, ProcessOptions, SpecOptions

#: Who a user's string and the names of more groups stand for.
FindUser = Callable[[str, Sequence[str]], User]

#: Linux keeps ids in 32 bits, and runc reads them into a signed one (CVE-2024-40635).
_MAX_ID = (1 << 31) - 1
_MAX_ENV_FILE = 1 << 20

_Options = Mapping[str, object]


def make_spec(
    namespace: str,
    container_id: str,
    config: ImageConfig | None,
    args: Sequence[str] | None = None,
    options: SpecOptions | None = None,
    find_user: FindUser | None = None,
) -> Spec:
    """The spec of a container; what is not given, the image's config says.

    ``args`` replaces the image's command and follows its entrypoint.  ``find_user`` is asked who
    the process is to be; without it, users and groups must be numbers.

    Raises ``InvalidArgument`` that names the option, also where nothing says what to run.
    """
    given = _given(options, ContainerOptions)
    if "spec" in given:
        config, spec = None, _own_document("spec", given["spec"])
    else:
        spec = default_spec(f"/{namespace}/{container_id}")
    process = section(spec, "process")
    _say_what(process, config, args, given)
    if config is not None:
        _follow(process, config, given)
    _change_env(process, given)
    _change_mounts(spec, given)
    image_user = None if "spec" in given else (config.user if config else "")
    _change_process(process, given, image_user, find_user or numeric_user)
    _change_linux(spec, given, container_id)
    _name(spec, given)
    if "edit" in given:
        cast("Callable[[Spec], object]", given["edit"])(spec)
    return spec


def exec_process(
    spec: Mapping[str, object],
    args: Sequence[str],
    options: ProcessOptions | None = None,
    find_user: FindUser | None = None,
) -> Spec:
    """The document of one more process in the container that ``spec`` is of.

    It is the container's own process with other ``args``, without its terminal unless one is
    asked for, changed by ``options``.  Raises ``InvalidArgument``.
    """
    given = _given(options, ProcessOptions)
    process = section(_copy("spec", spec), "process")
    processes.set_args(process, texts("args", args))
    _change_env(process, given)
    _change_process(process, {"terminal": False, **given}, None, find_user or numeric_user)
    return process


def numeric_user(user: str, groups: Sequence[str] = ()) -> User:
    """The user of ``""``, ``root``, ``uid`` or ``uid:gid``, and of groups' numbers."""
    more = tuple(_id(group, group) for group in groups)
    if user in ("", "root"):
        return User(0, 0, more)
    uid, colon, gid = user.partition(":")
    return User(_id(uid, user), _id(gid, user) if colon else 0, more)


def _id(digits: str, user: str) -> int:
    if not (digits.isascii() and digits.isdigit() and len(digits) < 11 and int(digits) <= _MAX_ID):
        raise InvalidArgument(
            f"user {user!r} is not made of numbers up to {_MAX_ID}",
            remedy="Give user= as uid or uid:gid; names are not looked up in the image",
        )
    return int(digits)


# ---- what was given ---------------------------------------------------------------------------


def _given(options: SpecOptions | ProcessOptions | None, known: type) -> dict[str, object]:
    """The options that are not ``None``.  Raises ``TypeError`` for unknown ones, as Python does."""
    names: frozenset[str] = known.__optional_keys__  # type: ignore[attr-defined]
    unknown = sorted(set(options or ()) - names)
    if unknown:
        raise TypeError(f"there is no option {', '.join(unknown)}; see runtime.options")
    return {name: value for name, value in (options or {}).items() if value is not None}


def _own_document(option: str, given: object) -> Spec:
    """A JSON object, given as one or as the path of a file."""
    if isinstance(given, Mapping):
        return _copy(option, given)
    if not isinstance(given, (str, os.PathLike)):
        refuse(option, given, "a mapping, or the path of a JSON file")
    body = host.read_file(option, given, MAX_DOCUMENT)
    try:
        return dict(Document.parse(body, f"the file of {option}").fields)
    except InvalidArgument as error:
        raise InvalidArgument(error.message, remedy="Give the path of a JSON file") from error


def _copy(option: str, given: Mapping[str, object]) -> Spec:
    """A deep copy, which shows that it is JSON."""
    try:
        return cast(Spec, json.loads(json.dumps(dict(given), allow_nan=False)))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidArgument(
            f"{option} cannot be written as JSON ({error})", remedy="Give a JSON object"
        ) from error


# ---- the process ------------------------------------------------------------------------------


def _say_what(
    process: Spec, config: ImageConfig | None, args: Sequence[str] | None, given: _Options
) -> None:
    """Entrypoint and args: the caller's, else the image's, else those of the spec itself."""
    entrypoint: Sequence[str] = config.entrypoint if config else ()
    command: Sequence[str] = config.cmd if config else ()
    if "entrypoint" in given:
        entrypoint, command = texts("entrypoint", given["entrypoint"]), ()
    if args is not None:
        command = texts("args", args)
    if not (entrypoint or command) and "spec" in given:
        command = texts("spec: args", process.get("args") or ())
    processes.set_args(process, [*entrypoint, *command])


def _follow(process: Spec, config: ImageConfig, given: _Options) -> None:
    """Environment and directory of an image; its variables come instead of the default PATH."""
    if config.env:
        process["env"] = []
    pairs = processes.env_pairs("the image's environment", config.env)
    processes.change_env(process, ((name, value or "") for name, value in pairs))
    if config.working_dir and "cwd" not in given:
        processes.set_cwd(process, config.working_dir)


def _change_env(process: Spec, given: _Options) -> None:
    """Files, then the caller's, then what a terminal and the host's network bring along."""
    pairs: list[tuple[str, str | None]] = []
    for path in several("env_files", given.get("env_files", ()), "a list of paths"):
        pairs += _env_file(path)
    pairs += processes.env_table(given.get("env", {}))
    asked = dict(pairs)
    if given.get("terminal") and "TERM" not in asked:
        pairs.append(("TERM", "xterm"))
    if given.get("network") == "host" and "HOSTNAME" not in asked:
        pairs.append(("HOSTNAME", os.uname().nodename))
    processes.change_env(process, pairs)


def _env_file(path: object) -> list[tuple[str, str | None]]:
    """The lines of a file as they are: no comments, no quotes, as in ``WithEnvFile``."""
    if not isinstance(path, (str, os.PathLike)):
        refuse("env_files", path, "a list of paths")
    try:
        body = host.read_file("env_files", path, _MAX_ENV_FILE).decode()
    except UnicodeDecodeError:
        refuse("env_files", os.fspath(path), "files of UTF-8")
    return processes.env_pairs("env_files", (line.removesuffix("\r") for line in body.split("\n")))


def _change_process(
    process: Spec, given: _Options, image_user: str | None, find_user: FindUser
) -> None:
    if "cwd" in given:
        processes.set_cwd(process, given["cwd"])
    _set_user(process, given, image_user, find_user)
    if "terminal" in given or "terminal_size" in given:
        terminal = given.get("terminal", bool(process.get("terminal")))
        processes.set_terminal(process, terminal, given.get("terminal_size"))
    if flag("privileged", given.get("privileged", False)):
        set_capabilities(process, host.capabilities())
        processes.relax(process)
    if "cap_add" in given or "cap_drop" in given:
        added, dropped = given.get("cap_add", ()), given.get("cap_drop", ())
        change_capabilities(process, added, dropped, host.capabilities())
    if "no_new_privileges" in given:
        processes.set_new_privileges(process, given["no_new_privileges"])
    if "rlimits" in given:
        processes.set_rlimits(process, given["rlimits"])
    if "apparmor" in given:
        processes.set_label(process, "apparmor", "apparmorProfile", given["apparmor"])
    if "selinux_label" in given:
        processes.set_label(process, "selinux_label", "selinuxLabel", given["selinux_label"])


def _set_user(process: Spec, given: _Options, image_user: str | None, find_user: FindUser) -> None:
    """The caller's, else the image's; of a process that is somebody already, only if asked.

    Root is looked up, too: it may have supplementary groups (CVE-2023-25173).
    """
    groups = texts("groups", given.get("groups", ()))
    asked = text("user", given["user"]) if "user" in given else image_user
    if asked is None and not groups:
        return
    found = find_user(processes.user_of(process) if asked is None else asked, groups)
    processes.set_user(process, found.uid, found.gid, found.additional_gids)


# ---- what is around it ------------------------------------------------------------------------


def _change_mounts(spec: Spec, given: _Options) -> None:
    if "mounts" in given:
        mounts.add_mounts(spec, given["mounts"])
    if "tmpfs" in given:
        mounts.add_tmpfs(spec, given["tmpfs"])
    names = texts("host_files", given.get("host_files", ()))
    if given.get("network") == "host":
        names = ["hosts", "resolv.conf", *names]
    mounts.add_host_files(spec, dict.fromkeys(names))
    if flag("read_only", given.get("read_only", False)):
        section(spec, "root")["readonly"] = True


def _change_linux(spec: Spec, given: _Options, container_id: str) -> None:
    linux = section(spec, "linux")
    if given.get("privileged"):
        mounts.make_writable(spec, "sysfs", "cgroup")
        linuxes.unconfine(linux, host.all_devices())
    _change_namespaces(linux, given)
    for option, change in _LINUX.items():
        if option in given:
            change(linux, given[option])
    for device in texts("devices", given.get("devices", ())):
        linuxes.add_devices(linux, *host.devices("devices", device))
    if "seccomp" in given:
        _set_seccomp(spec, given["seccomp"])
    linuxes.set_cgroup(linux, given.get("cgroup_path"), given.get("cgroup_parent"), container_id)
    set_resources(section(linux, "resources"), given)


#: Option → what it does to the ``linux`` object.
_LINUX: dict[str, Callable[[Spec, object], None]] = {
    "masked_paths": lambda linux, paths: linuxes.set_paths(
        linux, "masked_paths", "maskedPaths", paths
    ),
    "readonly_paths": lambda linux, paths: linuxes.set_paths(
        linux, "readonly_paths", "readonlyPaths", paths
    ),
    "sysctls": linuxes.set_sysctls,
    "rdt_class": linuxes.set_rdt_class,
    "rootfs_propagation": linuxes.set_propagation,
}


def _change_namespaces(linux: Spec, given: _Options) -> None:
    network = given.get("network")
    if network not in (None, "host", "none", "private"):
        refuse("network", network, "host, none or private")
    if "namespaces" in given:
        linuxes.set_namespaces(linux, given["namespaces"])
    if network is not None:
        if "network" in mapping("namespaces", given.get("namespaces", {})):
            raise InvalidArgument(
                "network and namespaces both say which network", remedy="Give one of them"
            )
        linuxes.set_namespace(linux, "network", "host" if network == "host" else "private")
    if "uid_map" in given or "gid_map" in given:
        linuxes.set_id_maps(linux, given.get("uid_map"), given.get("gid_map"))
    linuxes.check_user_namespace(linux)


def _set_seccomp(spec: Spec, given: object) -> None:
    linux = section(spec, "linux")
    if given == "unconfined":
        linux.pop("seccomp", None)
    elif given == "default":
        bounding = section(spec, "process", "capabilities").get("bounding") or ()
        names = texts("spec: bounding", bounding)
        linux["seccomp"] = default_profile(names, os.uname().machine, host.kernel())
    else:
        linux["seccomp"] = _own_document("seccomp", given)


def _name(spec: Spec, given: _Options) -> None:
    for option in ("hostname", "domainname"):
        if option in given:
            spec[option] = text(option, given[option])
    if "oom_score_adj" in given:
        processes.set_oom_score(section(spec, "process"), given["oom_score_adj"])
    if "annotations" in given:
        section(spec, "annotations").update(table("annotations", given["annotations"]))
