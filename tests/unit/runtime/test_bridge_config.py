"""The configuration of the default bridge: its subnet, its plugins, and who makes it."""

from __future__ import annotations

import json
import subprocess
import sys
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from containerd_lite.errors import FailedPrecondition, InvalidArgument, NotFound, ResourceExhausted
from containerd_lite.runtime.network.cni_plugin import has_program
from containerd_lite.runtime.network.network import Network
from containerd_lite.runtime.network.subnets import free_subnet, taken_subnets

_ROUTE = """\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0
tun0\t0000530A\t00000000\t0001\t0\t0\t0\t00F8FFFF\t0\t0\t0
"""
_TRIE = """\
Id 100:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     |-- 10.83.8.0
        /22 link UNICAST
        /32 link BROADCAST
     |-- 10.83.13.7
        /32 host LOCAL
"""


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CONTAINERD_LITE_STATE", f"{tmp_path}/own")
    return tmp_path / "own"


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with programs that have the plugins' names, in the default place of plugins."""
    folder = tmp_path / "plugins"
    folder.mkdir()
    for name in ("bridge", "host-local", "portmap", "iptables"):
        (folder / name).symlink_to("/bin/true")
    monkeypatch.setenv("CNI_PATH", f"/nowhere:{folder}")
    monkeypatch.setenv("PATH", str(folder))
    return folder


def subnet(network: Network) -> object:
    plugin = network.config.plugins[0]
    ipam = plugin["ipam"]
    assert isinstance(ipam, dict)
    return ipam["ranges"][0][0]["subnet"]


def test_a_subnet_beside_all_routes_and_addresses(tmp_path: Path) -> None:
    (tmp_path / "route").write_text(_ROUTE)
    assert free_subnet(taken_subnets(tmp_path)) == IPv4Network("10.83.8.0/22")
    (tmp_path / "fib_trie").write_text(_TRIE)
    assert free_subnet(taken_subnets(tmp_path)) == IPv4Network("10.83.16.0/22")
    assert IPv4Network("10.83.13.7/32") in set(taken_subnets(tmp_path))


@pytest.mark.parametrize(
    ("taken", "found"),
    [
        ([], "10.83.0.0/22"),
        (["0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/1"], "10.83.0.0/22"),  # default routes
        (["10.0.0.0/8"], "172.30.0.0/22"),
        (["10.83.0.255/32", "10.83.4.0/30"], "10.83.8.0/22"),
        (["10.0.0.0/8", "172.16.0.0/12", "192.168.128.0/18"], "192.168.192.0/22"),
    ],
)
def test_the_first_subnet_that_is_free(taken: list[str], found: str) -> None:
    assert free_subnet(map(IPv4Network, taken)) == IPv4Network(found)


def test_no_subnet_is_free(tmp_path: Path) -> None:
    wide = map(IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"))
    with pytest.raises(ResourceExhausted, match=r"no free subnet of 10\.83\.0\.0/16"):
        free_subnet(wide)
    with pytest.raises(FailedPrecondition, match="the routes of this machine cannot be read"):
        list(taken_subnets(tmp_path))


def test_the_bridge_is_made_once_and_stays(plugins: Path, state: Path) -> None:
    made = Network.bridge()
    assert IPv4Network(str(subnet(made))).is_private
    assert [plugin["type"] for plugin in made.config.plugins] == ["bridge", "portmap"]
    assert made.config.plugins[0]["ipMasq"] is True
    (plugins / "firewall").symlink_to("/bin/true")
    assert Network.bridge() == made
    file = state / "networks" / "bridge.conflist"
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    file.write_text(json.dumps(made.json()["network"]).replace(str(subnet(made)), "10.1.0.0/24"))
    assert subnet(Network.bridge()) == "10.1.0.0/24"
    Network.remove_bridge()
    Network.remove_bridge()
    assert [plugin["type"] for plugin in Network.bridge().config.plugins][1] == "firewall"


def test_many_processes_make_one_bridge(plugins: Path, state: Path, tmp_path: Path) -> None:
    """Half of them find a firewall, and would make another one."""
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "firewall").symlink_to("/bin/true")
    script = (
        "import sys; from containerd_lite import Network; print(flush=True); sys.stdin.read()\n"
        "print(Network.bridge(plugins=sys.argv[1:]).config.json())"
    )
    folders = ([plugins], [plugins, tmp_path / "more"])
    programs = [
        subprocess.Popen(
            [sys.executable, "-c", script, *folders[number % 2]],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for number in range(4)
    ]
    for program in programs:
        assert program.stdout is not None
        assert program.stdout.readline() == b"\n"
    for program in programs:
        assert program.stdin is not None
        program.stdin.close()
    said = set()
    for program in programs:
        with program:
            assert program.stdout is not None
            said.add(program.stdout.read())
            assert program.wait(30) == 0
    assert len(said) == 1
    assert len(list((state / "networks").iterdir())) == 1


def test_leases_keep_the_bridge(plugins: Path, state: Path) -> None:
    Network.bridge()
    leases = state / "networks" / "leases" / "bridge"
    leases.mkdir(parents=True)
    (leases / "lock").touch()
    (leases / "10.83.0.2").write_text("default--web\r\neth0")
    with pytest.raises(FailedPrecondition, match=r"connected to the bridge network: 10\.83\.0\.2"):
        Network.remove_bridge()
    Network.remove_bridge(force=True)
    assert list((state / "networks").iterdir()) == [leases.parent]


@pytest.mark.parametrize("missing", ["bridge", "host-local", "portmap", "iptables"])
def test_what_to_install(plugins: Path, state: Path, missing: str) -> None:
    (plugins / missing).unlink()
    if missing == "iptables" and any(map(has_program, ("iptables", "nft"))):
        pytest.skip("iptables is installed in a folder that plugins search")
    with pytest.raises(NotFound, match=rf"{missing}.*Install") as caught:
        Network.bridge()
    assert "containernetworking-plugins" in caught.value.remedy or missing == "iptables"
    assert not state.exists()


def test_a_file_that_is_broken_is_named(plugins: Path, state: Path) -> None:
    Network.bridge()
    (state / "networks" / "bridge.conflist").write_text("{")
    with pytest.raises(InvalidArgument, match=r"bridge\.conflist is not valid JSON"):
        Network.bridge()
