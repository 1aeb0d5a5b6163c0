"""Real containers on networks that real plugins make, in a network namespace of the test's own."""

from __future__ import annotations

import errno
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from containerd_lite import Client
from containerd_lite.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Unknown,
)
from containerd_lite.images.image import Image
from containerd_lite.runtime.labels import NETWORKS
from containerd_lite.runtime.network.attachment import (
    LABEL,
    Attachment,
    attachments_of,
    connect,
    disconnect,
)
from containerd_lite.runtime.network.network import Network, PortMapping
from containerd_lite.runtime.task import Task
from tests.harness import Unavailable, cni
from tests.harness.cni import bridge, leased
from tests.harness.daemon import Daemon
from tests.harness.process import wait_until

pytestmark = [pytest.mark.daemon, pytest.mark.registry, pytest.mark.usefixtures("nothing_left")]

#: Seconds; against hanging.
PATIENCE = 20.0
#: Says hello to whoever comes first, and ends.
_SCRIPT = "nc -l -p 80 -e echo hello"


@pytest.fixture(scope="session")
def plugins() -> Path:
    try:
        return cni.plugins()
    except Unavailable as reason:
        pytest.skip(f"CNI plugins: {reason}")


@pytest.fixture
def iptables(tmp_path: Path) -> Path:
    """A folder with iptables; it comes from Debian's archive, which the plugins' machine lacks."""
    try:
        cni.iptables(tmp_path / "bin")
    except Unavailable as reason:
        pytest.skip(f"portmap: {reason}")
    return tmp_path / "bin"


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The package's folder; no files of a container stay in it."""
    folder = tmp_path / "own"
    monkeypatch.setenv("CONTAINERD_LITE_STATE", str(folder))
    yield folder
    assert list(folder.glob("containers/*")) == []


@pytest.fixture
def image(client: Client, busybox: str) -> Image:
    return client.pull(busybox)


@pytest.fixture
def machine(image: Image) -> Iterator[None]:
    """The plugins' machine; the image was pulled before, from the real one's loopback."""
    with cni.machine():
        yield


@pytest.fixture
def web(tmp_path: Path, plugins: Path, machine: None) -> Network:
    """A bridge with addresses of 10.99.0.0/24, which are kept in ``tmp_path``."""
    return Network.of(bridge("web", tmp_path), plugins=[plugins])


def test_a_container_that_is_run_on_a_network(
    daemon: Daemon,
    namespace: str,
    client: Client,
    image: Image,
    web: Network,
    tmp_path: Path,
) -> None:
    script = "ip -4 addr show eth0; ip route"
    said = client.run(image, ["sh", "-c", script], network=web, check=True).stdout.decode()
    assert "inet 10.99.0.2/24" in said
    assert leased("web", tmp_path) == set()
    client.new_container("none", image=image, args=["true"], network=[]).delete()
    container = client.new_container("kept", image=image, args=["sleep", "1000"], network=[web])
    with pytest.raises(InvalidArgument, match="ports need a network"):
        client.run(image, ["true"], ports=["8080:80", PortMapping(8081, 81)])
    for _ in range(2):  # each task anew
        with container.new_task() as task:
            task.start()
            (attachment,) = attachments_of(container.info)
            assert attachment.result is not None
            (address,) = attachment.result.ips
            label = client.load_container("kept").labels[f"{LABEL}web"]
            assert label == f"eth0 {address.address.ip}"
            assert leased("web", tmp_path) == {str(address.address.ip)}
        assert attachments_of(client.load_container("kept").info) == ()
        assert leased("web", tmp_path) == set()
    task = client.load_container("kept").new_task()
    daemon.ctr("tasks", "delete", "--force", "kept", namespace=namespace)  # who knows no networks
    assert leased("web", tmp_path) != set()
    client.load_container("kept").delete()
    assert leased("web", tmp_path) == set()


def test_a_network_that_cannot_be_leaves_no_container(
    client: Client, image: Image, tmp_path: Path, plugins: Path, machine: None
) -> None:
    broken = Network.of({"cniVersion": "1.0.0", "name": "x", "plugins": [{"type": "nosuch"}]})
    with pytest.raises(NotFound, match="nosuch"):
        client.run(image, ["true"], network=broken)
    assert client.containers() == []


@contextmanager
def created(client: Client, image: Image, *args: str, id: str = "one") -> Iterator[Task]:
    """A task that is not yet started, taken off its networks and away at the end."""
    container = client.new_container(id, image=image, args=args or ["sleep", "1000"])
    task = container.new_task()
    try:
        yield task
    finally:
        task.delete(force=True)
        disconnect(client.container_service, id)
        container.delete()


def put_on(
    client: Client, task: Task, *networks: Network, **options: Any
) -> tuple[Attachment, ...]:
    return connect(
        client.container_service,
        client.namespace,
        task.container_id,
        task.pid,
        networks,
        **options,
    )


