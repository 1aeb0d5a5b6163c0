"""The contenders of containerd_lite in ``benchmarks.images``: a library in a running process."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from itertools import count
from pathlib import Path

from benchmarks.measure import Result, Run, timed
from containerd_lite import Client, Layout
from containerd_lite.oci import platform
from containerd_lite.services.transfer_types import (
    ImageStore,
    OCIRegistry,
    TransferResolver,
    UnpackConfiguration,
)


def _once(work: Callable[[], object]) -> Run:
    """Return a run that counts as one unit of work: one image."""

    def run() -> int:
        work()
        return 1

    return run


def pull(address: str, namespace: str, ref: str) -> Run:
    client = Client(address, namespace=namespace)
    return _once(lambda: client.pull(ref))


def fetch(address: str, namespace: str, ref: str) -> Run:
    client = Client(address, namespace=namespace)
    return _once(lambda: client.pull(ref, unpack=False))


def pull_by_daemon(address: str, namespace: str, ref: str) -> Run:
    client = Client(address, namespace=namespace)
    return _once(lambda: client.pull(ref, via="daemon"))


def transfer(address: str, namespace: str, ref: str) -> Run:
    """Only the call that pulls, as Go's client makes it: no lease, no progress, no checks."""
    client = Client(address, namespace=namespace)
    source = OCIRegistry(ref, TransferResolver(default_scheme="http"))
    own = platform.default()
    store = ImageStore(ref, platforms=(own,), unpacks=(UnpackConfiguration(own, "overlayfs"),))
    return _once(lambda: client.transfer_service.transfer(source, store))


def push(address: str, namespace: str, name: str, host: str) -> Run:
    """Push the image ``name`` to a new repository each time."""
    client, numbers = Client(address, namespace=namespace), count()
    return _once(lambda: client.push(f"{host}/ours-{next(numbers)}:v1", name))


def import_archive(address: str, namespace: str, path: str) -> Run:
    client = Client(address, namespace=namespace)
    return _once(lambda: client.import_images(path, unpack=False))


def export(address: str, namespace: str, name: str, path: str) -> Run:
    client = Client(address, namespace=namespace)
    return _once(lambda: client.export_images(path, name))


def layout(folder: str, ref: str) -> Run:
    """Pull into a new layout each time, and delete the layout afterwards."""
    numbers = count()

    def run() -> Result:
        target = Path(folder, f"ours-{next(numbers)}")
        result = timed(_once(lambda: Layout(target).pull(ref)))
        shutil.rmtree(target)
        return result

    return run


def push_layout(folder: str, name: str, host: str, state: str) -> Run:
    """Push from a layout to a new repository each time.

    In the state ``foreign``, the files of the layout change their times before each run, so that
    each push hashes them. In the state ``known``, this process has hashed them before.
    """
    layout, numbers = Layout(folder), count()
    blobs = list(Path(folder).glob("blobs/*/*"))

    def run() -> Result:
        if state == "foreign":
            for blob in blobs:
                os.utime(blob)
        return timed(_once(lambda: layout.push(f"{host}/{state}-{next(numbers)}:v1", name)))

    return run
