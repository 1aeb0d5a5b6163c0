"""The keyword options of containers and processes: their names, types and meanings."""

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
        """A substitute for ``typing.TypedDict``, which needs 1 ms to compile these annotations."""

        __optional_keys__ = frozenset()

        def __init_subclass__(cls, **_: Any) -> None:
            cls.__optional_keys__ = cls.__optional_keys__ | frozenset(cls.__annotations__)


class ProcessOptions(TypedDict, total=False):
    """Options of a process, besides its command line. ``None`` means that an option is left out.

    The defaults below are those of a container's first process. A process that is added to a
    container has the settings of the first process instead, except its terminal.
    """

    #: Environment variables to set, by name; the value ``None`` removes a variable. The
    #: variables of the image stay. Default: only those of the image.
    env: Mapping[str, str | None] | None
    #: Working directory: an absolute path in the container. Default: the image's, else ``/``.
    cwd: str | None
    #: ``user``, ``uid``, ``user:group`` or ``uid:gid``. Names are looked up in the image. Default:
    #: the image's user, else root.
    user: str | None
    #: Supplementary groups to add to those of the user: names or gids. Default: none.
    groups: Sequence[str] | None
    #: Give the process a terminal. Default: false; true if the streams have a terminal.
    terminal: bool | None
    #: Initial size of the terminal: columns and rows. Default: not set.
    terminal_size: tuple[int, int] | None
    #: Capabilities to add, with or without ``CAP_``, or ``"all"``. Default: none.
    cap_add: Sequence[str] | None
    #: Capabilities to drop, with or without ``CAP_``, or ``"all"``. Default: none.
    cap_drop: Sequence[str] | None
    #: Do as ``ctr run --privileged``: all capabilities and devices, no hidden or read-only paths,
    #: no seccomp, AppArmor or SELinux. ``no_new_privileges`` is not changed. Default: false.
    privileged: bool | None
    #: Prevent programs, such as setuid ones, from gaining privileges. Default: true.
    no_new_privileges: bool | None
    #: Resource limits, by name (``"nofile"`` or ``"RLIMIT_NOFILE"``): one number, or the soft and
    #: the hard limit. -1 means no limit. Default: 1024 for ``nofile``.
    rlimits: Mapping[str, int | tuple[int, int]] | None
    #: Name of an AppArmor profile that the machine has loaded. Default: none.
    apparmor: str | None
    #: SELinux label of the process. Default: none.
    selinux_label: str | None


