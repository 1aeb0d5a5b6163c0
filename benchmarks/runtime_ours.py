"""The contenders of containerd_lite in ``benchmarks.runtime``: a library in a running process."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from benchmarks.measure import Result, Run, cpu_seconds
from containerd_lite import Client, NullIO
from containerd_lite.images.image import Image


def _check_output(output: bytes) -> None:
    if output != b"hello\n":
        raise RuntimeError(f"the container wrote {output!r}")


def _client(address: str, namespace: str, ref: str) -> tuple[Client, Image]:
    client = Client(address, namespace=namespace)
    return client, client.get_image(ref)


def run(address: str, namespace: str, ref: str) -> Run:
    """Create a container, run one command in it, and delete it."""
    client, image = _client(address, namespace, ref)

    def once() -> int:
        _check_output(client.run(image, ["echo", "hello"]).stdout)
        return 1

    return once


def run_many(address: str, namespace: str, ref: str, number: str) -> Run:
    """Run ``number`` containers at once. One container is a unit of work."""
    client, image = _client(address, namespace, ref)
    pool = ThreadPoolExecutor(int(number))

    def run_container(_: int) -> None:
        _check_output(client.run(image, ["echo", "hello"]).stdout)

    return _repeat(pool, run_container, int(number))


def detach(address: str, namespace: str, ref: str, keeps: str) -> Run:
    """Start a detached container. ``keeps`` is empty if its log is not kept.

    Only the start counts. The container is deleted afterwards.
    """
    client, image = _client(address, namespace, ref)

    def once() -> Result:
        begin, cpu = time.perf_counter(), cpu_seconds()
        streams = None if keeps else NullIO()
        container = client.run(image, ["sleep", "1000"], detach=True, streams=streams)
        found = Result(1, time.perf_counter() - begin, cpu_seconds() - cpu)
        container.delete(force=True)
        return found

    return once


def exec(address: str, namespace: str, id: str) -> Run:
    """Run one more process in a running container."""
    client = Client(address, namespace=namespace)
    container = client.load_container(id)

    def once() -> int:
        _check_output(container.exec(["echo", "hello"]).stdout)
        return 1

    return once


def _repeat(pool: ThreadPoolExecutor, work: Callable[[int], None], number: int) -> Run:
    def run() -> int:
        list(pool.map(work, range(number)))
        return number

    return run
