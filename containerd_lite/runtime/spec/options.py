"""The options of containers and processes, which methods accept as keyword arguments."""

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
        """A substitute for ``typing.TypedDict`` that saves 1 ms: it compiles no annotations."""

        __optional_keys__ = frozenset()

        def __init_subclass__(cls, **_: Any) -> None:
            inherited = (base.__optional_keys__ for base in cls.__bases__)
            cls.__optional_keys__ = frozenset(cls.__annotations__).union(*inherited)


class ProcessOptions(TypedDict, total=False):
    """Options of a process. An option with the value ``None`` counts as not given.

    The defaults below apply to a container's first process. If an option of an added process is not
    given, the setting of the container's first process applies. An added process has no terminal by
    default.
    """

    #: Environment variables to set in addition to the image's variables, by name. In Python, the
    #: value ``None`` removes a variable. Default: none.
    env: Mapping[str, str | None] | None
    #: Working directory: an absolute path in the container. Default: the image's working directory.
    #: If the image has no working directory: ``/``.
    cwd: str | None
    #: User: ``user``, ``uid``, ``user:group`` or ``uid:gid``. Names are looked up in the files of
    #: the root filesystem. Default: the image's user, else root.
    user: str | None
    #: Names or gids of further supplementary groups. Default: none.
    groups: Sequence[str] | None
    #: Whether the process has a terminal. Default: true if the process's streams have a terminal,
    #: else false.
    terminal: bool | None
    #: Initial size of the terminal: columns and rows. Default: not set.
    terminal_size: tuple[int, int] | None
    #: Capabilities to add, with or without the prefix ``CAP_``, or ``"all"``. Default: none.
    cap_add: Sequence[str] | None
    #: Capabilities to drop, with or without the prefix ``CAP_``, or ``"all"``. Default: none.
    cap_drop: Sequence[str] | None
    #: Capabilities that programs have even if their user is not root (ambient capabilities), in the
    #: form of ``cap_add``. They are also added to the process's other sets. Default: none.
    cap_ambient: Sequence[str] | None
    #: Whether the process is privileged, as with ``ctr run --privileged``. A privileged process has
    #: all capabilities and all devices, and no paths in the container are hidden or read-only.
    #: seccomp, AppArmor and SELinux do not confine a privileged process. The option does not change
    #: ``no_new_privileges``. Default: false.
    privileged: bool | None
    #: Whether programs, such as setuid programs, are prevented from gaining privileges. Default:
    #: true.
    no_new_privileges: bool | None
    #: Resource limits, by name (``"nofile"`` or ``"RLIMIT_NOFILE"``): one number for both limits,
    #: or the soft limit and the hard limit. -1 means no limit. Default: 1024 for ``nofile``.
    rlimits: Mapping[str, int | tuple[int, int]] | None
    #: Name of an AppArmor profile that the machine has loaded. Default: none.
    apparmor: str | None
    #: SELinux label of the process. Default: none.
    selinux_label: str | None


