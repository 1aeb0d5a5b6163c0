"""Networks and what may be asked of them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from containerd_lite.errors import InvalidArgument, NotFound
from containerd_lite.runtime.network.network import Network, PortMapping

CONFIG: dict[str, Any] = {
    "cniVersion": "1.0.0",
    "name": "web",
    "plugins": [
        {"type": "bridge", "capabilities": {"ips": True, "mac": True, "aliases": False}},
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ],
}


def write(folder: Path, file: str, **changes: object) -> None:
    (folder / file).write_text(json.dumps({**CONFIG, **changes}))


def test_a_network_by_its_name_and_the_only_one(tmp_path: Path) -> None:
    write(tmp_path, "10-web.conflist")
    (tmp_path / "README").write_text("no configuration")
    one = Network.load("web", folder=tmp_path, plugins=["/p"])
    assert (
        one == Network.load(folder=tmp_path, plugins=["/p"]) == Network.of(CONFIG, plugins=["/p"])
    )
    assert (one.name, one.folders) == ("web", (Path("/p"),))
    write(tmp_path, "20-db.conflist", name="db")
    assert Network.load("db", folder=tmp_path).name == "db"
    with pytest.raises(InvalidArgument, match=r"web \(10-web.conflist\), db \(20-db.conflist\)"):
        Network.load(folder=tmp_path)
    with pytest.raises(NotFound, match=r"no network 'cache' in .*: the folder has only web, db"):
        Network.load("cache", folder=tmp_path)


def test_two_files_of_one_name_are_ambiguous(tmp_path: Path) -> None:
    write(tmp_path, "1.conflist")
    write(tmp_path, "2.conflist")
    with pytest.raises(InvalidArgument, match="several files for network"):
        Network.load("web", folder=tmp_path)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no configuration files"):
        Network.load(folder=tmp_path)
    with pytest.raises(NotFound, match="No such file"):
        Network.load(folder=tmp_path / "nowhere")


def test_a_broken_file_matters_where_it_may_be_meant(tmp_path: Path) -> None:
    write(tmp_path, "2.conflist")
    (tmp_path / "1.conflist").write_text("{")
    assert Network.load("web", folder=tmp_path).name == "web"
    for name in (None, "db"):
        with pytest.raises(InvalidArgument, match=r"1\.conflist is not valid JSON"):
            Network.load(name, folder=tmp_path)


def test_one_plugin_alone(tmp_path: Path) -> None:
    (tmp_path / "lo.conf").write_text('{"cniVersion": "0.3.1", "name": "lo", "type": "loopback"}')
    config = Network.load("lo", folder=tmp_path).config
    assert [plugin["type"] for plugin in config.plugins] == ["loopback"]
    made = config.for_plugin(config.plugins[0], {}, None)
    assert made == {"cniVersion": "0.3.1", "name": "lo", "type": "loopback"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"cniVersion": "0.2.0"}, "CNI version '0.2.0'"),
        ({"cniVersion": None}, "CNI version ''"),
        ({"name": None}, "no 'name'"),
        ({"name": "../x"}, "cannot be the name of a network"),
        ({"name": "x" * 256}, "cannot be the name of a network"),
        ({"plugins": []}, "no plugins"),
        ({"plugins": {}}, "not a list"),
        ({"plugins": [{"type": "/bin/sh"}]}, "'/bin/sh' cannot be a plugin's name"),
        ({"plugins": [{"type": ".."}]}, "cannot be a plugin's name"),
        ({"plugins": [{"Type": "sh"}]}, "ambiguous"),
        ({"plugins": [{"type": "x", "pad": "x" * (256 << 10)}]}, "more than the 262144"),
        ({"plugins": [{"type": object()}]}, "not valid JSON"),
    ],
)
def test_what_no_network_can_be(changes: dict[str, object], words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        Network.of({**CONFIG, **changes})


def test_a_fifo_does_not_hold_us(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "1.conflist")
    (tmp_path / "2.conflist").mkdir()
    with pytest.raises(InvalidArgument, match=r"1\.conflist is not a regular file"):
        Network.load(folder=tmp_path)


def test_folders_are_whole_paths() -> None:
    for folder in ("bin", "/a:/b"):
        with pytest.raises(InvalidArgument, match="folder of CNI plugins"):
            Network.of(CONFIG, plugins=[folder])


def test_options_reach_the_plugins_that_take_them() -> None:
    asked = Network.of(CONFIG).with_options(
        ips=["10.0.0.9/24", "fd00::9"], mac="02:00:00:00:00:09", ports=[PortMapping(8080, 80)]
    )
    bridge, portmap = asked.config.plugins
    given = asked.config.for_plugin(bridge, asked.runtime_config, None)
    assert given["runtimeConfig"] == {"ips": ["10.0.0.9/24", "fd00::9"], "mac": "02:00:00:00:00:09"}
    assert "capabilities" not in given
    assert asked.config.for_plugin(portmap, asked.runtime_config, {"ips": []}) == {
        "cniVersion": "1.0.0",
        "name": "web",
        "type": "portmap",
        "runtimeConfig": {
            "portMappings": [
                {"hostPort": 8080, "containerPort": 80, "protocol": "tcp", "hostIP": ""}
            ]
        },
        "prevResult": {"ips": []},
    }


def test_options_that_nobody_takes() -> None:
    plain = Network.of({**CONFIG, "plugins": [{"type": "bridge", "capabilities": {"ips": False}}]})
    with pytest.raises(InvalidArgument, match="network web supports ips, portMappings"):
        plain.with_options(ips=["10.0.0.9"], ports=[PortMapping(8080, 80)])
    assert plain.with_options() == plain


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8080:80", PortMapping(8080, 80)),
        ("8080:80/udp", PortMapping(8080, 80, "udp")),
        ("127.0.0.1:8080:80", PortMapping(8080, 80, host_ip="127.0.0.1")),
        ("[::1]:8080:80/sctp", PortMapping(8080, 80, "sctp", "::1")),
    ],
)
def test_ports_as_texts(text: str, expected: PortMapping) -> None:
    assert PortMapping.parse(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "80", ":80", "80:", "a:80", "80:-1", "80:+1", "0:80", "80:65536", "80:80/", "80:80/icmp",
     "localhost:80:80", "80:80:80", "²:80"],
)  # fmt: skip
def test_texts_that_are_no_ports(text: str) -> None:
    with pytest.raises(InvalidArgument):
        PortMapping.parse(text)


def test_options_that_are_none() -> None:
    network = Network.of(CONFIG)
    for ips in (["10.0.0.256"], ["10.0.0.1/33"], ["host"]):
        with pytest.raises(InvalidArgument, match="not an IP address"):
            network.with_options(ips=ips)
    with pytest.raises(InvalidArgument, match="not a MAC address"):
        network.with_options(mac="02:00:00:00:00")
    for wrong in ((0, 80), (80, 65536), (80, 80, "icmp"), (80, 80, "tcp", "localhost")):
        with pytest.raises(InvalidArgument):
            PortMapping(*wrong)
