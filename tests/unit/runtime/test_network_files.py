"""The resolv.conf of a container, and the names that its hosts file cannot have."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from containerd_lite.errors import FailedPrecondition, InvalidArgument
from containerd_lite.oci.document import Document
from containerd_lite.runtime.network.cni import Dns, NetworkResult
from containerd_lite.runtime.network.dns import machine_dns, reachable, resolv_conf
from containerd_lite.runtime.network.network_files import (
    NameOptions,
    NetworkFiles,
    is_network_file,
)


def dns_of(tmp_path: Path, text: str, behind: str | None = None) -> Dns:
    (tmp_path / "resolv.conf").write_text(text)
    if behind is not None:
        (tmp_path / "behind").write_text(behind)
    return machine_dns(tmp_path / "resolv.conf", tmp_path / "behind")


def test_servers_that_only_the_machine_reaches_are_left_out(tmp_path: Path) -> None:
    found = dns_of(
        tmp_path,
        "# nameserver 192.0.2.1\nnameserver 127.0.0.1\nnameserver ::1\nnameserver fe80::1%eth0\n"
        "nameserver 0.0.0.0\nnameserver nonsense\nnameserver\nnameserver 169.254.169.253\n"
        "nameserver 2001:db8::53 # comment\ndomain old\nsearch a.example b.example\n"
        "options ndots:2\noptions rotate\n",
    )
    assert reachable(found) == ("169.254.169.253", "2001:db8::53")
    assert (found.search, found.options) == (("a.example", "b.example"), ("ndots:2", "rotate"))


def test_the_servers_behind_systemd_resolved(tmp_path: Path) -> None:
    stub = "nameserver 127.0.0.53\nsearch stub\n"
    with pytest.raises(FailedPrecondition, match=r"127\.0\.0\.53.*cannot be reached.*dns=\[\]"):
        reachable(dns_of(tmp_path, stub))
    found = dns_of(tmp_path, stub, "nameserver 192.0.2.7\nsearch real\n")
    assert (reachable(found), found.search) == (("192.0.2.7",), ("real",))
    # A leftover of systemd-resolved does not count if the machine asks another server.
    assert dns_of(tmp_path, "nameserver 192.0.2.1\n").nameservers == ("192.0.2.1",)


def test_a_machine_without_dns(tmp_path: Path) -> None:
    found = machine_dns(tmp_path / "none", tmp_path / "none")
    assert (found, reachable(found), resolv_conf(found)) == (Dns(), (), "")


def test_options_come_before_the_network_and_the_network_before_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.1\nsearch home\noptions rotate\n")
    monkeypatch.setattr(machine_dns, "__defaults__", (tmp_path / "resolv.conf", tmp_path))
    network = [Dns(), Dns(("192.0.2.9",), "corp")]
    assert resolv_conf(NameOptions().dns(network)) == "nameserver 192.0.2.9\nsearch corp\n"
    with pytest.raises(FailedPrecondition):
        NameOptions().dns([Dns()])
    for options, text in (
        ({"dns": []}, "search home\noptions rotate\n"),
        ({"dns": ["::1"]}, "nameserver ::1\nsearch home\noptions rotate\n"),
        ({"dns": [], "dns_search": ["."], "dns_options": []}, ""),
    ):
        assert resolv_conf(NameOptions.of(options).dns(())) == text
    changed = NameOptions.of({"dns_search": ["x"], "dns_options": ["ndots:1"]}).dns(network)
    assert resolv_conf(changed) == "nameserver 192.0.2.9\nsearch x\noptions ndots:1\n"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"dns": ["dns.example"]}, "dns cannot be 'dns.example'"),
        ({"dns": [5]}, "dns cannot be 5"),
        ({"dns_search": ["a b"]}, "dns_search cannot be 'a b'"),
        ({"dns_search": ["a\nnameserver 192.0.2.1"]}, "dns_search cannot be"),
        ({"dns_options": [""]}, "dns_options cannot be ''"),
        ({"extra_hosts": {"a b": "192.0.2.1"}}, "extra_hosts cannot be 'a b'"),
        ({"extra_hosts": {"#": "192.0.2.1"}}, "extra_hosts cannot be '#'"),
        ({"extra_hosts": {"a": "192.0.2"}}, "extra_hosts cannot be '192.0.2'"),
    ],
)
def test_values_that_no_file_can_have(options: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        NameOptions.of(options)
    assert str(caught.value).startswith(said)


def test_files_are_written_in_place_and_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONTAINERD_LITE_STATE", f"{tmp_path}/own")
    names = NameOptions.of({"dns": ["192.0.2.1"], "extra_hosts": {"up": "host-gateway"}})
    files = NetworkFiles.new("c", names).with_names_of({"hostname": "box"})
    assert NetworkFiles.read(Document.parse(json.dumps(files.json()).encode(), "x")) == files
    umask = os.umask(0o077)
    try:
        files.write()
    finally:
        os.umask(umask)
    hosts = Path(files.sources["/etc/hosts"])
    before = hosts.stat()
    assert (before.st_mode & 0o777, hosts.parent.stat().st_mode & 0o777) == (0o644, 0o711)
    fields = {"ips": [{"address": "10.1.0.2/24", "gateway": "10.1.0.1"}]}
    files.write([NetworkResult.of(Document(fields, "x"))])
    assert hosts.read_text().splitlines()[4:] == ["10.1.0.1\tup", "10.1.0.2\tbox"]
    assert hosts.stat().st_ino == before.st_ino
    assert is_network_file(str(hosts), "/etc/hosts")
    assert not is_network_file(str(hosts), "/etc/hostname")
    assert not is_network_file("/etc/hosts", "/etc/hosts")
    with pytest.raises(FailedPrecondition, match="no network of the container has a gateway"):
        files.write([NetworkResult()])
    (hosts.parent / "foreign").touch()
    files.remove()
    assert os.listdir(hosts.parent) == ["foreign"]


def test_names_that_no_hosts_file_can_have() -> None:
    with pytest.raises(InvalidArgument, match="hostname cannot be"):
        NetworkFiles.new("c", NameOptions()).with_names_of({"hostname": "a b"})


def test_the_folder_is_an_absolute_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONTAINERD_LITE_STATE", "own")
    with pytest.raises(InvalidArgument, match="not an absolute path"):
        NetworkFiles.new("c", NameOptions())
