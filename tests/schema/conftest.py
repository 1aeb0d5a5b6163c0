"""What the tests of this folder compared, for the closing lines."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.harness.outcomes import CLOSING


@pytest.fixture
def compared() -> Callable[[str], None]:
    """``compared(line)`` has the closing lines say so."""
    return lambda line: CLOSING.add(f"schema: {line}")
