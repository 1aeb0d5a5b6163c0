"""Gives each test its scripted servers, and a client of the first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from containerd_lite.oci.reference import Reference
from containerd_lite.registry.registry import Registry
from tests.unit.registry.asking import Connect, connecting
from tests.unit.registry.samples import Naps
from tests.unit.registry.scripted import Scripted


@pytest.fixture
def server() -> Iterator[Scripted]:
    with Scripted() as scripted:
        yield scripted


@pytest.fixture
def another() -> Iterator[Callable[..., Scripted]]:
    """Starts further servers, closed at the end of the test."""
    with ExitStack() as stack:
        yield lambda *args, **kwargs: stack.enter_context(Scripted(*args, **kwargs))


@pytest.fixture
def naps() -> Naps:
    return Naps()


@pytest.fixture
def registry(server: Scripted, naps: Naps) -> Iterator[Registry]:
    with Registry(server.host, sleep=naps, stall_timeout=5, user_agent="tester/1") as found:
        yield found


@pytest.fixture
def ref(server: Scripted) -> Reference:
    return Reference.parse(f"{server.host}/app:v1")


@pytest.fixture
def connect(server: Scripted) -> Iterator[Connect]:
    """Makes authenticators of the first server."""
    with connecting(server) as make:
        yield make
