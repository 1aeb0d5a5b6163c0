"""What options do to a spec, what they refuse, and the process of an exec."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from containerd_lite.errors import InvalidArgument
from containerd_lite.oci.config import ImageConfig
from containerd_lite.oci.platform import Platform
from containerd_lite.oci.spec import Mount, RuntimeSpec, runtime_spec
from containerd_lite.oci.spec.seccomp import default_profile
from containerd_lite.runtime.spec import host
from containerd_lite.runtime.spec.options import ProcessOptions, SpecOptions
from containerd_lite.runtime.spec.process_spec import exec_process
from containerd_lite.runtime.spec.specs import make_spec
from containerd_lite.runtime.users.users import User

CONFIG = ImageConfig(Platform("linux", "amd64"), (), cmd=("image",), user="bob")


def spec(**options: Any) -> Any:
    return make_spec("ns", "id", None, ["x"], cast(SpecOptions, options))


def bob(user: str, groups: Sequence[str]) -> User:
    return User(7, 8, tuple(map(len, groups)), f"/home/{user}")


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"cwd": "relative"}, "cwd"),
    ({"cwd": "/a\0b"}, "cwd"),
    ({"env": {"A=": "x"}}, "environment"),
    ({"env": ["A=1"]}, "env"),
    ({"env_files": "/etc/env"}, "env_files"),
    ({"env_files": ["/nowhere/at/all"]}, "env_files.*No such file"),
    ({"env_files": ["/etc"]}, "env_files.*Is a directory"),
    ({"env_files": ["/dev/zero"]}, "env_files.*regular file"),
    ({"user": "2147483648"}, "not consist of ids"),
    ({"groups": ["4294967296"]}, "not consist of ids"),
    ({"groups": "wheel"}, "groups.*list of strings"),
    ({"entrypoint": "sh"}, "entrypoint.*list of strings"),
    ({"entrypoint": ["sh", "\udcff"]}, "entrypoint"),
    ({"terminal": "yes"}, "terminal"),
    ({"terminal_size": (80,)}, "terminal_size"),
    ({"terminal_size": (80, 65536)}, "terminal_size"),
    ({"mounts": "type=bind,src=/a,dst=/b"}, "mounts"),
    ({"mounts": ["a:/b"]}, "two absolute paths"),
    ({"mounts": ["/a"]}, "two absolute paths"),
    ({"mounts": ["/a:/b:Z"]}, "other options than 'Z'"),
    ({"mounts": ["/a:/b:ro,"]}, "mounts"),
    ({"mounts": ["/a:/b:ro:rw"]}, "mounts"),
    ({"mounts": ["type=bind,src=/a"]}, "dst="),
    ({"mounts": ['type=bind,src="/a,dst=/b']}, "mounts"),
    ({"mounts": ["type=bind,src=/a,dst=b"]}, "absolute path"),
    ({"mounts": [Mount("/b", "a")]}, "source of a bind mount"),
    ({"mounts": [Mount("/b", "/a", options="ro")]}, "list of strings"),
    ({"tmpfs": {"run": ""}}, "tmpfs"),
    ({"tmpfs": ["/run"]}, "tmpfs.*mapping"),
    ({"devices": ["/dev/null:rwx"]}, "devices.*letters r, w and m"),
    ({"devices": ["/dev/null:rr"]}, "devices"),
    ({"devices": ["/etc/passwd"]}, "devices"),
    ({"devices": ["/nowhere"]}, "devices.*No such file"),
    ({"cap_add": ["NET_ADMINN"]}, "cap_add.*NET_ADMINN"),
    ({"cap_drop": "ALL"}, "cap_drop.*list of strings"),
    ({"rlimits": {"nofiles": 1}}, "rlimits.*nofiles"),
    ({"rlimits": {"nofile": (2, 1)}}, "not above the hard"),
    ({"rlimits": {"nofile": -2}}, "rlimits"),
    ({"cpus": 0}, "cpus"),
    ({"cpus": -1.0}, "cpus"),
    ({"cpus": float("nan")}, "cpus"),
    ({"cpus": 1, "cpu_quota": 5}, "cpus= excludes cpu_quota="),
    ({"cpu_shares": True}, "cpu_shares"),
    ({"cpu_burst": -1}, "cpu_burst"),
    ({"cpu_burst": 2000, "cpu_quota": 1000}, "cpu_burst=2000 is larger than cpu_quota=1000"),
    ({"cpu_rt_period": 0}, "cpu_rt_period"),
    ({"cpu_rt_runtime": 5.0}, "cpu_rt_runtime"),
    ({"cpu_rt_runtime": 2, "cpu_rt_period": 1}, "cpu_rt_runtime=2 is larger than"),
    ({"cap_ambient": ["NET_ADMINN"]}, "cap_ambient.*NET_ADMINN"),
    ({"cap_ambient": "all"}, "cap_ambient.*list of strings"),
    ({"umask": 0o1000}, "umask.*0o777"),
    ({"umask": "0o22"}, "umask.*octal"),
    ({"umask": "99"}, "umask"),
    ({"umask": True}, "umask"),
    ({"shm_size": "much"}, "shm_size.*64m"),
    ({"shm_size": 0}, "shm_size"),
    ({"shm_size": "1m", "without_mounts": ["/dev/shm"]}, "shm_size= needs a tmpfs"),
    ({"shm_size": "1m", "mounts": ["/dev/shm:/dev/shm"]}, "shm_size= needs a tmpfs"),
    ({"without_mounts": "/run"}, "without_mounts.*list of strings"),
    ({"without_mounts": ["run"]}, "without_mounts.*absolute path"),
    ({"without_mounts": ["/nowhere"]}, "without_mounts.*only destinations.*/dev/shm"),
    ({"memory": "much"}, "memory.*64m"),
    ({"memory": "64mm"}, "memory"),
    ({"memory": "-1"}, "memory"),
    ({"memory": "-5m"}, "memory"),
    ({"memory_swap": "9999999t"}, "memory_swap"),
    ({"hugepage_limits": {"2MB": "two"}}, "hugepage_limits"),
    ({"memory": 0}, "memory"),
    ({"memory_swappiness": 101}, "memory_swappiness"),
    ({"oom_score_adj": 1001}, "oom_score_adj"),
    ({"blkio_weight": 1}, "blkio_weight"),
    ({"cgroup_path": "/a", "cgroup_parent": "/b"}, "cgroup_parent"),
    ({"cgroup_parent": "b"}, "cgroup_parent"),
    ({"masked_paths": "/proc"}, "masked_paths"),
    ({"namespaces": {"net": "host"}}, "namespaces.*network"),
    ({"namespaces": {"pid": "shared"}}, "host, private or"),
    ({"namespaces": {"user": "private"}}, "uid_map"),
    ({"network": "bridge"}, "network"),
    ({"network": "host", "namespaces": {"network": "host"}}, "both set the network"),
    ({"uid_map": [(0, 0, 1)]}, "must be given together"),
    ({"uid_map": [(0, 1)], "gid_map": [(0, 0, 1)]}, "uid_map"),
    ({"uid_map": [(0, 1, 1 << 32)], "gid_map": [(0, 0, 1)]}, "uid_map"),
    ({"host_files": ["passwd"]}, "host_files"),
    ({"sysctls": {"a": 1}}, "sysctls"),
    ({"annotations": {"a": None}}, "annotations"),
    ({"rootfs_propagation": "public"}, "rootfs_propagation"),
    ({"seccomp": 5}, "seccomp"),
    ({"seccomp": "/etc/passwd"}, "seccomp.*JSON"),
    ({"spec": "/nowhere"}, "spec.*No such file"),
    ({"spec": {"process": 5}}, "spec: process"),
    ({"spec": {"process": {1, 2}}}, "JSON"),
]


@pytest.mark.parametrize(("options", "says"), REFUSED, ids=lambda value: str(value)[:40])
def test_what_cannot_be(options: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidArgument, match=f"(?s){says}") as caught:
        spec(**options)
    assert caught.value.remedy


def test_a_number_that_python_refuses_to_write() -> None:
    with pytest.raises(InvalidArgument, match="memory"):
        spec(memory=10**5000)


def test_sizes_as_texts() -> None:
    options = {"memory": "64m", "memory_swap": "1.5G", "memory_reservation": "1000"}
    resources = spec(**options, hugepage_limits={"2MB": "1gb"})["linux"]["resources"]
    assert resources["memory"] == {"limit": 64 << 20, "swap": 3 << 29, "reservation": 1000}
    assert resources["hugepageLimits"] == [{"pageSize": "2MB", "limit": 1 << 30}]
    assert spec(memory_swap="-1")["linux"]["resources"]["memory"]["swap"] == -1


def test_mounts_as_paths() -> None:
    texts = ["/a:/b", "/a:/c:ro", "/e=f:/g:rw,nosuid", "type=bind,src=/x:y,dst=/z"]
    mounts = spec(mounts=texts)["mounts"][-4:]
    assert [(each["source"], each["destination"]) for each in mounts[:2]] == [
        ("/a", "/b"),
        ("/a", "/c"),
    ]
    assert [each["options"] for each in mounts[:2]] == [["rbind"], ["rbind", "ro"]]
    assert (mounts[3]["source"], mounts[3]["destination"]) == ("/x:y", "/z")


def test_a_word_that_is_no_option() -> None:
    with pytest.raises(TypeError, match="unknown option memmory"):
        spec(memmory=1)


def test_files_have_a_bound(tmp_path: Path) -> None:
    (tmp_path / "env").write_bytes(b"A=1\n" * (1 << 18) + b"B")
    with pytest.raises(InvalidArgument, match="larger than 1048576 bytes"):
        spec(env_files=[tmp_path / "env"])
    os.mkfifo(tmp_path / "fifo")  # nobody will ever write to it
    with pytest.raises(InvalidArgument, match="regular file"):
        spec(env_files=[tmp_path / "fifo"])


def test_who_it_is_to_be_is_asked() -> None:
    asked: list[tuple[str, Sequence[str]]] = []

    def find(user: str, groups: Sequence[str]) -> User:
        asked.append((user, groups))
        return bob(user, groups)

    process: Any = make_spec("ns", "id", CONFIG, find_user=find)["process"]
    assert process["user"] == {"uid": 7, "gid": 8, "additionalGids": [8]}
    process = make_spec("ns", "id", CONFIG, options={"groups": ["a", "bb"]}, find_user=find)
    assert process["process"]["user"]["additionalGids"] == [8, 1, 2]
    make_spec("ns", "id", None, ["x"], find_user=find)  # root may be in groups, too
    assert asked == [("bob", []), ("bob", ["a", "bb"]), ("", [])]


def test_an_entrypoint_leaves_the_images_command_out() -> None:
    process: Any = make_spec("ns", "id", CONFIG, options={"entrypoint": ["e"], "user": "1"})
    assert process["process"]["args"] == ["e"]


def test_a_mount_takes_the_place_of_the_default_one() -> None:
    mounts = spec(mounts=[Mount("/run/", "/a")], tmpfs={"/t": "exec"})["mounts"]
    assert [mount for mount in mounts if mount["destination"].startswith("/run")] == [
        {"destination": "/run/", "type": "bind", "source": "/a", "options": ["rbind"]}
    ]
    assert mounts[-1]["options"] == ["noexec", "nosuid", "nodev", "exec"]


def test_all_capabilities_are_dropped_before_one_is_added() -> None:
    held = spec(cap_drop=["all"], cap_add=["kill"])["process"]["capabilities"]
    assert held == {kind: ["CAP_KILL"] for kind in ("bounding", "effective", "permitted")}
    assert spec(cap_drop=["ALL"])["process"]["capabilities"] == {}


def test_a_spec_of_ones_own_is_not_changed(tmp_path: Path) -> None:
    own: dict[str, Any] = {"process": {"args": ["a"], "user": {"uid": 3}}, "ociVersion": "1.0.2"}
    before = json.dumps(own)
    made: Any = make_spec("ns", "id", CONFIG, options={"spec": own, "env": {"A": "1"}})
    assert made["process"]["user"] == {"uid": 3}
    assert (made["process"]["args"], made["process"]["env"]) == (["a"], ["A=1"])
    assert json.dumps(own) == before
    (tmp_path / "spec.json").write_text(before)
    again: Any = make_spec("ns", "id", CONFIG, options={"spec": tmp_path / "spec.json"})
    assert again["process"]["args"] == ["a"]


def test_the_process_of_an_exec() -> None:
    container = spec(env={"A": "1"}, user="5:6", terminal=True, cwd="/c")
    before = json.dumps(container)
    process: Any = exec_process(container, ["y"])
    assert (process["args"], process["cwd"], process.get("terminal")) == (["y"], "/c", None)
    assert process["user"] == {"uid": 5, "gid": 6, "additionalGids": [6]}
    options: ProcessOptions = {"groups": ["9"], "env": {"A": None, "B": "2"}, "terminal": True,
                               "terminal_size": (80, 24), "cap_drop": ["all"]}  # fmt: skip
    process = exec_process(container, ["y"], options)
    assert process["user"] == {"uid": 5, "gid": 6, "additionalGids": [6, 9]}
    assert "A=1" not in process["env"]
    assert "B=2" in process["env"]
    assert (process["terminal"], process["consoleSize"]) == (True, {"width": 80, "height": 24})
    assert process["capabilities"] == {}
    assert json.dumps(container) == before
    with pytest.raises(TypeError, match="unknown option hostname"):
        exec_process(container, ["y"], cast(ProcessOptions, {"hostname": "h"}))
    with pytest.raises(InvalidArgument, match="what to run"):
        exec_process(container, [])


def test_the_profile_goes_by_machine_kernel_and_capabilities() -> None:
    def names(*given: Any) -> set[str]:
        rules: Any = default_profile(*given)["syscalls"]
        return {name for rule in rules if "args" not in rule for name in rule["names"]}

    assert "ptrace" not in names((), "x86_64", (4, 7))
    assert "ptrace" in names((), "x86_64", (4, 8))
    assert "ptrace" in names(("CAP_SYS_PTRACE",), "x86_64", (4, 7))
    assert "arch_prctl" in names((), "x86_64", (6, 1))
    assert "arch_prctl" not in names((), "ppc64le", (6, 1))
    assert "swapcontext" in names((), "ppc64le", (6, 1))
    assert "mount" not in names((), "x86_64", (6, 1))
    assert "mount" in names(("CAP_SYS_ADMIN",), "x86_64", (6, 1))


def test_mounts_left_out() -> None:
    default = [each["destination"] for each in spec()["mounts"]]
    left = [each["destination"] for each in spec(without_mounts=["/run/", "/sys"])["mounts"]]
    assert left == [each for each in default if each not in ("/run", "/sys")]
    again = spec(without_mounts=["/run"], tmpfs={"/run": "size=1m"})["mounts"]
    assert again[-1]["destination"] == "/run"


def test_the_size_of_shared_memory() -> None:
    (shm,) = (each for each in spec(shm_size="1m")["mounts"] if each["destination"] == "/dev/shm")
    assert shm["options"] == ["nosuid", "noexec", "nodev", "mode=1777", f"size={1 << 20}"]


@pytest.mark.parametrize(("umask", "number"), [(0, 0), (0o27, 0o27), ("0027", 0o27), ("7", 7)])
def test_umask(umask: object, number: int) -> None:
    assert spec(umask=umask, user="5")["process"]["user"]["umask"] == number


def test_ambient_capabilities_are_in_all_sets() -> None:
    sets = spec(cap_drop=["all"], cap_ambient=["net_raw"])["process"]["capabilities"]
    assert list(sets) == ["bounding", "effective", "permitted", "inheritable", "ambient"]
    assert set(map(tuple, sets.values())) == {("CAP_NET_RAW",)}
    sets = spec(cap_ambient=["all"])["process"]["capabilities"]
    assert set(sets["ambient"]) == set(host.capabilities())
    assert set(sets["ambient"]) <= set(sets["bounding"])


def test_times_of_the_cpu() -> None:
    options = {"cpu_quota": 2000, "cpu_burst": 1000, "cpu_rt_period": 9, "cpu_rt_runtime": 8}
    cpu = spec(**options)["linux"]["resources"]["cpu"]
    assert cpu == {"quota": 2000, "burst": 1000, "realtimePeriod": 9, "realtimeRuntime": 8}
    assert spec(cpu_quota=-1, cpu_burst=5)["linux"]["resources"]["cpu"]["burst"] == 5


def test_the_types_know_each_field() -> None:
    """Only type checkers read the types, so nothing else would notice a field that is missing."""
    maps = {"uid_map": [(0, 1, 1)], "gid_map": [(0, 1, 1)]}
    limits = {"cpus": 1, "memory": 1, "pids_limit": 1, "blkio_weight": 10}
    limits["hugepage_limits"] = {"2MB": 1}  # type: ignore[assignment]
    labels = {"apparmor": "a", "selinux_label": "b", "rdt_class": "c", "sysctls": {"a": "b"}}
    made = spec(
        **(maps | limits | labels),
        terminal=True,
        terminal_size=(1, 2),
        umask=0,
        cap_ambient=["KILL"],
        oom_score_adj=1,
        hostname="x",
        domainname="y",
        annotations={"a": "b"},
        devices=["/dev/null"],
        seccomp="default",
        read_only=True,
        rootfs_propagation="slave",
    )
    assert unknown_fields(made, RuntimeSpec) == []


def unknown_fields(value: Any, kind: Any) -> list[str]:
    """The names of fields that a type of the runtime spec lacks."""
    found = []
    for name, item in value.items():
        if name not in kind.__annotations__:
            found.append(name)
            continue
        names = re.findall(r"\w+Fields", str(kind.__annotations__[name]))
        for below in item if isinstance(item, list) else [item]:
            if names:
                found += unknown_fields(below, getattr(runtime_spec, names[0]))
    return found