class SpecOptions(ProcessOptions, total=False):
    """Options of a container's spec. An option with the value ``None`` counts as not given.

    Sizes are in bytes. Times are in microseconds. Paths are on the daemon's machine, unless the
    option's comment says otherwise.
    """

    #: Entrypoint to use instead of the image's entrypoint and command. The command in ``args`` is
    #: appended to the entrypoint. Default: the image's entrypoint.
    entrypoint: Sequence[str] | None
    #: Paths of files with environment variables, on the client's machine. A line is ``NAME=value``,
    #: or ``NAME`` to remove the variable. ``env`` overrides the files. The maximum size of a file
    #: is 1 MiB. Default: none.
    env_files: Sequence[str | PathLike[str]] | None
    #: Host name of the container. Default: the container's id on CNI networks, else not set.
    hostname: str | None
    #: Domain name of the container. Default: not set.
    domainname: str | None
    #: Mounts to add, in the form of Docker (``/src:/dst:ro``) or of ``ctr``
    #: (``type=bind,src=/a,dst=/b,options=rbind:ro``); in Python, also ``oci.spec.Mount``. A mount
    #: replaces an existing mount with the same destination. Default: none.
    mounts: Sequence[Mount | str] | None
    #: Destinations of mounts that containerd's default spec has, but the container shall not have,
    #: such as ``"/run"``. ``mounts`` and ``tmpfs`` can mount there again. Default: none.
    without_mounts: Sequence[str] | None
    #: tmpfs mounts to add: mount options such as ``"size=64m,mode=755"``, by destination. Default:
    #: none.
    tmpfs: Mapping[str, str] | None
    #: Size of ``/dev/shm`` in the form of ``memory``. Default: 64 MiB.
    shm_size: int | str | None
    #: Permissions that new files do not get, such as 0o022, or as octal text: ``"022"``. Processes
    #: that ``exec`` adds have the same umask, but with runc 1.1 they have the umask 0o022. Default:
    #: the runtime's, which is 0o022 for runc.
    umask: int | str | None
    #: Devices to add, or folders of devices: ``/dev/fuse[:/dev/inside][:rwm]``. The first path is
    #: on the client's machine. The second path is in the container. Or names of CDI devices:
    #: ``nvidia.com/gpu=0``, from the files in ``/etc/cdi`` and ``/var/run/cdi`` on the client's
    #: machine, which can also add mounts, environment variables and hooks. Files of YAML require
    #: PyYAML. Default: only the devices that every container has.
    devices: Sequence[str] | None
    #: Seccomp profile: ``"default"`` (containerd's), ``"unconfined"`` (none), or the path of a JSON
    #: file on the client's machine; in Python, also a mapping. Default: no profile.
    seccomp: str | PathLike[str] | Mapping[str, object] | None
    #: Maximum number of CPUs to use, such as 1.5. The option cannot be combined with ``cpu_quota``
    #: or ``cpu_period``. Default: no limit.
    cpus: float | None
    #: Relative weight of the container's CPU time, 2 to 262144. Default: not set.
    cpu_shares: int | None
    #: Microseconds of CPU time in each ``cpu_period``; -1 means no limit. Default: no limit.
    cpu_quota: int | None
    #: Microseconds of the period for ``cpu_quota``, 1 to 1000000. Default: 100000.
    cpu_period: int | None
    #: Microseconds of CPU time that the container can save up while it uses less than
    #: ``cpu_quota``, and use later. Requires ``cpu_quota`` or ``cpus``. runc before 1.2 ignores
    #: this option. Default: 0.
    cpu_burst: int | None
    #: Microseconds of the period for ``cpu_rt_runtime``. Only machines with cgroups v1 support
    #: limits for real-time processes. Default: the parent cgroup's.
    cpu_rt_period: int | None
    #: Microseconds in each ``cpu_rt_period`` that real-time processes can run. The parent cgroup
    #: must have as much. Default: 0, so there are no real-time processes.
    cpu_rt_runtime: int | None
    #: CPUs to run on, such as ``"0-2,4"``. Default: all.
    cpuset_cpus: str | None
    #: Memory nodes (NUMA) to use, such as ``"0,1"``. Default: all.
    cpuset_mems: str | None
    #: Memory limit in bytes, or a text: ``"64m"``, ``"2g"`` (powers of 1024). Default: no limit.
    memory: int | str | None
    #: Limit of memory and swap together, in the form of ``memory``; -1 means no limit. Default: not
    #: set.
    memory_swap: int | str | None
    #: Soft memory limit in the form of ``memory``. Default: not set.
    memory_reservation: int | str | None
    #: Tendency of the kernel to swap the container's memory, 0 to 100. Default: not set.
    memory_swappiness: int | None
    #: Maximum number of processes and threads; -1 means no limit. Default: no limit.
    pids_limit: int | None
    #: Relative weight of the container's block I/O, 10 to 1000. Default: not set.
    blkio_weight: int | None
    #: Limits of huge pages in the form of ``memory``, by page size (``"2MB"``). Default: no limits.
    hugepage_limits: Mapping[str, int | str] | None
    #: Adjustment of the first process's OOM score, -1000 to 1000. When memory runs out, the kernel
    #: first kills the process with the highest score. Default: not set.
    oom_score_adj: int | None
    #: Class of service in Intel RDT (``closID`` in the runtime spec). Default: not set.
    rdt_class: str | None
    #: Path of the container's cgroup. ``""`` lets the runtime choose the path. Default:
    #: ``/<namespace>/<id>``.
    cgroup_path: str | None
    #: Absolute path of the cgroup in which the container's cgroup is created. The name of the
    #: container's cgroup is the container's id. The option cannot be combined with
    #: ``cgroup_path``. Default: see ``cgroup_path``.
    cgroup_parent: str | None
    #: Whether the root filesystem is read-only. Default: false.
    read_only: bool | None
    #: Paths in the container to hide. Default: the paths in containerd's default spec.
    masked_paths: Sequence[str] | None
    #: Paths in the container to make read-only. Default: the paths in containerd's default spec.
    readonly_paths: Sequence[str] | None
    #: Linux namespaces, by kind (pid, ipc, uts, mount, network, user, cgroup, time): ``"host"``
    #: (the machine's namespace), ``"private"`` (a new namespace) or the path of an existing
    #: namespace. Default: new pid, ipc, uts, mount and network namespaces.
    namespaces: Mapping[str, str] | None
    #: Network of the container. ``"host"`` shares the machine's network, as ``ctr run --net-host``
    #: does. ``"none"`` and ``"private"`` make a new network namespace. With CNI networks, the
    #: container also has a new network namespace, and each task of the container is connected to
    #: the networks. The container gets its own ``/etc/hosts``, ``/etc/hostname`` and
    #: ``/etc/resolv.conf``, unless other options mount something there. ``"bridge"`` is a CNI
    #: network that is made at its first use; in Python, it is ``Network.bridge()``. Default:
    #: ``"private"``.
    network: Literal["host", "none", "private", "bridge"] | Network | Sequence[Network] | None
    #: Maps of uids for a user namespace. A map consists of the first uid in the container, the
    #: first uid on the machine, and the number of uids. The option requires ``gid_map``. If the
    #: snapshotter cannot map the owners of the image's files, the first container with these maps
    #: makes a copy of the files. Default: no user namespace.
    uid_map: Sequence[tuple[int, int, int]] | None
    #: Maps of gids for a user namespace, in the form of ``uid_map``. The option requires
    #: ``uid_map``. Default: no user namespace.
    gid_map: Sequence[tuple[int, int, int]] | None
    #: Annotations to add to the spec. Default: none.
    annotations: Mapping[str, str] | None
    #: Kernel parameters to set, by name (``"net.ipv4.ip_forward"``). Default: none.
    sysctls: Mapping[str, str] | None
    #: Files in the machine's ``/etc`` to mount read-only at the same paths in the container:
    #: ``"resolv.conf"``, ``"hosts"`` or ``"localtime"``. With ``network="host"``, ``resolv.conf``
    #: and ``hosts`` are always mounted. Default: none.
    host_files: Sequence[str] | None
    #: Mount propagation of the root filesystem: ``"private"``, ``"shared"``, ``"slave"``,
    #: ``"unbindable"``, or the recursive form of one of these values, such as ``"rprivate"``.
    #: Default: not set.
    rootfs_propagation: str | None
    #: Path of a JSON file with a runtime spec on the client's machine; in Python, also the spec
    #: itself. The spec replaces containerd's default spec and the image's settings. The other
    #: options change the spec. Default: none.
    spec: str | PathLike[str] | Mapping[str, object] | None
    #: A function that gets the finished spec and can change it. Default: none.
    edit: Callable[[dict[str, Any]], object] | None


