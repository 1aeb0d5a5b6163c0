"""Defines the command-line options of containers and processes, and converts their values."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, cast

from ..errors import InvalidArgument
from ..lazy import lazy_pattern
from ..oci.spec.fields import parse_size
from ..runtime import network, spec
from .output import pair

if TYPE_CHECKING:
    import re

    from ..runtime.spec.options import ContainerOptions, ProcessOptions

#: Code in a comment: ``name``.
_MARKED = lazy_pattern(r"``(.+?)``")


def add_process(parser: argparse.ArgumentParser) -> None:
    """Add the options of a process. ``explain`` adds their help texts."""
    group = parser.add_argument_group("process")
    group.add_argument("--cwd", metavar="PATH")
    group.add_argument("--user", metavar="NAME[:GROUP]")
    group.add_argument("--privileged", action="store_true", default=None)
    group.add_argument(
        "--allow-new-privileges", action="store_false", default=None, dest="no_new_privileges"
    )
    _add_repeatable(group, _REPEATABLE_OF_PROCESS)


def add_container(parser: argparse.ArgumentParser) -> None:
    """Add the options of a container. ``explain`` adds their help texts."""
    group = parser.add_argument_group("container")
    for option in ("--snapshotter", "--runtime", "--entrypoint", "--hostname"):
        group.add_argument(option, metavar="NAME")
    group.add_argument("--network", metavar="host|none|bridge|NAME")
    group.add_argument("--read-only", action="store_true", default=None)
    group.add_argument("--cpus", type=float, metavar="NUMBER")
    for option in _NUMBERS:
        group.add_argument(option, type=int, metavar="NUMBER")
    for option in ("--cpuset-cpus", "--cpuset-mems"):
        group.add_argument(option, metavar="LIST")
    for option in ("--memory", "--memory-swap", "--shm-size"):
        group.add_argument(option, type=size, metavar="SIZE")
    group.add_argument("--cgroup-path", metavar="PATH")
    group.add_argument("--seccomp", metavar="default|unconfined|PATH")
    group.add_argument("--apparmor", metavar="PROFILE")
    group.add_argument("--spec", metavar="PATH")
    group.add_argument("--restart", metavar="POLICY")
    _add_repeatable(group, _REPEATABLE_OF_CONTAINER)


def _add_repeatable(group: argparse._ArgumentGroup, rows: Sequence[_Row]) -> None:
    """Add options that can be given several times."""
    for options, name, metavar in rows:
        group.add_argument(*options, action="append", dest=name, metavar=metavar)


_NUMBERS = (
    "--cpu-shares", "--cpu-quota", "--cpu-period", "--cpu-rt-period", "--cpu-rt-runtime",
    "--pids-limit",
)  # fmt: skip
#: An option that can be given several times: its spellings, its name in the library and its
#: metavar.
_Row = tuple[tuple[str, ...], str, str]
_REPEATABLE_OF_PROCESS: tuple[_Row, ...] = (
    (("-e", "--env"), "env", "NAME=VALUE"),
    (("--group-add",), "groups", "GROUP"),
    (("--cap-add",), "cap_add", "CAPABILITY"),
    (("--cap-drop",), "cap_drop", "CAPABILITY"),
)
_REPEATABLE_OF_CONTAINER: tuple[_Row, ...] = (
    (("--env-file",), "env_files", "PATH"),
    (("-v", "--volume", "--mount"), "mounts", "MOUNT"),
    (("--tmpfs",), "tmpfs", "PATH[:OPTIONS]"),
    (("--device",), "devices", "DEVICE"),
    (("--label",), "labels", "NAME=VALUE"),
    (("--annotation",), "annotations", "NAME=VALUE"),
    (("--sysctl",), "sysctls", "NAME=VALUE"),
    (("--ulimit",), "rlimits", "NAME=SOFT[:HARD]"),
    (("-p", "--publish"), "ports", "[IP:]PORT:PORT[/udp]"),
    (("--dns",), "dns", "ADDRESS"),
    (("--dns-search",), "dns_search", "DOMAIN"),
    (("--dns-option",), "dns_options", "OPTION"),
    (("--add-host",), "extra_hosts", "NAME:ADDRESS"),
)
#: The command line adds these sentences to the explanations of the library.
_OWN = {
    "no_new_privileges": "This option sets it to false.",
    "entrypoint": "The option takes one word; an empty word removes the entrypoint.",
    "network": "NAME is a CNI network of the machine.",
}


def explain(parser: argparse.ArgumentParser) -> None:
    """Add the help texts of the options, which are the comments of the library's options.

    Only the help needs the texts: this function reads a source file. If the package has no source
    files, the groups of the options say where the texts are.

    Args:
        parser: The parser of a command that has got the options.
    """
    comments = spec.option_comments()
    options = {action.dest: action for action in parser._actions}
    for name in (*_PROCESS, *_CONTAINER):
        if name in options:
            texts = (_spelled(comments.get(name, ""), name, options), _OWN.get(name, ""))
            options[name].help = " ".join(filter(None, texts)).replace("%", "%%")
    for group in parser._action_groups if not comments else ():
        if group.title in ("process", "container"):
            group.description = "docs/options.md of containerd_lite explains these options."


def _spelled(text: str, own: str, options: Mapping[str, argparse.Action]) -> str:
    """Return a comment without marks, in which the options of the library are options here."""

    def spell(name: re.Match[str]) -> str:
        action = options.get(name[1])
        if action is None or name[1] == own:
            return name[1].strip('"') or name[1]
        return action.option_strings[-1] if action.option_strings else str(action.metavar)

    return _MARKED.sub(spell, text)


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
