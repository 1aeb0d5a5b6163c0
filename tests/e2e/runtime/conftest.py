"""Fixtures of the tests of containers that run."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from containerd_lite import Client
from containerd_lite.errors import NotFound
from containerd_lite.images.image import Image
from containerd_lite.runtime.container import Container
from tests.harness import debris
from tests.harness.daemon import Daemon

#: Makes a container that is removed after the test, with what runs in it.
Make = Callable[..., Container]


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


def kill_shim(daemon: Daemon, namespace: str, id: str) -> None:
    """As the kernel does when memory runs out."""
    shims = [one for one in debris.shims(daemon.folder, namespace) if one.option("-id") == id]
    os.kill(shims[0].pid, 9)
