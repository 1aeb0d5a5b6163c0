"""Fixtures of the tests against real daemons."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.harness.daemon import Daemon
from tests.harness.leaks import Watch


@pytest.fixture
def nothing_left(no_leftovers: Watch) -> None:
    """Fails a test that leaves anything but committed snapshots of the images that it pulled."""
    no_leftovers.keep_snapshots()


@pytest.fixture
def own_daemon(daemon: Daemon) -> Iterator[Daemon]:
    """A daemon of the same generation that the test may stop and kill."""
    with Daemon(daemon.suite) as own:
        yield own


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CONTAINERD_ADDRESS", "CONTAINERD_NAMESPACE"):
        if name in os.environ:
            monkeypatch.delenv(name)
