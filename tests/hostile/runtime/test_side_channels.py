"""Files of the kernel by which a container could watch the rest of the machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from containerd_lite import Client
from containerd_lite.images.image import Image
from containerd_lite.runtime.runtime_backend import RuntimeBackend
from containerd_lite.runtime.spec.host import cpu_paths
from containerd_lite.runtime.spec.specs import make_spec


def masked(**given: Any) -> list[str]:
    spec: Any = make_spec("ns", "id", None, ["x"], **given)
    paths: list[str] = spec["linux"]["maskedPaths"]
    return paths


def thermal(number: int) -> str:
    return f"/sys/devices/system/cpu/cpu{number}/thermal_throttle"


@pytest.mark.parametrize("is_remote", [False, True])
def test_interrupts_are_masked(is_remote: bool) -> None:
    assert "/proc/interrupts" in masked(is_remote=is_remote)


def test_the_temperature_of_each_cpu_of_this_machine_is_masked(tmp_path: Path) -> None:
    for name in ("cpu0", "cpu10", "cpu2", "cpufreq", "cpu-1", "cpux1"):
        (tmp_path / name / "thermal_throttle").mkdir(parents=True)
    (tmp_path / "cpu3").mkdir()
    assert cpu_paths(folder=tmp_path) == [thermal(0), thermal(2), thermal(10)]
    assert cpu_paths(folder=tmp_path / "absent") == []
    assert set(cpu_paths()) <= set(masked())
    assert len(masked()) == 12 + len(cpu_paths())


def test_a_machine_elsewhere_may_have_many_cpus() -> None:
    assert {thermal(0), thermal(1023)} <= set(masked(is_remote=True))


@pytest.mark.parametrize(
    ("address", "is_remote"),
    [("unix:///x", False), ("/x", False), ("unix-abstract:x", False), ("tcp://127.0.0.1:1", True)],
)
def test_the_address_says_where_the_daemon_is(address: str, is_remote: bool) -> None:
    unused: Any = None
    with Client(address, tls=False if is_remote else None) as client:
        assert RuntimeBackend(client, lambda: unused, client._operations).is_remote == is_remote


@pytest.mark.daemon
@pytest.mark.registry
@pytest.mark.generations
def test_a_container_cannot_read_them(client: Client, busybox: str) -> None:
    image: Image = client.pull(busybox)
    command = "cat /proc/interrupts /sys/devices/system/cpu/cpu*/thermal_throttle/* 2>/dev/null"
    assert client.run(image, ["sh", "-c", f"{command}; echo end"]).stdout == b"end\n"
    many = client.run(
        image, ["sh", "-c", command + "; echo end"], masked_paths=masked(is_remote=True)
    )
    assert many.stdout == b"end\n"
