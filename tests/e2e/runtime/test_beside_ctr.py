"""The same containers run by us and by ``ctr``: they see the same, and say so."""

from __future__ import annotations

import re
from typing import Any

import pytest

from containerd_lite import Client
from containerd_lite.images.image import Image
from containerd_lite.runtime.spec.host import cpu_paths
from tests.e2e.runtime.conftest import hides_heat
from tests.harness.daemon import Daemon

pytestmark = [
    pytest.mark.daemon,
    pytest.mark.registry,
    pytest.mark.generations,
    pytest.mark.usefixtures("nothing_left"),
]

#: All that a process can easily tell of what it was given.
_REPORT = """
exec 2>&1
id; pwd; umask; tty; env | sort
grep -E 'Cap|NoNewPrivs|Seccomp:|Groups' /proc/self/status
for kind in cgroup ipc mnt net pid user uts; do readlink /proc/self/ns/$kind | sed 's/:.*//'; done
ls -l /dev | awk '{print $1, $3, $4, $NF}' | sort
awk '{print $2, $3, $4}' /proc/mounts | sort
ulimit -a
cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/hostname
touch /x && echo can write
cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/cpu/cpu.shares
cat /proc/self/cgroup
echo the end
"""
CASES: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "nothing": ((), {}),
    "process": (
        ("--env", "A=b c", "--cwd", "/tmp", "--cap-add", "CAP_SYS_TIME", "--cap-drop", "CAP_KILL",
         "--allow-new-privs"),
        {"env": {"A": "b c"}, "cwd": "/tmp", "cap_add": ["SYS_TIME"], "cap_drop": ["KILL"],
         "no_new_privileges": False},
    ),
    "mounts": (
        ("--mount", "type=tmpfs,src=tmpfs,dst=/here,options=size=1m", "--read-only",
         "--device", "/dev/null"),
        {"mounts": ["type=tmpfs,src=tmpfs,dst=/here,options=size=1m"], "read_only": True,
         "devices": ["/dev/null"]},
    ),
    "limits": (
        ("--memory-limit", "64000000", "--cpu-shares", "512"),
        {"memory": 64_000_000, "cpu_shares": 512},
    ),
    "seccomp": (("--seccomp",), {"seccomp": "default"}),
    "host's network": (("--net-host",), {"network": "host"}),
    "privileged": (("--privileged",), {"privileged": True}),
}  # fmt: skip


@pytest.mark.turns(2)
@pytest.mark.parametrize("name", CASES)
def test_it_sees_what_ctr_s_sees(
    daemon: Daemon, namespace: str, client: Client, image: Image, name: str
) -> None:
    flags, options = CASES[name]
    args = ["sh", "-c", _REPORT]
    theirs = b""
    while not theirs.endswith(b"the end\n"):  # ctr sometimes ends before it has copied the output
        theirs = daemon.run(image.name, *args, id="same", flags=flags, namespace=namespace)
    ours = client.run(image, args, id="same", **options)
    assert ours.exit_code == 0
    assert len(_lines(ours.stdout)) > 60
    hidden = () if hides_heat(daemon) else ("/proc/interrupts ", *(f"{at} " for at in cpu_paths()))
    assert _lines(ours.stdout, hidden) == _lines(theirs, hidden)


def _lines(said: bytes, hidden: tuple[str, ...] = ()) -> list[str]:
    """What was said, without the numbers by which mounts and users of one machine differ.

    Not every generation's ctr hides what we do: lines that begin so are left out.
    """
    return [
        re.sub(r"(lowerdir|upperdir|workdir)=\S+", r"\1", line)
        for line in said.decode().splitlines()
        if not line.startswith(hidden)
    ]