class SpecOptions(ProcessOptions, total=False):
    """Options of a container's spec, besides the command line.

    ``None`` means that an option is left out. Sizes are in bytes and times in microseconds. Paths
    are those of the daemon's machine, unless the option's comment says otherwise.
    """

    #: Entrypoint, which replaces both the image's entrypoint and its command. The arguments of the
    #: call follow it. Default: the image's.
    entrypoint: Sequence[str] | None
    #: Files of environment variables on the client's machine, each at most 1 MiB. A line is
    #: ``NAME=value``, or ``NAME`` to remove the variable. ``env`` overrides them. Default: none.
    env_files: Sequence[str | PathLike[str]] | None
    #: Host name of the container. Default: not set.
    hostname: str | None
    #: Domain name of the container. Default: not set.
    domainname: str | None
    #: Mounts to add: ``oci.spec.Mount``, or a string as in ``ctr``
    #: (``type=bind,src=/a,dst=/b,options=rbind:ro``). A mount replaces the one at its destination.
    #: Default: none.
    mounts: Sequence[Mount | str] | None
    #: Mounts of the type tmpfs to add: the destination, and options such as
    #: ``"size=64m,mode=755"``. Default: none.
    tmpfs: Mapping[str, str] | None
    #: Devices to add, as ``/dev/fuse[:/dev/inside][:rwm]``, or folders of devices. The client looks
    #: them up on its own machine. Default: those that every container has.
    devices: Sequence[str] | None
    #: Seccomp profile: ``"default"`` (containerd's), ``"unconfined"`` (none), a mapping, or the
    #: path of a JSON file on the client's machine. Default: no profile.
    seccomp: str | PathLike[str] | Mapping[str, object] | None
    #: CPU time in cores, such as 1.5. It excludes ``cpu_quota`` and ``cpu_period``. Default: no
    #: limit.
    cpus: float | None
    #: Relative weight of the container's CPU time, 2 to 262144. Default: not set.
    cpu_shares: int | None
    #: Microseconds of CPU time in each ``cpu_period``; -1 means no limit. Default: no limit.
    cpu_quota: int | None
    #: Length in microseconds of the period of ``cpu_quota``, 1 to 1000000. Default: 100000.
    cpu_period: int | None
    #: CPUs to run on, such as ``"0-2,4"``. Default: all.
    cpuset_cpus: str | None
    #: Memory nodes to use, such as ``"0,1"``. Default: all.
    cpuset_mems: str | None
    #: Memory limit in bytes. Default: no limit.
    memory: int | None
    #: Limit of memory and swap together, in bytes; -1 means no limit. Default: not set.
    memory_swap: int | None
    #: Soft memory limit in bytes. Default: not set.
    memory_reservation: int | None
    #: Tendency of the kernel to swap the container's memory, 0 to 100. Default: not set.
    memory_swappiness: int | None
    #: Largest number of processes and threads; -1 means no limit. Default: no limit.
    pids_limit: int | None
    #: Relative weight of the container's block I/O, 10 to 1000. Default: not set.
    blkio_weight: int | None
    #: Limits of huge pages in bytes, by page size (``"2MB"``). Default: none.
    hugepage_limits: Mapping[str, int] | None
    #: Adjustment of the process's score in the kernel's choice of processes to kill when memory
    #: runs out, -1000 to 1000. Default: not set.
    oom_score_adj: int | None
    #: Class of service in Intel RDT (``closID`` in the runtime spec). Default: not set.
    rdt_class: str | None
    #: Path of the container's cgroup; ``""`` lets the runtime choose. Default:
    #: ``/<namespace>/<id>``.
    cgroup_path: str | None
    #: Absolute path of the parent of the container's cgroup, whose name is the container's id. It
    #: excludes ``cgroup_path``. Default: see ``cgroup_path``.
    cgroup_parent: str | None
    #: Make the root filesystem read-only. Default: false.
    read_only: bool | None
    #: Paths in the container to hide, instead of those in containerd's list. Default: that list.
    masked_paths: Sequence[str] | None
    #: Paths in the container to make read-only, instead of those in containerd's list. Default:
    #: that list.
    readonly_paths: Sequence[str] | None
    #: Linux namespaces, by kind (pid, ipc, uts, mount, network, user, cgroup, time): ``"host"``,
    #: ``"private"`` (a new one) or the path of an existing one. Default: new pid, ipc,
    #: uts, mount and network namespaces.
    namespaces: Mapping[str, str] | None
    #: ``"host"`` shares the machine's network, as ``ctr run --net-host`` does. ``"none"`` and
    #: ``"private"`` make a new network namespace. With CNI networks, the container's task joins
    #: them in a new namespace. Default: ``"private"``.
    network: Literal["host", "none", "private"] | Network | Sequence[Network] | None
    #: Map of uids for a user namespace: first uid in the container, first uid on the machine, and
    #: their number. It needs ``gid_map``. Default: no user namespace.
    uid_map: Sequence[tuple[int, int, int]] | None
    #: Map of gids for a user namespace, in the form of ``uid_map``, which it needs.
    gid_map: Sequence[tuple[int, int, int]] | None
    #: Annotations to add to the spec. Default: none.
    annotations: Mapping[str, str] | None
    #: Kernel parameters to set, by name (``"net.ipv4.ip_forward"``). Default: none.
    sysctls: Mapping[str, str] | None
    #: Files of the machine to mount read-only at their own paths: ``"resolv.conf"``, ``"hosts"``,
    #: ``"localtime"``. Default: none; the first two with ``network="host"``.
    host_files: Sequence[str] | None
    #: Propagation of mounts of the root filesystem: ``"private"``, ``"shared"``, ``"slave"``,
    #: ``"unbindable"``, or one of these with an ``r`` in front. Default: not set.
    rootfs_propagation: str | None
    #: Runtime spec, or the path of its JSON file on the client's machine. It replaces containerd's
    #: default spec and the image's settings. The other options change it. Default: none.
    spec: str | PathLike[str] | Mapping[str, object] | None
    #: Function that gets the finished spec, and changes it in place. Default: none.
    edit: Callable[[dict[str, object]], object] | None


