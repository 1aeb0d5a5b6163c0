"""The options of containers and processes on the command line.

What lives here: how they are written, and what they are called in the library.  What may not: what
they do.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from ..errors import InvalidArgument
from ..lazy import lazy_pattern
from ..runtime import network

if TYPE_CHECKING:
    from ..runtime.network.network import PortProtocol
    from ..runtime.spec.options import ContainerOptions, ProcessOptions

_SHIFTS = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40}
_SIZE = lazy_pattern(r"([0-9]{1,18})([kmgt]?)b?")


def add_process(parser: argparse.ArgumentParser) -> None:
    """Options of a process."""
    group = parser.add_argument_group("process")
    group.add_argument("-e", "--env", action="append", metavar="NAME=VALUE")
    group.add_argument("--cwd", help="working directory in the container")
    group.add_argument("--user", help="name, uid, name:group or uid:gid")
    group.add_argument("--group-add", action="append", dest="groups", metavar="GROUP")
    group.add_argument("--cap-add", action="append", metavar="CAPABILITY")
    group.add_argument("--cap-drop", action="append", metavar="CAPABILITY")
    group.add_argument("--privileged", action="store_true", default=None)
    group.add_argument(
        "--allow-new-privileges", action="store_false", default=None, dest="no_new_privileges"
    )


def add_container(parser: argparse.ArgumentParser) -> None:
    """Options of a container."""
    group = parser.add_argument_group("container")
    group.add_argument("--snapshotter", help="(the namespace's default)")
    group.add_argument("--runtime", help="(the namespace's default)")
    group.add_argument("--entrypoint", help="instead of the image's")
    group.add_argument("--env-file", action="append", dest="env_files", metavar="PATH")
    group.add_argument("--hostname")
    group.add_argument("--network", metavar="host|none|NAME", help="NAME is a network of CNI's")
    group.add_argument(
        "-p", "--publish", action="append", dest="ports", metavar="[IP:]PORT:PORT[/udp]"
    )
    group.add_argument("--mount", action="append", dest="mounts", help="type=bind,src=...,dst=...")
    group.add_argument("--tmpfs", action="append", metavar="PATH[:OPTIONS]")
    group.add_argument("--device", action="append", dest="devices", metavar="PATH[:PATH][:rwm]")
    group.add_argument("--read-only", action="store_true", default=None)
    group.add_argument("--label", action="append", dest="labels", metavar="NAME=VALUE")
    group.add_argument("--annotation", action="append", dest="annotations", metavar="NAME=VALUE")
    group.add_argument("--sysctl", action="append", dest="sysctls", metavar="NAME=VALUE")
    group.add_argument("--ulimit", action="append", dest="rlimits", metavar="NAME=SOFT[:HARD]")
    group.add_argument("--cpus", type=float)
    group.add_argument("--cpu-shares", type=int)
    group.add_argument("--cpuset-cpus")
    group.add_argument("--cpuset-mems")
    group.add_argument("--memory", type=size, metavar="SIZE", help="such as 64m")
    group.add_argument("--memory-swap", type=size, metavar="SIZE")
    group.add_argument("--pids-limit", type=int)
    group.add_argument("--cgroup-path")
    group.add_argument("--seccomp", metavar="default|unconfined|PATH")
    group.add_argument("--apparmor", metavar="PROFILE")
    group.add_argument("--spec", metavar="PATH", help="a runtime spec of your own")
    group.add_argument("--restart", metavar="POLICY", help="always, unless-stopped, on-failure:N")


def of_process(options: argparse.Namespace) -> ProcessOptions:
    """What ``add_process`` was given."""
    return cast("ProcessOptions", _given(options, _PROCESS))


def of_container(options: argparse.Namespace) -> ContainerOptions:
    """What ``add_process`` and ``add_container`` were given."""
    return cast("ContainerOptions", _given(options, (*_PROCESS, *_CONTAINER)))


_PROCESS = ("env", "cwd", "user", "groups", "cap_add", "cap_drop", "privileged",
            "no_new_privileges")  # fmt: skip
_CONTAINER = (
    "snapshotter", "runtime", "entrypoint", "env_files", "hostname", "network", "ports",
    "mounts", "tmpfs",
    "devices", "read_only", "labels", "annotations", "sysctls", "rlimits", "cpus", "cpu_shares",
    "cpuset_cpus", "cpuset_mems", "memory", "memory_swap", "pids_limit", "cgroup_path", "seccomp",
    "apparmor", "spec", "restart",
)  # fmt: skip


def _given(options: argparse.Namespace, names: tuple[str, ...]) -> dict[str, object]:
    """The options that were given, as the library has them."""
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
        return dict(_pair(f"--{option}", text) for text in texts)

    return read


def _pair(option: str, text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise InvalidArgument(f"{option} {text!r} has no value", remedy="Write NAME=VALUE")
    return name, value


def _limits(texts: list[str]) -> dict[str, tuple[int, int]]:
    found = {}
    for text in texts:
        name, value = _pair("--ulimit", text)
        soft, colon, hard = value.partition(":")
        try:
            found[name] = (int(soft), int(hard) if colon else int(soft))
        except ValueError:
            raise InvalidArgument(f"--ulimit {text!r} is no limit") from None
    return found


def _network(text: str) -> object:
    """``host`` and its like as they are; any other is a network's name."""
    return text if text in ("host", "none", "private") else network.Network.load(text)


def _ports(texts: list[str]) -> list[object]:
    return [_port(text) for text in texts]


def _port(text: str) -> object:
    place, _, protocol = text.partition("/")
    address, _, inside = place.rpartition(":")
    ip, _, outside = address.rpartition(":")
    try:
        numbers = int(outside), int(inside)
    except ValueError:
        raise InvalidArgument(f"--publish {text!r} is no port", remedy="Write 8080:80") from None
    # PortMapping says what is wrong with another protocol.
    return network.PortMapping(*numbers, cast("PortProtocol", protocol or "tcp"), ip.strip("[]"))


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
    "entrypoint": _words,
}


def size(text: str) -> int:
    """A number of bytes, with ``k``, ``m``, ``g`` or ``t`` behind it; -1 is no limit."""
    if text == "-1":
        return -1
    found = _SIZE.fullmatch(text.lower())
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no size")
    return int(found[1]) << _SHIFTS[found[2]]
