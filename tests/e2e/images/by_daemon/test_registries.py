"""Pull and push by the daemon, beside what ``ctr`` and the registries say of them."""

from __future__ import annotations

import http.client
import socket
from contextlib import closing
from pathlib import Path

import pytest

from containerd_lite import Client
from containerd_lite.errors import (
    NoMatchingPlatform,
    NotFound,
    RegistryNotFound,
    RegistryUnauthorized,
    RegistryUnavailable,
    Unimplemented,
)
from containerd_lite.images.daemon.by_daemon import DaemonTransfers, can_transfer
from containerd_lite.images.job import Job
from containerd_lite.images.platforms import Platforms
from containerd_lite.oci import platform as known
from containerd_lite.progress import ProgressEvent
from containerd_lite.registry.credentials import Credentials
from tests.e2e.images.by_daemon.moving import (
    ALL,
    IMAGE,
    INDEX,
    ME,
    OTHER,
    PARTS,
    always,
    blobs_of,
    check_there,
    ctr_lines,
    ends,
    names_of,
    nobody,
)
from tests.harness import images
from tests.harness.daemon import Daemon
from tests.harness.leaks import Watch
from tests.harness.registry import Registry

pytestmark = [
    pytest.mark.daemon,
    pytest.mark.registry,
    pytest.mark.generations,
    pytest.mark.turns(2),
]


def test_who_can(daemon: Daemon, stored: Registry, namespace: str) -> None:
    """By the daemon's account; one that cannot says so, and which can."""
    watch = Watch(daemon, namespace)
    with Client(daemon.address, namespace=namespace) as client:
        assert can_transfer(client) == (daemon.version_info >= (1, 7))
        assert can_transfer(client) == can_transfer(client.in_namespace("other"))
        if not can_transfer(client):
            ref = f"{stored.host}/library/image:1"
            with client.lease(), pytest.raises(Unimplemented, match=r"came with 1\.7"):
                DaemonTransfers.of(client).pull(ref, platforms=ALL, credentials=nobody)
    watch.check()


@pytest.mark.parametrize("kind", ["everybody", "by_password", "by_token"])
def test_pull(
    kind: str,
    request: pytest.FixtureRequest,
    mover: Daemon,
    client: Client,
    transfers: DaemonTransfers,
) -> None:
    host: str = request.getfixturevalue(kind).host
    asked: list[str] = []
    events: list[ProgressEvent] = []

    def find(host: str) -> Credentials:
        asked.append(host)
        return ME

    transfers.pull(
        f"{host}/library/image:1",
        platforms=Platforms.of(None),
        unpack=known.default(),
        labels={"a": "b"},
        credentials=find,
        job=Job(events.append),
    )
    name = f"{host}/library/image:1"
    check_there(mover, client, name, IMAGE)
    assert set(asked) == (set() if kind == "everybody" else {host})
    assert client.image_service.get(name).labels == {"a": "b"}
    kinds = [line[-1] for line in ctr_lines(mover, client, "snapshots", "ls")]
    assert kinds == ["Committed"] * len(IMAGE.layers)
    told = [event.stage for event in events if event.name == name]
    assert told == ["resolving", "resolved", "done"]
    assert events[-1].stage == "done"
    # Since 2.2, the daemon also reports the unpacking of each layer.
    reports_unpacking = mover.version_info >= (2, 2)
    assert ends(events, IMAGE) == {"downloaded", *(["unpacked"] if reports_unpacking else [])}
    unpacked = [event for event in events if event.stage == "unpacked"]
    assert {event.name.rpartition("-")[2] for event in unpacked} == (
        {layer["digest"] for layer in IMAGE.layers} if reports_unpacking else set()
    )
    if mover.version_info >= (2,):
        described = {event.name: event.media_type for event in events if event.media_type}
        assert described[IMAGE.digest] == images.OCI_MANIFEST


def test_platforms(
    mover: Daemon, client: Client, transfers: DaemonTransfers, everybody: Registry
) -> None:
    ref = f"{everybody.host}/library/index:1"
    with pytest.raises(NoMatchingPlatform):
        transfers.pull(ref, platforms=Platforms.of("linux/riscv64"), credentials=nobody)
    assert not names_of(mover, client)
    transfers.pull(ref, platforms=Platforms.of("linux/s390x"), credentials=nobody)
    assert names_of(mover, client) == {ref: INDEX.digest}
    assert blobs_of(mover, client) == {INDEX.digest, *PARTS["linux/s390x"].blobs}
    transfers.pull(ref, platforms=ALL, credentials=nobody)
    assert blobs_of(mover, client) == set(INDEX.blobs)


def test_metadata_of_all_platforms(
    mover: Daemon, client: Client, transfers: DaemonTransfers, everybody: Registry
) -> None:
    ref = f"{everybody.host}/library/index:1"
    transfers.pull(
        ref, platforms=Platforms.of("linux/s390x"), all_metadata=True, credentials=nobody
    )
    layers = {layer["digest"] for layer in PARTS[images.machine_platform()].layers}
    assert blobs_of(mover, client) == set(INDEX.blobs) - layers


