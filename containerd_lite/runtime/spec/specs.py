"""Makes a container's runtime spec from an image's config and the caller's options.

The options are applied in the same order as in ``ctr run``. The package ``oci.spec`` has the
functions that change and check each part of a spec.
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
from .cdi import add_cdi_devices, is_cdi_device
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
    is_remote: bool = False,
    own_files: Mapping[str, str] | None = None,
) -> Spec:
    """Return the runtime spec of a container.

    If an option is not given, the setting of the image's config applies. If the config has no
    such setting, the setting of containerd's default spec applies.

    Args:
        namespace: The containerd namespace, which is part of the cgroup's path.
        container_id: The container's id.
        config: The image's config, or ``None`` without an image.
        args: The command, which is appended to the image's entrypoint. Default: the image's own
            command.
        options: The options. Default: none.
        find_user: A function that returns the ids of a user and of groups. Default: users and
            groups must be numbers.
        is_remote: Whether the daemon can run on another machine.
        own_files: Files of the daemon's machine to mount, by their paths in the container, unless
            an option mounts something there. Default: none.

    Raises:
        InvalidArgument: An option has an invalid value, or the command line is empty.
        NotFound: A CDI device does not exist.
        PermissionDenied: This user has no permission to read a file that an option names.
        TypeError: An option is unknown.
    """
    given = given_options(options, ContainerOptions)
    if "spec" in given:
        config, spec = None, _read_document("spec", given["spec"])
    else:
        spec = default_spec(f"/{namespace}/{container_id}", host.cpu_paths(is_remote))
    process = section(spec, "process")
    _set_args(process, config, args, given)
    if config is not None:
        _apply_config(process, config, given)
    change_env(process, given)
    _change_mounts(spec, given)
    mounts.add_own_files(spec, own_files or {}, read_only=bool(given.get("read_only")))
    image_user = None if "spec" in given else (config.user if config else "")
    change_process(process, given, image_user, find_user or numeric_user)
    if "umask" in given:
        processes.set_umask(process, given["umask"])
    _change_linux(spec, given, container_id)
    _set_other_fields(spec, given)
    if "devices" in given:
        add_cdi_devices(spec, [*filter(is_cdi_device, texts("devices", given["devices"]))])
    if "edit" in given:
        cast("Callable[[Spec], object]", given["edit"])(spec)
    return spec


def _read_document(option: str, value: object) -> Spec:
    """Return a JSON object. ``value`` is the object itself, or the path of a JSON file."""
    if isinstance(value, Mapping):
        return copy_json(option, value)
    if not isinstance(value, (str, os.PathLike)):
        refuse(option, value, "a mapping, or the path of a JSON file")
    body = host.read_file(option, value, MAX_DOCUMENT)
    try:
        return dict(Document.parse(body, f"the file of the option {option}").fields)
    except InvalidArgument as error:
        raise InvalidArgument(error.message, remedy="Give the path of a JSON file") from error


# ---- the process object -----------------------------------------------------------------------


def _set_args(
    process: Spec, config: ImageConfig | None, args: Sequence[str] | None, options: Options
) -> None:
    """Set the command line of the caller, or else of the image, or else of the option ``spec``."""
    entrypoint: Sequence[str] = config.entrypoint if config else ()
    command: Sequence[str] = config.cmd if config else ()
    if "entrypoint" in options:
        entrypoint, command = texts("entrypoint", options["entrypoint"]), ()
    if args is not None:
        command = texts("args", args)
    if not (entrypoint or command) and "spec" in options:
        command = texts("spec: args", process.get("args") or ())
    processes.set_args(process, [*entrypoint, *command])


def _apply_config(process: Spec, config: ImageConfig, options: Options) -> None:
    """Set the environment and the working directory to those of the image.

    If the image has environment variables, the default ``PATH`` is removed.
    """
    if config.env:
        process["env"] = []
    pairs = processes.env_pairs("the image's environment", config.env)
    processes.change_env(process, ((name, value or "") for name, value in pairs))
    if config.working_dir and "cwd" not in options:
        processes.set_cwd(process, config.working_dir)


# ---- mounts, the linux object and other fields ------------------------------------------------


def _change_mounts(spec: Spec, options: Options) -> None:
    if "without_mounts" in options:
        mounts.remove_mounts(spec, options["without_mounts"])
    if "mounts" in options:
        mounts.add_mounts(spec, options["mounts"])
    if "tmpfs" in options:
        mounts.add_tmpfs(spec, options["tmpfs"])
    if "shm_size" in options:
        mounts.set_shm_size(spec, options["shm_size"])
    names = texts("host_files", options.get("host_files", ()))
    if options.get("network") == "host":
        names = ["hosts", "resolv.conf", *names]
    mounts.add_host_files(spec, dict.fromkeys(names))
    if flag("read_only", options.get("read_only", False)):
        section(spec, "root")["readonly"] = True


def _change_linux(spec: Spec, options: Options, container_id: str) -> None:
    linux = section(spec, "linux")
    if options.get("privileged"):
        mounts.make_writable(spec, "sysfs", "cgroup")
        linuxes.unconfine(linux, host.all_devices())
    _change_namespaces(linux, options)
    for option, change in _LINUX_CHANGES.items():
        if option in options:
            change(linux, options[option])
    for device in texts("devices", options.get("devices", ())):
        if is_cdi_device(device):
            continue  # such a device can change every part of the spec
        linuxes.add_devices(linux, *host.devices("devices", device))
    if "seccomp" in options:
        _set_seccomp(spec, options["seccomp"])
    linuxes.set_cgroup(
        linux, options.get("cgroup_path"), options.get("cgroup_parent"), container_id
    )
    set_resources(section(linux, "resources"), options)


#: Functions that apply an option to the ``linux`` object, by the name of the option.
_LINUX_CHANGES: dict[str, Callable[[Spec, object], None]] = {
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


def _change_namespaces(linux: Spec, options: Options) -> None:
    network = options.get("network")
    if network not in (None, "host", "none", "private"):
        refuse("network", network, "host, none, private or bridge, or a Network")
    if "namespaces" in options:
        linuxes.set_namespaces(linux, options["namespaces"])
    if network is not None:
        if "network" in mapping("namespaces", options.get("namespaces", {})):
            raise InvalidArgument(
                "network and namespaces both set the network namespace",
                remedy="Give only one of these options",
            )
        linuxes.set_namespace(linux, "network", "host" if network == "host" else "private")
    if "uid_map" in options or "gid_map" in options:
        linuxes.set_id_maps(linux, options.get("uid_map"), options.get("gid_map"))
    linuxes.check_user_namespace(linux)


def _set_seccomp(spec: Spec, profile: object) -> None:
    linux = section(spec, "linux")
    if profile == "unconfined":
        linux.pop("seccomp", None)
    elif profile == "default":
        bounding = section(spec, "process", "capabilities").get("bounding") or ()
        names = texts("spec: bounding", bounding)
        linux["seccomp"] = oci_spec.default_profile(names, os.uname().machine, host.kernel())
    else:
        linux["seccomp"] = _read_document("seccomp", profile)


def _set_other_fields(spec: Spec, options: Options) -> None:
    """Set the host name, the domain name, the adjustment of the OOM score, and the annotations."""
    for option in ("hostname", "domainname"):
        if option in options:
            spec[option] = text(option, options[option])
    if "oom_score_adj" in options:
        processes.set_oom_score(section(spec, "process"), options["oom_score_adj"])
    if "annotations" in options:
        section(spec, "annotations").update(table("annotations", options["annotations"]))
