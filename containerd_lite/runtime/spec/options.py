"""What may be asked of a container, as keyword arguments.

What lives here: their names and types, once for all that take them.  What may not: what they do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal, cast

if TYPE_CHECKING:
    from typing import TypedDict

    from ...oci.spec import Mount
    from ...services._types import AnyValue
    from ..io.sinks import Target
    from ..network.network import Network, PortMapping


if not TYPE_CHECKING:

    class TypedDict(dict):
        """As ``typing.TypedDict``, which would compile each annotation: 1 ms for these."""

        __optional_keys__ = frozenset()

        def __init_subclass__(cls, **_: Any) -> None:
            cls.__optional_keys__ = cls.__optional_keys__ | frozenset(cls.__annotations__)


class ProcessOptions(TypedDict, total=False):
    """What is to be in a process beside ``args``; ``None`` is as if it were not given."""

    #: Added to the image's, or the container's; ``None`` for a name removes it.
    env: Mapping[str, str | None] | None
    cwd: str | None
    #: ``user``, ``uid``, ``user:group``, ``uid:gid``; names are looked up in the image.
    user: str | None
    #: More groups, by name or number.
    groups: Sequence[str] | None
    terminal: bool | None
    #: Columns, rows.
    terminal_size: tuple[int, int] | None
    #: With or without ``CAP_``; ``"all"``.
    cap_add: Sequence[str] | None
    cap_drop: Sequence[str] | None
    #: As ``ctr run --privileged``; no_new_privileges stays as it is.
    privileged: bool | None
    no_new_privileges: bool | None
    #: ``"nofile"`` or ``"RLIMIT_NOFILE"`` → one number, or soft and hard; -1 is no limit.
    rlimits: Mapping[str, int | tuple[int, int]] | None
    #: The name of a profile that is loaded.
    apparmor: str | None
    selinux_label: str | None


class SpecOptions(ProcessOptions, total=False):
    """What is to be in a container's spec beside ``args``; ``None`` is as if it were not given.

    Sizes are bytes, times microseconds, paths those of the daemon's machine.
    """

    #: Replaces the image's; without args nothing follows it.
    entrypoint: Sequence[str] | None
    #: Files of ``NAME=value`` lines, of at most 1 MiB; ``env`` comes after.
    env_files: Sequence[str | PathLike[str]] | None
    hostname: str | None
    domainname: str | None
    #: Also as ``ctr``'s strings: ``type=bind,src=/a,dst=/b,options=rbind:ro``.
    mounts: Sequence[Mount | str] | None
    #: Destination → options such as ``"size=64m,mode=755"``.
    tmpfs: Mapping[str, str] | None
    #: ``/dev/fuse[:/dev/inside][:rwm]``, or a folder of devices.
    devices: Sequence[str] | None
    #: ``"unconfined"``, ``"default"``, a profile or the path of a JSON file.
    seccomp: str | PathLike[str] | Mapping[str, object] | None
    #: Cores.
    cpus: float | None
    cpu_shares: int | None
    cpu_quota: int | None
    cpu_period: int | None
    cpuset_cpus: str | None
    cpuset_mems: str | None
    memory: int | None
    memory_swap: int | None
    memory_reservation: int | None
    memory_swappiness: int | None
    pids_limit: int | None
    blkio_weight: int | None
    #: ``"2MB"`` → bytes.
    hugepage_limits: Mapping[str, int] | None
    oom_score_adj: int | None
    rdt_class: str | None
    #: The whole path, or the path above the container's id.
    cgroup_path: str | None
    cgroup_parent: str | None
    read_only: bool | None
    masked_paths: Sequence[str] | None
    readonly_paths: Sequence[str] | None
    #: pid, ipc, uts, mount, network, user, cgroup, time → ``"host"``, ``"private"`` or a path.
    namespaces: Mapping[str, str] | None
    #: ``"host"`` is as ``ctr run --net-host``; none and private are a namespace of its own.  Of a
    #: container: also networks of CNI, which its tasks are put on.
    network: Literal["host", "none", "private"] | Network | Sequence[Network] | None
    #: (inside, outside, size) each.
    uid_map: Sequence[tuple[int, int, int]] | None
    gid_map: Sequence[tuple[int, int, int]] | None
    annotations: Mapping[str, str] | None
    sysctls: Mapping[str, str] | None
    #: ``"resolv.conf"``, ``"hosts"``, ``"localtime"``, read-only.
    host_files: Sequence[str] | None
    rootfs_propagation: str | None
    #: A spec of one's own, or the path of its JSON file, instead of the default and the image's
    #: settings; the other options change it.
    spec: str | PathLike[str] | Mapping[str, object] | None
    #: Gets the finished spec, and changes it in place.
    edit: Callable[[dict[str, object]], object] | None


class ContainerOptions(SpecOptions, total=False):
    """What is to be in a container's record, its spec included."""

    #: The namespace's default unless given.
    snapshotter: str | None
    labels: Mapping[str, str] | None
    #: Ports of the machine that lead to the container, on the first of its networks.
    ports: Sequence[PortMapping] | None
    #: Copy the image's labels, those in reserved names left out.
    image_labels: bool | None
    #: An active snapshot that is there already, instead of one made of the image.
    snapshot: str | None
    #: A folder on the daemon's machine, instead of an image and a snapshot.
    rootfs: str | PathLike[str] | None
    #: A snapshot that cannot be written to.
    view: bool | None
    runtime: str | None
    #: For the runtime: a mapping is of ``containerd.runc.v1.Options``.
    runtime_options: Mapping[str, object] | AnyValue | None
    extensions: Mapping[str, AnyValue] | None
    #: A sandbox's id; since 1.7.
    sandbox: str | None
    #: ``always``, ``unless-stopped``, ``on-failure[:most]``: the daemon starts it, again and again.
    restart: str | None
    #: Where the output goes of what the daemon starts: ``file:///…``, ``binary:///…``.
    restart_log: str | None


class OutputOptions(TypedDict, total=False):
    """What is to be done with a process's output."""

    #: A binary file, a descriptor, a function of bytes, ``INHERIT``, ``DEVNULL``.
    stdout: Target | None
    #: The same, or ``STDOUT``.
    stderr: Target | None
    #: Keep what has no target, else show it as this process's own.
    capture: bool
    #: Called with ``"stdout"`` or ``"stderr"`` and bytes, as they come, of what has no target.
    stream: Callable[[str, bytes], object] | None
    #: Most that is kept of each, in bytes.
    max_output: int


class RunOptions(ContainerOptions, OutputOptions, total=False):
    """For one that makes a container and takes its output."""


class ExecOptions(ProcessOptions, OutputOptions, total=False):
    """For one that adds a process to a container and takes its output."""


_OUTPUT = ("stdout", "stderr", "capture", "stream", "max_output")


def split_run(options: RunOptions) -> tuple[OutputOptions, ContainerOptions]:
    """What is for the output, and what for the container."""
    output, others = _split(options)
    return output, cast("ContainerOptions", others)


def split_exec(options: ExecOptions) -> tuple[OutputOptions, ProcessOptions]:
    """What is for the output, and what for the process."""
    output, others = _split(options)
    return output, cast("ProcessOptions", others)


def _split(options: Mapping[str, object]) -> tuple[OutputOptions, dict[str, object]]:
    output = {name: value for name, value in options.items() if name in _OUTPUT}
    others = {name: value for name, value in options.items() if name not in _OUTPUT}
    return cast("OutputOptions", output), others