class ContainerOptions(SpecOptions, total=False):
    """Options of a container: of its spec, of its snapshot and of its record.

    An option with the value ``None`` counts as not given.
    """

    #: Name of the snapshotter. Default: the client's default snapshotter, else the namespace's.
    snapshotter: str | None
    #: Labels of the container's record. The option overrides the labels that ``image_labels`` and
    #: ``restart`` set. Default: none.
    labels: Mapping[str, str] | None
    #: Ports of the machine to map to ports of the container, on the container's first CNI network:
    #: ``"8080:80"`` or ``"127.0.0.1:8080:80/udp"``; in Python, also ``PortMapping``. Default: none.
    ports: Sequence[PortMapping | str] | None
    #: Addresses of the DNS servers of a container on CNI networks; an empty list means none.
    #: Default: the servers that a network names, else the machine's, without those on loopback
    #: addresses.
    dns: Sequence[str] | None
    #: Domains in which a container on CNI networks looks up short names. Default: as for ``dns``.
    dns_search: Sequence[str] | None
    #: Options of the resolver of a container on CNI networks, such as ``"ndots:2"``. Default: as
    #: for ``dns``.
    dns_options: Sequence[str] | None
    #: Lines to add to ``/etc/hosts`` of a container on CNI networks: addresses by host name. The
    #: address ``"host-gateway"`` is that of the machine on the container's first network. Default:
    #: none.
    extra_hosts: Mapping[str, str] | None
    #: Whether to copy the image's labels, except those with reserved names. Default: false.
    image_labels: bool | None
    #: Key of an existing active snapshot, which becomes the root filesystem. Default: a new
    #: snapshot is made from the image.
    snapshot: str | None
    #: Absolute path of a folder, which becomes the root filesystem. ``""``: the root filesystem
    #: consists of the mounts that ``new_task`` gets. The option cannot be combined with an image or
    #: with ``snapshot``. Default: none.
    rootfs: str | PathLike[str] | None
    #: Whether the new snapshot is a read-only view of the image. Default: false.
    view: bool | None
    #: Name of the runtime. Default: the client's default runtime, else the namespace's, else runc.
    runtime: str | None
    #: Options of the runtime. A mapping sets fields of runc's options
    #: (``containerd.runc.v1.Options``). Default: none.
    runtime_options: Mapping[str, object] | AnyValue | None
    #: Extensions of the container's record, by name. Default: none.
    extensions: Mapping[str, AnyValue] | None
    #: Id of the sandbox to which the container belongs. The option requires containerd 1.7 or
    #: later. Default: none.
    sandbox: str | None
    #: Policy by which the daemon restarts the container: ``always``, ``unless-stopped`` or
    #: ``on-failure[:retries]``. Default: no restarts.
    restart: str | None
    #: URI to which the output of restarted tasks goes (``file:///…``, ``binary:///…``). The option
    #: requires ``restart``. A detached container without ``streams`` uses it for its first task,
    #: too. Default: with ``detach``, where the output of the first task goes; else it is discarded.
    restart_log: str | None


