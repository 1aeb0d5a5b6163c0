"""What the tests of the services call is noted: the closing lines say how much of the API it was.

Tests use ``client`` as anywhere; here its channel keeps the names of the methods that are called.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from containerd_lite import Client
from containerd_lite.schema.pool import CONTAINERD
from tests.e2e.recorder import Recorder
from tests.harness.daemon import Daemon
from tests.harness.outcomes import CLOSING

#: By the daemon's version: the methods that were called, ``package.Service/Method``.
CALLED: dict[str, set[str]] = {}


def all_methods() -> set[str]:
    """Every method of every service that there is a descriptor for."""
    services = [name for name in CONTAINERD.names() if _is_service(name)]
    return {f"{name}/{method}" for name in services for method in CONTAINERD.methods(name)}


def _is_service(name: str) -> bool:
    # No message of a services package is called as its service is; these are all there are.
    try:
        return bool(CONTAINERD.methods(name))
    except ValueError:
        return False


@pytest.fixture
def client(daemon: Daemon, namespace: str) -> Iterator[Client]:
    with (
        Recorder(daemon.address, CALLED.setdefault(daemon.version, set())) as channel,
        Client(channel=channel, namespace=namespace) as client,
    ):
        yield client


@pytest.fixture
def folders(daemon: Daemon) -> tuple[Path, Path]:
    """Two folders with a file each, of its own name. The daemon makes folders only in its own."""
    place = daemon.root / f"mounts-{os.urandom(4).hex()}"
    for name in ("a", "b"):
        (place / name).mkdir(parents=True)
        (place / name / name).write_text(name)
    return place / "a", place / "b"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What looks at all that was called comes last."""
    items.sort(key=lambda item: item.path.name == "test_everything.py")


def pytest_sessionfinish() -> None:
    everything = all_methods() if CALLED else set()
    for version, called in CALLED.items():
        count = f"{len(called & everything)} of {len(everything)} called"
        CLOSING.add(f"rpc: containerd {version}: {count}")
