"""A runtime spec from an image's config and a caller's options.

What lives here: which option changes what, and in which order, as ``ctr run`` has it.  What may
not: the rules of each part (``oci.spec`` has them), files of the image.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import cast

from ...errors import InvalidArgument
from ...oci import spec as oci_spec
from ...oci.config import ImageConfig
from ...oci.document import MAX_DOCUMENT, Document
from ...oci.spec import linux as linuxes
from ...oci.spec import mounts
from ...oci.spec import process_object as processes
from ...oci.spec.default import default_spec
from ...oci.spec.fields import Spec, flag, mapping, refuse, section, table, text, texts
from ...oci.spec.resources import set_resources
from . import host
from .options import ContainerOptions, SpecOptions
from .process_spec import (
    FindUser,
    Options,
    change_env,
    change_process,
    copy_json,
    given_options,
    numeric_user,
)


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
    given = given_options(options, ContainerOptions)
    if "spec" in given:
        config, spec = None, _own_document("spec", given["spec"])
    else:
        spec = default_spec(f"/{namespace}/{container_id}")
    process = section(spec, "process")
    _say_what(process, config, args, given)
    if config is not None:
        _follow(process, config, given)
    change_env(process, given)
    _change_mounts(spec, given)
    image_user = None if "spec" in given else (config.user if config else "")
    change_process(process, given, image_user, find_user or numeric_user)
    _change_linux(spec, given, container_id)
    _name(spec, given)
    if "edit" in given:
        cast("Callable[[Spec], object]", given["edit"])(spec)
    return spec


def _own_document(option: str, given: object) -> Spec:
    """A JSON object, given as one or as the path of a file."""
    if isinstance(given, Mapping):
        return copy_json(option, given)
    if not isinstance(given, (str, os.PathLike)):
        refuse(option, given, "a mapping, or the path of a JSON file")
    body = host.read_file(option, given, MAX_DOCUMENT)
    try:
        return dict(Document.parse(body, f"the file of {option}").fields)
    except InvalidArgument as error:
        raise InvalidArgument(error.message, remedy="Give the path of a JSON file") from error


# ---- the process ------------------------------------------------------------------------------


def _say_what(
    process: Spec, config: ImageConfig | None, args: Sequence[str] | None, given: Options
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


def _follow(process: Spec, config: ImageConfig, given: Options) -> None:
    """Environment and directory of an image; its variables come instead of the default PATH."""
    if config.env:
        process["env"] = []
    pairs = processes.env_pairs("the image's environment", config.env)
    processes.change_env(process, ((name, value or "") for name, value in pairs))
    if config.working_dir and "cwd" not in given:
        processes.set_cwd(process, config.working_dir)


# ---- what is around it ------------------------------------------------------------------------


def _change_mounts(spec: Spec, given: Options) -> None:
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


def _change_linux(spec: Spec, given: Options, container_id: str) -> None:
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


def _change_namespaces(linux: Spec, given: Options) -> None:
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
        linux["seccomp"] = oci_spec.default_profile(names, os.uname().machine, host.kernel())
    else:
        linux["seccomp"] = _own_document("seccomp", given)


def _name(spec: Spec, given: Options) -> None:
    for option in ("hostname", "domainname"):
        if option in given:
            spec[option] = text(option, given[option])
    if "oom_score_adj" in given:
        processes.set_oom_score(section(spec, "process"), given["oom_score_adj"])
    if "annotations" in given:
        section(spec, "annotations").update(table("annotations", given["annotations"]))
