"""Options in real containers, which report what they see."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from containerd_lite import Client
from containerd_lite.errors import ContainerdError, NotFound
from containerd_lite.images.image import Image
from containerd_lite.oci.spec import Mount
from containerd_lite.runtime.spec import cdi
from containerd_lite.runtime.spec.options import ContainerOptions
from tests.harness.daemon import Daemon

pytestmark = [pytest.mark.daemon, pytest.mark.registry, pytest.mark.usefixtures("nothing_left")]

CGROUPS = "/sys/fs/cgroup"


@pytest.fixture
def image(client: Client, busybox: str) -> Image:
    return client.pull(busybox)


def sections(output: bytes) -> dict[str, str]:
    """What a script wrote after each line ``== name``."""
    parts = re.split(r"^== (.+)\n", output.decode(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], (part.strip() for part in parts[2::2]), strict=True))


def script(**commands: str) -> list[str]:
    """A shell that runs each command under its name."""
    lines = (f"echo '== {name}'; {command}" for name, command in commands.items())
    return ["-c", "; ".join(lines)]


def status(text: str) -> dict[str, str]:
    """The fields of /proc/self/status."""
    return {key: value.strip() for key, _, value in map(_split, text.splitlines())}


def _split(line: str) -> tuple[str, str, str]:
    return line.partition(":")


def test_process(client: Client, image: Image, tmp_path: Path) -> None:
    (tmp_path / "env").write_text("A=file\nB=file\n# no comment=here\n\nBARE\n")
    commands = script(
        env="tr '\\0' '\\n' </proc/1/environ",
        who="id -u; id -g; id -G",
        pwd="pwd",
        status="cat /proc/self/status",
        files="ulimit -Sn; ulimit -Hn",
        processes="ulimit -Hu",
        oom="cat /proc/self/oom_score_adj",
    )
    done = client.run(
        image,
        commands,
        entrypoint=["sh"],
        env={"A": "given"},
        env_files=[tmp_path / "env"],
        cwd="/tmp",
        user="0:7",
        groups=["8", "9"],
        cap_add=["NET_ADMIN"],
        cap_drop=["all"],
        no_new_privileges=False,
        rlimits={"nofile": (100, 200), "RLIMIT_NPROC": 77},
        oom_score_adj=321,
        seccomp="default",
    )
    seen = sections(done.stdout)
    env = seen["env"].splitlines()
    assert {"A=given", "B=file", "# no comment=here", "PATH=/bin"} <= set(env)
    assert not any(line.startswith("BARE") for line in env)
    assert seen["who"].split() == ["0", "7", "7", "8", "9"]
    assert seen["pwd"] == "/tmp"
    assert (seen["files"], seen["processes"], seen["oom"]) == ("100\n200", "77", "321")
    process = status(seen["status"])
    assert int(process["CapBnd"], 16) == int(process["CapEff"], 16) == 1 << 12
    assert (process["NoNewPrivs"], process["Seccomp"]) == ("0", "2")


def test_files(client: Client, image: Image, tmp_path: Path) -> None:
    (tmp_path / "hello").write_text("from outside\n")
    commands = script(
        read="cat /in/hello; cat /also/hello",
        write="touch /in/x 2>/dev/null || echo refused; touch /also/y && echo written",
        root="touch /z 2>/dev/null || echo refused",
        tmpfs="grep ' /scratch ' /proc/mounts; grep ' /run ' /proc/mounts",
        devices="ls -ln /dev/inside /dev/zero",
        device="head -c 3 /dev/inside | wc -c; echo x >/dev/inside || echo refused",
        masked="ls /proc/fs | wc -l; cat /sys/kernel/uevent_seqnum | wc -c",
        readonly="touch /etc 2>/dev/null; echo 1 >/proc/sys/kernel/msgmax || echo refused",
        hosts="cat /etc/hosts",
    )
    done = client.run(
        image,
        ["sh", *commands],
        mounts=[
            f"type=bind,src={tmp_path},dst=/in,options=rbind:ro",
            Mount("/also", str(tmp_path)),
        ],
        tmpfs={"/scratch": "size=64k,mode=700", "/run": ""},
        devices=["/dev/zero:/dev/inside:r"],
        read_only=True,
        masked_paths=["/proc/fs", "/sys/kernel/uevent_seqnum"],
        readonly_paths=["/proc/sys"],
        host_files=["hosts"],
    )
    seen = sections(done.stdout)
    assert seen["read"] == "from outside\nfrom outside"
    assert seen["write"].split() == ["refused", "written"]
    assert (tmp_path / "y").exists()
    assert seen["root"] == "refused"
    scratch, run = seen["tmpfs"].splitlines()
    assert re.search(r"tmpfs rw,nosuid,nodev,noexec,.*size=64k,mode=700", scratch)
    assert "noexec" in run
    assert re.search(r"^crw-rw-rw-.* 1, +5 .*/dev/inside$", seen["devices"], re.MULTILINE)
    assert seen["device"].split()[0] == "3"
    assert seen["masked"].split() == ["0", "0"]
    assert "refused" in seen["readonly"]
    assert seen["hosts"] == Path("/etc/hosts").read_text().strip()


@pytest.mark.generations
@pytest.mark.skipif(
    not Path(f"{CGROUPS}/memory").is_dir(), reason="the files of cgroup v1 are looked at"
)
def test_limits_and_namespaces(client: Client, image: Image, namespace: str) -> None:
    controllers = ("cpu", "cpuset", "memory", "pids", "blkio")
    binds = [
        Mount(f"/cg/{name}", f"{CGROUPS}/{name}", options=["rbind", "ro"]) for name in controllers
    ]
    place = f"{namespace}/above/limits"
    files = {
        "cpu": ("cpu.cfs_quota_us", "cpu.cfs_period_us", "cpu.shares"),
        "cpuset": ("cpuset.cpus",),
        "memory": (
            "memory.limit_in_bytes",
            "memory.soft_limit_in_bytes",
            "memory.memsw.limit_in_bytes",
            "memory.swappiness",
        ),
        "blkio": ("blkio.bfq.weight",),
        "pids": ("pids.max",),
    }
    looks = [f"cat /cg/{name}/{place}/{file}" for name, some in files.items() for file in some]
    commands = script(
        limits="; ".join(looks),
        names="hostname; cat /proc/sys/kernel/domainname",
        sysctl="cat /proc/sys/kernel/shm_rmid_forced",
        net="ls /sys/class/net",
        ns="for kind in net ipc cgroup; do readlink /proc/self/ns/$kind; done",
    )
    done = client.run(
        image,
        ["sh", *commands],
        id="limits",
        cgroup_parent=f"/{namespace}/above",
        mounts=binds,
        cpus=0.5,
        cpu_shares=300,
        cpuset_cpus="0",
        memory=64 << 20,
        memory_reservation=32 << 20,
        memory_swap=96 << 20,
        memory_swappiness=10,
        blkio_weight=200,
        pids_limit=50,
        hostname="lite",
        domainname="example.test",
        sysctls={"kernel.shm_rmid_forced": "1"},
        namespaces={"cgroup": "private"},
        network="none",
        annotations={"a": "b"},
    )
    seen = sections(done.stdout)
    sizes = [str(size << 20) for size in (64, 32, 96)]
    assert seen["limits"].split() == ["50000", "100000", "300", "0", *sizes, "10", "200", "50"]
    assert seen["names"].split()[0] == "lite"
    assert seen["sysctl"] == "1"
    assert seen["net"] == "lo"
    own = [str(Path(f"/proc/self/ns/{kind}").readlink()) for kind in ("net", "ipc", "cgroup")]
    inside = seen["ns"].split()
    assert [name.partition(":")[0] for name in inside] == ["net", "ipc", "cgroup"]
    assert not set(inside) & set(own)


@pytest.mark.generations
def test_what_go_and_docker_have_options_for(
    daemon: Daemon, client: Client, image: Image, namespace: str
) -> None:
    """The parent of a cgroup must have real-time, too: so this one is below the root."""
    has_real_time = Path(f"{CGROUPS}/cpu/cpu.rt_runtime_us").exists()
    real_time = {"cpu_rt_period": 500_000, "cpu_rt_runtime": 1000} if has_real_time else {}
    has_burst = Path(f"{CGROUPS}/cpu/cpu.cfs_burst_us").exists()
    place = f"{namespace}-more"
    commands = script(
        status="cat /proc/self/status",
        mask="umask; cd /tmp; touch file; mkdir folder; stat -c %a file folder",
        shm="grep ' /dev/shm ' /proc/mounts",
        run="grep -c -e ' /run ' -e ' /sys ' /proc/mounts",
        burst="cat /cg/cpu.cfs_burst_us",
        real_time="cat /cg/cpu.rt_period_us /cg/cpu.rt_runtime_us",
        end="true",
    )
    options: ContainerOptions = {
        "user": "5",
        "cap_drop": ["all"],
        "cap_ambient": ["NET_ADMIN"],
        "umask": "027",
        "shm_size": "1m",
        "without_mounts": ["/run", "/sys"],
        "tmpfs": {"/tmp": "mode=1777"},
        "cgroup_path": f"/{place}",
        "cpu_quota": 50_000,
        "cpu_burst": 20_000,
        "mounts": [f"{CGROUPS}/cpu:/cg-all:ro"],
        **real_time,  # type: ignore[typeddict-item]
    }
    commands[1] = commands[1].replace("/cg/", f"/cg-all/{place}/")
    done = client.run(image, ["sh", *commands], **options)
    seen = sections(done.stdout)
    process = status(seen["status"])
    assert {int(process[f"Cap{kind}"], 16) for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {
        1 << 12
    }
    assert seen["mask"].split() == ["0027", "640", "750"]
    assert "size=1024k" in seen["shm"]
    assert seen["run"] == "0"
    if has_burst and "runc1.5" in daemon.generation:
        assert seen["burst"] == "20000"
    if has_real_time:
        assert seen["real_time"].split() == ["500000", "1000"]


def test_a_device_of_a_vendor_s_file(
    client: Client, image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "driver").write_text("driver\n")
    edits = {
        "env": ["GPU=0"],
        "deviceNodes": [{"path": "/dev/gpu0", "hostPath": "/dev/zero", "permissions": "r"}],
        "mounts": [
            {"hostPath": f"{tmp_path}/lib", "containerPath": "/gpu", "options": ["ro", "rbind"]}
        ],
    }
    devices = [{"name": "0", "containerEdits": edits}]
    file = {"cdiVersion": "0.6.0", "kind": "vendor.com/gpu", "devices": devices}
    (tmp_path / "gpu.json").write_text(json.dumps(file))
    monkeypatch.setattr(cdi, "FOLDERS", (str(tmp_path),))
    script = "echo $GPU; cat /gpu/driver; head -c 3 /dev/gpu0 | wc -c; ls -ln /dev/gpu0"
    done = client.run(image, ["sh", "-c", script], devices=["vendor.com/gpu=0"], user="5")
    zero, driver, size, node = done.stdout.decode().splitlines()
    assert (zero, driver, size) == ("0", "driver", "3")
    assert re.match(r"c\S+ +1 5 +0 +1, +5 ", node)  # it belongs to the user of the process
    with pytest.raises(NotFound, match=r"vendor\.com/gpu=1 is in no file"):
        client.run(image, ["true"], devices=["vendor.com/gpu=1"])


@pytest.mark.generations
def test_ambient_capabilities_of_an_added_process(
    daemon: Daemon, client: Client, image: Image
) -> None:
    """runc 1.1 gives added processes a umask of its own."""
    options: ContainerOptions = {"user": "5", "umask": 0o77}
    with client.popen(image, ["sleep", "1000"], **options) as running:
        container = running.container
        argv = ["sh", "-c", "umask; grep CapAmb /proc/self/status"]
        done = container.exec(argv, cap_ambient=["NET_ADMIN"])
        mask = b"0077" if "runc1.5" in daemon.generation else b"0022"
        assert done.stdout.split() == [mask, b"CapAmb:", b"0000000000001000"]


@pytest.mark.parametrize(
    ("options", "reason", "kernel_part"),
    [
        ({"hugepage_limits": {"2MB": 4 << 20}}, "hugetlb limit", f"{CGROUPS}/hugetlb"),
        ({"selinux_label": "system_u:system_r:container_t:s0"}, "selinux", "/sys/fs/selinux"),
        ({"apparmor": "lite"}, "apparmor", "/sys/kernel/security/apparmor"),
    ],
)
def test_what_the_kernel_lacks_is_refused(
    client: Client, image: Image, options: ContainerOptions, reason: str, kernel_part: str
) -> None:
    """runc has read it in the spec, and says so: no machine of the tests has these."""
    if Path(kernel_part).exists():
        pytest.skip(f"this kernel has {kernel_part}")
    with pytest.raises(ContainerdError, match=f"runc create failed: .*{reason}"):
        client.run(image, ["true"], **options)


@pytest.mark.generations
@pytest.mark.skipif(Path("/sys/fs/selinux").exists(), reason="this kernel has SELinux")
def test_the_label_of_its_mounts_goes_to_the_root(
    daemon: Daemon, client: Client, image: Image
) -> None:
    """A kernel without SELinux does not know the option; all but 1.7 and 2.0 tell which it was."""
    label = "system_u:object_r:container_file_t:s0"

    def add(spec: dict[str, Any]) -> None:
        spec["linux"]["mountLabel"] = label

    with pytest.raises(ContainerdError, match=r"mount rootfs component.*invalid argument") as told:
        client.run(image, ["true"], edit=add)
    if not (1, 7) <= daemon.version_info < (2, 1):
        assert f'context="{label}"' in str(told.value).replace("\\", "")


def test_the_hosts_own(client: Client, image: Image) -> None:
    commands = script(
        ns="for kind in net ipc; do readlink /proc/self/ns/$kind; done",
        env="env",
        resolv="cat /etc/resolv.conf",
        status="cat /proc/self/status",
        devices="ls /dev/fuse /dev/zero",
        seccomp="mkdir /x 2>&1",
        sys="grep ' /sys ' /proc/mounts",
    )
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}],
    }
    done = client.run(
        image,
        ["sh", *commands],
        privileged=True,
        network="host",
        namespaces={"ipc": "host"},
        seccomp=profile,
    )
    seen = sections(done.stdout)
    own = [str(Path(f"/proc/self/ns/{kind}").readlink()) for kind in ("net", "ipc")]
    assert seen["ns"].split() == own
    assert "HOSTNAME=" in seen["env"]
    assert seen["resolv"] == Path("/etc/resolv.conf").read_text().strip()
    process, mine = (
        status(text) for text in (seen["status"], Path("/proc/self/status").read_text())
    )
    assert process["CapBnd"] == mine["CapBnd"]
    assert set(seen["devices"].split()) >= {"/dev/zero"}
    assert "not permitted" in seen["seccomp"]
    assert seen["sys"].split()[3].startswith("rw")


def test_a_spec_of_ones_own_and_an_edit(client: Client, image: Image, namespace: str) -> None:
    spec = {
        "ociVersion": "1.0.2",
        "process": {"args": ["id", "-u"], "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 5}},
        "root": {"path": "rootfs"},
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
        "linux": {
            "cgroupsPath": f"/{namespace}/own",
            "namespaces": [{"type": "mount"}, {"type": "pid"}],
        },
    }
    assert client.run(image, spec=spec).stdout == b"5\n"
    assert client.run(image, ["echo", "x"], spec=spec, user="6").stdout == b"x\n"

    def rename(document: dict[str, object]) -> None:
        document["hostname"] = "edited"

    assert client.run(image, ["hostname"], edit=rename).stdout == b"edited\n"


def test_a_word_that_is_no_option(client: Client, image: Image) -> None:
    with pytest.raises(TypeError, match="unknown option memmory"):
        client.run(image, ["true"], memmory=1)  # type: ignore[call-overload]
