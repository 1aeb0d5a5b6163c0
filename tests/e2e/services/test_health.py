"""gRPC's health service."""

from __future__ import annotations

import threading

import pytest

from containerd_lite import Client
from containerd_lite.errors import Cancelled, NotFound, Unimplemented
from tests.e2e.services.leftovers import (
    lacks,
    nothing_stays,  # noqa: F401
)
from tests.harness.daemon import Daemon

pytestmark = [
    pytest.mark.daemon,
    pytest.mark.generations,
    pytest.mark.backend,
    pytest.mark.usefixtures("nothing_stays"),
]


def test_check(client: Client, daemon: Daemon) -> None:
    assert daemon.serves()
    assert client.health_service.check() == "SERVING"
    with pytest.raises(NotFound):
        client.health_service.check("no.such.Service")


def test_watch(client: Client) -> None:
    with client.health_service.watch() as watch:
        assert next(watch) == "SERVING"
    with client.health_service.watch("no.such.Service") as watch:
        assert next(watch) == "SERVICE_UNKNOWN"


def test_a_watch_is_closed_by_another_thread(client: Client) -> None:
    watch = client.health_service.watch()
    assert next(watch) == "SERVING"
    closer = threading.Timer(0.01, watch.close)  # before or while it waits: either must do
    closer.start()
    with pytest.raises(Cancelled):
        next(watch)
    closer.join()


def test_list(client: Client, daemon: Daemon) -> None:
    if daemon.version_info >= (2, 1):
        assert client.health_service.list() == {"": "SERVING"}
        return
    with pytest.raises(Unimplemented) as caught:
        client.health_service.list()
    assert lacks(caught.value, daemon, "2.1")
