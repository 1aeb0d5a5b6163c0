"""Our specs beside those that each generation's ctr makes of the same wishes, field by field."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from containerd_lite import Client
from containerd_lite.images.image import Image
from containerd_lite.oci.spec import Mount
from containerd_lite.runtime.spec.host import cpu_paths
from containerd_lite.runtime.spec.options import ContainerOptions
from tests.e2e.runtime.conftest import closes_families, hides_heat
from tests.harness.daemon import Daemon

pytestmark = [
    pytest.mark.daemon,
    pytest.mark.registry,
    pytest.mark.generations,
    pytest.mark.usefixtures("nothing_left"),
]

Flags = tuple[str, ...]
Case = tuple[Flags, Mapping[str, Any]]

BIND = "type=bind,src=/a,dst=/b,options=rbind:ro"
TMPFS = "type=tmpfs,source=tmpfs,destination=/run,options=nosuid:size=1m"
CASES: dict[str, Case] = {
    "nothing": ((), {}),
    "env": (("--env", "A=1", "--env", "PATH=/x", "--env", "B=c=d"),
            {"env": {"A": "1", "PATH": "/x", "B": "c=d"}}),
    "cwd": (("--cwd", "/tmp"), {"cwd": "/tmp"}),
    "user": (("--user", "1000:5"), {"user": "1000:5"}),
    "hostname": (("--hostname", "h"), {"hostname": "h"}),
    "terminal": (("--tty",), {"terminal": True}),
    "mounts": (("--mount", BIND, "--mount", TMPFS), {"mounts": [BIND, TMPFS]}),
    "mount records": (
        ("--mount", BIND, "--mount", TMPFS),
        {"mounts": [Mount("/b", "/a", options=("rbind", "ro")),
                    Mount("/run", "tmpfs", "tmpfs", ["nosuid", "size=1m"])]},
    ),
    "quoted mount": (('--mount', '"type=bind","src=/a,b",dst=/b,options=bind'),
                     {"mounts": [Mount("/b", "/a,b", options=["bind"])]}),
    "device": (("--device", "/dev/null"), {"devices": ["/dev/null"]}),
    "devices": (("--device", "/dev/net", "--device", "/dev/zero"),
                {"devices": ["/dev/net", "/dev/zero"]}),
    "capabilities": (
        ("--cap-add", "CAP_SYS_ADMIN", "--cap-add", "CAP_CHOWN", "--cap-drop", "CAP_KILL"),
        {"cap_add": ["SYS_ADMIN", "cap_chown"], "cap_drop": ["CAP_KILL"]},
    ),
    "privileged": (("--privileged",), {"privileged": True}),
    "privileged, without a capability": (
        ("--privileged", "--cap-drop", "CAP_SYS_TIME"),
        {"privileged": True, "cap_drop": ["SYS_TIME"]},
    ),
    "new privileges": (("--allow-new-privs",), {"no_new_privileges": False}),
    "apparmor": (("--apparmor-profile", "p"), {"apparmor": "p"}),
    "seccomp file": (("--seccomp", "--seccomp-profile", "FILE"), {"seccomp": "FILE"}),
    "cpus": (("--cpus", "0.5"), {"cpus": 0.5, "cpu_shares": 1024}),
    "cpu shares": (("--cpu-shares", "200"), {"cpu_shares": 200}),
    "cpuset": (("--cpuset-cpus", "0", "--cpuset-mems", "0"),
               {"cpuset_cpus": "0", "cpuset_mems": "0", "cpu_shares": 1024}),
    "cpu time": (("--cpu-quota", "5000", "--cpu-period", "50000"),
                 {"cpu_quota": 5000, "cpu_period": 50000}),
    "memory": (("--memory-limit", "64000000"), {"memory": 64000000}),
    "rdt": (("--rdt-class", "c"), {"rdt_class": "c"}),
    "cgroup": (("--cgroup", "/lite-test/x"), {"cgroup_path": "/lite-test/x", "cpu_shares": 1024}),
    "propagation": (("--rootfs-propagation", "rslave"), {"rootfs_propagation": "rslave"}),
    "read-only": (("--read-only",), {"read_only": True}),
    "joined": (("--with-ns", "network:/proc/1/ns/net", "--with-ns", "cgroup:/proc/1/ns/cgroup"),
               {"namespaces": {"network": "/proc/1/ns/net", "cgroup": "/proc/1/ns/cgroup"}}),
    "host's network": (("--net-host",), {"network": "host"}),
    "annotations": (("--annotation", "a=b", "--annotation", "c=d"),
                    {"annotations": {"a": "b", "c": "d"}}),
    "user namespace": (
        ("--uidmap", "0:100000:65536", "--gidmap", "0:200000:65536"),
        {"uid_map": [(0, 100000, 65536)], "gid_map": [(0, 200000, 65536)], "cpu_shares": 1024},
    ),
    "a spec of one's own": (("--config", "SPEC"), {"spec": "SPEC"}),
}  # fmt: skip
#: What a generation's ctr has no flag for.
MISSING = {"1.6": {"user", "hostname", "cpuset"}, "1.7": {"cpuset"}}
PROFILE = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [{"names": ["reboot"], "action": "SCMP_ACT_ERRNO"}],
}
OWN = {
    "ociVersion": "1.0.2",
    "process": {"args": ["true"], "cwd": "/", "user": {"uid": 3, "gid": 4}},
    "root": {"path": "rootfs"},
    "linux": {"cgroupsPath": "/lite-test/own"},
}


class Bench:
    """Makes the same container twice, and gives both specs as the daemon's ctr prints them."""

    def __init__(self, daemon: Daemon, namespace: str, client: Client, image: Image) -> None:
        self._daemon, self._namespace = daemon, namespace
        self._client, self._image = client, image
        self._create = self._flags("containers", "create")
        self._run = self._flags("run")

    def _ctr(self, *args: str) -> subprocess.CompletedProcess[bytes]:
        return self._daemon.ctr(*args, namespace=self._namespace)

    def _flags(self, *command: str) -> set[str]:
        text = self._daemon.ctr(*command, "--help").stdout.decode()
        return set(re.findall(r"^\s+(--[a-z-]+)", text, re.MULTILINE))

    def can(self, flags: Flags) -> bool:
        return {flag for flag in flags if flag.startswith("--")} <= self._create | self._run

    def theirs(self, flags: Flags) -> Any:
        """A container that ctr makes; it is run, to sleep, where ``create`` lacks a flag."""
        what = () if "--config" in flags else (self._image.name,)
        run = () if "--config" in flags else ("sleep", "1000")
        if {flag for flag in flags if flag.startswith("--")} <= self._create:
            self._ctr("containers", "create", *flags, *what, "theirs", *run)
        else:
            # A record is all that is wanted: a process that cannot start leaves it, too.
            run = ("--detach", "--null-io", *flags, *what, "theirs", *run)
            self._daemon.ctr("run", *run, namespace=self._namespace, check=False)
        try:
            return self._spec("theirs")
        finally:
            self._daemon.ctr("tasks", "rm", "-f", "theirs", namespace=self._namespace, check=False)
            self._ctr("containers", "rm", "theirs")

    def ours(self, **options: Any) -> Any:
        """A container that we make; nothing runs."""
        args = None if "spec" in options else ["sleep", "1000"]
        container = self._client.new_container(
            "ours", image=self._image, args=args, **cast(ContainerOptions, options)
        )
        try:
            return self._spec("ours")
        finally:
            container.delete()

    def _spec(self, id: str) -> Any:
        return json.loads(self._ctr("containers", "info", id).stdout)["Spec"]


