"""Transfers that do not go well: nothing of them stays, and nobody waits for ever."""

from __future__ import annotations

import os
import signal
import socket
import threading

import pytest

from containerd_lite import Client
from containerd_lite.errors import ContainerdError, DeadlineExceeded, RegistryUnavailable
from containerd_lite.images.daemon.by_daemon import DaemonTransfers
from containerd_lite.images.job import Job
from containerd_lite.oci import platform as known
from containerd_lite.progress import ProgressEvent
from tests.e2e.images.by_daemon.moving import ALL, blobs_of, ctr_lines, names_of, nobody
from tests.e2e.registry.relay import DOWN, Relay
from tests.harness.daemon import Daemon
from tests.harness.registry import Registry

pytestmark = [pytest.mark.daemon, pytest.mark.registry, pytest.mark.generations]


class Held(Relay):
    """Passes on some bytes, and no more before it is released."""

    def __init__(self, target: str, most: int) -> None:
        super().__init__(target)
        self._most = most
        self.released = threading.Event()

    def _room(self, way: str, count: int) -> int:
        if way == DOWN and self.carried[DOWN] + count > self._most:
            self.released.wait(30)
        return super()._room(way, count)

    def __exit__(self, *error: object) -> None:
        self.released.set()
        super().__exit__(*error)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, ValueError])
def test_a_callback_that_raises_half_way(
    kind: type[BaseException], mover: Daemon, client: Client, everybody: Registry
) -> None:
    """What it raises comes out; the daemon stops, though the registry does not move."""

    def tell(event: ProgressEvent) -> None:
        if event.stage == "downloading" and event.offset:
            assert event.offset < event.total
            raise kind("enough")

    with (
        Held(everybody.host, 2 << 20) as relay,
        pytest.raises(kind, match="enough"),
        client.lease(),
    ):
        DaemonTransfers.of(client).pull(
            f"{relay.host}/library/large:1",
            platforms=ALL,
            unpack=known.default(),
            credentials=nobody,
            job=Job(tell),
        )
    assert not blobs_of(mover, client)
    assert not names_of(mover, client)
    assert not ctr_lines(mover, client, "content", "active")
    assert mover.leftovers(client.namespace) == []


def test_a_registry_that_says_nothing(client: Client) -> None:
    transfers = DaemonTransfers.of(client, stall_timeout=0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent, client.lease():
        ref = f"127.0.0.1:{silent.getsockname()[1]}/a/b:1"
        with pytest.raises(RegistryUnavailable, match=r"for 0\.5 seconds"):
            transfers.pull(ref, platforms=ALL, credentials=nobody)


def test_a_registry_that_stops_half_way(client: Client, everybody: Registry) -> None:
    transfers = DaemonTransfers.of(client, stall_timeout=1)
    with (
        Held(everybody.host, 2 << 20) as relay,
        pytest.raises(RegistryUnavailable, match="for 1 seconds"),
        client.lease(),
    ):
        transfers.pull(f"{relay.host}/library/large:1", platforms=ALL, credentials=nobody)
    with client.lease():  # and again, which finds nothing half-made in its way
        transfers.pull(f"{everybody.host}/library/large:1", platforms=ALL, credentials=nobody)


@pytest.mark.turns(2)
def test_a_daemon_that_stands_still(mover: Daemon) -> None:
    """One of its own; a lease would have to be deleted on it."""

    def stop(event: ProgressEvent) -> None:
        os.kill(own.pid, signal.SIGSTOP)

    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        Daemon(mover.generation) as own,
        Client(own.address, namespace=own.namespace) as client,
    ):
        client.namespace_service.create(own.namespace)  # until then its streams are garbage
        ref = f"127.0.0.1:{silent.getsockname()[1]}/a/b:1"
        try:
            with pytest.raises(DeadlineExceeded, match="does not answer"):
                DaemonTransfers.of(client, stall_timeout=0.5).pull(
                    ref, platforms=ALL, credentials=nobody, job=Job(stop)
                )
        finally:
            os.kill(own.pid, signal.SIGCONT)


def test_a_daemon_that_dies(mover: Daemon) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        Daemon(mover.generation) as own,
        Client(own.address, namespace=own.namespace) as client,
    ):
        client.namespace_service.create(own.namespace)  # until then its streams are garbage
        with pytest.raises(ContainerdError, match="connection"):
            DaemonTransfers.of(client).pull(
                f"127.0.0.1:{silent.getsockname()[1]}/a/b:1",
                platforms=ALL,
                credentials=nobody,
                job=Job(lambda event: own.kill()),
            )
