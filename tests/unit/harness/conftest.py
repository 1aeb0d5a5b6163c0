"""Fixtures of the tests of the harness."""

from __future__ import annotations

import pytest

from tests.unit.harness.tree import Tree


@pytest.fixture
def tree(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """A copy of the harness that has no tests yet."""
    return Tree(tmp_path_factory.mktemp("lane"))