def ask(address: str, port: int) -> bytes:
    """What a server says that may not be there yet."""
    said: list[bytes] = []

    def listens() -> bool:
        try:
            with socket.create_connection((address, port), timeout=5) as conversation:
                said.append(conversation.recv(100))
        except OSError as error:
            if error.errno not in (errno.ECONNREFUSED, errno.EHOSTUNREACH):
                raise
        return bool(said)

    assert wait_until(listens, PATIENCE), "nobody listens"
    return said[0]


def kept(client: Client, id: str = "one") -> tuple[dict[str, str], tuple[Attachment, ...]]:
    """The labels of networks that a container has, and its attachments."""
    record = client.container_service.get(id)
    labels = {name: text for name, text in record.labels.items() if name.startswith(LABEL)}
    return labels, attachments_of(record)


def test_a_container_is_reached_and_taken_off(
    client: Client, image: Image, web: Network, tmp_path: Path
) -> None:
    with created(client, image, "sh", "-c", _SCRIPT) as task:
        assert kept(client) == ({}, ())
        made = put_on(client, task, web)
        result = made[0].result
        assert result is not None
        assert str(result.ips[0].address) == "10.99.0.2/24"
        assert str(result.ips[0].gateway) == "10.99.0.1"
        place = result.ips[0].interface
        assert place is not None
        assert result.interfaces[place].name == "eth0"
        assert result.interfaces[place].sandbox == f"/proc/{task.pid}/ns/net"
        assert kept(client) == ({LABEL + "web": "eth0 10.99.0.2"}, made)
        assert client.containers(f'labels."{LABEL}web"')[0].id == "one"
        assert leased("web", tmp_path) == {"10.99.0.2"}
        task.start()
        assert ask("10.99.0.2", 80) == b"hello\n"
        task.wait(30)
        disconnect(client.container_service, "one")
        assert kept(client) == ({}, ())
        assert leased("web", tmp_path) == set()
        disconnect(client.container_service, "one")
        # What was on the container beside stays.
        assert client.load_container("one").labels == {
            "io.containerd.image.config.stop-signal": "SIGTERM"
        }


def test_the_container_sees_what_it_was_given(
    client: Client, image: Image, web: Network, tmp_path: Path, plugins: Path
) -> None:
    back = Network.of(bridge("back", tmp_path, "10.98.0.0/24"), plugins=[plugins])
    asked = web.with_options(ips=["10.99.0.77/24"], mac="02:00:00:00:00:77")
    with created(client, image) as task:
        put_on(client, task, asked, back)
        task.start()
        seen = {
            name: json.loads(_ip(task, "-j", "addr", "show", "dev", name))[0]
            for name in ("eth0", "eth1", "lo")
        }
        assert seen["eth0"]["address"] == "02:00:00:00:00:77"
        assert seen["eth0"]["addr_info"][0]["local"] == "10.99.0.77"
        assert seen["eth1"]["addr_info"][0]["local"] == "10.98.0.2"
        assert "UP" in seen["lo"]["flags"]
        labels, _ = kept(client)
        assert labels == {LABEL + "web": "eth0 10.99.0.77", LABEL + "back": "eth1 10.98.0.2"}
        # While it runs: its interfaces go, too.
        disconnect(client.container_service, "one")
        assert "eth" not in _ip(task, "-o", "link")
    assert leased("web", tmp_path) | leased("back", tmp_path) == set()


def _ip(task: Task, *args: str) -> str:
    return cni.said("nsenter", f"--net=/proc/{task.pid}/ns/net", "ip", *args)


