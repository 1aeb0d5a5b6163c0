"""Many pulls at once, of one image and of several that share layers, with garbage collection."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

import pytest

from containerd_lite import Client
from tests.conftest import ROOT, Count
from tests.harness import images
from tests.harness.daemon import Daemon
from tests.harness.registry import Registry

pytestmark = [pytest.mark.daemon, pytest.mark.registry, pytest.mark.usefixtures("nothing_left")]


def test_fifty_pulls_of_one_image_from_four_processes(
    daemon: Daemon, namespace: str, client: Client, registry: Registry, count: Count
) -> None:
    image = images.random_image([300_000] * 5 + [5_000_000], seed=50)
    name = images.push(image, registry.host, "crowd", "latest")
    threads = count(20, 50)
    shares = [threads // 4 + (n < threads % 4) for n in range(4)]
    command = [sys.executable, "-W", "error", "-m", "tests.e2e.images.crowd"]
    crowd = [
        subprocess.Popen(
            [*command, daemon.address, namespace, name, str(share)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for share in shares
    ]
    try:
        for one in crowd:
            assert one.stdout is not None
            assert one.stdout.readline() == "ready\n"
        answers = [one.communicate("go\n", timeout=120)[0] for one in _begun(crowd)]
    finally:
        for one in crowd:
            one.kill()
            one.wait()
    assert [one.returncode for one in crowd] == [0] * 4
    for answer in answers:
        assert max(json.loads(answer).values(), default=0) <= 1
    checked = client.check(name)
    assert checked.is_complete
    assert all(one.is_unpacked for one in checked.platforms)
    assert client.verify().is_sound


def _begun(crowd: list[subprocess.Popen[str]]) -> list[subprocess.Popen[str]]:
    """All at once, and not each when the one before has ended."""
    for one in crowd:
        assert one.stdin is not None
        one.stdin.write("go\n")
        one.stdin.flush()
    return crowd


@pytest.mark.generations
def test_pulls_of_shared_layers_while_garbage_is_collected(
    daemon: Daemon, namespace: str, client: Client, registry: Registry, count: Count
) -> None:
    layers = [images.layer({f"file-{n}": bytes([n]) * 30_000}) for n in range(6)]
    shared = [images.build(chosen) for chosen in itertools.combinations(layers, 4)]
    pullers, rounds = 4, count(6, 50)
    names = [
        [
            images.push(shared[(mine * 5 + n) % len(shared)], registry.host, f"gc-{mine}-{n}", "1")
            for n in range(5)
        ]
        for mine in range(pullers)
    ]
    to_remove: SimpleQueue[tuple[str, threading.Event] | None] = SimpleQueue()
    is_over = threading.Event()

    def pull(mine: int) -> None:
        removed = [threading.Event() for _ in names[mine]]
        for number in range(rounds):
            name, event = names[mine][number % 5], removed[number % 5]
            assert number < 5 or event.wait(60)
            event.clear()
            image = client.pull(name)
            report = client.check(name)
            assert report.is_complete, (number, report)
            assert image.is_unpacked(), number
            to_remove.put((name, event))

    def remove() -> None:
        while (found := to_remove.get()) is not None:
            name, event = found
            daemon.ctr("images", "rm", "--sync", name, namespace=namespace)
            event.set()

    def collect() -> None:
        for number in itertools.count():
            if is_over.is_set():
                return
            id = f"collect-{number}"
            daemon.ctr("leases", "create", "--id", id, namespace=namespace)
            daemon.ctr("leases", "delete", "--sync", id, namespace=namespace)

    with ThreadPoolExecutor(pullers + 2) as pool:
        helpers = [pool.submit(remove), pool.submit(collect)]
        try:
            for task in [pool.submit(pull, mine) for mine in range(pullers)]:
                task.result()
        finally:
            to_remove.put(None)
            is_over.set()
        for helper in helpers:
            helper.result()
    assert client.verify().is_sound
    assert client.list_images() == []
    daemon.ctr("leases", "create", "--id", "last", namespace=namespace)
    daemon.ctr("leases", "delete", "--sync", "last", namespace=namespace)
    assert list(client.content_store.walk()) == []