@pytest.fixture
def bench(daemon: Daemon, namespace: str, client: Client, busybox: str) -> Bench:
    return Bench(daemon, namespace, client, client.pull(busybox))


def flat(value: object, name: str = "") -> Iterator[tuple[str, object]]:
    """The fields of a document by their paths; a list is one field."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from flat(item, f"{name}.{key}")
    else:
        yield name, value


def hidden(daemon: Daemon) -> list[str]:
    """What a generation's ctr does not hide, and we do."""
    meters = [] if daemon.version_info >= (1, 7) else ["/sys/devices/virtual/powercap"]
    return [*meters, *([] if hides_heat(daemon) else ["/proc/interrupts", *cpu_paths()])]


def differences(ours: Any, theirs: Any, hidden: list[str]) -> dict[str, object]:
    """Field → ours, theirs; but for what is the id's, and what is known to differ."""
    a, b = dict(flat(ours)), dict(flat(theirs))
    if str(a.get(".linux.cgroupsPath", "")).endswith("/ours"):
        a[".linux.cgroupsPath"] = str(a[".linux.cgroupsPath"]).removesuffix("ours") + "theirs"
    del a[".ociVersion"], b[".ociVersion"]  # of the library that each was built with
    masked = ".linux.maskedPaths"
    if masked in b and hidden:
        assert not {*hidden} & {*cast("list[str]", b[masked])}
        b[masked] = sorted([*cast("list[str]", b[masked]), *hidden])
        a[masked] = sorted(cast("list[str]", a[masked]))
    # Before 2.x a mount does not take the place of the default one: both are made, and one hidden.
    mounts = cast("list[dict[str, object]]", b.get(".mounts") or [])
    later = {mount["destination"]: place for place, mount in enumerate(mounts)}
    b[".mounts"] = [mounts[place] for place in sorted(later.values())] or None
    names = {name for name in a.keys() | b.keys() if a.get(name) != b.get(name)}
    return {name: (a.get(name, "-"), b.get(name, "-")) for name in sorted(names)}


