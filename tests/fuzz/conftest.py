"""How many examples there are of everything."""

from __future__ import annotations

import pytest

from tests.fuzz import strategies


def pytest_configure(config: pytest.Config) -> None:
    """Before the tests here are imported: their settings are made then."""
    if config.getoption("--counts") == "full":
        strategies.EXAMPLES = 20_000