class OutputOptions(TypedDict, total=False):
    """Options for the output of a process.

    An option with the value ``None`` counts as not given.
    """

    #: Target of stdout: a binary file, a descriptor, a function that gets bytes, ``INHERIT`` or
    #: ``DEVNULL``. Default: see ``stream`` and ``capture``.
    stdout: Target | None
    #: Target of stderr: any target that ``stdout`` accepts, or ``STDOUT``. Default: see ``stream``
    #: and ``capture``.
    stderr: Target | None
    #: Whether to capture the outputs that have no target. If false, these outputs go to this Python
    #: process's own stdout and stderr. Default: true.
    capture: bool | None
    #: A function that gets the outputs that have no target. Then these outputs are not captured.
    #: The function's arguments are the name ``"stdout"`` or ``"stderr"``, and bytes. Default: no
    #: function.
    stream: Callable[[str, bytes], object] | None
    #: Maximum size to capture of each output, in the form of ``memory``. Default: 64 MiB.
    max_output: int | str | None


class RunOptions(ContainerOptions, OutputOptions, total=False):
    """Options of ``Client.run``: the options of a container, and the options for the output."""


class ExecOptions(ProcessOptions, OutputOptions, total=False):
    """Options of ``Container.exec``: the options of a process, and the options for the output."""


_OUTPUT_OPTIONS = ("stdout", "stderr", "capture", "stream", "max_output")


def split_run(options: RunOptions) -> tuple[dict[str, Any], ContainerOptions]:
    """Split the options of ``Client.run`` into given options for the output, and other options."""
    output, others = _split(options)
    return output, cast("ContainerOptions", others)


def split_exec(options: ExecOptions) -> tuple[dict[str, Any], ProcessOptions]:
    """Split the options of ``Container.exec`` as ``split_run`` does."""
    output, others = _split(options)
    return output, cast("ProcessOptions", others)


def _split(options: Mapping[str, object]) -> tuple[dict[str, Any], dict[str, object]]:
    output = {name: options[name] for name in _OUTPUT_OPTIONS if options.get(name) is not None}
    others = {name: value for name, value in options.items() if name not in _OUTPUT_OPTIONS}
    return output, others