@pytest.mark.turns(2)
def test_every_option(daemon: Daemon, bench: Bench, tmp_path: Path) -> None:
    files = {"FILE": tmp_path / "profile.json", "SPEC": tmp_path / "spec.json"}
    files["FILE"].write_text(json.dumps(PROFILE))
    files["SPEC"].write_text(json.dumps(OWN))
    missing, found = set(), {}
    for name, (flags, options) in CASES.items():
        if not bench.can(flags):
            missing.add(name)
            continue
        given = tuple(str(files.get(flag, flag)) for flag in flags)
        wishes = {
            key: files.get(value, value) if isinstance(value, str) else value
            for key, value in options.items()
        }
        if difference := differences(bench.ours(**wishes), bench.theirs(given), hidden(daemon)):
            found[name] = difference
    assert found == {}
    assert missing == MISSING.get(daemon.generation, set())


def syscalls(spec: Any) -> list[tuple[set[str], dict[str, object]]]:
    """The rules of a profile, each the names and the rest."""
    return [
        (set(rule["names"]), {key: value for key, value in rule.items() if key != "names"})
        for rule in spec["linux"]["seccomp"]["syscalls"]
    ]


#: Allowed always by us, and by ctr from 2.2 on.
NEWER = (
    "getxattrat listmount listxattrat lsm_get_self_attr lsm_list_modules lsm_set_self_attr mseal"
    " removexattrat setxattrat statmount uretprobe"
)
#: What is always allowed by us and not by a generation, and the other way round.
OLDER = {
    "1.6": (
        f"{NEWER} cachestat fchmodat2 futex_requeue futex_wait futex_wake map_shadow_stack"
        " name_to_handle_at",
        "io_uring_enter io_uring_register io_uring_setup socket",
    ),
    "1.7": (NEWER, "io_uring_enter io_uring_register io_uring_setup"),
}
#: The socket families that we allow: those below AF_ALG, and above it each but AF_VSOCK.
SOCKETS = [
    {"action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": value, "op": f"SCMP_CMP_{op}"}]}
    for value, op in ((38, "LT"), *((value, "EQ") for value in (39, 41, 42, 43, 44, 45)))
]


@pytest.mark.parametrize("privileged", [False, True])
def test_the_default_seccomp_profile(daemon: Daemon, bench: Bench, privileged: bool) -> None:
    flags = ("--seccomp", "--privileged") if privileged else ("--seccomp",)
    ours, theirs = bench.ours(seccomp="default", privileged=privileged), bench.theirs(flags)
    for field in ("defaultAction", "architectures"):
        assert ours["linux"]["seccomp"][field] == theirs["linux"]["seccomp"][field]
    (our_names, _), *our_rules = syscalls(ours)
    (their_names, _), *their_rules = syscalls(theirs)
    more, fewer = OLDER.get(daemon.generation, ("" if daemon.version_info >= (2, 2) else NEWER, ""))
    assert our_names - their_names == set(more.split())
    assert their_names - our_names == set(fewer.split())
    assert [rest for names, rest in our_rules if names == {"socket"}] == SOCKETS
    if closes_families(daemon):
        assert our_rules == their_rules
        return
    del our_rules[: len(SOCKETS)]
    if daemon.version_info >= (1, 7):  # AF_VSOCK alone is closed
        assert our_rules == their_rules[1:]
        return
    # 1.6 allows tracing alone without CAP_SYS_PTRACE, and has a call of CAP_SYS_ADMIN's and one of
    # CAP_SYS_NICE's where we have none and another one.
    assert (their_rules[5][0], our_rules[5][0] - their_rules[5][0]) == (
        {"ptrace"},
        {"process_vm_readv", "process_vm_writev"},
    )
    moved = [
        (mine[0] ^ other[0], mine[1] == other[1])
        for mine, other in zip(our_rules[6:], their_rules[6:], strict=True)
    ]
    changes = [names for names, _ in moved if names]
    wanted: list[set[str]] = [{"name_to_handle_at"}, {"set_mempolicy_home_node"}]
    assert (changes, all(same for _, same in moved)) == (wanted if privileged else [], True)