def test_without_tls(
    mover: Daemon, client: Client, transfers: DaemonTransfers, stored: Registry
) -> None:
    """Since 2.0; what cannot says so, and has changed nothing."""
    ref = f"{stored.host}/library/image:1"
    for plain_http in (None, True):
        if mover.version_info >= (2,):
            transfers.pull(ref, platforms=ALL, plain_http=plain_http, credentials=nobody)
            check_there(mover, client, ref, IMAGE)
        else:
            with pytest.raises(Unimplemented, match='via="client"'):
                transfers.pull(ref, platforms=ALL, plain_http=plain_http, credentials=nobody)
    with pytest.raises(RegistryUnavailable, match="plain_http=True"):
        transfers.pull(ref, platforms=ALL, plain_http=False, credentials=nobody)


def test_hosts_dir(
    mover: Daemon, client: Client, transfers: DaemonTransfers, stored: Registry, tmp_path: Path
) -> None:
    if mover.version_info < (2,):
        return  # it does not look
    folder = tmp_path / "registry.invalid"
    folder.mkdir()
    (folder / "hosts.toml").write_text(f'server = "http://{stored.host}"\n')
    ref = "registry.invalid/library/image:1"
    transfers.pull(ref, platforms=ALL, hosts_dir=str(tmp_path), credentials=nobody)
    check_there(mover, client, ref, IMAGE)


def test_a_snapshotter_that_is_not_configured(
    mover: Daemon, client: Client, transfers: DaemonTransfers, everybody: Registry
) -> None:
    ref = f"{everybody.host}/library/image:1"
    with pytest.raises(Unimplemented, match="unpack=False"):
        transfers.pull(
            ref,
            platforms=ALL,
            unpack=known.default(),
            snapshotter="native",
            credentials=nobody,
        )
    assert not names_of(mover, client)


@pytest.mark.parametrize("who", [None, OTHER])
def test_wrong_credentials(
    who: Credentials | None, client: Client, transfers: DaemonTransfers, guarded: Registry
) -> None:
    wanted = "Check the user name" if who else "Pass credentials"
    with pytest.raises(RegistryUnauthorized, match=wanted) as caught:
        transfers.pull(f"{guarded.host}/library/image:1", platforms=ALL, credentials=always(who))
    assert OTHER.password not in f"{caught.value} {caught.value!r}"


def test_credentials_that_cannot_be_found(
    client: Client, transfers: DaemonTransfers, guarded: Registry
) -> None:
    def find(host: str) -> Credentials:
        raise RuntimeError(f"no helper for {host}")

    with pytest.raises(RuntimeError, match=f"no helper for {guarded.host}"):
        transfers.pull(f"{guarded.host}/library/image:1", platforms=ALL, credentials=find)


def test_what_is_not_there(client: Client, transfers: DaemonTransfers, everybody: Registry) -> None:
    with pytest.raises(RegistryNotFound):
        transfers.pull(f"{everybody.host}/library/image:2", platforms=ALL, credentials=nobody)
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    with pytest.raises(RegistryUnavailable, match=f"127.0.0.1:{port}"):
        transfers.pull(f"127.0.0.1:{port}/a/b:1", platforms=ALL, credentials=nobody)
    with pytest.raises(NotFound, match="no/such"):
        transfers.push(f"{everybody.host}/a/b:1", "no/such:1", platforms=ALL, credentials=nobody)


def registry_has(registry: Registry, name: str, tag: str) -> str:
    """The digest that a registry which lets everybody in tells; ``""`` for none."""
    path = f"/v2/{name}/manifests/{tag}"
    accepted = {"Accept": f"{images.OCI_MANIFEST}, {images.OCI_INDEX}"}
    with closing(http.client.HTTPConnection(registry.host, timeout=10)) as connection:
        connection.request("HEAD", path, headers=accepted)
        answer = connection.getresponse()
        return answer.getheader("Docker-Content-Digest") or "" if answer.status == 200 else ""


def test_push(
    mover: Daemon,
    client: Client,
    transfers: DaemonTransfers,
    stored: Registry,
    everybody: Registry,
    guarded: Registry,
) -> None:
    name = f"{everybody.host}/library/index:1"
    transfers.pull(name, platforms=ALL, credentials=nobody)
    tag = f"{mover.generation}-{guarded.host.rpartition(':')[2]}"
    ref = f"{guarded.host}/library/pushed:{tag}"
    for who in (None, OTHER):
        with pytest.raises(RegistryUnauthorized):
            transfers.push(ref, name, platforms=ALL, credentials=always(who))
    assert registry_has(stored, "library/pushed", tag) == ""
    events: list[ProgressEvent] = []
    transfers.push(ref, name, platforms=ALL, credentials=always(ME), job=Job(events.append))
    assert registry_has(stored, "library/pushed", tag) == INDEX.digest
    assert ends(events, INDEX) <= {"uploaded", "exists"}
    assert events[-1] == ProgressEvent("done", ref)
