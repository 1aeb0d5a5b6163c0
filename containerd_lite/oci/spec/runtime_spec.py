"""The types of a runtime spec, for type checkers (runtime-spec config.md and config-linux.md).

The fields without ``NotRequired`` are in every spec that this package or ``ctr`` makes for Linux. A
spec from elsewhere can lack some of them. A running program does not check specs against these
types.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from typing_extensions import NotRequired


class UserFields(TypedDict):
    """The user and the groups of a process."""

    uid: int
    gid: int
    umask: NotRequired[int]
    additionalGids: NotRequired[list[int]]


class ConsoleFields(TypedDict):
    """The size of a terminal in characters."""

    height: int
    width: int


class CapabilityFields(TypedDict, total=False):
    """The capabilities of a process. Empty sets are left out."""

    bounding: list[str]
    effective: list[str]
    inheritable: list[str]
    permitted: list[str]
    ambient: list[str]


class RlimitFields(TypedDict):
    """A resource limit, such as ``RLIMIT_NOFILE``."""

    type: str
    soft: int
    hard: int


class ProcessFields(TypedDict):
    """The first process."""

    args: list[str]
    env: list[str]
    cwd: str
    user: UserFields
    terminal: NotRequired[bool]
    consoleSize: NotRequired[ConsoleFields]
    capabilities: NotRequired[CapabilityFields]
    rlimits: NotRequired[list[RlimitFields]]
    noNewPrivileges: NotRequired[bool]
    apparmorProfile: NotRequired[str]
    selinuxLabel: NotRequired[str]
    oomScoreAdj: NotRequired[int]


class RootFields(TypedDict):
    """The root filesystem."""

    path: str
    readonly: NotRequired[bool]


class MountFields(TypedDict):
    """A mount in the container."""

    destination: str
    type: NotRequired[str]
    source: NotRequired[str]
    options: NotRequired[list[str]]


class HookFields(TypedDict):
    """A program that the runtime runs at some step. ``timeout`` is in seconds."""

    path: str
    args: NotRequired[list[str]]
    env: NotRequired[list[str]]
    timeout: NotRequired[int]


class NamespaceFields(TypedDict):
    """A namespace: a new one, or the one at ``path``."""

    type: str
    path: NotRequired[str]


class IdMapFields(TypedDict):
    """A range of user or group ids."""

    containerID: int
    hostID: int
    size: int


class DeviceFields(TypedDict):
    """A device node in the container."""

    path: str
    type: str
    major: NotRequired[int]
    minor: NotRequired[int]
    fileMode: NotRequired[int]
    uid: NotRequired[int]
    gid: NotRequired[int]


class DeviceRuleFields(TypedDict):
    """A rule that allows or denies access to devices."""

    allow: bool
    type: NotRequired[str]
    major: NotRequired[int]
    minor: NotRequired[int]
    access: NotRequired[str]


class MemoryFields(TypedDict, total=False):
    """Limits of memory, in bytes."""

    limit: int
    reservation: int
    swap: int
    swappiness: int
    disableOOMKiller: bool


class CpuFields(TypedDict, total=False):
    """Limits of CPU time. Times are in microseconds."""

    shares: int
    quota: int
    burst: int
    period: int
    realtimeRuntime: int
    realtimePeriod: int
    cpus: str
    mems: str
    idle: int


class PidsFields(TypedDict):
    """The limit of processes and threads."""

    limit: int


class BlockIOFields(TypedDict, total=False):
    """Limits of block I/O."""

    weight: int


class HugepageFields(TypedDict):
    """The limit of huge pages of one size, in bytes."""

    pageSize: str
    limit: int


class ResourceFields(TypedDict, total=False):
    """The limits of the container's cgroup."""

    devices: list[DeviceRuleFields]
    memory: MemoryFields
    cpu: CpuFields
    pids: PidsFields
    blockIO: BlockIOFields
    hugepageLimits: list[HugepageFields]
    unified: dict[str, str]


class LinuxFields(TypedDict):
    """What only Linux has. ``seccomp`` has the form of config-linux.md."""

    namespaces: list[NamespaceFields]
    resources: ResourceFields
    uidMappings: NotRequired[list[IdMapFields]]
    gidMappings: NotRequired[list[IdMapFields]]
    devices: NotRequired[list[DeviceFields]]
    cgroupsPath: NotRequired[str]
    maskedPaths: NotRequired[list[str]]
    readonlyPaths: NotRequired[list[str]]
    sysctl: NotRequired[dict[str, str]]
    rootfsPropagation: NotRequired[str]
    mountLabel: NotRequired[str]
    seccomp: NotRequired[dict[str, object]]
    intelRdt: NotRequired[dict[str, object]]


class RuntimeSpec(TypedDict):
    """The runtime spec of a container, in the form of its JSON."""

    ociVersion: str
    process: ProcessFields
    root: RootFields
    mounts: list[MountFields]
    linux: LinuxFields
    hostname: NotRequired[str]
    domainname: NotRequired[str]
    annotations: NotRequired[dict[str, str]]
    hooks: NotRequired[dict[str, list[HookFields]]]
