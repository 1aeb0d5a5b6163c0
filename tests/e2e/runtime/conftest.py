"""Fixtures of the tests of containers that run."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from containerd_lite import Client
from containerd_lite.errors import NotFound
from containerd_lite.images.files import SnapshotLayers
from containerd_lite.images.image import Image
from containerd_lite.runtime.container import Container
from tests.harness import debris
from tests.harness.daemon import Daemon

#: Makes a container that is removed after the test, with what runs in it.
Make = Callable[..., Container]


def snapshot_layers(client: Client) -> SnapshotLayers:
    """Return the object by which the daemon writes the client's snapshots as layers."""
    return SnapshotLayers(client.snapshot_service(), client.diff_service, client.mount_service)


@contextmanager
def running(container: Container, *, delete: bool = True) -> Iterator[Container]:
    """Run a container while the block runs, and then delete its task and, if told, itself."""
    task = container.new_task()
    try:
        task.start()
        yield container
    finally:
        task.delete(force=True)
        if delete:
            container.delete()


@pytest.fixture
def image(client: Client, busybox: str) -> Image:
    return client.pull(busybox)


@pytest.fixture
def make(client: Client, image: Image) -> Iterator[Make]:
    made: list[Container] = []

    def make(*args: str, **options: object) -> Container:
        id = options.pop("id", f"c{len(made)}")
        options = {"image": image, **options}
        made.append(client.new_container(str(id), args=args, **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for container in made:
        with suppress(NotFound):
            container.task().delete(force=True)
        with suppress(NotFound):
            container.delete()


def hides_heat(daemon: Daemon) -> bool:
    """Whether a daemon's ctr hides the interrupts and the temperatures of the CPUs, as we do."""
    return _has(daemon, (2, 0, 14), (2, 2, 9), (2, 3, 6), (2, 4, 0))


def closes_families(daemon: Daemon) -> bool:
    """Whether a daemon's ctr allows only known families of sockets, as we do."""
    return _has(daemon, (2, 0, 14), (2, 3, 7), (2, 4, 2))


def _has(daemon: Daemon, *since: tuple[int, ...]) -> bool:
    """Whether a daemon has what came with these releases, each the first of its branch."""
    version = daemon.version_info
    own = [release for release in since if release[:2] == version[:2]]
    return version >= (own or since)[-1]


def kill_shim(daemon: Daemon, namespace: str, id: str) -> None:
    """As the kernel does when memory runs out."""
    shims = [one for one in debris.shims(daemon.folder, namespace) if one.option("-id") == id]
    os.kill(shims[0].pid, 9)