class ContainerOptions(SpecOptions, total=False):
    """Options of a container: those of its spec, and those of its record.

    ``None`` means that an option is left out.
    """

    #: Name of the snapshotter. Default: the client's, else the namespace's.
    snapshotter: str | None
    #: Labels of the container's record. They override labels that ``image_labels`` and ``restart``
    #: set. Default: none.
    labels: Mapping[str, str] | None
    #: Ports of the machine to map to ports of the container, on the first of its CNI networks.
    #: Default: none.
    ports: Sequence[PortMapping] | None
    #: Copy the image's labels, except those with reserved names. Default: false.
    image_labels: bool | None
    #: Key of an existing active snapshot to use, instead of a new one of the image. Default: a new
    #: one.
    snapshot: str | None
    #: Absolute path of a folder to use as root filesystem, instead of an image and a snapshot.
    #: Default: none.
    rootfs: str | PathLike[str] | None
    #: Make the new snapshot a read-only view of the image. Default: false.
    view: bool | None
    #: Name of the runtime. Default: the client's, else the namespace's, else runc.
    runtime: str | None
    #: Options for the runtime. A mapping has the fields of ``containerd.runc.v1.Options``. Default:
    #: none.
    runtime_options: Mapping[str, object] | AnyValue | None
    #: Extensions of the container's record, by name. Default: none.
    extensions: Mapping[str, AnyValue] | None
    #: Id of the sandbox that the container joins. Requires containerd 1.7. Default: none.
    sandbox: str | None
    #: When the daemon restarts the container: ``always``, ``unless-stopped`` or
    #: ``on-failure[:retries]``. Default: never.
    restart: str | None
    #: URI to which the output of restarted tasks goes (``file:///…``, ``binary:///…``). It needs
    #: ``restart``. Default: the output is discarded.
    restart_log: str | None


class OutputOptions(TypedDict, total=False):
    """Options for the output of a process."""

    #: Target of stdout: a binary file, a descriptor, a function of bytes, ``INHERIT`` or
    #: ``DEVNULL``. Default: see ``stream`` and ``capture``.
    stdout: Target | None
    #: Target of stderr: the same, or ``STDOUT``. Default: see ``stream`` and ``capture``.
    stderr: Target | None
    #: Capture an output that has no target. If false, the output goes to this Python process's own
    #: stream of the same name. Default: true.
    capture: bool
    #: Function that gets ``"stdout"`` or ``"stderr"`` and the bytes as they arrive. It gets the
    #: outputs that have no target, instead of ``capture``. Default: none.
    stream: Callable[[str, bytes], object] | None
    #: Largest number of bytes to capture of each output. Default: 64 MiB.
    max_output: int


class RunOptions(ContainerOptions, OutputOptions, total=False):
    """Options of ``Client.run``: those of a container, and those for its output."""


class ExecOptions(ProcessOptions, OutputOptions, total=False):
    """Options of ``Container.exec``: those of a process, and those for its output."""


_OUTPUT_OPTIONS = ("stdout", "stderr", "capture", "stream", "max_output")


def split_run(options: RunOptions) -> tuple[OutputOptions, ContainerOptions]:
    """Split the options of ``Client.run`` into those for the output and those of a container."""
    output, others = _split(options)
    return output, cast("ContainerOptions", others)


def split_exec(options: ExecOptions) -> tuple[OutputOptions, ProcessOptions]:
    """Split the options of ``Container.exec`` into those for the output and those of a process."""
    output, others = _split(options)
    return output, cast("ProcessOptions", others)


def _split(options: Mapping[str, object]) -> tuple[OutputOptions, dict[str, object]]:
    output = {name: value for name, value in options.items() if name in _OUTPUT_OPTIONS}
    others = {name: value for name, value in options.items() if name not in _OUTPUT_OPTIONS}
    return cast("OutputOptions", output), others
