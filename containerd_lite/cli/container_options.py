"""Defines the command-line options of containers and processes, and converts their values."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, cast

from ..errors import InvalidArgument
from ..oci.spec.fields import parse_size
from ..runtime import network
from .output import pair

if TYPE_CHECKING:
    from ..runtime.spec.options import ContainerOptions, ProcessOptions


def add_process(parser: argparse.ArgumentParser) -> None:
    """Add the options of a process."""
    group = parser.add_argument_group("process")
    group.add_argument("--cwd", help="working directory in the container")
    group.add_argument("--user", help="run as this user: NAME[:GROUP] or UID[:GID]")
    group.add_argument(
        "--privileged",
        action="store_true",
        default=None,
        help="like ctr run --privileged: all capabilities and devices, no seccomp",
    )
    group.add_argument(
        "--allow-new-privileges",
        action="store_false",
        default=None,
        dest="no_new_privileges",
        help="let programs gain privileges, as setuid programs do",
    )
    _add_repeatable(group, _REPEATABLE_OF_PROCESS)


def add_container(parser: argparse.ArgumentParser) -> None:
    """Add the options of a container."""
    group = parser.add_argument_group("container")
    group.add_argument("--snapshotter", help="the snapshotter (default: the namespace's)")
    group.add_argument("--runtime", help="the runtime (default: the namespace's)")
    group.add_argument("--entrypoint", help="replace the image's entrypoint")
    group.add_argument("--hostname", help="the hostname in the container")
    group.add_argument(
        "--network",
        metavar="host|none|bridge|NAME",
        help="the host's network, no network, a bridge that is made at its first use, or the CNI "
        "network NAME",
    )
    group.add_argument("--read-only", action="store_true", default=None, help="a read-only rootfs")
    group.add_argument("--cpus", type=float, help="CPU time in cores, such as 1.5")
    group.add_argument("--cpu-shares", type=int, help="relative CPU weight, 2 to 262144")
    group.add_argument("--cpu-quota", type=int, help="microseconds of CPU time in each period")
    group.add_argument("--cpu-period", type=int, help="microseconds of a period for --cpu-quota")
    group.add_argument(
        "--cpu-rt-period", type=int, help="microseconds of a period for --cpu-rt-runtime"
    )
    group.add_argument(
        "--cpu-rt-runtime", type=int, help="microseconds in each period for real-time processes"
    )
    group.add_argument("--cpuset-cpus", help="the CPUs to run on, such as 0-2,4")
    group.add_argument("--cpuset-mems", help="the memory nodes to use, such as 0,1")
    group.add_argument("--memory", type=size, metavar="SIZE", help="memory limit, such as 64m")
    group.add_argument("--memory-swap", type=size, metavar="SIZE", help="limit of memory and swap")
    group.add_argument("--shm-size", type=size, metavar="SIZE", help="size of /dev/shm")
    group.add_argument("--pids-limit", type=int, help="limit of processes and threads")
    group.add_argument("--cgroup-path", help="the cgroup of the container")
    group.add_argument(
        "--seccomp", metavar="default|unconfined|PATH", help="seccomp profile (default: none)"
    )
    group.add_argument("--apparmor", metavar="PROFILE", help="name of a loaded AppArmor profile")
    group.add_argument(
        "--spec", metavar="PATH", help="an OCI runtime spec to use instead of the default one"
    )
    group.add_argument(
        "--restart",
        metavar="POLICY",
        help="when the daemon restarts the container: always, unless-stopped, on-failure[:N]",
    )
    _add_repeatable(group, _REPEATABLE_OF_CONTAINER)


def _add_repeatable(group: argparse._ArgumentGroup, rows: Sequence[_Row]) -> None:
    """Add options that can be given several times."""
    for options, name, metavar, explanation in rows:
        group.add_argument(*options, action="append", dest=name, metavar=metavar, help=explanation)


#: An option that can be given several times: its spellings, its name in the library, its metavar
#: and its help text.
_Row = tuple[tuple[str, ...], str, str, str]
_REPEATABLE_OF_PROCESS: tuple[_Row, ...] = (
    (("-e", "--env"), "env", "NAME=VALUE", "set an environment variable"),
    (("--group-add",), "groups", "GROUP", "add the user to a group"),
    (("--cap-add",), "cap_add", "CAPABILITY", "add a capability"),
    (("--cap-drop",), "cap_drop", "CAPABILITY", "remove a capability"),
)
_REPEATABLE_OF_CONTAINER: tuple[_Row, ...] = (
    (("--env-file",), "env_files", "PATH", "read environment variables from a file"),
    (
        ("-v", "--volume", "--mount"),
        "mounts",
        "MOUNT",
        "add a mount: /src:/dst[:ro], or type=bind,src=...,dst=...,options=rbind:ro",
    ),
    (("--tmpfs",), "tmpfs", "PATH[:OPTIONS]", "mount a tmpfs"),
    (
        ("--device",),
        "devices",
        "PATH[:PATH][:rwm]",
        "add a device of the host, or a CDI device: VENDOR/CLASS=NAME",
    ),
    (("--label",), "labels", "NAME=VALUE", "add a label to the container's record"),
    (("--annotation",), "annotations", "NAME=VALUE", "add an annotation to the spec"),
    (("--sysctl",), "sysctls", "NAME=VALUE", "set a kernel parameter"),
    (("--ulimit",), "rlimits", "NAME=SOFT[:HARD]", "set a resource limit, such as nofile=1024"),
    (
        ("-p", "--publish"),
        "ports",
        "[IP:]PORT:PORT[/udp]",
        "map a port of the host to a port of the container",
    ),
    (("--dns",), "dns", "ADDRESS", "a DNS server, on a CNI network (default: as the host)"),
    (("--dns-search",), "dns_search", "DOMAIN", "a DNS search domain, on a CNI network"),
    (("--dns-option",), "dns_options", "OPTION", "an option of the resolver, on a CNI network"),
    (
        ("--add-host",),
        "extra_hosts",
        "NAME:ADDRESS",
        "a line of /etc/hosts, on a CNI network; the address host-gateway is the host's",
    ),
)


def of_process(options: argparse.Namespace) -> ProcessOptions:
    """Convert the options of ``add_process`` to options of the library."""
    return cast("ProcessOptions", _convert(options, _PROCESS))


def of_container(options: argparse.Namespace) -> ContainerOptions:
    """Convert the options of ``add_process`` and ``add_container`` to options of the library."""
    return cast("ContainerOptions", _convert(options, (*_PROCESS, *_CONTAINER)))


_PROCESS = ("env", "cwd", "user", "groups", "cap_add", "cap_drop", "privileged",
            "no_new_privileges")  # fmt: skip
_CONTAINER = (
    "snapshotter", "runtime", "entrypoint", "env_files", "hostname", "network", "ports",
    "dns", "dns_search", "dns_options", "extra_hosts", "mounts", "tmpfs",
    "devices", "read_only", "labels", "annotations", "sysctls", "rlimits", "cpus", "cpu_shares",
    "cpu_quota", "cpu_period", "cpu_rt_period", "cpu_rt_runtime",
    "cpuset_cpus", "cpuset_mems", "memory", "memory_swap", "shm_size", "pids_limit", "cgroup_path",
    "seccomp", "apparmor", "spec", "restart",
)  # fmt: skip


def _convert(options: argparse.Namespace, names: tuple[str, ...]) -> dict[str, object]:
    """Convert the options of the command line to options of the library."""
    found = {name: getattr(options, name) for name in names}
    given = {name: value for name, value in found.items() if value is not None}
    for name, value in given.items():
        if name in _READERS:
            given[name] = _READERS[name](value)
    if options.tty:
        given["terminal"] = True
    return given


def _pairs(option: str) -> Callable[[list[str]], dict[str, str]]:
    def read(texts: list[str]) -> dict[str, str]:
        return dict(pair(f"--{option}", text) for text in texts)

    return read


def _limits(texts: list[str]) -> dict[str, tuple[int, int]]:
    found = {}
    for text in texts:
        name, value = pair("--ulimit", text)
        soft, colon, hard = value.partition(":")
        try:
            found[name] = (int(soft), int(hard) if colon else int(soft))
        except ValueError:
            raise InvalidArgument(
                f"--ulimit {text!r} is invalid", remedy="Write NAME=SOFT or NAME=SOFT:HARD"
            ) from None
    return found


def _network(text: str) -> object:
    """Return the names of built-in networks unchanged, else load the CNI network ``text``."""
    names = ("host", "none", "private", "bridge")
    return text if text in names else network.Network.load(text)


def _ports(texts: list[str]) -> list[object]:
    return [network.PortMapping.parse(text) for text in texts]


def _hosts(texts: list[str]) -> dict[str, str]:
    found = {}
    for text in texts:
        name, mark, address = text.partition("=" if "=" in text else ":")
        if not (name and mark and address):
            raise InvalidArgument(
                f"--add-host {text!r} is invalid", remedy="Write NAME:ADDRESS, such as db:192.0.2.1"
            )
        found[name] = address.strip("[]")
    return found


def _tmpfs(texts: list[str]) -> dict[str, str]:
    return {path: options for path, _, options in (text.partition(":") for text in texts)}


def _words(text: str) -> list[str]:
    return [text] if text else []


_READERS: dict[str, Callable[..., object]] = {
    "env": _pairs("env"),
    "labels": _pairs("label"),
    "annotations": _pairs("annotation"),
    "sysctls": _pairs("sysctl"),
    "rlimits": _limits,
    "tmpfs": _tmpfs,
    "network": _network,
    "ports": _ports,
    "extra_hosts": _hosts,
    "entrypoint": _words,
}


def size(text: str) -> int:
    """Parse a size in bytes, with an optional suffix ``k``, ``m``, ``g`` or ``t``.

    The size -1 means no limit.
    """
    found = parse_size(text)
    if found is None:
        raise argparse.ArgumentTypeError(
            f"invalid size {text!r}: write a number of bytes, or 64k, 64m, 2g"
        )
    return found
