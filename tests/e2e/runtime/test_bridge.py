"""Containers with names, addresses and ports: on the default bridge, and on other networks."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from containerd_lite import Client
from containerd_lite.errors import FailedPrecondition
from containerd_lite.images.image import Image
from containerd_lite.runtime.container import Container
from containerd_lite.runtime.network.network import Network
from tests.harness import Unavailable, cni
from tests.harness.cni import bridge
from tests.harness.daemon import Daemon

pytestmark = [pytest.mark.daemon, pytest.mark.registry, pytest.mark.usefixtures("nothing_left")]

_SCRIPT = "cat /etc/hosts; echo -; cat /etc/hostname /etc/resolv.conf; hostname"


@pytest.fixture
def folder(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The package's folder; no files of a container stay in it."""
    daemon.folder.chmod(0o711)  # whoever is root in a user namespace comes by
    folder = daemon.folder / "own"
    monkeypatch.setenv("CONTAINERD_LITE_STATE", str(folder))
    try:
        yield folder
        assert list(folder.glob("containers/*")) == []
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def machine(
    client: Client, busybox: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Image]:
    """The plugins' machine, with iptables; the image was pulled on the real one."""
    image = client.pull(busybox)
    try:
        with cni.machine_with_iptables(tmp_path) as environment:
            for name, value in environment.items():
                monkeypatch.setenv(name, value)
            yield image
    except Unavailable as reason:
        pytest.skip(f"CNI plugins: {reason}")


def files(container: Container) -> tuple[list[str], list[str]]:
    """The lines of /etc/hosts that the container alone has, and those of the other files."""
    done = container.exec(["sh", "-c", _SCRIPT], check=True)
    hosts, _, others = done.stdout.decode().partition("-\n")
    return hosts.splitlines()[4:], others.splitlines()


def test_the_default_bridge(client: Client, machine: Image, folder: Path) -> None:
    cni.said("ip", "link", "add", "other", "type", "bridge")
    cni.said("ip", "link", "set", "other", "up")
    cni.said("ip", "addr", "add", "10.83.1.7/16", "dev", "other")
    serving = ["sh", "-c", "while :; do nc -l -p 80 -e echo hello; done"]
    with client.run(
        machine,
        serving,
        detach=True,
        id="web",
        network="bridge",
        ports=["8080:80"],
        extra_hosts={"db": "192.0.2.7", "machine": "host-gateway"},
        dns=["192.0.2.53"],
        dns_search=["example"],
        dns_options=["ndots:2"],
    ) as web:
        assert files(web) == (
            ["192.0.2.7\tdb", "172.30.0.1\tmachine", "172.30.0.2\tweb"],
            ["web", "nameserver 192.0.2.53", "search example", "options ndots:2", "web"],
        )
        rules = cni.said("iptables", "-t", "nat", "-S")
        assert "--dport 8080 -j DNAT --to-destination 172.30.0.2:80" in rules
        assert "! -d 224.0.0.0/4 -m comment" in rules  # what leaves the machine is masqueraded
        place = ["-a", client.address, "-n", client.namespace]
        fetched = subprocess.run(
            [
                *(sys.executable, "-m", "containerd_lite", *place, "run", "--network", "bridge"),
                *("--dns", "::1", "--add-host", "machine:host-gateway", machine.name),
                *("nc", "machine", "8080"),
            ],
            capture_output=True,
            timeout=50,
        )
        assert fetched.stdout == b"hello\n"
        traffic = web.task().stats().network
        assert traffic is not None
        assert traffic.rx_packets > 1
        assert traffic.tx_bytes > len(b"hello\n")
        with pytest.raises(FailedPrecondition, match=r"172\.30\.0\.2"):
            Network.remove_bridge()
        web.restart(timeout=0)
        assert files(web)[0][-1].endswith("\tweb")
        web.stop(timeout=0)
    made = Network.bridge()
    cni.said("ip", "addr", "add", "172.30.9.9/16", "dev", "other")
    assert Network.bridge() == made
    Network.remove_bridge()
    assert "containerd-lite" not in cni.said("ip", "-o", "link")
    assert "192.168.128.0/22" in str(Network.bridge().json())


def test_the_files_of_a_container_on_networks(
    client: Client, machine: Image, folder: Path, tmp_path: Path
) -> None:
    config = bridge("web", tmp_path)
    config["plugins"][0]["dns"] = {"nameservers": ["192.0.2.99"], "search": ["corp"]}
    web = Network.of(config, plugins=[cni.plugins()])
    (tmp_path / "mine").write_text("my own\n")
    with client.run(
        machine,
        ["sleep", "1000"],
        detach=True,
        network=[web, Network.of(bridge("db", tmp_path, "10.98.0.0/24"), plugins=web.folders)],
        hostname="box",
        domainname="example",
        uid_map=[(0, 100000, 65536)],
        gid_map=[(0, 100000, 65536)],
    ) as container:
        assert files(container) == (
            ["10.99.0.2\tbox.example box", "10.98.0.2\tbox.example box"],
            ["box", "nameserver 192.0.2.99", "search corp", "box"],
        )
        container.checkpoint("saved", task=False)
        container.stop(timeout=0)
    # The restored container is on no network: it needs no files that are gone, and no trust.
    restored = client.restore("again", "saved")
    assert "/etc/hosts" not in str(restored.spec()["mounts"])
    restored.delete()
    client.image_service.delete("saved")
    done = client.run(
        machine,
        ["sh", "-c", "cat /etc/hosts; grep -c /etc/resolv.conf /proc/mounts; : > /etc/hostname"],
        network=web,
        mounts=[f"{tmp_path}/mine:/etc/hosts:ro"],
        read_only=True,
    )
    assert done.stdout == b"my own\n1\n"
    assert b"Read-only" in done.stderr
