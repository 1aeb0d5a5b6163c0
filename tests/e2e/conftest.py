"""Fixtures of the tests against real daemons."""

from __future__ import annotations

import os

import pytest

from tests.harness.leaks import Watch


@pytest.fixture
def nothing_left(no_leftovers: Watch) -> None:
    """Fails a test that leaves anything but committed snapshots of the images that it pulled."""
    no_leftovers.keep_snapshots()


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CONTAINERD_ADDRESS", "CONTAINERD_NAMESPACE"):
        if name in os.environ:
            monkeypatch.delenv(name)