@pytest.mark.generations
def test_a_port_of_the_machine(
    client: Client,
    image: Image,
    plugins: Path,
    tmp_path: Path,
    iptables: Path,
    machine: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", f"{iptables}:{os.environ['PATH']}")
    config = bridge("web", tmp_path)
    config["plugins"].append({"type": "portmap", "capabilities": {"portMappings": True}})
    network = Network.of(config, plugins=[plugins])
    with created(client, image, "sh", "-c", _SCRIPT) as task:
        put_on(client, task, network, ports=[PortMapping(8080, 80)])
        task.start()
        assert ask("10.99.0.2", 80) == b"hello\n"
        rules = cni.said(str(iptables / "iptables"), "-t", "nat", "-S")
        assert "--dport 8080 -j DNAT --to-destination 10.99.0.2:80" in rules
        disconnect(client.container_service, "one")
        rules = cni.said(str(iptables / "iptables"), "-t", "nat", "-S")
        assert "8080" not in rules


def test_another_client_takes_it_off_after_the_task_and_a_restart(
    own_daemon: Daemon, busybox: str, plugins: Path, tmp_path: Path
) -> None:
    namespace = own_daemon.new_namespace()
    with Client(own_daemon.address, namespace=namespace) as first:
        image = first.pull(busybox)
        with cni.machine():
            web = Network.of(bridge("web", tmp_path), plugins=[plugins])
            container = first.new_container("one", image=image, args=["sleep", "1000"])
            task = container.new_task()
            put_on(first, task, web)
            task.start()
            task.delete(force=True)
            assert leased("web", tmp_path) == {"10.99.0.2"}
            own_daemon.kill()
            own_daemon.start()
            with Client(own_daemon.address, namespace=namespace) as second:
                assert second.is_serving(timeout=30)
                disconnect(second.container_service, "one")
                assert leased("web", tmp_path) == set()
                assert kept(second) == ({}, ())
                second.load_container("one").delete()


def test_a_new_task_frees_what_the_old_one_had(
    client: Client, image: Image, web: Network, tmp_path: Path
) -> None:
    with created(client, image) as old:
        put_on(client, old, web)
        old.delete(force=True)
        new = client.load_container("one").new_task()
        made = put_on(client, new, web)
        assert made[0].netns == f"/proc/{new.pid}/ns/net"
        assert len(leased("web", tmp_path)) == 1
        assert kept(client)[1] == made


def test_one_network_that_fails_leaves_none(
    client: Client, image: Image, web: Network, tmp_path: Path, plugins: Path
) -> None:
    log = tmp_path / "log"
    script = tmp_path / "second"
    script.write_text(
        f"#!/bin/sh\ncat > {log}.$CNI_COMMAND\n[ $CNI_COMMAND = DEL ] && exit 0\n"
        'echo \'{"code": 100, "msg": "no more of these"}\'; exit 1\n'
    )
    script.chmod(0o755)
    config = bridge("back", tmp_path, "10.98.0.0/24")
    config["plugins"].append({"type": "second"})
    back = Network.of(config, plugins=[plugins, tmp_path])
    with created(client, image) as task:
        with pytest.raises(Unknown, match="ADD by the CNI plugin second: no more of these"):
            put_on(client, task, web, back)
        assert kept(client) == ({}, ())
        assert leased("web", tmp_path) | leased("back", tmp_path) == set()
        assert "eth" not in _ip(task, "-o", "link")
        # It is told what the first of its chain had made.
        told = json.loads((tmp_path / "log.DEL").read_text())["prevResult"]["ips"]
        assert [one["address"] for one in told] == ["10.98.0.2/24"]
        assert put_on(client, task, web)[0].result is not None


def test_what_cannot_be_taken_off_stays_in_the_record(
    client: Client, image: Image, web: Network, tmp_path: Path
) -> None:
    hanging = tmp_path / "hanging"
    hanging.write_text("#!/bin/sh\n[ $CNI_COMMAND = DEL ] && exec sleep 1000\necho '{}'\n")
    hanging.chmod(0o755)
    config = {"cniVersion": "1.0.0", "name": "slow", "plugins": [{"type": "hanging"}]}
    slow = Network.of(config, plugins=[tmp_path])
    with created(client, image) as task:
        _, second = put_on(client, task, web, slow)
        with pytest.raises(DeadlineExceeded, match="DEL by the CNI plugin hanging"):
            disconnect(client.container_service, "one", timeout=0.3)
        labels, left = kept(client)
        assert second in left
        assert labels[LABEL + "slow"] == "eth1"
        hanging.write_text("#!/bin/sh\n")
        disconnect(client.container_service, "one")
        assert kept(client) == ({}, ())
        assert leased("web", tmp_path) == set()


def test_who_has_no_network_of_its_own(client: Client, image: Image, web: Network) -> None:
    with created(client, image) as task:
        service, namespace = client.container_service, client.namespace
        for pid in (1, os.getpid(), 1 << 30):
            with pytest.raises(
                FailedPrecondition,
                match=r"does not exist or cannot|of this program or of the machine",
            ):
                connect(service, namespace, "one", pid, [web])
        with pytest.raises(NotFound):
            connect(service, namespace, "none", task.pid, [web])
        with pytest.raises(InvalidArgument, match="named twice"):
            put_on(client, task, web, web)
        with pytest.raises(InvalidArgument, match="ports need a network"):
            put_on(client, task, ports=[PortMapping(80, 80)])
        with pytest.raises(InvalidArgument, match="supports portMappings"):
            put_on(client, task, web, ports=[PortMapping(80, 80)])
        assert put_on(client, task) == ()
        assert NETWORKS not in service.get("one").extensions
    with pytest.raises(NotFound):
        disconnect(client.container_service, "none")


@pytest.mark.parametrize("place", [0, 1])
def test_what_plugins_refuse_is_not_kept(
    client: Client, image: Image, plugins: Path, tmp_path: Path, machine: None, place: int
) -> None:
    """Else nobody could take the container off what it is not on."""
    newer = {**bridge("web", tmp_path), "cniVersion": "1.1.0"}
    missing = bridge("web", tmp_path)
    missing["plugins"].insert(place, {"type": "nowhere"})
    with created(client, image) as task:
        with pytest.raises(InvalidArgument, match="incompatible CNI versions"):
            put_on(client, task, Network.of(newer, plugins=[plugins]))
        with pytest.raises(NotFound, match="the CNI plugin nowhere is not in"):
            put_on(client, task, Network.of(missing, plugins=[plugins]))
        assert kept(client) == ({}, ())
        assert leased("web", tmp_path) == set()
