"""Comes last: the tests of this folder, when all of them ran, have called the whole API."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.services.conftest import CALLED, all_methods
from tests.harness.daemon import Daemon

pytestmark = [
    pytest.mark.daemon,
    pytest.mark.generations,
    pytest.mark.backend,
]

FILES = {path.name for path in Path(__file__).parent.glob("test_*.py")}


def test_every_method_was_called(request: pytest.FixtureRequest, daemon: Daemon) -> None:
    ran = {item.path.name for item in request.session.items}
    if not ran >= FILES or request.config.getoption("keyword") or request.session.testsfailed:
        pytest.skip("not all of the folder's tests ran")
    assert all_methods() - CALLED[daemon.version] == set()
