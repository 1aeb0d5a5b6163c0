"""Our contenders of ``benchmarks.runtime``, each a library in a process that is there.

What lives here: the work, on one client.  What may not: peers, tables.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from benchmarks.measure import Run
from containerd_lite import Client
from containerd_lite.images.image import Image


def _said(output: bytes) -> None:
    if output != b"hello\n":
        raise RuntimeError(f"the container said {output!r}")


def _client(address: str, namespace: str, ref: str) -> tuple[Client, Image]:
    client = Client(address, namespace=namespace)
    return client, client.get_image(ref)


def run(address: str, namespace: str, ref: str) -> Run:
    """One command in a new container, from nothing to nothing."""
    client, image = _client(address, namespace, ref)

    def once() -> int:
        _said(client.run(image, ["echo", "hello"]).stdout)
        return 1

    return once


def run_many(address: str, namespace: str, ref: str, number: str) -> Run:
    """So many of them at once; one is a unit of work."""
    client, image = _client(address, namespace, ref)
    pool = ThreadPoolExecutor(int(number))

    def one(_: int) -> None:
        _said(client.run(image, ["echo", "hello"]).stdout)

    return _all(pool, one, int(number))


def exec(address: str, namespace: str, id: str) -> Run:
    """One more process in a container that runs."""
    client = Client(address, namespace=namespace)
    container = client.load_container(id)

    def once() -> int:
        _said(container.exec(["echo", "hello"]).stdout)
        return 1

    return once


def _all(pool: ThreadPoolExecutor, one: Callable[[int], None], number: int) -> Run:
    def run() -> int:
        list(pool.map(one, range(number)))
        return number

    return run
